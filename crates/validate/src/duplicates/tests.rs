//! Against a list of all records ever accepted, with caps so small that most ids are on the disk.

use std::path::Path;
use std::time::Duration;

use arrow_array::StringArray;
use proptest::prelude::*;

use super::*;
use crate::options::DuplicatesDisk;

const WITHIN_US: i64 = 1_000;
const LATENESS_US: i64 = 100;

/// A row of a block: the number of its id, its content, its event time.
type Row = (u16, u8, i64);

fn rules(memory_bytes_max: usize, disk: Option<(&Path, u64)>) -> DuplicateRules {
    DuplicateRules {
        within: Duration::from_micros(WITHIN_US as u64),
        memory_bytes_max,
        disk: disk.map(|(directory, bytes_max)| DuplicatesDisk { directory: directory.to_owned(), bytes_max }),
    }
}

/// The set under test, beside a naive one.
struct Pair {
    rules: DuplicateRules,
    duplicates: Duplicates,
    /// Every record accepted; its index is its validated offset.
    accepted: Vec<(Row, i64)>,
    raw_offset: i64,
    greatest_us: i64,
}

impl Pair {
    fn new(rules: DuplicateRules) -> Self {
        let duplicates = Duplicates::new(rules.clone());
        Self { rules, duplicates, accepted: Vec::new(), raw_offset: 0, greatest_us: i64::MIN / 2 }
    }

    fn horizon_us(&self) -> i64 {
        self.greatest_us - LATENESS_US - WITHIN_US
    }

    fn naive(&self, (id, content, time): Row) -> Found {
        let horizon_us = self.horizon_us();
        let near = |kept: &&(Row, i64)| {
            let (kept_id, _, kept_time) = kept.0;
            kept_id == id && kept_time >= horizon_us && kept_time.abs_diff(time) <= WITHIN_US as u64
        };
        let mut near: Vec<&(Row, i64)> = self.accepted.iter().filter(near).collect();
        near.sort_by_key(|((_, kept, _), raw)| (*kept != content, *raw));
        match near.first() {
            None => Found::Nothing,
            Some(&&((_, kept, _), first_offset)) if kept == content => Found::Same { first_offset },
            Some(&&(_, first_offset)) => Found::Other { first_offset },
        }
    }

    /// Judges a block as validation does; the first difference to the naive set is the error.
    fn block(&mut self, rows: &[Row]) -> Result<(), TestCaseError> {
        self.duplicates.make_room().map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert!(self.duplicates.metrics().memory_bytes <= self.rules.memory_bytes_max);
        let (ids, payloads) = columns(rows);
        self.duplicates.look_up(&ids, &payloads).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (row, &(_, _, time)) in rows.iter().enumerate() {
            let found = self.duplicates.find(row, ids.get(row), time, self.horizon_us());
            prop_assert_eq!(found, self.naive(rows[row]), "row {} of {:?}", row, rows);
            if found == Found::Nothing && time >= self.greatest_us - LATENESS_US {
                let at = At { raw_offset: self.raw_offset, validated_offset: self.accepted.len() as i64 };
                self.duplicates.insert(row, ids.get(row), time, at);
                self.accepted.push((rows[row], self.raw_offset));
                self.greatest_us = self.greatest_us.max(time);
            }
            self.raw_offset += 1;
        }
        self.duplicates.expire(self.horizon_us());
        Ok(())
    }

    /// Builds the set anew from the records that it says it needs.
    fn restart(&mut self) -> Result<(), TestCaseError> {
        let from = self.duplicates.oldest_validated_offset().unwrap_or(self.accepted.len() as i64) as usize;
        self.recall(from)
    }

    fn recall(&mut self, from: usize) -> Result<(), TestCaseError> {
        self.duplicates = Duplicates::new(self.rules.clone());
        for (index, &(row, raw_offset)) in self.accepted.iter().enumerate().skip(from) {
            self.duplicates.make_room().map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            let (ids, payloads) = columns(&[row]);
            self.duplicates.take_up(&ids, &payloads);
            self.duplicates.insert(0, ids.get(0), row.2, At { raw_offset, validated_offset: index as i64 });
        }
        Ok(())
    }
}

fn columns(rows: &[Row]) -> (Ids, BytesColumn) {
    // Ids of very different lengths.
    let text = |id: u16| format!("{id}-{}", "x".repeat(usize::from(id % 7) * 40));
    let ids = Ids::Text(StringArray::from_iter_values(rows.iter().map(|&(id, _, _)| text(id))));
    let mut payloads = BytesColumn::default();
    rows.iter().for_each(|&(_, content, _)| payloads.push(Some(&[content])));
    (ids, payloads)
}

