//! One load of a file at a time: two would both begin where the file's rows in the topic end, and send the rest twice.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::run::stop::Stop;

/// How often it is tried again.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// The turn of one process. The system ends it with the process.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

impl Turn {
    /// Waits until nobody else loads the file whose lock is this; `None` if the stop switch is thrown before that. Where the file system
    /// has no locks nothing is waited for.
    ///
    /// # Errors
    /// `System` when the lock can't be made.
    pub(super) fn wait(path: &Path, stop: &Stop) -> Result<Option<Self>> {
        let failed = |error| Error::system(format!("writing {}", path.display()), error);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        let mut has_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    tracing::warn!("{} can't be locked: {error}", path.display());
                    break;
                }
            }
            if !std::mem::replace(&mut has_told, true) {
                tracing::info!(lock = %path.display(), "another process loads this file; what it leaves is loaded after it");
            }
            if stop.wait(TRY_EVERY) {
                return Ok(None);
            }
        }
        Ok(Some(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_load_of_a_file_waits_for_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("load/orders.csv.lock");
        let stop = Stop::default();
        let first = Turn::wait(&path, &stop).unwrap().unwrap();
        let (done, waits) = std::sync::mpsc::sync_channel(1);
        std::thread::scope(|threads| {
            threads.spawn(|| done.send(Turn::wait(&path, &stop).unwrap().is_some()).unwrap());
            assert!(waits.recv_timeout(3 * TRY_EVERY).is_err(), "the first isn't done");
            drop(first);
            assert!(waits.recv().unwrap());
        });
        let _other = Turn::wait(&path, &stop).unwrap().unwrap();
        stop.now();
        assert!(Turn::wait(&path, &stop).unwrap().is_none(), "nobody waits on when all is to stop");
    }
}
