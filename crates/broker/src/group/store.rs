//! Committed offsets: a map in memory, and a log of its changes in one file that is written anew when most of it is out of date.
//!
//! An entry of the log is its length, its CRC-32C and its bytes; a torn one at the end, of a commit that was never answered, is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::log::files;
use crate::log::flush::GroupCommit;
use crate::options::FlushPolicy;
use crate::sync::lock;

const FILE: &str = "group-offsets.log";
const ENTRY_HEADER_LEN: usize = 8;
/// Smaller files aren't worth writing anew.
const REWRITE_BYTES_MIN: u64 = 1024 * 1024;
/// The file is written anew when it has so many times the bytes that it had when it was written last.
const REWRITE_FACTOR: u64 = 4;
/// Bytes of changes in one entry when the file is written anew.
const REWRITE_OFFSETS: usize = 1_000;

/// An offset that a group committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    /// -1 if the client didn't say.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    pub(crate) committed_ms: i64,
}

/// Topic and partition.
pub(crate) type PartitionKey = (String, i32);

/// What a group committed.
pub(crate) type GroupOffsets = BTreeMap<PartitionKey, Committed>;

#[derive(Debug, Serialize, Deserialize)]
enum Change {
    Commit { group: String, offsets: Vec<(PartitionKey, Committed)> },
    Remove { group: String, partitions: Vec<PartitionKey> },
    RemoveGroup { group: String },
    RemoveTopic { topic: String },
}

/// The committed offsets of all groups.
#[derive(Debug)]
pub(crate) struct OffsetStore {
    path: PathBuf,
    flush: FlushPolicy,
    state: Mutex<State>,
    /// In bytes ever written, over all files.
    commit: GroupCommit,
}

#[derive(Debug)]
struct State {
    groups: BTreeMap<String, GroupOffsets>,
    file: Arc<File>,
    size: u64,
    /// Size of the file when it was last written anew.
    rewritten_size: u64,
    /// Bytes ever written, over all files.
    written: u64,
    /// A write failed and couldn't be taken back.
    failed: bool,
}

impl OffsetStore {
    /// Opens the store in the data directory. Blocks.
    pub(crate) fn open(directory: &Path, flush: FlushPolicy) -> Result<Self> {
        let path = directory.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::storage("read", &path)(error)),
        };
        let mut groups = BTreeMap::new();
        let mut rest = bytes.as_slice();
        while let Some((change, after)) = next_change(rest) {
            apply(&mut groups, change);
            rest = after;
        }
        let size = (bytes.len() - rest.len()) as u64;
        let file = files::open_append(&path).map_err(Error::storage("open", &path))?;
        if !rest.is_empty() {
            tracing::warn!(file = %path.display(), from = size, bytes = rest.len(), "a torn entry is cut off");
            file.set_len(size).and_then(|()| file.sync_all()).map_err(Error::storage("cut", &path))?;
        }
        let file = Arc::new(file);
        let state = State { groups, file, size, rewritten_size: 0, written: size, failed: false };
        Ok(Self { path, flush, state: Mutex::new(state), commit: GroupCommit::new(0) })
    }

    /// Commits offsets of a group; returns what to give to [`OffsetStore::durable`] before it is answered.
    pub(crate) fn commit(&self, group: &str, offsets: Vec<(PartitionKey, Committed)>) -> io::Result<u64> {
        self.change(Change::Commit { group: group.to_owned(), offsets })
    }

    /// Removes a group's offsets of some partitions.
    pub(crate) fn remove(&self, group: &str, partitions: Vec<PartitionKey>) -> io::Result<u64> {
        self.change(Change::Remove { group: group.to_owned(), partitions })
    }

    /// Removes all of a group.
    pub(crate) fn remove_group(&self, group: &str) -> io::Result<u64> {
        self.change(Change::RemoveGroup { group: group.to_owned() })
    }

    /// Removes the offsets of a topic that was deleted, from every group.
    pub(crate) fn remove_topic(&self, topic: &str) -> io::Result<u64> {
        let is_there = lock(&self.state).groups.values().any(|offsets| offsets.keys().any(|(name, _)| name == topic));
        if is_there { self.change(Change::RemoveTopic { topic: topic.to_owned() }) } else { Ok(0) }
    }

    /// What a group committed; `None` if it isn't known.
    pub(crate) fn group(&self, group: &str) -> Option<GroupOffsets> {
        lock(&self.state).groups.get(group).cloned()
    }

    /// Whether a group has committed anything.
    pub(crate) fn knows(&self, group: &str) -> bool {
        lock(&self.state).groups.contains_key(group)
    }

    /// Names of the groups that have committed something.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        lock(&self.state).groups.keys().cloned().collect()
    }

    /// Waits until a change is on the disk, where the policy is to wait for that.
    pub(crate) async fn durable(self: &Arc<Self>, change: u64) -> io::Result<()> {
        if self.flush != FlushPolicy::EveryBatch {
            return Ok(());
        }
        let store = self.clone();
        self.commit.wait(change, move || store.flush_now()).await
    }

    /// Flushes all changes so far. Blocks.
    pub(crate) fn flush_now(&self) -> io::Result<u64> {
        let (file, written) = {
            let state = lock(&self.state);
            (state.file.clone(), state.written)
        };
        if let Err(error) = file.sync_data() {
            // After a failed flush nobody knows what is on the disk; a later one that succeeds would prove nothing.
            lock(&self.state).failed = true;
            return Err(error);
        }
        Ok(written)
    }

    fn change(&self, change: Change) -> io::Result<u64> {
        let entry = encode(&change)?;
        let mut state = lock(&self.state);
        if state.failed {
            return Err(io::Error::other("an earlier failure; restart the broker"));
        }
        match files::append(&state.file, state.size, &entry, &[]) {
            Ok(()) => {}
            Err(Ok(error)) => return Err(error),
            Err(Err(error)) => {
                state.failed = true;
                return Err(error);
            }
        }
        state.size += entry.len() as u64;
        state.written += entry.len() as u64;
        apply(&mut state.groups, change);
        let is_due = state.size > REWRITE_BYTES_MIN.max(state.rewritten_size.saturating_mul(REWRITE_FACTOR));
        if is_due && let Err(error) = self.rewrite(&mut state) {
            tracing::warn!(file = %self.path.display(), %error, "the committed offsets couldn't be written anew");
            state.rewritten_size = state.size; // Not again at once.
        }
        Ok(state.written)
    }

    /// Writes the file anew with what counts.
    fn rewrite(&self, state: &mut State) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (group, offsets) in &state.groups {
            let all: Vec<_> = offsets.iter().map(|(key, committed)| (key.clone(), committed.clone())).collect();
            for some in all.chunks(REWRITE_OFFSETS) {
                bytes.extend(encode(&Change::Commit { group: group.clone(), offsets: some.to_vec() })?);
            }
        }
        let temporary = self.path.with_extension("tmp");
        let file = files::open_append(&temporary)?;
        file.set_len(0)?;
        files::append(&file, 0, &bytes, &[]).map_err(|error| error.unwrap_or_else(|second| second))?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        // From here on the new file is the one that counts, whatever else happens.
        state.file = Arc::new(file);
        state.size = bytes.len() as u64;
        state.rewritten_size = state.size;
        if let Err(error) = files::flush_directory_of(&self.path) {
            // After a power cut the old file might be back, without what is committed from now on.
            state.failed = true;
            return Err(error);
        }
        Ok(())
    }
}

