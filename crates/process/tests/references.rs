//! The promise about reference tables: whatever crashes, new versions and interleavings of partitions come, each row is joined with one
//! version for ever, and windows equal a computation with those versions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;

use common::{Payment, SECOND, Table, merchants, operator, published, restore, save};
use process::{LoggedVersion, QueryOperator, ReferenceLog, Source};
use proptest::prelude::*;

const QUERY: &str = "spend g1";
const TEXT: &str = "SELECT m.category, count(*) AS n, sum(p.quantity) AS q FROM payments p \
     LEFT JOIN merchants m ON p.merchant = m.merchant_id GROUP BY window(p.event_time, '10 seconds'), m.category";
const PARTITIONS: usize = 2;

#[derive(Debug, Clone)]
enum Event {
    /// Rows are appended to a partition's log.
    Append(usize, u8),
    /// The stage takes so many rows of a partition, if they are there.
    Take(usize, u8),
    /// Another load of the table is found: the category of one merchant.
    Load(u8),
    Emit,
    Checkpoint,
    /// The process is killed; at the next start the table may be another.
    Crash(Option<u8>),
    /// It is stopped in order.
    Stop(Option<u8>),
    /// The newest snapshot turns out to be damaged at the next start.
    CrashAndLoseSnapshot,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let partition = 0..PARTITIONS;
    let event = prop_oneof![
        6 => (partition.clone(), 1..6_u8).prop_map(|(partition, rows)| Event::Append(partition, rows)),
        6 => (partition, 1..6_u8).prop_map(|(partition, rows)| Event::Take(partition, rows)),
        3 => (0..4_u8).prop_map(Event::Load),
        2 => Just(Event::Emit),
        2 => Just(Event::Checkpoint),
        2 => prop::option::of(0..4_u8).prop_map(Event::Crash),
        1 => prop::option::of(0..4_u8).prop_map(Event::Stop),
        1 => Just(Event::CrashAndLoseSnapshot),
    ];
    prop::collection::vec(event, 1..60)
}

/// What survives a crash: the validated log, snapshots, the log of versions and the rows that it names, the results.
struct Disk {
    appended: [i64; PARTITIONS],
    snapshots: Vec<(Vec<u8>, Vec<i64>)>,
    log: Vec<u8>,
    contents: BTreeMap<String, u8>,
    /// The newest version that was given a number.
    newest: LoggedVersion,
    results: Table,
    /// The category that the source's table has now.
    source: u8,
    /// Where each partition ended at the last crash.
    in_doubt: [i64; PARTITIONS],
    /// The version that each row was joined with, by partition and offset, as a test may know it.
    joined: BTreeMap<(usize, i64), u8>,
}

impl Disk {
    /// The version of the source's table as it is now.
    fn number(&mut self) -> LoggedVersion {
        let hash = self.source.to_string();
        if self.newest.hash != hash {
            self.newest = LoggedVersion { number: self.newest.number + 1, hash };
        }
        self.newest.clone()
    }
}

/// A running stage.
struct Stage {
    operator: QueryOperator,
    log: ReferenceLog,
    /// Up to where rows may have been joined before the start.
    in_doubt: Vec<i64>,
    taken: Vec<i64>,
    floors: [Option<Vec<i64>>; 2],
}

fn row(partition: usize, offset: i64) -> Payment {
    Payment {
        time_us: (offset * 2 + i64::try_from(partition).unwrap()) * SECOND,
        account: Some("a".into()),
        merchant: Some(if offset % 3 == 0 { "m2" } else { "m1" }.into()),
        quantity: Some(offset + 1),
        amount: None,
    }
}

impl Stage {
    /// Starts as the app does.
    fn start(disk: &mut Disk) -> Self {
        let mut log =
            if disk.log.is_empty() { ReferenceLog::default() } else { ReferenceLog::from_json(&disk.log).unwrap() };
        let version = disk.number();
        let mut operator = operator(TEXT);
        let taken = match disk.snapshots.last() {
            Some((snapshot, taken)) => {
                restore(&mut operator, snapshot).unwrap();
                taken.clone()
            }
            None => vec![0; PARTITIONS],
        };
        let stopped_at = log.resume(QUERY);
        let from = match (log.latest(QUERY, "merchants"), stopped_at) {
            (None, _) => vec![0; PARTITIONS],
            (Some(_), Some(stopped_at)) => stopped_at,
            (Some(_), None) => disk.appended.to_vec(),
        };
        log.apply(QUERY, "merchants", &version, &from);
        let floors = [None, Some(taken.clone())];
        let mut stage = Self { operator, log, in_doubt: from, taken, floors };
        stage.make_durable(disk);
        stage
    }

    fn make_durable(&mut self, disk: &mut Disk) {
        disk.contents.insert(disk.source.to_string(), disk.source);
        if let Some(floor) = &self.floors[0] {
            self.log.prune(&[(QUERY.to_owned(), floor.clone())].into());
        }
        disk.log = self.log.to_json().unwrap();
        let named: Vec<String> = self.log.versions().into_iter().map(|(_, version)| version.hash).collect();
        disk.contents.retain(|hash, _| named.contains(hash));
    }

