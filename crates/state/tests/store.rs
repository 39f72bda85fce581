//! The snapshot store on a real directory: fencing, fallback, retention, damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use model::{Classified as _, Domain, Epoch, Retry};
use state::{Error, SnapshotStore};

fn store() -> (tempfile::TempDir, SnapshotStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(directory.path().to_str().unwrap()).unwrap();
    (directory, store)
}

fn files(directory: &tempfile::TempDir, owner: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory.path().join(owner).join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn the_newest_is_loaded_and_two_are_kept() {
    let (directory, store) = store();
    assert_eq!(store.load("process").unwrap(), None);
    let epoch = store.claim_epoch("process").unwrap();
    for sequence in 1..=5 {
        store.save("process", epoch, sequence, format!("state {sequence}").as_bytes()).unwrap();
    }
    let loaded = store.load("process").unwrap().unwrap();
    assert_eq!((loaded.epoch, loaded.sequence, &loaded.bytes[..]), (epoch, 5, &b"state 5"[..]));
    assert_eq!(files(&directory, "process").len(), 2);
    assert_eq!(store.load("validate").unwrap(), None, "owners are apart");
}

#[test]
fn an_older_epoch_is_fenced() {
    let (directory, first) = store();
    let second = SnapshotStore::open(&format!("file://{}", directory.path().display())).unwrap();
    let old = first.claim_epoch("process").unwrap();
    let new = second.claim_epoch("process").unwrap();
    assert_eq!((old, new), (Epoch(1), Epoch(2)));
    let error = first.save("process", old, 1, b"zombie").unwrap_err();
    assert!(matches!(error, Error::Fenced { ours: Epoch(1), newest: Epoch(2), .. }), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    second.save("process", new, 1, b"alive").unwrap();
    // A later epoch wins over a greater sequence.
    assert_eq!(first.load("process").unwrap().unwrap().bytes, b"alive");
}

#[test]
fn epochs_claimed_at_the_same_time_differ() {
    let (directory, _) = store();
    let claimed: Vec<Epoch> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let store = SnapshotStore::open(directory.path().to_str().unwrap()).unwrap();
                    (0..6).map(|_| store.claim_epoch("process").unwrap()).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(claimed.iter().collect::<BTreeSet<_>>().len(), 24);
    assert_eq!(claimed.iter().max(), Some(&Epoch(24)));
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before() {
    let (directory, store) = store();
    let epoch = store.claim_epoch("process").unwrap();
    store.save("process", epoch, 1, b"first").unwrap();
    store.save("process", epoch, 2, b"second").unwrap();
    let newest = files(&directory, "process").pop().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();

    let loaded = store.load("process").unwrap().unwrap();
    assert_eq!(loaded.bytes, b"first");
    assert_eq!(loaded.skipped.len(), 1);

    // The damaged one doesn't count: the good one stays until two newer good ones are there.
    store.save("process", epoch, 3, b"third").unwrap();
    let names: Vec<_> = files(&directory, "process");
    assert!(names.iter().any(|name| name.to_str().unwrap().ends_with("00000000000000000001")), "{names:?}");
    store.save("process", epoch, 4, b"fourth").unwrap();
    assert_eq!(files(&directory, "process").len(), 2);
}

#[test]
fn when_none_is_usable_it_says_why_for_each() {
    let (directory, store) = store();
    let epoch = store.claim_epoch("process").unwrap();
    store.save("process", epoch, 1, b"first").unwrap();
    store.save("process", epoch, 2, b"second").unwrap();
    for file in files(&directory, "process") {
        std::fs::write(file, b"").unwrap();
    }
    let error = store.load("process").unwrap_err();
    assert_eq!(error.domain(), Domain::External);
    let Error::NoneUsable { skipped, .. } = &error else { panic!("{error}") };
    assert_eq!(skipped.len(), 2);
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[test]
fn a_refusal_by_the_reader_of_the_content_falls_back_too() {
    let (_directory, store) = store();
    let epoch = store.claim_epoch("process").unwrap();
    store.save("process", epoch, 1, b"ours").unwrap();
    store.save("process", epoch, 2, b"another query's").unwrap();
    let loaded = store
        .load_accepted("process", |bytes| if bytes == b"ours" { Ok(()) } else { Err("foreign".into()) })
        .unwrap()
        .unwrap();
    assert_eq!((loaded.sequence, loaded.skipped[0].reason.as_str()), (1, "foreign"));
}

#[test]
fn a_snapshot_under_another_name_or_owner_is_foreign() {
    let (directory, store) = store();
    let epoch = store.claim_epoch("process").unwrap();
    store.save("process", epoch, 1, b"first").unwrap();
    let file = files(&directory, "process").pop().unwrap();
    let other = directory.path().join("validate/snapshots");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(&file, other.join(file.file_name().unwrap())).unwrap();
    assert!(store.load("validate").unwrap_err().to_string().contains("belongs to \"process\""));
    std::fs::copy(&file, file.with_file_name("00000000000000000009-00000000000000000009")).unwrap();
    let loaded = store.load("process").unwrap().unwrap();
    assert_eq!((loaded.sequence, loaded.skipped.len()), (1, 1));
}

#[test]
fn a_repeated_save_is_fine_and_another_state_under_its_number_is_not() {
    let (_directory, store) = store();
    let epoch = store.claim_epoch("process").unwrap();
    store.save("process", epoch, 1, b"state").unwrap();
    store.save("process", epoch, 1, b"state").unwrap();
    assert!(matches!(store.save("process", epoch, 1, b"other"), Err(Error::SequenceReused { .. })));
}

#[test]
fn bad_places_and_owners_are_refused() {
    let (directory, store) = store();
    assert!(SnapshotStore::open("s3://bucket/x").unwrap_err().to_string().contains("no s3 storage"));
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(SnapshotStore::open(file.to_str().unwrap()), Err(Error::Place { .. })));
    for owner in ["", "../x", "a/b", ".hidden"] {
        assert!(matches!(store.claim_epoch(owner), Err(Error::OwnerName { .. })), "{owner}");
    }
}

#[test]
fn it_works_and_is_dropped_within_another_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (_directory, store) = store();
        let epoch = store.claim_epoch("process").unwrap();
        store.save("process", epoch, 1, b"state").unwrap();
        assert_eq!(store.load("process").unwrap().unwrap().bytes, b"state");
    });
}

