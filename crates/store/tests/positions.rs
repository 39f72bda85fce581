//! Who owns positions, and what happens when replies get lost or servers die.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use common::proxy::Proxy;
use common::{Database, batch, claim, fast_options, open_tempdir, spec, step, version, wait_until};
use model::{Classified as _, Domain, Progress, RejectReason, Retry, TopicId};
use store::{Error, RejectedRow, Store, StoreBatch, StoreOptions, TableSpec, Writer};

fn table() -> TableSpec {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("value", DataType::Int64, true),
    ]));
    spec("numbers", schema, &["id"])
}

/// Rows `from..to`, which bring the position from `from` to `to`.
fn rows(from: i64, to: i64) -> StoreBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let rows = RecordBatch::try_new(table().schema, vec![Arc::clone(&ids), ids]).unwrap();
    let versions = vec![version(1, true); rows.num_rows()];
    batch("numbers", rows, versions, vec![step("t", 0, from, to)])
}

async fn open(store: &Store) -> Writer {
    store.open_writer("store", &[claim("t", 0)], &[table()]).await.unwrap()
}

async fn count(store: &Store) -> i64 {
    let rows = store.query("SELECT count(*) FROM results.numbers", 1).await.unwrap().rows;
    rows[0][0].as_ref().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_newer_writer_fences_the_older() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    let mut old = open(&database.store).await;
    old.apply(rows(0, 10)).await.unwrap();
    let mut new = open(&database.store).await;
    assert!(new.epoch() > old.epoch());
    assert_eq!(new.positions().values().collect::<Vec<_>>(), [&10]);

    let error = old.apply(rows(10, 20)).await.unwrap_err();
    assert!(matches!(&error, Error::Fenced { .. }), "{error}");
    assert_eq!((error.domain(), error.retry()), (Domain::External, Retry::Never));
    assert!(matches!(old.apply(rows(10, 20)).await.unwrap_err(), Error::Closed { .. }));
    assert_eq!(count(&database.store).await, 10);

    new.apply(rows(10, 30)).await.unwrap();
    assert_eq!(count(&database.store).await, 30);
    database.close().await;
}

#[tokio::test]
async fn a_batch_that_starts_elsewhere_is_refused() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    for (from, to) in [(5, 10), (0, 7), (8, 9)] {
        let mut writer = open(&database.store).await;
        if writer.positions().values().all(|at| *at == 0) {
            writer.apply(rows(0, 7)).await.unwrap();
        }
        let error = writer.apply(rows(from, to)).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("starts at {from}")) && error.to_string().contains("is at 7"),
            "{error}"
        );
    }
    assert_eq!(count(&database.store).await, 7);

    let mut writer = open(&database.store).await;
    let strange = StoreBatch { positions: vec![step("other", 0, 0, 1)], ..StoreBatch::default() };
    assert!(matches!(writer.apply(strange).await.unwrap_err(), Error::Batch { .. }));
    // A batch without a move is fenced too.
    let (mut old, _new) = (open(&database.store).await, open(&database.store).await);
    assert!(matches!(old.apply(StoreBatch::default()).await.unwrap_err(), Error::Fenced { .. }));
    database.close().await;
}

#[tokio::test]
async fn writers_of_different_partitions_do_not_fence_each_other() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    let mut one = open(&database.store).await;
    let mut two = database.store.open_writer("store", &[claim("t", 1)], &[table()]).await.unwrap();
    let second = StoreBatch { positions: vec![step("t", 1, 0, 3)], ..rows(100, 103) };
    let (first, second) = tokio::join!(one.apply(rows(0, 5)), two.apply(second));
    assert_eq!((first.unwrap().rows_changed, second.unwrap().rows_changed), (5, 3));
    let positions = database.store.positions("store").await.unwrap();
    assert_eq!(positions.iter().map(|position| position.next_offset).collect::<Vec<_>>(), [5, 3]);
    database.close().await;
}