    fn take(&mut self, disk: &mut Disk, partition: usize, count: u8) {
        let number = i32::try_from(partition).unwrap();
        let end = disk.appended[partition].min(self.taken[partition] + i64::from(count));
        while self.taken[partition] < end {
            let offset = self.taken[partition];
            let version = self.log.in_effect(QUERY, "merchants", number, offset).unwrap();
            let category = disk.contents[&version.hash];
            self.operator.replace_reference(&merchants(version.number, &category.to_string())).unwrap();
            let until = self.log.next_change(QUERY, number, offset).map_or(end, |change| change.min(end));
            let rows: Vec<Payment> = (offset..until).map(|offset| row(partition, offset)).collect();
            let raw_offsets: Vec<i64> = (offset..until).collect();
            let source = Source { stream: "payments", partition: number, raw_offsets: &raw_offsets };
            self.operator.push(&common::batch(&rows), &source).unwrap();
            for offset in offset..until {
                let first = *disk.joined.entry((partition, offset)).or_insert(category);
                assert_eq!(
                    first, category,
                    "row {offset} of partition {partition} is joined with another version than before"
                );
            }
            self.taken[partition] = until;
        }
    }

    fn load(&mut self, disk: &mut Disk) {
        let version = disk.number();
        if self.log.latest(QUERY, "merchants") != Some(&version) {
            let from: Vec<i64> =
                self.taken.iter().zip(&self.in_doubt).map(|(taken, doubt)| *taken.max(doubt)).collect();
            self.log.apply(QUERY, "merchants", &version, &from);
            self.make_durable(disk);
        }
    }

    fn emit(&mut self, disk: &mut Disk) {
        let emission = self.operator.emit().unwrap();
        disk.results.apply(&published(&self.operator, &emission), false);
    }

    fn checkpoint(&mut self, disk: &mut Disk) {
        self.emit(disk);
        disk.snapshots.push((save(&mut self.operator), self.taken.clone()));
        if disk.snapshots.len() > 2 {
            disk.snapshots.remove(0);
        }
        self.floors = [self.floors[1].clone(), Some(self.taken.clone())];
    }
}

/// The windows by the versions that rows were joined with, as rows of the result.
fn recompute(disk: &Disk) -> Vec<String> {
    let mut windows: BTreeMap<(i64, String), (u64, i64)> = BTreeMap::new();
    for ((partition, offset), category) in &disk.joined {
        let row = row(*partition, *offset);
        let category = if row.merchant.as_deref() == Some("m1") { category.to_string() } else { "fuel".to_owned() };
        let group = windows.entry((row.time_us.div_euclid(10 * SECOND), category)).or_default();
        group.0 += 1;
        group.1 += row.quantity.unwrap();
    }
    let line = |((window, category), (count, quantity)): ((i64, String), (u64, i64))| {
        format!("{} {} {category} {count} {quantity}", time(window * 10 * SECOND), time((window + 1) * 10 * SECOND))
    };
    windows.into_iter().map(line).collect()
}

/// As Arrow prints a timestamp.
fn time(us: i64) -> String {
    let column = arrow_array::TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC");
    arrow_cast::display::array_value_to_string(&column, 0).unwrap()
}

fn run(events: Vec<Event>) {
    let mut disk = Disk {
        appended: [0; PARTITIONS],
        snapshots: Vec::new(),
        log: Vec::new(),
        contents: BTreeMap::new(),
        newest: LoggedVersion { number: 0, hash: String::new() },
        results: Table::default(),
        source: 0,
        in_doubt: [0; PARTITIONS],
        joined: BTreeMap::new(),
    };
    let mut stage = Stage::start(&mut disk);
    for event in events {
        match event {
            Event::Append(partition, count) => disk.appended[partition] += i64::from(count),
            Event::Take(partition, count) => stage.take(&mut disk, partition, count),
            Event::Load(category) => {
                disk.source = category;
                stage.load(&mut disk);
            }
            Event::Emit => stage.emit(&mut disk),
            Event::Checkpoint => stage.checkpoint(&mut disk),
            Event::Crash(category) => {
                disk.source = category.unwrap_or(disk.source);
                disk.in_doubt = disk.appended;
                stage = Stage::start(&mut disk);
            }
            Event::Stop(category) => {
                stage.checkpoint(&mut disk);
                stage.log.stop(QUERY, &stage.taken, &stage.in_doubt);
                stage.make_durable(&mut disk);
                let stopped_at = stage.taken.clone();
                disk.source = category.unwrap_or(disk.source);
                stage = Stage::start(&mut disk);
                // What is found after an orderly stop is used for all that comes, but for rows that an earlier crash left in doubt.
                for (partition, offset) in stopped_at.iter().enumerate() {
                    let offset = (*offset).max(disk.in_doubt[partition]);
                    let number = i32::try_from(partition).unwrap();
                    let version = stage.log.in_effect(QUERY, "merchants", number, offset).unwrap();
                    assert_eq!(version.hash, disk.source.to_string());
                }
            }
            Event::CrashAndLoseSnapshot => {
                if disk.snapshots.len() == 2 {
                    disk.snapshots.pop();
                    disk.in_doubt = disk.appended;
                    stage = Stage::start(&mut disk);
                }
            }
        }
    }
    for partition in 0..PARTITIONS {
        while stage.taken[partition] < disk.appended[partition] {
            stage.take(&mut disk, partition, 3);
        }
    }
    stage.emit(&mut disk);
    let (mut standing, mut expected) = (disk.results.standing(), recompute(&disk));
    standing.sort();
    expected.sort();
    assert_eq!(standing, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_joined_with_one_version_for_ever(events in events()) {
        run(events);
    }
}