#[test]
fn the_newest_log_is_used_or_nothing_is() {
    let (directory, store) = store();
    assert!(store.load_log("process").unwrap().is_none());
    let first = store.claim_epoch("process").unwrap();
    for (sequence, text) in [(1, "a"), (2, "ab"), (3, "abc")] {
        store.save_log("process", first, sequence, text.as_bytes()).unwrap();
        assert_eq!(store.load_log("process").unwrap().unwrap().bytes, text.as_bytes());
    }
    assert!(store.load("process").unwrap().is_none(), "a log is no snapshot");
    let second = store.claim_epoch("process").unwrap();
    assert!(matches!(store.save_log("process", first, 4, b"zombie"), Err(Error::Fenced { .. })));
    store.save_log("process", second, 4, b"abcd").unwrap();
    let log = directory.path().join("process/log");
    assert_eq!(std::fs::read_dir(&log).unwrap().count(), 2);
    let newest = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    assert!(matches!(store.load_log("process"), Err(Error::LogDamaged { .. })));
}

#[test]
fn contents_are_named_by_their_hash_and_checked_by_it() {
    let (directory, store) = store();
    let hash = store.keep_content("process", b"rows").unwrap();
    assert_eq!(hash, state::content_hash(b"rows"));
    assert_eq!(store.keep_content("process", b"rows").unwrap(), hash);
    assert_eq!(store.content("process", &hash).unwrap(), b"rows");
    let other = store.keep_content("process", b"other rows").unwrap();
    let folder = directory.path().join("process/contents");
    std::fs::copy(folder.join(&other), folder.join(&hash)).unwrap();
    assert!(matches!(store.content("process", &hash), Err(Error::ContentDamaged { .. })));
    // Kept again, it is whole again.
    store.keep_content("process", b"rows").unwrap();
    assert_eq!(store.content("process", &hash).unwrap(), b"rows");
    store.forget_content("process", &hash).unwrap();
    store.forget_content("process", &hash).unwrap();
    assert_eq!(store.contents("process").unwrap(), [other]);
    assert!(store.content("process", &hash).is_err());
}

#[test]
fn what_is_forgotten_is_gone_and_its_owner_fenced() {
    let (_directory, store) = store();
    let epoch = store.claim_epoch("fill").unwrap();
    store.save("fill", epoch, 1, b"state").unwrap();
    store.save_log("fill", epoch, 1, b"log").unwrap();
    store.keep_content("fill", b"rows").unwrap();
    assert!(store.holds("fill").unwrap());
    store.forget("fill").unwrap();
    assert_eq!(store.load("fill").unwrap(), None);
    assert_eq!(store.load_log("fill").unwrap(), None);
    assert!(!store.holds("fill").unwrap());
    assert!(matches!(store.save("fill", epoch, 2, b"state").unwrap_err(), Error::Fenced { .. }));
    store.forget("fill").unwrap();
}

#[test]
fn updates_from_many_threads_are_all_kept() {
    let (directory, store) = store();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let directory = &directory;
            scope.spawn(move || {
                let own = SnapshotStore::open(directory.path().to_str().unwrap()).unwrap();
                for number in 0..10 {
                    let line = format!("{thread}.{number}");
                    own.update("lines", |present| {
                        let mut lines =
                            present.map_or(String::new(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
                        let is_there = lines.lines().any(|known| known == line);
                        lines.push_str(&format!("{line}\n"));
                        Ok::<_, Error>((!is_there).then(|| lines.into_bytes()))
                    })
                    .unwrap();
                }
            });
        }
    });
    let lines = String::from_utf8(store.load("lines").unwrap().unwrap().bytes).unwrap();
    assert_eq!(lines.lines().count(), 40, "{lines}");
    let epoch = store.current_epoch("lines").unwrap();
    store.update("lines", |_| Ok::<_, Error>(None)).unwrap();
    assert_eq!(store.current_epoch("lines").unwrap(), epoch, "nothing was claimed for nothing");
}