#[tokio::test]
async fn a_topic_that_was_made_anew_stops_the_writer() {
    let database = Database::new().await;
    drop(database.store.open_writer("store", &[claim("t", 0)], &[]).await.unwrap());
    let mut other = claim("t", 0);
    other.topic_id = Some(TopicId("another".into()));
    let error = database.store.open_writer("store", std::slice::from_ref(&other), &[]).await.unwrap_err();
    assert!(matches!(error, Error::TopicRecreated { .. }), "{error}");
    assert_eq!(database.store.forget_positions("store", "t").await.unwrap(), 1);
    database.store.open_writer("store", &[other], &[]).await.unwrap();
    database.close().await;
}

#[tokio::test]
async fn a_lost_reply_to_commit_is_an_unknown_outcome_and_the_positions_tell() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    let proxy = Proxy::start(database.server.port()).await;
    let url = database.url.replace(&format!(":{}/", database.server.port()), &format!(":{}/", proxy.port));
    let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
    let mut writer = open(&store).await;
    writer.apply(rows(0, 10)).await.unwrap();
    proxy.swallow_commit.store(true, Ordering::SeqCst);
    let error = writer.apply(rows(10, 20)).await.unwrap_err();
    assert!(matches!(error, Error::UnknownOutcome { .. }), "{error}");
    assert_eq!(error.retry(), Retry::Backoff);
    proxy.swallow_commit.store(false, Ordering::SeqCst);

    // This time it was committed; the new writer knows from the positions, and sending the batch again would be refused.
    let mut writer = open(&store).await;
    assert_eq!(writer.positions().values().collect::<Vec<_>>(), [&20]);
    writer.apply(rows(20, 25)).await.unwrap();
    assert_eq!(count(&store).await, 25);
    drop(store);
    database.close().await;
}

#[tokio::test]
async fn a_paused_writer_cannot_hold_up_its_successor() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    let proxy = Proxy::start(database.server.port()).await;
    let url = database.url.replace(&format!(":{}/", database.server.port()), &format!(":{}/", proxy.port));
    let store = Store::connect(&url, StoreOptions::default()).await.unwrap();
    let mut paused = open(&store).await;
    // It stands still in the middle of its transaction, with its position locked.
    let frozen = Arc::clone(&proxy.frozen);
    let many = rows(0, 2_000_000);
    let task = tokio::spawn(async move { paused.apply(many).await });
    let locked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tillstream writer' \
         AND query LIKE 'COPY%' AND state = 'active'";
    wait_until("the COPY has begun", || async { database.lines(locked).await == ["1"] }).await;
    frozen.store(true, Ordering::SeqCst);

    let mut successor = open(&database.store).await;
    successor.apply(rows(0, 5)).await.unwrap();
    frozen.store(false, Ordering::SeqCst);
    let error = task.await.unwrap().unwrap_err();
    assert_eq!(error.domain(), Domain::External, "{error}");
    assert_eq!(count(&database.store).await, 5);
    drop(store);
    database.close().await;
}

