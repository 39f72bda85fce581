//! `object_store` behind blocking calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use crate::error::{Error, Result};

/// Objects by name. Calls block, and may be made from any thread, an asynchronous one included (which then blocks).
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Files are forced to the disk here; cloud storage acknowledges what is durable.
    local: Option<Arc<LocalFileSystem>>,
    /// `None` only while dropping.
    runtime: Option<tokio::runtime::Runtime>,
}

/// What came of a create-only write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Created {
    /// The object is ours.
    New,
    /// An object of this name was there; it is as it was.
    Existed,
}

impl Objects {
    /// Opens a directory (made if absent) or a `file://` URL.
    pub(crate) fn open(place: &str) -> Result<Self> {
        let refuse = |reason: String| Error::Place { place: place.to_owned(), reason };
        let directory = match place.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => PathBuf::from(path),
            Some(("file", _)) => {
                return Err(refuse("a file URL needs an absolute path, as in file:///var/lib/tillstream".into()));
            }
            Some((scheme, _)) => {
                return Err(refuse(format!(
                    "this build has no {scheme} storage; give a directory, shared if several hosts run the stage"
                )));
            }
            None => PathBuf::from(place),
        };
        std::fs::create_dir_all(&directory).map_err(|error| refuse(error.to_string()))?;
        let local = Arc::new(LocalFileSystem::new_with_prefix(&directory).map_err(|error| refuse(error.to_string()))?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .thread_name("snapshots")
            .enable_all()
            .build()
            .map_err(|error| Error::Internal(format!("no thread for snapshots: {error}")))?;
        Ok(Self { store: local.clone(), local: Some(local), runtime: Some(runtime) })
    }

    /// Runs a future on the store's own threads and waits for it. Unlike `block_on` it doesn't panic within another runtime.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let ended = || Error::Internal("the snapshot thread ended before it answered".into());
        let (answer, answered) = mpsc::sync_channel(1);
        // Nobody waits for the handle: the answer comes through the channel, and a panic closes it.
        drop(self.runtime.as_ref().ok_or_else(ended)?.spawn(async move { answer.send(future.await) }));
        answered.recv().map_err(|_| ended())
    }

    /// Writes an object that must not exist yet.
    pub(crate) fn create(&self, path: &Path, bytes: Bytes) -> Result<Created> {
        let (store, to) = (Arc::clone(&self.store), path.clone());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.wait(async move { store.put_opts(&to, PutPayload::from(bytes), options).await })? {
            Ok(_) => {
                self.force_to_disk(path)?;
                Ok(Created::New)
            }
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Existed),
            Err(source) => Err(Error::Storage { action: "write", object: path.to_string(), source }),
        }
    }

    /// Reads an object.
    pub(crate) fn read(&self, path: &Path) -> Result<Bytes> {
        let (store, from) = (Arc::clone(&self.store), path.clone());
        self.wait(async move { store.get(&from).await?.bytes().await })?.map_err(|source| Error::Storage {
            action: "read",
            object: path.to_string(),
            source,
        })
    }

    /// Names directly under a folder; none if there is no such folder.
    pub(crate) fn names(&self, folder: &Path) -> Result<Vec<String>> {
        let (store, under) = (Arc::clone(&self.store), folder.clone());
        let found: std::result::Result<Vec<_>, _> =
            self.wait(async move { store.list(Some(&under)).map_ok(|object| object.location).try_collect().await })?;
        let found = found.map_err(|source| Error::Storage { action: "list", object: folder.to_string(), source })?;
        Ok(found.iter().filter_map(Path::filename).map(str::to_owned).collect())
    }

    /// Removes an object; one that is gone already is fine.
    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        let (store, at) = (Arc::clone(&self.store), path.clone());
        match self.wait(async move { store.delete(&at).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(Error::Storage { action: "remove", object: path.to_string(), source }),
        }
    }

    /// `LocalFileSystem` renames into place without `fsync`, so a power cut could leave an empty file under the final name.
    fn force_to_disk(&self, path: &Path) -> Result<()> {
        let Some(local) = &self.local else { return Ok(()) };
        let file = local.path_to_filesystem(path).map_err(|source| Error::Storage {
            action: "find",
            object: path.to_string(),
            source,
        })?;
        let sync = |at: &std::path::Path| -> Result<()> {
            std::fs::File::open(at).and_then(|open| open.sync_all()).map_err(|source| Error::Disk {
                action: "force to the disk",
                object: at.display().to_string(),
                source,
            })
        };
        sync(&file)?;
        // The entry of the file, and of the folders that may be new: one level per part of the name.
        for folder in file.ancestors().skip(1).take(path.parts().count()) {
            sync(folder)?;
        }
        Ok(())
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        // A plain drop of a runtime panics when it happens on another runtime's thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