/// Blocks whose times move on by `step` for each record, with jitter.
fn blocks() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let row = (0u16..300, prop::sample::select(vec![0u8, 0, 0, 1]), 0i64..150);
    let blocks = prop::collection::vec(prop::collection::vec(row, 1..40), 1..40);
    (blocks, 0i64..6).prop_map(|(mut blocks, step)| {
        let mut time = 0;
        for row in blocks.iter_mut().flatten() {
            time += step;
            row.2 += time;
        }
        blocks
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn finds_what_a_naive_set_finds(blocks in blocks(), restart_every in 2usize..20, in_memory in any::<bool>()) {
        let directory = tempfile::tempdir().unwrap();
        let memory = if in_memory { 10_000_000 } else { 20_000 };
        let mut pair = Pair::new(rules(memory, Some((directory.path(), 10_000_000))));
        for (number, block) in blocks.iter().enumerate() {
            pair.block(block)?;
            if number % restart_every == restart_every - 1 {
                pair.restart()?;
            }
        }
    }
}

/// Blocks of new ids, all at one time, so that nothing expires.
fn new_ids(from: u16, count: u16) -> Vec<Row> {
    (from..from + count).map(|id| (id, 0, 0)).collect()
}

#[test]
fn ids_on_the_disk_are_found_without_what_memory_keeps_of_them_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut pair = Pair::new(rules(20_000, Some((directory.path(), 10_000_000))));
    for from in (0..8_000).step_by(50) {
        pair.block(&new_ids(from, 50)).unwrap();
    }
    let metrics = pair.duplicates.metrics();
    assert_eq!(metrics.memory_ids + metrics.disk_ids, 8_000);
    assert!(metrics.disk_ids > 7_800 && metrics.disk_bytes > 500_000, "{metrics:?}");
    let with = pair.duplicates.spilled.iter().filter(|spilled| spilled.run.has_fingerprints()).count();
    assert!(with < pair.duplicates.spilled.len(), "the cap on memory holds for fingerprints too");
    // All of them are repeats now, and the same ids with other content are conflicts.
    pair.block(&new_ids(0, 8_000)).unwrap();
    pair.block(&new_ids(0, 8_000).into_iter().map(|(id, _, time)| (id, 9, time)).collect::<Vec<_>>()).unwrap();
    assert_eq!(pair.accepted.len(), 8_000);
    // Time goes by, and the disk is given back.
    pair.block(&[(9_000, 0, 5_000)]).unwrap();
    assert_eq!(pair.duplicates.metrics().disk_bytes, 0);
    assert_eq!(pair.duplicates.metrics().memory_ids, 1);
}

#[test]
fn full_is_said_and_nothing_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    for disk in [None, Some((directory.path(), 30_000))] {
        let mut pair = Pair::new(rules(20_000, disk));
        let mut accepted = 0;
        while pair.duplicates.make_room().is_ok() {
            pair.block(&new_ids(accepted, 10)).unwrap();
            accepted += 10;
            assert!(accepted < 2_000, "the caps hold");
        }
        assert!(matches!(pair.duplicates.make_room(), Err(RoomError::Full)));
        let (ids, payloads) = columns(&new_ids(0, accepted));
        pair.duplicates.look_up(&ids, &payloads).unwrap();
        for row in 0..usize::from(accepted) {
            assert_eq!(pair.duplicates.find(row, ids.get(row), 0, i64::MIN), Found::Same { first_offset: row as i64 });
        }
    }
}

#[test]
fn a_disk_that_refuses_is_asked_again_and_nothing_is_lost() {
    let parent = tempfile::tempdir().unwrap();
    let place = parent.path().join("spill");
    // A file where the directory should be refuses even root.
    std::fs::write(&place, b"").unwrap();
    let mut pair = Pair::new(rules(20_000, Some((&place, 10_000_000))));
    let mut next = 0;
    while pair.duplicates.make_room().is_ok() {
        pair.block(&new_ids(next, 10)).unwrap();
        next += 10;
    }
    assert!(matches!(pair.duplicates.make_room(), Err(RoomError::Spill(SpillError::Disk { .. }))));
    std::fs::remove_file(&place).unwrap();
    pair.block(&new_ids(0, next + 10)).unwrap();
    assert_eq!(pair.accepted.len(), usize::from(next) + 10);
    assert!(pair.duplicates.metrics().disk_ids > 0);
}

#[test]
fn one_with_the_same_content_decides_over_conflicts() {
    let mut pair = Pair::new(rules(1 << 20, None));
    // Two records of one id further apart than the bound, both within the bound of a third.
    pair.accepted = vec![((1, 7, 0), 0), ((1, 8, 1_500), 1)];
    pair.recall(0).unwrap();
    let (ids, payloads) = columns(&[(1, 8, 0), (1, 7, 0), (1, 6, 0)]);
    pair.duplicates.look_up(&ids, &payloads).unwrap();
    let found: Vec<Found> = (0..3).map(|row| pair.duplicates.find(row, ids.get(row), 800, -10_000)).collect();
    assert_eq!(
        found,
        [Found::Same { first_offset: 1 }, Found::Same { first_offset: 0 }, Found::Other { first_offset: 0 }]
    );
}