#[tokio::test]
async fn a_server_killed_in_the_middle_comes_back_and_nothing_is_lost_or_doubled() {
    let home = open_tempdir();
    let server = store::private_server::start(&home.path().join("postgres"), fast_options("shop")).await.unwrap();
    let options = StoreOptions { connect_timeout: std::time::Duration::from_secs(5), ..StoreOptions::default() };
    let store = Store::connect(&server.url(), options).await.unwrap();
    store.migrate().await.unwrap();
    store.ensure_table(&table()).await.unwrap();
    let first_pid = server.pid();
    let (mut next, mut kills, mut failures, mut killed_pid) = (0_i64, 0, 0, 0);
    while kills < 3 || next < 100_000 {
        // A new writer after each failure, as the pipeline does.
        let mut writer = match store.open_writer("store", &[claim("t", 0)], &[table()]).await {
            Ok(writer) => writer,
            Err(error) => {
                assert_eq!(error.retry(), Retry::Backoff, "{error}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        next = *writer.positions().values().next().unwrap();
        assert_eq!(count(&store).await, next);
        for round in 0.. {
            if round == 5 && kills < 3 {
                kills += 1;
                // A server takes sessions before whoever started it says that it is another one.
                wait_until("its successor is known", || async { server.pid() != killed_pid }).await;
                killed_pid = server.pid();
                let pid = nix::unistd::Pid::from_raw(killed_pid);
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            }
            match writer.apply(rows(next, next + 2_000)).await {
                Ok(_) => next += 2_000,
                Err(error) => {
                    failures += 1;
                    assert_eq!(error.retry(), Retry::Backoff, "{error}");
                    break;
                }
            }
            if kills == 3 && next >= 100_000 {
                break;
            }
        }
    }
    assert!(failures >= 1, "each kill ends a session at least");
    assert_ne!(server.pid(), first_pid);
    let lines = store.query("SELECT count(*), count(DISTINCT id), max(id) FROM results.numbers", 1).await.unwrap().rows;
    let stored = *open(&store).await.positions().values().next().unwrap();
    assert_eq!(lines[0], [Some(stored.to_string()), Some(stored.to_string()), Some((stored - 1).to_string())]);
    drop(store);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn faults_of_the_server_are_told_apart() {
    let database = Database::with(StoreOptions::default()).await;
    database.store.ensure_table(&table()).await.unwrap();

    // Another session holds the table, and the server ends the wait, as it does after `statement_timeout`: waiting helps.
    let blocker = database.store.client().await.unwrap();
    let mut writer = open(&database.store).await;
    blocker.batch_execute("BEGIN; LOCK TABLE results.numbers").await.unwrap();
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'tillstream writer' AND datname = current_database() AND wait_event_type = 'Lock'";
    let cancelled =
        wait_until("the writer waits", || async { !database.store.query(cancel, 1).await.unwrap().rows.is_empty() });
    let (applied, ()) = tokio::join!(writer.apply(rows(0, 5)), cancelled);
    let error = applied.unwrap_err();
    assert!(matches!(error, Error::TryLater { .. }), "{error}");
    blocker.batch_execute("ROLLBACK").await.unwrap();
    open(&database.store).await.apply(rows(0, 5)).await.unwrap();

    // An administrator ends the session: waiting helps.
    let mut writer = open(&database.store).await;
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tillstream writer' AND datname = current_database()").await;
    let error = writer.apply(rows(5, 10)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");

    // Somebody drops the table: it doesn't.
    let mut writer = open(&database.store).await;
    database.execute("DROP TABLE results.numbers CASCADE").await;
    let error = writer.apply(rows(5, 10)).await.unwrap_err();
    assert!(matches!(&error, Error::TableDiffers { .. }), "{error}");
    assert_eq!((error.domain(), error.retry()), (Domain::User, Retry::Never));

    // A wrong password, an unknown database, no server.
    for (url, user) in [
        (database.url.replace("tillstream:", "tillstream:wrong"), true),
        (format!("{}_no_such", database.url), true),
        ("postgres://u@127.0.0.1:1/d".to_owned(), false),
    ] {
        let error = Store::connect(&url, StoreOptions::default()).await.unwrap_err();
        assert_eq!(matches!(error, Error::Permission { .. }), user, "{error}");
        assert_eq!(matches!(error, Error::Unavailable { .. }), !user, "{error}");
        assert!(!error.to_string().contains("wrong@"));
    }
    database.close().await;
}

#[tokio::test]
async fn revoked_rights_stop_with_their_name() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    let role = format!("limited_{}", std::process::id());
    database
        .execute(&format!(
            "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA ops, results, bi TO {role}; \
             GRANT ALL ON ALL TABLES IN SCHEMA ops, results TO {role}; GRANT ALL ON ALL SEQUENCES IN SCHEMA ops TO {role}"
        ))
        .await;
    let (_, rest) = database.url.split_once('@').unwrap();
    let store = Store::connect(&format!("postgres://{role}:secret@{rest}"), StoreOptions::default()).await.unwrap();
    // All is there, so an ordinary role needs no right to create anything.
    store.migrate().await.unwrap();
    store.ensure_table(&table()).await.unwrap();
    let mut writer = open(&store).await;
    writer.apply(rows(0, 5)).await.unwrap();
    database.execute(&format!("REVOKE INSERT ON results.numbers FROM {role}")).await;
    let error = writer.apply(rows(5, 10)).await.unwrap_err();
    assert!(matches!(&error, Error::Permission { .. }) && error.to_string().contains("numbers"), "{error}");
    assert_eq!(count(&database.store).await, 5);
    drop(store);
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    database.close().await;
}

#[tokio::test]
async fn rejected_records_and_progress_are_kept_once() {
    let database = Database::new().await;
    let row = |offset: i64, message: &str| RejectedRow {
        stream: "transactions".into(),
        raw_partition: 0,
        raw_offset: offset,
        reason: RejectReason::Rule,
        rule: Some("positive_amount".into()),
        message: message.into(),
        first_offset: None,
        key: Some(b"k\0".to_vec()),
        value: Some(vec![7; if offset == 2 { store::REJECTED_PAYLOAD_BYTES_MAX + 1 } else { 3 }]),
        raw_timestamp_ms: Some(if offset == 2 { i64::MAX } else { 1_000 }),
        rejected_at_us: 2_000_000,
    };
    let progress = |raw_offset: i64, watermark_us: Option<i64>| Progress {
        partition: 0,
        raw_offset,
        validated_offset: raw_offset,
        watermark_us,
        validated: 5,
        rejected: BTreeMap::from([("rule".to_owned(), 2)]),
        ..Progress::start(0)
    };
    let mut writer = database.store.open_writer("store", &[claim("r", 0)], &[]).await.unwrap();
    let first = StoreBatch {
        rejected: vec![row(1, "quotes \0 the input"), row(2, &"ä".repeat(10_000)), row(1, "again")],
        progress: vec![
            ("transactions".into(), progress(3, None)),
            ("transactions".into(), progress(7, Some(1_500_000))),
        ],
        positions: vec![step("r", 0, 0, 3)],
        ..StoreBatch::default()
    };
    assert_eq!(writer.apply(first).await.unwrap().rejected, 2);
    let second = StoreBatch {
        rejected: vec![row(1, "changed"), row(3, "new")],
        progress: vec![("transactions".into(), progress(5, Some(1_000_000)))],
        positions: vec![step("r", 0, 3, 5)],
        ..StoreBatch::default()
    };
    assert_eq!(writer.apply(second).await.unwrap().rejected, 1);
    let found = database
        .lines("SELECT raw_offset, reason, left(message, 8), raw_value IS NULL, raw_value_bytes, raw_timestamp, rejected_at FROM ops.rejected_records ORDER BY 1")
        .await;
    assert_eq!(found[0], "1 rule quotes \u{fffd} f 3 1970-01-01 00:00:01+00 1970-01-01 00:00:02+00");
    assert_eq!(found[1], "2 rule ääääääää t 65537 - 1970-01-01 00:00:02+00");
    assert_eq!(found.len(), 3);
    let found = database.lines("SELECT raw_offset, watermark, rejected->>'rule' FROM ops.stream_progress").await;
    assert_eq!(found, ["7 1970-01-01 00:00:01.5+00 2"]);
    assert_eq!(database.store.prune_rejected(3_000_000).await.unwrap(), 3);
    database.close().await;
}

#[tokio::test]
async fn listeners_are_told_which_tables_changed() {
    let database = Database::new().await;
    database.store.ensure_table(&table()).await.unwrap();
    let (client, mut connection) = tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
    let (sender, mut told) = tokio::sync::mpsc::channel(10);
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let tokio_postgres::AsyncMessage::Notification(note) = message {
                sender.send(note.payload().to_owned()).await.unwrap();
            }
        }
    });
    client.batch_execute(&format!("LISTEN {}", store::NOTIFY_CHANNEL)).await.unwrap();
    open(&database.store).await.apply(rows(0, 1)).await.unwrap();
    let payload = tokio::time::timeout(std::time::Duration::from_secs(20), told.recv()).await.unwrap().unwrap();
    assert_eq!(payload, r#"{"owner":"store","tables":["numbers"]}"#);
    drop(client);
    database.close().await;
}
