//! A batch inside its transaction, up to COMMIT.

use std::collections::BTreeSet;

use arrow_array::{ArrayRef, RecordBatch};
use model::Version;
use tokio_postgres::Client;

use super::staging::{RejectedStaging, TableStaging, column_error, column_types, copy_rows};
use super::{Writer, operations};
use crate::NOTIFY_CHANNEL;
use crate::batch::{Applied, StoreBatch, Upserts};
use crate::copy::{Cells, Rows};
use crate::dedup::{Part, greatest};
use crate::error::{Error, Result};
use crate::table::Table;

/// The compare-and-set: moves those positions that this epoch owns and that stand where the batch starts.
pub(super) const MOVE_POSITIONS: &str = "UPDATE ops.positions p SET next_offset = moved.next, updated_at = now() \
     FROM unnest($3::text[], $4::int[], $5::bigint[], $6::bigint[]) AS moved(topic, partition, previous, next) \
     WHERE p.owner = $1 AND p.epoch = $2 AND p.topic = moved.topic AND p.partition = moved.partition AND p.next_offset = moved.previous";

/// After rows turned out to be there already, as in a replay, so many batches expect more of them.
const STAGED_BATCHES_AFTER_REPEAT: u32 = 16;

/// Longest payload of an announcement; PostgreSQL takes less than 8,000 bytes.
const PAYLOAD_BYTES_MAX: usize = 4_000;

impl Writer {
    /// Begins the transaction and writes everything. Positions come first: the row locks keep other writers out from then on, and a
    /// fenced writer is stopped before it sends any rows.
    pub(super) async fn write(&mut self, batch: &StoreBatch) -> Result<Applied> {
        let groups = self.group(batch)?;
        self.begin_and_move(batch).await?;
        let mut applied = Applied::default();
        for (table, upserts) in groups {
            let (name, given, changed, bytes) = self.merge(table, &upserts).await?;
            applied.rows_given += given;
            applied.rows_changed += changed;
            applied.bytes += bytes;
            applied.tables.push((name, changed));
        }
        if !batch.rejected.is_empty() {
            // Not in the transaction's way: a temporary table made inside of it stays after COMMIT.
            if self.rejected.is_none() {
                self.rejected = Some(RejectedStaging::prepare(&self.client).await?);
            }
            if let Some(staging) = &self.rejected {
                let (new, bytes) = operations::store_rejected(&self.client, staging, &batch.rejected).await?;
                applied.rejected = new;
                applied.bytes += bytes;
            }
        }
        if !batch.progress.is_empty() {
            operations::store_progress(&self.client, &batch.progress).await?;
        }
        if self.notify {
            let payload = announcement(&self.owner, &applied);
            let sent = self.client.execute("SELECT pg_notify($1, $2)", &[&NOTIFY_CHANNEL, &payload]).await;
            sent.map_err(|error| Error::postgres("announcing a batch", &error))?;
        }
        Ok(applied)
    }

