//! The server's directory: what is remembered in it, where the cluster lies, who the server runs as, and the locks.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};

use super::io_error;
use super::options::ServerOptions;
use crate::error::{Error, Result, ServerErrorKind};

/// Parent of clusters whose project lies where the server's user can't pass.
const SYSTEM_DIRECTORY: &str = "/var/lib/tillstream";
/// Longest path of a directory for Unix sockets: the address has 108 bytes, and the socket's own name comes after it.
const SOCKET_DIRECTORY_BYTES_MAX: usize = 80;
const LOCK_WAIT: Duration = Duration::from_secs(120);

/// An unprivileged user that the server runs as, since PostgreSQL refuses to run as root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunAs {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl RunAs {
    /// `None` if we aren't root; else whoever owns the cluster, or the first of `postgres` and `nobody` that there is.
    fn choose(cluster: &Path) -> Result<Option<Self>, String> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(owner) = fs::metadata(cluster).map(|metadata| (metadata.uid(), metadata.gid()))
            && owner.0 != 0
        {
            return Ok(Some(Self { uid: owner.0, gid: owner.1 }));
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = nix::unistd::User::from_name(name) {
                return Ok(Some(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        Err("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as: add one, or run Tillstream as an ordinary user".into())
    }

    /// Whether this user may pass through the directory and all above it, as far as they exist.
    pub(super) fn can_pass(&self, directory: &Path) -> bool {
        directory.ancestors().filter_map(|path| fs::metadata(path).ok()).all(|metadata| {
            let mode = metadata.mode();
            let needed = if metadata.uid() == self.uid {
                0o100
            } else if metadata.gid() == self.gid {
                0o010
            } else {
                0o001
            };
            mode & needed != 0
        })
    }
}

/// What is remembered between starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) password: String,
    pub(super) port: Option<u16>,
    pub(super) cluster: PathBuf,
    pub(super) socket_directory: PathBuf,
}

/// The server's directory.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    run_as: Option<RunAs>,
    settings: Arc<Mutex<Settings>>,
    /// Whether the settings were read from a file or have been written to it.
    known: Arc<AtomicBool>,
}

