//! Epochs and snapshots as objects.
//!
//! `<owner>/epochs/<epoch>` is created once, by the process that claims the epoch; `<owner>/snapshots/<epoch>-<sequence>` holds a state,
//! `<owner>/log/<epoch>-<sequence>` what must be known before anything is built on it. Numbers have 20 digits, so names sort as numbers do.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;
use model::Epoch;
use object_store::path::Path;

use crate::envelope;
use crate::error::{Error, Result, Skipped};
use crate::objects::{Created, Objects};

const SNAPSHOTS: &str = "snapshots";
const LOG: &str = "log";
pub(crate) const CONTENTS: &str = "contents";
/// What there may be of an owner besides its epochs.
const KINDS: [&str; 3] = [SNAPSHOTS, LOG, CONTENTS];
/// Good snapshots that are kept of each owner.
const KEPT: usize = 2;
/// Claims of epochs that are kept, for people; the greatest one is what counts.
const EPOCHS_KEPT: usize = 16;

/// A state as it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Epoch of the process that saved it.
    pub epoch: Epoch,
    /// Number within the epoch, ascending.
    pub sequence: u64,
    /// What was saved.
    pub bytes: Vec<u8>,
    /// Newer snapshots that were there but couldn't be used, newest first. Each was logged as a warning.
    pub skipped: Vec<Skipped>,
}

/// Where snapshots are kept. Calls block.
#[derive(Debug)]
pub struct SnapshotStore {
    pub(crate) objects: Objects,
    /// Snapshots found damaged: they don't count among those that are kept.
    damaged: Mutex<BTreeSet<String>>,
}

impl SnapshotStore {
    /// Opens a directory, made if absent, or a `file:///` URL.
    ///
    /// # Errors
    /// [`Error::Place`] when it can't be opened or names a kind of storage that this build lacks.
    pub fn open(url_or_dir: &str) -> Result<Self> {
        Ok(Self { objects: Objects::open(url_or_dir)?, damaged: Mutex::default() })
    }

    /// Claims the next epoch of `owner` (a stage, such as `process`), which fences all processes that claimed before.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage; after one, claim again.
    pub fn claim_epoch(&self, owner: &str) -> Result<Epoch> {
        loop {
            let epoch = self.current_epoch(owner)?.next();
            // Another process may claim it between our listing and our write: its epoch is in the next listing.
            let is_new = self.objects.create(&epoch_path(owner, epoch)?, Bytes::new())? == Created::New;
            if is_new && self.is_ours_alone(owner, epoch)? {
                self.forget_old_epochs(owner, epoch)?;
                return Ok(epoch);
            }
        }
    }

    /// Whether nobody else can have claimed an epoch whose claim we have just written. Where so many newer ones are there that the claims of
    /// this one have been forgotten, ours goes, too.
    fn is_ours_alone(&self, owner: &str, epoch: Epoch) -> Result<bool> {
        let is_kept = self.current_epoch(owner)?.0 < epoch.0 + EPOCHS_KEPT as u64;
        if !is_kept {
            self.objects.remove(&epoch_path(owner, epoch)?)?;
        }
        Ok(is_kept)
    }

