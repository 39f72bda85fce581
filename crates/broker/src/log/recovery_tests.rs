use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;
use crate::log::batch::testing::{Producer, batch};
use crate::log::batch::{BatchHeader, stamped};

/// Writes segments as the broker does, with so many batches each; returns each batch's segment, start, end and next offset.
fn write_segments(dir: &Path, batches: &[usize]) -> Vec<(usize, u64, u64, i64)> {
    fs::create_dir_all(dir).unwrap();
    let mut places = Vec::new();
    let (mut offset, mut sequence) = (0, 0);
    for (segment, count) in batches.iter().enumerate() {
        let mut file = files::open_append(&dir.join(file_name(offset))).unwrap();
        let mut position = 0;
        for number in 0..*count {
            let payload = vec![number as u8; 30 + number * 7];
            let mut bytes = batch(3, 1_000 + offset, &payload, Some(Producer { id: 5, epoch: 0, sequence }));
            let header = stamped(&bytes, offset, None).unwrap();
            bytes[..header.len()].copy_from_slice(&header);
            file.write_all(&bytes).unwrap();
            (offset, sequence) = (offset + 3, sequence + 3);
            places.push((segment, position, position + bytes.len() as u64, offset));
            position += bytes.len() as u64;
        }
    }
    places
}

fn last_file(dir: &Path) -> PathBuf {
    let last = *segment_bases(dir).unwrap().last().unwrap();
    dir.join(file_name(last))
}

fn end(recovered: &Recovered) -> i64 {
    recovered.segments.last().unwrap().next_offset
}

#[test]
fn an_empty_directory_starts_at_zero() {
    let directory = tempfile::tempdir().unwrap();
    let recovered = open(&directory.path().join("0"), false).unwrap();
    assert_eq!((recovered.segments.len(), end(&recovered), recovered.start_offset), (1, 0, 0));
}

#[test]
fn all_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    write_segments(directory.path(), &[4, 3, 5]);
    let recovered = open(directory.path(), false).unwrap();
    assert_eq!((recovered.segments.len(), end(&recovered), recovered.dropped_bytes), (3, 36, 0));
    assert_eq!(recovered.producers.greatest_id(), 5);
}

#[test]
fn a_saved_state_is_used_only_while_it_fits() {
    let directory = tempfile::tempdir().unwrap();
    write_segments(directory.path(), &[4, 3]);
    let recovered = open(directory.path(), false).unwrap();
    let first = &recovered.segments[0];
    save_state(directory.path(), first, &encode_state(first, &ProducerTable::default())).unwrap();
    // A state that fits is believed: its (empty) producers were those at the end of the segment, the second one's come on top.
    let again = open(directory.path(), false).unwrap();
    assert_eq!(end(&again), 21);
    assert_eq!(again.segments[0].index, first.index);
    // One byte of it changed: the segment is read again.
    let path = state_path(directory.path(), 0);
    let mut state = fs::read(&path).unwrap();
    state[20] ^= 1;
    fs::write(&path, state).unwrap();
    assert_eq!(end(&open(directory.path(), false).unwrap()), 21);
}

#[test]
fn segments_behind_a_broken_one_are_set_aside_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let places = write_segments(directory.path(), &[4, 3]);
    let first = OpenOptions::new().write(true).open(directory.path().join(file_name(0))).unwrap();
    first.set_len(places[2].2 + 10).unwrap();
    let recovered = open(directory.path(), false).unwrap();
    assert_eq!((recovered.segments.len(), end(&recovered)), (1, 9));
    let aside = directory.path().join(file_name(12)).with_extension("set-aside");
    assert!(aside.exists());
}

#[test]
fn a_start_beyond_the_end_begins_a_new_log_there() {
    let directory = tempfile::tempdir().unwrap();
    write_segments(directory.path(), &[2]);
    save_start(directory.path(), 50).unwrap();
    let recovered = open(directory.path(), false).unwrap();
    assert_eq!((end(&recovered), recovered.start_offset), (50, 50));
    assert_eq!(end(&open(directory.path(), false).unwrap()), 50, "and again");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// A write that was cut off anywhere costs the batch it was of and nothing else.
    #[test]
    fn a_torn_tail_is_cut_after_the_last_whole_batch(cut in any::<prop::sample::Index>()) {
        let directory = tempfile::tempdir().unwrap();
        let places = write_segments(directory.path(), &[3, 6]);
        let length = fs::metadata(last_file(directory.path())).unwrap().len();
        let cut = cut.index(length as usize) as u64;
        OpenOptions::new().write(true).open(last_file(directory.path())).unwrap().set_len(cut).unwrap();

        let recovered = open(directory.path(), false).unwrap();
        let whole = places.iter().rfind(|(segment, _, end, _)| *segment == 0 || *end <= cut).unwrap();
        prop_assert_eq!(end(&recovered), whole.3);
        let last = recovered.segments.last().unwrap();
        prop_assert_eq!(last.file.metadata().unwrap().len(), last.size);
    }

    /// A flipped bit anywhere in the last segment is noticed: what is before its batch stays, nothing damaged is served.
    #[test]
    fn a_flipped_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let directory = tempfile::tempdir().unwrap();
        let places = write_segments(directory.path(), &[3, 6]);
        let path = last_file(directory.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();

        let recovered = open(directory.path(), false).unwrap();
        let hit = places.iter().position(|(segment, start, end, _)| *segment == 1 && (*start..*end).contains(&(at as u64)));
        prop_assert_eq!(end(&recovered), places[hit.unwrap() - 1].3);
        // The log is good to go on with: one more batch, and another start.
        let last = recovered.segments.last().unwrap();
        let good = batch(1, 5, b"more", None);
        let header = stamped(&good, last.next_offset, None).unwrap();
        files::append(&last.file, last.size, &header, &good[header.len()..]).unwrap();
        let again = open(directory.path(), false).unwrap();
        prop_assert_eq!((end(&again), again.dropped_bytes), (last.next_offset + 1, 0));
        // What was cut off is kept beside it.
        let kept = directory.path().join(format!("{:020}.{}.cut-off", last.base_offset, last.size));
        prop_assert!(kept.exists());
    }
}

#[test]
fn batches_read_back_as_they_were_stamped() {
    let directory = tempfile::tempdir().unwrap();
    let places = write_segments(directory.path(), &[3]);
    let recovered = open(directory.path(), false).unwrap();
    let mut bytes = vec![0; (places[1].2 - places[1].1) as usize];
    recovered.segments[0].file.read_exact_at(&mut bytes, places[1].1).unwrap();
    assert_eq!(BatchHeader::parse(&bytes).unwrap().base_offset, 3);
}