impl Directory {
    /// Opens or makes the directory.
    pub(super) fn open(path: &Path, options: &ServerOptions) -> Result<Self> {
        let failed = |what: &str, error: std::io::Error| io_error(path, what, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(|error| failed("it can't be made", error))?;
        let path = path.canonicalize().map_err(|error| failed("it can't be read", error))?;
        let run_as = RunAs::choose(&path.join("cluster")).map_err(|message| Error::Server {
            directory: path.display().to_string(),
            kind: ServerErrorKind::Permission,
            message,
        })?;
        if options.database.is_empty()
            || options.database.len() > crate::IDENTIFIER_BYTES_MAX
            || options.database.contains('\0')
        {
            return Err(Error::Settings { message: format!("a database can't be named {:?}", options.database) });
        }
        let mut known = true;
        let settings = match fs::read(path.join("server.json")) {
            Ok(bytes) => {
                let mut settings: Settings = serde_json::from_slice(&bytes).map_err(|error| Error::Server {
                    directory: path.display().to_string(),
                    kind: ServerErrorKind::Failed,
                    message: format!(
                        "server.json can't be understood: {error}; delete it to get a new password and port"
                    ),
                })?;
                follow(&path, &mut settings);
                settings
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                known = false;
                let password =
                    generate_password().map_err(|error| io_error(&path, "no random numbers to be had", &error))?;
                let cluster = choose_cluster(&path, run_as.as_ref())?;
                let socket_directory = socket_directory(&cluster);
                Settings { password, port: None, cluster, socket_directory }
            }
            Err(error) => return Err(io_error(&path, "server.json can't be read", &error)),
        };
        Ok(Self { path, run_as, settings: Arc::new(Mutex::new(settings)), known: Arc::new(AtomicBool::new(known)) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn run_as(&self) -> Option<&RunAs> {
        self.run_as.as_ref()
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads again what another process may have written while we waited for its lock.
    pub(super) fn reload(&self) {
        if let Ok(bytes) = fs::read(self.path.join("server.json"))
            && let Ok(mut settings) = serde_json::from_slice(&bytes)
        {
            follow(&self.path, &mut settings);
            *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
            self.known.store(true, Ordering::Release);
        }
    }

    /// Whether the cluster has the password of these settings; not so when `server.json` was deleted.
    pub(super) fn knows_password(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Remembers the port, and everything else, for the next start.
    pub(super) fn save(&self, port: Option<u16>) -> Result<()> {
        let settings = Settings { port, ..self.settings() };
        let write = || -> std::io::Result<()> {
            let temporary = self.path.join("server.json.new");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(serde_json::to_string_pretty(&settings).map_err(std::io::Error::other)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(temporary, self.path.join("server.json"))
        };
        write().map_err(|error| io_error(&self.path, "server.json can't be written", &error))?;
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        self.known.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn error(&self, kind: ServerErrorKind, message: impl Into<String>) -> Error {
        Error::Server { directory: self.path.display().to_string(), kind, message: message.into() }
    }

    pub(super) fn io(&self, what: &str, error: &std::io::Error) -> Error {
        io_error(&self.path, what, error)
    }

    /// The major version that made the cluster; `None` if there is none yet.
    pub(super) fn cluster_major(&self) -> Option<u32> {
        fs::read_to_string(self.settings().cluster.join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Makes the directories above the cluster and for the socket, owned by the server's user; and the link to the cluster.
    pub(super) fn prepare(&self) -> Result<()> {
        let settings = self.settings();
        let make = || -> std::io::Result<()> {
            let parent = settings.cluster.parent().unwrap_or(&self.path);
            if parent != self.path {
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                fs::set_permissions(parent, Permissions::from_mode(0o755))?;
                fs::write(parent.join("project"), format!("{}\n", self.path.display()))?;
                self.own(parent)?;
                let link = self.path.join("cluster");
                if fs::read_link(&link).ok().as_ref() != Some(&settings.cluster) {
                    std::os::unix::fs::symlink(&settings.cluster, link)?;
                }
            }
            self.make_socket_directory(&settings.socket_directory)
        };
        make().map_err(|error| self.io("the directories of the cluster can't be made", &error))
    }

    /// In a directory that all may write to, what is there already may be a stranger's trap.
    fn make_socket_directory(&self, path: &Path) -> std::io::Result<()> {
        match DirBuilder::new().mode(0o755).create(path) {
            Ok(()) => self.own(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let there = fs::symlink_metadata(path)?;
                let owner = self.run_as.as_ref().map_or_else(|| nix::unistd::geteuid().as_raw(), |user| user.uid);
                if there.is_dir() && there.uid() == owner {
                    return Ok(());
                }
                let message = format!("{} belongs to somebody else: delete it", path.display());
                Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, message))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a path to the user that the server runs as.
    pub(super) fn own(&self, path: &Path) -> std::io::Result<()> {
        match &self.run_as {
            Some(user) => std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    /// Held while the server is looked for or started.
    pub(super) async fn lock_start(&self) -> Result<File> {
        self.lock("start.lock", File::try_lock).await
    }

    /// Held shared by each process that uses the server. While somebody stops the server it is held alone.
    pub(super) async fn lock_users(&self) -> Result<File> {
        self.lock("users.lock", File::try_lock_shared).await
    }

    async fn lock(&self, name: &str, take: fn(&File) -> Result<(), fs::TryLockError>) -> Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.path.join(name));
        let file = file.map_err(|error| self.io(&format!("{name} can't be opened"), &error))?;
        let waited = tokio::time::timeout(LOCK_WAIT, async {
            loop {
                match take(&file) {
                    Ok(()) => return Ok(()),
                    Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(fs::TryLockError::Error(error)) => {
                        return Err(self.io(&format!("{name} can't be locked"), &error));
                    }
                }
            }
        });
        match waited.await {
            Ok(locked) => locked.map(|()| file),
            Err(_) => {
                let message = format!("another process has held {name} for {} s", LOCK_WAIT.as_secs());
                Err(self.error(ServerErrorKind::Failed, message))
            }
        }
    }
}

/// The project may have been moved since the last start: a cluster inside of it moves along.
fn follow(path: &Path, settings: &mut Settings) {
    let link = path.join("cluster");
    if fs::symlink_metadata(&link).is_ok_and(|metadata| metadata.is_dir()) && settings.cluster != link {
        settings.socket_directory = socket_directory(&link);
        settings.cluster = link;
    }
}

/// The directory itself if the server's user can get there, else a new one in the system's directory.
fn choose_cluster(path: &Path, run_as: Option<&RunAs>) -> Result<PathBuf> {
    let link = path.join("cluster");
    match run_as {
        Some(user) if !user.can_pass(path) => {
            if let Ok(there) = fs::read_link(&link) {
                return Ok(there);
            }
            let random = generate_password().map_err(|error| io_error(path, "no random numbers to be had", &error))?;
            let name = random.get(..16).unwrap_or(&random).to_lowercase();
            Ok(Path::new(SYSTEM_DIRECTORY).join(name).join("cluster"))
        }
        _ => Ok(link),
    }
}

/// Beside the cluster, or in the system's temporary directory where that path would be too long for a socket.
fn socket_directory(cluster: &Path) -> PathBuf {
    let beside = cluster.parent().unwrap_or(cluster).join("socket");
    if beside.as_os_str().len() <= SOCKET_DIRECTORY_BYTES_MAX {
        return beside;
    }
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    cluster.hash(&mut hasher);
    PathBuf::from(format!("/tmp/tillstream-{:016x}", hasher.finish()))
}

/// 32 letters and digits from the system's generator.
fn generate_password() -> std::io::Result<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut password = String::with_capacity(32);
    while password.len() < 32 {
        let mut bytes = [0_u8; 64];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
        // Bytes past the last whole multiple are left out, so that each letter is as likely as any other.
        let letters = bytes.iter().filter(|byte| **byte < 248).filter_map(|byte| LETTERS.get(usize::from(byte % 62)));
        password.extend(letters.map(|letter| char::from(*letter)).take(32 - password.len()));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, two) = (generate_password().unwrap(), generate_password().unwrap());
        assert_eq!((one.len(), two.len()), (32, 32));
        assert_ne!(one, two);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_long_path_gets_its_socket_elsewhere() {
        let long = PathBuf::from("/".to_owned() + &"x".repeat(100)).join("cluster");
        assert!(socket_directory(&long).as_os_str().len() <= SOCKET_DIRECTORY_BYTES_MAX);
        assert_eq!(socket_directory(Path::new("/a/cluster")), Path::new("/a/socket"));
    }

    #[test]
    fn closed_directories_are_seen() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
        let stranger = RunAs { uid: 54_321, gid: 54_321 };
        assert!(!stranger.can_pass(&closed.path().join("not/there/yet")));
        fs::set_permissions(closed.path(), Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_pass(&closed.path().join("not/there/yet")));
    }
}