    /// The rows of each table, in the order in which tables are first named.
    fn group<'b>(&self, batch: &'b StoreBatch) -> Result<Vec<(usize, Vec<&'b Upserts>)>> {
        let mut groups: Vec<(usize, Vec<&Upserts>)> = Vec::new();
        for (name, upserts) in &batch.tables {
            let index = self.tables.iter().position(|staging| staging.table.name.name() == name).ok_or_else(|| {
                let message = "the writer wasn't opened with this table".to_owned();
                Error::Batch { table: name.clone(), message }
            })?;
            match groups.iter_mut().find(|(group, _)| *group == index) {
                Some((_, all)) => all.push(upserts),
                None => groups.push((index, vec![upserts])),
            }
        }
        Ok(groups)
    }

    async fn begin_and_move(&self, batch: &StoreBatch) -> Result<()> {
        let mut seen = BTreeSet::new();
        for moved in &batch.positions {
            let owned = self.owned.get(&moved.partition);
            if owned.is_none() || !seen.insert(&moved.partition) || moved.to < moved.from {
                let message = format!("position of {} isn't owned, moves twice or moves back", moved.partition);
                return Err(Error::Batch { table: "ops.positions".into(), message });
            }
            if let (Some(stored), Some(found)) = (owned.and_then(|owned| owned.topic_id.as_ref()), &moved.topic_id)
                && stored != found
            {
                return Err(Error::TopicRecreated {
                    owner: self.owner.clone(),
                    topic: moved.partition.topic.to_string(),
                    partition: moved.partition.partition,
                    stored: stored.0.clone(),
                    found: found.0.clone(),
                });
            }
        }
        // Without a move, the epoch is checked on all positions by moving them to where they are.
        let moves: Vec<(&str, i32, i64, i64)> = if batch.positions.is_empty() {
            self.owned
                .iter()
                .map(|(at, owned)| (&*at.topic, at.partition, owned.next_offset, owned.next_offset))
                .collect()
        } else {
            batch.positions.iter().map(|at| (&*at.partition.topic, at.partition.partition, at.from, at.to)).collect()
        };
        let topics: Vec<&str> = moves.iter().map(|at| at.0).collect();
        let partitions: Vec<i32> = moves.iter().map(|at| at.1).collect();
        let from: Vec<i64> = moves.iter().map(|at| at.2).collect();
        let to: Vec<i64> = moves.iter().map(|at| at.3).collect();
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.owner, &epoch, &topics, &partitions, &from, &to];
        // Sent together, so that they cost one round trip.
        let ((), moved) = tokio::try_join!(
            self.client.batch_execute("BEGIN"),
            self.client.execute(&self.move_positions, &parameters)
        )
        .map_err(|error| Error::postgres("moving positions", &error))?;
        if moved == u64::try_from(moves.len()).unwrap_or(u64::MAX) {
            return Ok(());
        }
        // Ends the transaction before anything else, which frees the locks.
        self.client.batch_execute("ROLLBACK").await.map_err(|error| Error::postgres("moving positions", &error))?;
        let reason = self.mismatch(&moves).await?;
        Err(Error::Fenced { owner: self.owner.clone(), epoch: self.epoch, reason })
    }

    /// Says which position isn't as it was expected.
    async fn mismatch(&self, moves: &[(&str, i32, i64, i64)]) -> Result<String> {
        let query = "SELECT epoch, next_offset FROM ops.positions WHERE owner = $1 AND topic = $2 AND partition = $3";
        let epoch = i64::try_from(self.epoch.0).unwrap_or(i64::MAX);
        for (topic, partition, from, _) in moves {
            let row = self.client.query_opt(query, &[&self.owner, topic, partition]).await;
            let row = row.map_err(|error| Error::postgres("reading positions", &error))?;
            let Some(row) = row else { return Ok(format!("the position of {topic}[{partition}] is gone")) };
            let (holder, at): (i64, i64) = (row.get(0), row.get(1));
            if holder != epoch {
                return Ok(format!("the writer with epoch {holder} has {topic}[{partition}]"));
            }
            if at != *from {
                return Ok(format!("the batch starts at {from} of {topic}[{partition}], the position is at {at}"));
            }
        }
        Ok("the positions weren't where the batch starts".into())
    }

    /// Copies and merges the rows of one table. Returns its name, the rows given, the rows changed and the bytes sent.
    async fn merge(&mut self, index: usize, all: &[&Upserts]) -> Result<(String, u64, u64, u64)> {
        let Some(staging) = self.tables.get_mut(index) else {
            return Err(Error::Internal {
                doing: "storing a batch".into(),
                message: format!("no table number {index}"),
            });
        };
        let client = &self.client;
        let name = staging.table.name.name().to_owned();
        let single = has_single_versions(&staging.table, all);
        let parts = parts(&staging.table, all, !single)?;
        let given = all.iter().map(|upserts| upserts.rows.num_rows() + upserts.deletes.num_rows()).sum::<usize>();
        let given = u64::try_from(given).unwrap_or(u64::MAX);
        if given == 0 {
            return Ok((name, 0, 0, 0));
        }
        let names: Vec<&str> = column_types(&staging.table).map(|(name, _)| name).collect();
        let path = staging.table.path();
        if single && staging.staged_batches == 0 {
            if let Some(bytes) = copy_directly(client, staging, &names, &parts).await? {
                return Ok((name, given, given, bytes));
            }
            tracing::debug!(table = name, "rows are there already: storing by staging for a while");
            staging.staged_batches = STAGED_BATCHES_AFTER_REPEAT;
        }
        let bytes =
            copy_rows(client, &staging.copy, &name, &names, &parts).await.map_err(|failure| failure.report(&path))?;
        let statement = if single { &staging.insert } else { &staging.merge };
        let changed = client.execute(statement, &[]).await;
        let changed = changed.map_err(|error| Error::postgres(format!("merging rows into {path}"), &error))?;
        staging.staged_batches = staging.staged_batches.saturating_sub(1);
        Ok((name, given, changed, bytes))
    }
}

/// Copies rows straight into their table. Returns `None`, with nothing written, if one of them is there already.
async fn copy_directly(
    client: &Client,
    staging: &TableStaging,
    names: &[&str],
    parts: &[Rows<'_>],
) -> Result<Option<u64>> {
    let path = staging.table.path();
    let failed = |error| Error::postgres(format!("copying rows for {path}"), &error);
    client.batch_execute("SAVEPOINT direct").await.map_err(failed)?;
    match copy_rows(client, &staging.direct, staging.table.name.name(), names, parts).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(failure) if failure.is_repeat() => {
            client.batch_execute("ROLLBACK TO SAVEPOINT direct; RELEASE SAVEPOINT direct").await.map_err(failed)?;
            Ok(None)
        }
        Err(failure) => Err(failure.report(&path)),
    }
}