    /// The greatest epoch claimed for `owner`; epoch 0 if none was.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage.
    pub fn current_epoch(&self, owner: &str) -> Result<Epoch> {
        let names = self.objects.names(&folder(owner, "epochs")?)?;
        Ok(Epoch(names.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0)))
    }

    /// Saves a state. When this returns, the state survives a crash of the process and, on a local directory, of the machine; then snapshots
    /// older than the two newest good ones are removed.
    ///
    /// `sequence` must ascend within an epoch. Saving the same bytes again under the same number is fine, so that a save of unknown outcome
    /// may be repeated.
    ///
    /// # Errors
    /// [`Error::Fenced`] when a newer epoch has been claimed: stop. [`Error::SequenceReused`], [`Error::OwnerName`], or a failure of the storage.
    pub fn save(&self, owner: &str, epoch: Epoch, sequence: u64, bytes: &[u8]) -> Result<()> {
        self.save_as(SNAPSHOTS, owner, epoch, sequence, bytes)
    }

    /// Saves the log of `owner`: the whole of it, under its next number. It is durable when this returns, before anything is built on it.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_log(&self, owner: &str, epoch: Epoch, sequence: u64, bytes: &[u8]) -> Result<()> {
        self.save_as(LOG, owner, epoch, sequence, bytes)
    }

    /// The newest log of `owner`; `None` if there never was one. An older one is never taken instead: what was built on the newest would
    /// then be built again in another way.
    ///
    /// # Errors
    /// [`Error::LogDamaged`], or a failure of the storage.
    pub fn load_log(&self, owner: &str) -> Result<Option<Snapshot>> {
        let Some(name) = self.newest_first(LOG, owner)?.into_iter().next() else { return Ok(None) };
        match self.open_as(LOG, owner, &name)? {
            Ok(envelope::Opened { epoch, sequence, content }) => {
                Ok(Some(Snapshot { epoch, sequence, bytes: content, skipped: Vec::new() }))
            }
            Err(reason) => {
                let skipped = Skipped { object: object_path(LOG, owner, &name)?.to_string(), reason };
                Err(Error::LogDamaged { owner: owner.to_owned(), skipped })
            }
        }
    }

    fn save_as(&self, kind: &str, owner: &str, epoch: Epoch, sequence: u64, bytes: &[u8]) -> Result<()> {
        self.check_epoch(owner, epoch)?;
        let path = object_path(kind, owner, &snapshot_name(epoch, sequence))?;
        let sealed = Bytes::from(envelope::seal(owner, epoch, sequence, bytes)?);
        if self.objects.create(&path, sealed.clone())? == Created::Existed && self.objects.read(&path)? != sealed {
            return Err(Error::SequenceReused { owner: owner.to_owned(), epoch, sequence });
        }
        // Whoever claimed between the check and the write has perhaps not seen it.
        self.check_epoch(owner, epoch)?;
        self.forget_old(kind, owner)
    }

    fn check_epoch(&self, owner: &str, epoch: Epoch) -> Result<()> {
        let newest = self.current_epoch(owner)?;
        if newest > epoch {
            return Err(Error::Fenced { owner: owner.to_owned(), ours: epoch, newest });
        }
        Ok(())
    }

    /// The newest snapshot that can be used; `None` if there never was one.
    ///
    /// # Errors
    /// [`Error::NoneUsable`] when there are snapshots but each was refused, or a failure of the storage.
    pub fn load(&self, owner: &str) -> Result<Option<Snapshot>> {
        self.load_accepted(owner, |_| Ok(()))
    }

    /// As [`load`](Self::load), passing over those that `accept` refuses with a reason, such as the snapshot of another query.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_accepted(
        &self,
        owner: &str,
        mut accept: impl FnMut(&[u8]) -> std::result::Result<(), String>,
    ) -> Result<Option<Snapshot>> {
        let mut skipped = Vec::new();
        let mut names = VecDeque::from(self.newest_first(SNAPSHOTS, owner)?);
        while let Some(name) = names.pop_front() {
            let path = object_path(SNAPSHOTS, owner, &name)?;
            let opened = match self.open_as(SNAPSHOTS, owner, &name) {
                Ok(opened) => opened,
                Err(Error::Storage { source: object_store::Error::NotFound { .. }, .. }) => {
                    // Its owner has saved newer ones since we looked.
                    names = self.newest_first(SNAPSHOTS, owner)?.into();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let opened = opened.and_then(|opened| {
                accept(&opened.content)?;
                Ok(opened)
            });
            match opened {
                Ok(envelope::Opened { epoch, sequence, content }) => {
                    return Ok(Some(Snapshot { epoch, sequence, bytes: content, skipped }));
                }
                Err(reason) => {
                    tracing::warn!(owner, object = %path, reason, "snapshot refused, trying the one before it");
                    self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(path.to_string());
                    skipped.push(Skipped { object: path.to_string(), reason });
                }
            }
        }
        if skipped.is_empty() { Ok(None) } else { Err(Error::NoneUsable { owner: owner.to_owned(), skipped }) }
    }

    /// Whether anything is kept of `owner` besides its epochs.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage.
    pub fn holds(&self, owner: &str) -> Result<bool> {
        for kind in KINDS {
            if !self.objects.names(&folder(owner, kind)?)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes all snapshots of `owner`, its log and its contents, and fences whoever holds its epoch.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage.
    pub fn forget(&self, owner: &str) -> Result<()> {
        self.claim_epoch(owner)?;
        for kind in KINDS {
            for name in self.objects.names(&folder(owner, kind)?)? {
                self.objects.remove(&object_path(kind, owner, &name)?)?;
            }
        }
        Ok(())
    }

    /// Changes the newest state of `owner` by compare-and-set, so that of two processes that change it neither undoes the other's work.
    /// `change` is given the present state (`None` if there never was one) and gives the next one, or `None` to leave it. It is called
    /// again after another process was quicker, perhaps on a state that has its change already, and must then leave that as it is.
    ///
    /// # Errors
    /// Those of `change`, [`Error::NoneUsable`], or a failure of the storage.
    pub fn update<E: From<Error>>(
        &self,
        owner: &str,
        mut change: impl FnMut(Option<&[u8]>) -> std::result::Result<Option<Vec<u8>>, E>,
    ) -> std::result::Result<(), E> {
        // Looked at first without an epoch: mostly there is nothing to change.
        let present = self.load(owner)?;
        if change(present.as_ref().map(|snapshot| &*snapshot.bytes))?.is_none() {
            return Ok(());
        }
        loop {
            // Whoever claims later reads what is saved before; whoever claimed before can't save any more.
            let epoch = self.claim_epoch(owner)?;
            let present = self.load(owner)?;
            let Some(next) = change(present.as_ref().map(|snapshot| &*snapshot.bytes))? else { return Ok(()) };
            match self.save(owner, epoch, 1, &next) {
                Err(Error::Fenced { .. }) => {}
                saved => return Ok(saved?),
            }
        }
    }

    /// Reads an object and unwraps it, or says why it can't be used.
    fn open_as(&self, kind: &str, owner: &str, name: &str) -> Result<std::result::Result<envelope::Opened, String>> {
        let read = self.objects.read(&object_path(kind, owner, name)?)?;
        Ok(envelope::open(owner, &read).and_then(|opened| {
            if snapshot_name(opened.epoch, opened.sequence) == name {
                return Ok(opened);
            }
            Err(format!("it is snapshot {} of epoch {} under another name", opened.sequence, opened.epoch))
        }))
    }

    fn newest_first(&self, kind: &str, owner: &str) -> Result<Vec<String>> {
        let mut names = self.objects.names(&folder(owner, kind)?)?;
        names.retain(|name| parse_snapshot_name(name).is_some());
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    fn forget_old(&self, kind: &str, owner: &str) -> Result<()> {
        let mut good = 0;
        for name in self.newest_first(kind, owner)? {
            let path = object_path(kind, owner, &name)?;
            if good >= KEPT {
                self.objects.remove(&path)?;
            } else if !self.damaged.lock().unwrap_or_else(std::sync::PoisonError::into_inner).contains(path.as_ref()) {
                good += 1;
            }
        }
        Ok(())
    }

    fn forget_old_epochs(&self, owner: &str, claimed: Epoch) -> Result<()> {
        let mut epochs: Vec<u64> =
            self.objects.names(&folder(owner, "epochs")?)?.iter().filter_map(|name| name.parse().ok()).collect();
        epochs.sort_unstable_by(|a, b| b.cmp(a));
        for old in epochs.into_iter().skip(EPOCHS_KEPT).filter(|epoch| *epoch < claimed.0) {
            self.objects.remove(&epoch_path(owner, Epoch(old))?)?;
        }
        Ok(())
    }
}

pub(crate) fn folder(owner: &str, kind: &str) -> Result<Path> {
    let refuse = || Error::OwnerName { owner: owner.to_owned() };
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if owner.is_empty() || owner.len() > 200 || owner.starts_with('.') || !owner.bytes().all(known) {
        return Err(refuse());
    }
    Path::parse(format!("{owner}/{kind}")).map_err(|_| refuse())
}

fn epoch_path(owner: &str, epoch: Epoch) -> Result<Path> {
    Ok(folder(owner, "epochs")?.join(format!("{:020}", epoch.0)))
}

fn object_path(kind: &str, owner: &str, name: &str) -> Result<Path> {
    Ok(folder(owner, kind)?.join(name))
}

fn snapshot_name(epoch: Epoch, sequence: u64) -> String {
    format!("{:020}-{sequence:020}", epoch.0)
}

fn parse_snapshot_name(name: &str) -> Option<(u64, u64)> {
    let (epoch, sequence) = name.split_once('-')?;
    if name.len() == 41 { Some((epoch.parse().ok()?, sequence.parse().ok()?)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_so_many_others_have_passed_is_void() {
        let directory = tempfile::tempdir().unwrap();
        let store = SnapshotStore::open(&directory.path().to_string_lossy()).unwrap();
        for _ in 0..=EPOCHS_KEPT {
            store.claim_epoch("process").unwrap();
        }
        // The first claim is forgotten, so that somebody who has listed before it can write it again.
        let write = |epoch| store.objects.create(&epoch_path("process", epoch).unwrap(), Bytes::new()).unwrap();
        assert_eq!(write(Epoch(1)), Created::New);
        assert!(!store.is_ours_alone("process", Epoch(1)).unwrap());
        assert_eq!(write(Epoch(1)), Created::New, "it was taken back");
        assert_eq!(write(Epoch(2)), Created::Existed);
        assert!(store.is_ours_alone("process", Epoch(2)).unwrap());
    }
}