fn encode(change: &Change) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(change)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut entry = Vec::with_capacity(ENTRY_HEADER_LEN + body.len());
    entry.extend_from_slice(&length.to_be_bytes());
    entry.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    entry.extend_from_slice(&body);
    Ok(entry)
}

fn next_change(bytes: &[u8]) -> Option<(Change, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (crc, rest) = rest.split_first_chunk()?;
    let (body, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    serde_json::from_slice(body).ok().map(|change| (change, rest))
}

fn apply(groups: &mut BTreeMap<String, GroupOffsets>, change: Change) {
    match change {
        Change::Commit { group, offsets } => groups.entry(group).or_default().extend(offsets),
        Change::Remove { group, partitions } => {
            if let Some(offsets) = groups.get_mut(&group) {
                offsets.retain(|key, _| !partitions.contains(key));
            }
        }
        Change::RemoveGroup { group } => {
            groups.remove(&group);
        }
        Change::RemoveTopic { topic } => {
            for offsets in groups.values_mut() {
                offsets.retain(|(name, _), _| *name != topic);
            }
        }
    }
    groups.retain(|_, offsets| !offsets.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(offset: i64) -> Committed {
        Committed { offset, leader_epoch: 0, metadata: String::new(), committed_ms: 7 }
    }

    fn commit(store: &OffsetStore, group: &str, topic: &str, offset: i64) {
        store.commit(group, vec![((topic.to_owned(), 0), committed(offset))]).unwrap();
    }

    #[test]
    fn changes_survive_a_restart_and_a_torn_end() {
        let directory = tempfile::tempdir().unwrap();
        let store = OffsetStore::open(directory.path(), FlushPolicy::Os).unwrap();
        commit(&store, "a", "t", 5);
        commit(&store, "a", "u", 6);
        commit(&store, "b", "t", 7);
        commit(&store, "c", "u", 8);
        store.remove_topic("t").unwrap();
        store.remove_group("c").unwrap();
        drop(store);

        let path = directory.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.extend_from_slice(&[0, 0, 0, 99, 1, 2]);
        fs::write(&path, &bytes).unwrap();

        let store = OffsetStore::open(directory.path(), FlushPolicy::Os).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), whole as u64);
        assert_eq!(store.names(), BTreeSet::from(["a".to_owned()]));
        let offsets = store.group("a").unwrap();
        assert_eq!(offsets.into_iter().collect::<Vec<_>>(), [(("u".to_owned(), 0), committed(6))]);
    }

    #[test]
    fn the_file_doesnt_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let store = OffsetStore::open(directory.path(), FlushPolicy::Os).unwrap();
        for offset in 0..40_000 {
            commit(&store, "a", "t", offset);
        }
        let size = fs::metadata(directory.path().join(FILE)).unwrap().len();
        assert!(size <= REWRITE_BYTES_MIN, "{size} bytes");
        drop(store);
        let store = OffsetStore::open(directory.path(), FlushPolicy::Os).unwrap();
        assert_eq!(store.group("a").unwrap().get(&("t".to_owned(), 0)), Some(&committed(39_999)));
    }
}
