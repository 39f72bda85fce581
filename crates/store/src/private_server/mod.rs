//! A PostgreSQL server that Tillstream starts for one project, so that nothing has to be set up.
//!
//! **Where.** In the directory that the caller names, which holds
//!
//! | file | what |
//! | --- | --- |
//! | `server.json` | port, password and the cluster's place; readable by its owner alone |
//! | `cluster/` | PostgreSQL's own data directory, or a symbolic link to it |
//! | `server.log`, `server.log.1` | the server's messages of this start and the one before |
//! | `start.lock`, `users.lock` | keep processes that use the same directory from getting in each other's way |
//!
//! **Root.** PostgreSQL refuses to run as root. Started as root, it runs as `postgres`, or else `nobody`, who must be able to pass
//! through every directory above the cluster. Where that isn't so (`/root` is closed to others), the cluster is made in
//! `/var/lib/tillstream/` and `cluster` is a symbolic link to it. Moving the project keeps the link; deleting the project leaves
//! the cluster behind, and its `project` file says whose it was.
//!
//! **Who may connect.** Only this machine: 127.0.0.1 and a Unix socket, both with a password that is generated once.
//!
//! **Life.** Several processes may use one server: each [`start`] finds it running or starts it. It is stopped when the last of them
//! stops or dies, also by kill -9: a small watcher (`sh` with `flock`) notices. A server that dies while it is in use is started again
//! on the same port. What an earlier crash left behind (a stale `postmaster.pid`, a half-made cluster) is cleared away.

mod binaries;
mod cluster;
mod directory;
mod options;
mod process;
mod supervise;

use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use binaries::{Binaries, installed};
pub use options::{Programs, ServerOptions};

use crate::error::{Error, Result, ServerErrorKind};
use directory::Directory;
use supervise::Supervisor;

/// Name of the server's administrator, which Tillstream connects as.
pub const USER: &str = "tillstream";

/// Finds the project's server running, or starts it, and creates the project's database if it isn't there.
///
/// # Errors
/// `Server`, whose kind and message say what is missing: binaries, permissions, disk space, the port; or the end of the server's log.
pub async fn start(directory: &Path, options: ServerOptions) -> Result<PrivateServer> {
    let directory = Directory::open(directory, &options)?;
    // Held shared for as long as this process uses the server.
    let users = directory.lock_users().await?;
    let (running, binaries) = supervise::bring_up(&directory, &options).await?;
    cluster::create_database(&directory, running.port, &options.database).await?;
    let (stop, stopped) = watch::channel(false);
    let port = running.port;
    let pid = running.pid;
    let supervisor = Supervisor::new(directory.clone(), options.clone(), binaries, running, users, stopped)?;
    let pid_now = supervisor.pid();
    Ok(PrivateServer {
        directory,
        options,
        port,
        first_pid: pid,
        pid: pid_now,
        stop,
        task: tokio::spawn(supervisor.run()),
    })
}

/// The project's server. Dropping it lets go of the server as a crash would; [`PrivateServer::stop`] is orderly.
#[derive(Debug)]
pub struct PrivateServer {
    directory: Directory,
    options: ServerOptions,
    port: u16,
    first_pid: i32,
    pid: watch::Receiver<i32>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl PrivateServer {
    /// URL of the project's database over 127.0.0.1, with the password: for Tillstream, psql and BI tools on this machine.
    pub fn url(&self) -> String {
        let password = &self.directory.settings().password;
        format!("postgres://{USER}:{password}@127.0.0.1:{}/{}", self.port, percent_encoded(&self.options.database))
    }

    /// The same over the Unix socket, which is a little faster.
    pub fn socket_url(&self) -> String {
        let settings = self.directory.settings();
        let (password, socket) = (&settings.password, settings.socket_directory.to_string_lossy());
        let database = percent_encoded(&self.options.database);
        format!("postgres://{USER}:{password}@{}:{}/{database}", percent_encoded(&socket), self.port)
    }

    /// Port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the server; another one after it was started again.
    pub fn pid(&self) -> i32 {
        let now = *self.pid.borrow();
        if now == 0 { self.first_pid } else { now }
    }

    /// PostgreSQL's data directory.
    pub fn cluster(&self) -> PathBuf {
        self.directory.settings().cluster.clone()
    }

    /// Stops the server if no other process uses it: sessions are ended, what is committed is on disk. Otherwise only lets go of it.
    ///
    /// # Errors
    /// `Server` when it doesn't stop in time.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        match self.task.await {
            Ok(stopped) => stopped,
            Err(error) => Err(self.directory.error(ServerErrorKind::Failed, format!("its supervisor ended: {error}"))),
        }
    }
}

/// Encodes everything but letters, digits, `-`, `_` and `.` for a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Classifies an input or output error on a path of the server's.
fn io_error(directory: &Path, what: &str, error: &std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => ServerErrorKind::Permission,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ServerErrorKind::DiskFull,
        _ => ServerErrorKind::Failed,
    };
    Error::Server { directory: directory.display().to_string(), kind, message: format!("{what}: {error}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_encoded_for_urls() {
        assert_eq!(super::percent_encoded("/tmp/a b"), "%2Ftmp%2Fa%20b");
    }
}
