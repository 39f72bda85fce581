//! One `tillstream up` per data directory: a second would take all partitions away from the first, and end it.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use project::Project;

use crate::error::{Error, Result};

/// The lock of a project's data directory. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct SoleRunner {
    _file: File,
}

impl SoleRunner {
    /// Claims the project's data directory for this process. Where the file system has no locks, epochs alone keep processes apart.
    ///
    /// # Errors
    /// `Unavailable` while another process has it; `System` when the file can't be written.
    pub(crate) fn claim(project: &Project) -> Result<Self> {
        let directory = &project.data_dir;
        let path = directory.join("up.lock");
        let failed = |error| Error::system(format!("writing {}", path.display()), error);
        std::fs::create_dir_all(directory)
            .map_err(|error| Error::system(format!("making {}", directory.display()), error))?;
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // The message says less where the file can't be read.
                drop(file.read_to_string(&mut process));
                return Err(taken(project, process.trim()));
            }
            Err(TryLockError::Error(error)) => tracing::warn!("{} can't be locked: {error}", path.display()),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn taken(project: &Project, process: &str) -> Error {
    let process = if process.is_empty() { "another process".to_owned() } else { format!("process {process}") };
    Error::Unavailable(format!(
        "{process} runs {} already: `tillstream up` has its data directory {} to itself; stop that one first, or let several processes share the work with `tillstream run`",
        project.name,
        project.data_dir.display()
    ))
}
