//! Immutable contents that snapshots and logs name by their hash: `<owner>/contents/<hash>`.

use bytes::Bytes;
use model::Epoch;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};

use crate::envelope;
use crate::error::{Error, Result};
use crate::objects::Created;
use crate::store::{CONTENTS, SnapshotStore, folder};

/// Keeps the parts of snapshots, which several snapshots may name. A part never changes.
pub trait PartStore {
    /// Keeps a part; gives its name. It is durable then.
    ///
    /// # Errors
    /// A failure of the storage.
    fn keep(&self, bytes: &[u8]) -> Result<String>;

    /// A part by its name.
    ///
    /// # Errors
    /// [`Error::ContentDamaged`] when it isn't what it was, or a failure of the storage, also when it isn't there.
    fn part(&self, name: &str) -> Result<Vec<u8>>;
}

impl<P: PartStore + ?Sized> PartStore for &P {
    fn keep(&self, bytes: &[u8]) -> Result<String> {
        (**self).keep(bytes)
    }

    fn part(&self, name: &str) -> Result<Vec<u8>> {
        (**self).part(name)
    }
}

/// Parts as contents of an owner.
#[derive(Debug, Clone)]
pub struct OwnedParts<'a> {
    /// Where they are kept.
    pub store: &'a SnapshotStore,
    /// Whose they are.
    pub owner: String,
}

impl PartStore for OwnedParts<'_> {
    fn keep(&self, bytes: &[u8]) -> Result<String> {
        self.store.keep_content(&self.owner, bytes)
    }

    fn part(&self, name: &str) -> Result<Vec<u8>> {
        self.store.content(&self.owner, name)
    }
}

/// Parts in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryParts(std::sync::Mutex<std::collections::BTreeMap<String, Vec<u8>>>);

impl MemoryParts {
    fn lock(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Bytes of all parts that were ever kept.
    pub fn byte_len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }
}

impl PartStore for MemoryParts {
    fn keep(&self, bytes: &[u8]) -> Result<String> {
        let hash = content_hash(bytes);
        self.lock().insert(hash.clone(), bytes.to_vec());
        Ok(hash)
    }

    fn part(&self, name: &str) -> Result<Vec<u8>> {
        let reason = || Error::ContentDamaged { object: name.to_owned(), reason: "it isn't there".into() };
        self.lock().get(name).cloned().ok_or_else(reason)
    }
}

/// The SHA-256 of a content, in hexadecimal: its name.
pub fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl SnapshotStore {
    /// Keeps a content under its hash, which is returned. It is durable then. One that is there already stays, unless it is damaged.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage.
    pub fn keep_content(&self, owner: &str, bytes: &[u8]) -> Result<String> {
        let hash = content_hash(bytes);
        let path = content_path(owner, &hash)?;
        let sealed = Bytes::from(envelope::seal(owner, Epoch(0), 0, bytes)?);
        if self.objects.create(&path, sealed.clone())? == Created::Existed && self.objects.read(&path)? != sealed {
            self.objects.remove(&path)?;
            self.objects.create(&path, sealed)?;
        }
        Ok(hash)
    }

    /// A content by its hash.
    ///
    /// # Errors
    /// [`Error::ContentDamaged`] when it isn't what it was, or a failure of the storage, also when it isn't there.
    pub fn content(&self, owner: &str, hash: &str) -> Result<Vec<u8>> {
        let path = content_path(owner, hash)?;
        let read = self.objects.read(&path)?;
        let damaged = |reason: String| Error::ContentDamaged { object: path.to_string(), reason };
        let content = envelope::open(owner, &read).map_err(damaged)?.content;
        if content_hash(&content) == hash {
            return Ok(content);
        }
        Err(Error::ContentDamaged { object: path.to_string(), reason: "its hash isn't its name".into() })
    }

    /// The hashes of all contents of `owner`.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage.
    pub fn contents(&self, owner: &str) -> Result<Vec<String>> {
        self.objects.names(&folder(owner, CONTENTS)?)
    }

    /// Removes a content; one that is gone already is fine.
    ///
    /// # Errors
    /// [`Error::OwnerName`], or a failure of the storage.
    pub fn forget_content(&self, owner: &str, hash: &str) -> Result<()> {
        self.objects.remove(&content_path(owner, hash)?)
    }
}

fn content_path(owner: &str, hash: &str) -> Result<Path> {
    Ok(folder(owner, CONTENTS)?.join(hash))
}