/// Whether each row is the first and only version of its kind, so that one that is there already is the same or newer.
fn has_single_versions(table: &Table, all: &[&Upserts]) -> bool {
    // A table holds one generation.
    let first = |version: &Version| version.generation <= table.generation && version.rows <= 1;
    table.is_row_by_row()
        && all.iter().all(|upserts| upserts.deletes.num_rows() == 0 && upserts.versions.iter().all(first))
}

/// The rows and deletes to copy, with only the greatest version of each identity if `dedup`.
fn parts<'b>(table: &Table, all: &[&'b Upserts], dedup: bool) -> Result<Vec<Rows<'b>>> {
    let batches = || {
        all.iter().flat_map(|upserts| {
            [(&upserts.rows, &upserts.versions, false), (&upserts.deletes, &upserts.delete_versions, true)]
        })
    };
    let mut parts = Vec::new();
    let mut identities = Vec::new();
    for (batch, versions, deleted) in batches().filter(|(batch, versions, _)| batch.num_rows() + versions.len() > 0) {
        if batch.num_rows() != versions.len() {
            let message = format!("{} rows have {} versions", batch.num_rows(), versions.len());
            return Err(Error::Batch { table: table.name.name().to_owned(), message });
        }
        let cells = cells(table, batch, deleted)?;
        parts.push(Rows { cells, versions: Some(versions), deleted, selection: None, count: batch.num_rows() });
        if dedup {
            identities.push(Part { identity: identity(table, batch)?, versions });
        }
    }
    let selections = greatest(&identities).map_err(|error| Error::Internal {
        doing: format!("finding the greatest versions for {}", table.path()),
        message: error.to_string(),
    })?;
    for (part, selection) in parts.iter_mut().zip(selections.into_iter().flatten()) {
        part.selection = Some(selection);
    }
    Ok(parts)
}

/// The cells of each of the table's columns; a delete has only the identity.
fn cells<'b>(table: &Table, batch: &'b RecordBatch, deleted: bool) -> Result<Vec<Cells<'b>>> {
    let name = table.name.name();
    let mut cells = Vec::with_capacity(table.columns.len());
    for (column, kind) in column_types(table) {
        let is_identity = table.identity.iter().any(|identity| identity.name() == column);
        match batch.column_by_name(column) {
            Some(array) if !deleted || is_identity => {
                let of_column = Cells::new(array, kind).map_err(|error| column_error(name, column, error))?;
                if let Some(row) = is_identity.then(|| of_column.first_infinite()).flatten() {
                    let message =
                        "rows are told apart by this time, which lies outside of PostgreSQL's years".to_owned();
                    return Err(column_error(name, column, (Some(row), message)));
                }
                cells.push(of_column);
            }
            _ if deleted && !is_identity => cells.push(Cells::Null),
            _ => {
                let message = format!("column {column} is missing");
                return Err(Error::Batch { table: name.to_owned(), message });
            }
        }
    }
    Ok(cells)
}

fn identity(table: &Table, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let column = |name: &crate::Identifier| {
        batch.column_by_name(name.name()).cloned().ok_or_else(|| Error::Batch {
            table: table.name.name().to_owned(),
            message: format!("identity column {name} is missing"),
        })
    };
    table.identity.iter().map(column).collect()
}

/// What listeners are told: which tables changed.
fn announcement(owner: &str, applied: &Applied) -> String {
    let tables: Vec<&str> =
        applied.tables.iter().filter(|(_, changed)| *changed > 0).map(|(name, _)| name.as_str()).collect();
    let text = serde_json::json!({ "owner": owner, "tables": tables }).to_string();
    if text.len() <= PAYLOAD_BYTES_MAX { text } else { r#"{"owner":null,"tables":null}"#.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::{Int32Array, Int64Array};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;
    use crate::table::TableSpec;

    #[test]
    fn rows_of_a_later_generation_are_copied_straight_into_its_table_too() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("source_partition", DataType::Int32, false),
            Field::new("source_offset", DataType::Int64, false),
        ]));
        let identity = ["source_partition", "source_offset"].map(str::to_owned).to_vec();
        let spec = TableSpec {
            name: "payments__g3".into(),
            view: "payments".into(),
            generation: 3,
            schema: schema.clone(),
            identity,
            time_column: None,
            comment: None,
            column_comments: BTreeMap::new(),
        };
        let table = Table::new(&spec).unwrap();
        let row =
            || -> Vec<ArrayRef> { vec![Arc::new(Int32Array::from(vec![0])), Arc::new(Int64Array::from(vec![7]))] };
        let is_single = |generation, rows| {
            let batch = RecordBatch::try_new(schema.clone(), row()).unwrap();
            let upserts = Upserts::rows(batch, vec![Version { generation, rows, is_final: true }]);
            has_single_versions(&table, &[&upserts])
        };
        assert!(is_single(3, 1));
        assert!(!is_single(3, 2));
        assert!(!is_single(4, 1), "one that isn't this table's may replace what is there");
    }
}
