//! One `tillstream up` per data directory, or any number of `tillstream run`: `up` takes all partitions at once, away from whoever has them.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use project::Project;

use crate::error::{Error, Result};

/// Who else may work in a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holders {
    /// Nobody: `tillstream up`.
    Alone,
    /// Others that share the work: `tillstream run`.
    Shared,
}

/// The lock of a project's data directory. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks the project's data directory for this process. Where the file system has no locks, epochs alone keep processes apart.
    ///
    /// # Errors
    /// `Unavailable` while another process has it that this one can't be beside; `System` when the file can't be written.
    pub(crate) fn take(project: &Project, holders: Holders) -> Result<Self> {
        let directory = &project.data_dir;
        let path = directory.join("up.lock");
        let failed = |error| Error::system(format!("writing {}", path.display()), error);
        std::fs::create_dir_all(directory)
            .map_err(|error| Error::system(format!("making {}", directory.display()), error))?;
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        let locked = match holders {
            Holders::Alone => file.try_lock(),
            Holders::Shared => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // The message says less where the file can't be read.
                drop(file.read_to_string(&mut process));
                return Err(taken(project, holders, process.trim()));
            }
            Err(TryLockError::Error(error)) => tracing::warn!("{} can't be locked: {error}", path.display()),
        }
        // The file names whoever is alone; those that share leave it empty.
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        if holders == Holders::Alone {
            writeln!(file, "{}", std::process::id()).map_err(failed)?;
        }
        Ok(Self { _file: file })
    }
}

fn taken(project: &Project, holders: Holders, process: &str) -> Error {
    let (name, directory) = (&project.name, project.data_dir.display());
    Error::Unavailable(match (holders, process) {
        (Holders::Alone, "") => format!(
            "`tillstream run` works on {name} already, and `tillstream up` needs its data directory {directory} to itself; stop those processes first, or let one more share their work with `tillstream run`"
        ),
        (_, process) => {
            let process = if process.is_empty() { "another process".to_owned() } else { format!("process {process}") };
            format!(
                "{process} runs {name} already: `tillstream up` has its data directory {directory} to itself; stop that one first, or let several processes share the work with `tillstream run`"
            )
        }
    })
}
