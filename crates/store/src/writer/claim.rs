//! Taking positions under a new epoch.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Epoch, TopicId, TopicPartition};
use tokio_postgres::Client;

use super::{Owned, PositionClaim, WRITER_NAME};
use crate::error::{Error, Result};
use crate::store::Store;

/// How long a claim waits for an earlier writer's transaction before it looks whether that one hangs.
const PATIENCE: Duration = Duration::from_secs(3);

/// One claimer at a time per owner, so that epochs are handed out in the order in which positions are taken.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('tillstream writer ' || $1, 0))";

const ADD: &str = "INSERT INTO ops.positions (owner, topic, topic_id, partition, next_offset, epoch) \
     SELECT $1, topic, topic_id, partition, start, 0 FROM unnest($2::text[], $3::text[], $4::int[], $5::bigint[]) \
         AS claim(topic, topic_id, partition, start) ON CONFLICT (owner, topic, partition) DO NOTHING";

const TAKE: &str = "UPDATE ops.positions p SET epoch = $5, updated_at = now(), \
         topic_id = CASE WHEN p.topic_id = '' THEN claim.topic_id ELSE p.topic_id END \
     FROM unnest($2::text[], $3::text[], $4::int[]) AS claim(topic, topic_id, partition) \
     WHERE p.owner = $1 AND p.topic = claim.topic AND p.partition = claim.partition AND p.epoch < $5 \
     RETURNING p.topic, p.partition, p.topic_id, p.next_offset, claim.topic_id";

/// Ends sessions that block ours while they wait for their own client: writers whose process is paused or cut off.
const END_HANGING: &str = "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE pid = ANY (pg_blocking_pids($1)) AND application_name = $2 AND wait_event_type = 'Client'";

/// Takes the claimed positions in the writer's session.
pub(super) async fn claim(
    store: &Store,
    client: &mut Client,
    owner: &str,
    claims: &[PositionClaim],
) -> Result<(Epoch, BTreeMap<TopicPartition, Owned>)> {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    let pid: i32 = row.map_err(|error| Error::postgres("claiming positions", &error))?.get(0);
    let mut taking = std::pin::pin!(take(client, owner, claims));
    loop {
        tokio::select! {
            taken = &mut taking => return taken,
            () = tokio::time::sleep(PATIENCE) => {
                let other = store.client().await?;
                let ended = other.query(END_HANGING, &[&pid, &WRITER_NAME]).await;
                for row in ended.map_err(|error| Error::postgres("looking for writers that hang", &error))? {
                    tracing::warn!(owner, pid = row.get::<_, i32>(0), "ended the session of an earlier writer that hung in a transaction");
                }
            }
        }
    }
}

async fn take(
    client: &mut Client,
    owner: &str,
    claims: &[PositionClaim],
) -> Result<(Epoch, BTreeMap<TopicPartition, Owned>)> {
    let failed = |error| Error::postgres("claiming positions", &error);
    let topics: Vec<&str> = claims.iter().map(|claim| &*claim.partition.topic).collect();
    let ids: Vec<&str> = claims.iter().map(|claim| claim.topic_id.as_ref().map_or("", |id| &id.0)).collect();
    let partitions: Vec<i32> = claims.iter().map(|claim| claim.partition.partition).collect();
    let starts: Vec<i64> = claims.iter().map(|claim| claim.start).collect();

    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute(LOCK, &[&owner]).await.map_err(failed)?;
    let epoch: i64 = transaction.query_one("SELECT nextval('ops.epochs')", &[]).await.map_err(failed)?.get(0);
    transaction.execute(ADD, &[&owner, &topics, &ids, &partitions, &starts]).await.map_err(failed)?;
    let rows = transaction.query(TAKE, &[&owner, &topics, &ids, &partitions, &epoch]).await.map_err(failed)?;
    let mut owned = BTreeMap::new();
    for row in &rows {
        let (topic, partition, stored, found): (String, i32, String, String) =
            (row.get(0), row.get(1), row.get(2), row.get(4));
        if !found.is_empty() && found != stored {
            return Err(Error::TopicRecreated { owner: owner.to_owned(), topic, partition, stored, found });
        }
        let topic_id = Some(stored).filter(|id| !id.is_empty()).map(TopicId);
        owned.insert(TopicPartition::new(topic, partition), Owned { topic_id, next_offset: row.get(3) });
    }
    let epoch = Epoch(u64::try_from(epoch).unwrap_or_default());
    if let Some(missing) = claims.iter().find(|claim| !owned.contains_key(&claim.partition)) {
        let reason = format!("a newer writer has taken {}", missing.partition);
        return Err(Error::Fenced { owner: owner.to_owned(), epoch, reason });
    }
    // If this reply is lost the next writer simply claims again.
    transaction.commit().await.map_err(failed)?;
    Ok((epoch, owned))
}
