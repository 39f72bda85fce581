use super::*;
use crate::log::batch::check_incoming;
use crate::log::batch::testing::{Producer, batch};
use crate::log::read::read_batches;
use crate::log::times;

const OPTIONS: AppendOptions = AppendOptions { segment_bytes: 2_000, append_time_ms: None };

fn open(dir: &std::path::Path, flush: FlushPolicy, clean: bool) -> Arc<PartitionLog> {
    let metrics = Arc::new(Metrics::default());
    Arc::new(PartitionLog::open("t[0]".to_owned(), dir.to_owned(), flush, clean, metrics).unwrap())
}

fn append(log: &PartitionLog, bytes: &[u8]) -> Result<Appended, AppendError> {
    log.append(bytes, &check_incoming(bytes, 1 << 20).unwrap(), OPTIONS)
}

fn read_all(log: &PartitionLog, mut offset: i64, bytes_max: usize) -> Vec<BatchHeader> {
    let mut headers = Vec::new();
    loop {
        let from = match log.locate(offset) {
            Located::AtEnd => return headers,
            Located::Found(from) => from,
            Located::OutOfRange => panic!("{offset} is out of range"),
        };
        let mut out = Vec::new();
        let next = read_batches(&from, bytes_max, true, &mut out).unwrap().unwrap();
        let mut rest = out.as_slice();
        while let Some(header) = BatchHeader::parse(rest) {
            headers.push(header);
            rest = &rest[header.size..];
        }
        assert!(rest.is_empty() && next.offset > offset);
        log.remember(next);
        offset = next.offset;
    }
}

#[test]
fn what_is_appended_is_read_over_segments_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    for clean in [true, false] {
        let dir = directory.path().join(clean.to_string());
        let log = open(&dir, FlushPolicy::Os, false);
        for number in 0..40 {
            let appended = append(&log, &batch(5, 1_000 + number, &[7; 200], None)).unwrap();
            assert_eq!(appended.base_offset, number * 5);
        }
        for bytes_max in [1, 300, 5_000] {
            let offsets: Vec<i64> = read_all(&log, 0, bytes_max).iter().map(|header| header.base_offset).collect();
            assert_eq!(offsets, (0..40).map(|number| number * 5).collect::<Vec<_>>());
        }
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let log = open(&dir, FlushPolicy::Os, clean);
        assert_eq!(log.bounds(), Bounds { start: 0, high_watermark: 200 });
        assert_eq!(read_all(&log, 103, 100).first().map(|header| header.base_offset), Some(100));
        assert!(matches!(log.locate(201), Located::OutOfRange));
        assert!(std::fs::read_dir(&dir).unwrap().count() > 5, "several segments");
    }
}

#[test]
fn an_idempotent_producers_state_survives_a_restart_of_any_kind() {
    let directory = tempfile::tempdir().unwrap();
    let of = |sequence| batch(2, 9, &[1; 300], Some(Producer { id: 3, epoch: 0, sequence }));
    for clean in [true, false] {
        let dir = directory.path().join(clean.to_string());
        let log = open(&dir, FlushPolicy::Os, false);
        for number in 0..20 {
            append(&log, &of(number * 2)).unwrap();
        }
        if clean {
            log.close().unwrap();
        }
        drop(log);
        let log = open(&dir, FlushPolicy::Os, clean);
        let repeated = append(&log, &of(36)).unwrap();
        assert_eq!((repeated.base_offset, repeated.is_duplicate), (36, true));
        assert!(matches!(append(&log, &of(42)), Err(AppendError::OutOfOrder { expected: 40 })));
        assert_eq!(append(&log, &of(40)).unwrap().base_offset, 40);
    }
}

#[test]
fn records_are_found_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), FlushPolicy::Os, false);
    assert_eq!(times::first_at_or_after(&log, 0).unwrap(), None);
    assert_eq!(times::greatest(&log).unwrap(), None);
    for timestamp in [100, 200, 150, 300, 250] {
        append(&log, &batch(1, timestamp, &[0; 700], None)).unwrap();
    }
    let first =
        |timestamp| times::first_at_or_after(&log, timestamp).unwrap().map(|found| (found.offset, found.timestamp));
    assert_eq!(first(0), Some((0, 100)));
    assert_eq!(first(101), Some((1, 200)));
    assert_eq!(first(201), Some((3, 300)));
    assert_eq!(first(301), None);
    assert_eq!(times::greatest(&log).unwrap().map(|found| found.offset), Some(3));
    log.advance_start(4).unwrap();
    assert_eq!(first(0), Some((4, 250)));
}

#[test]
fn deleted_records_stay_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), FlushPolicy::Os, false);
    for _ in 0..20 {
        append(&log, &batch(1, 9, &[0; 500], None)).unwrap();
    }
    assert_eq!(log.advance_start(13).unwrap(), 13);
    assert!(matches!(log.locate(12), Located::OutOfRange));
    assert_eq!(read_all(&log, 13, 1).len(), 7);
    drop(log);
    let log = open(directory.path(), FlushPolicy::Os, false);
    assert_eq!(log.bounds(), Bounds { start: 13, high_watermark: 20 });
}

#[tokio::test]
async fn with_a_flush_per_batch_readers_see_only_what_is_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), FlushPolicy::EveryBatch, false);
    let appended = append(&log, &batch(3, 9, b"x", None)).unwrap();
    assert_eq!(log.bounds().high_watermark, 0);
    assert!(log.must_wait(appended.durable_from));
    log.durable(appended.durable_from).await.unwrap();
    assert_eq!(log.bounds().high_watermark, 3);
    assert!(!log.must_wait(appended.durable_from));
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_share_flushes_and_none_is_answered_early() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), FlushPolicy::EveryBatch, false);
    let tasks = (0..50).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            let appended = append(&log, &batch(1, 9, b"x", None)).unwrap();
            log.durable(appended.durable_from).await.unwrap();
            assert!(log.bounds().high_watermark > appended.base_offset);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(log.bounds().high_watermark, 50);
}

#[tokio::test]
async fn an_append_wakes_a_waiting_reader() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), FlushPolicy::Os, false);
    let waiter = Arc::new(Notify::new());
    log.register(&waiter);
    append(&log, &batch(1, 9, b"x", None)).unwrap();
    waiter.notified().await;
}
