//! The server's process: starting it, recognising one that runs already, and the watcher that stops it when all its users are dead.

use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStdin, Command};

use super::binaries::Binaries;
use super::cluster;
use super::directory::Directory;
use super::options::ServerOptions;
use crate::error::{Error, Result, ServerErrorKind};

/// How much of the log's end an error shows.
const LOG_TAIL_BYTES: u64 = 4_096;
/// A log longer than this is put aside at the next start.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Ports that are tried when the chosen one turns out to be taken.
const PORT_ATTEMPTS: usize = 5;
const POLL: Duration = Duration::from_millis(50);

/// The server as we found or started it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: i32,
    pub(super) port: u16,
    /// `None` if another process started it.
    pub(super) child: Option<Child>,
}

/// What `postmaster.pid` says.
struct PidFile {
    pid: i32,
    port: u16,
    text: String,
}

fn read_pid_file(cluster: &Path) -> Option<PidFile> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    // pid, data directory, start time, port
    let port = lines.nth(2).and_then(|port| port.trim().parse().ok()).unwrap_or(0);
    Some(PidFile { pid, port, text })
}

/// Whether the process is there and is a PostgreSQL server. After a crash of the machine or in a new container another program may
/// have the number.
pub(super) fn is_alive(pid: i32) -> bool {
    let there = matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM));
    match fs::read(format!("/proc/{pid}/cmdline")) {
        // The words of a process that has ended but wasn't waited for are empty.
        Ok(words) => {
            let program = words.split(|byte| *byte == 0).next().unwrap_or_default();
            there && (program.ends_with(b"postgres") || program.ends_with(b"postmaster"))
        }
        // Without /proc (macOS), believe the number.
        Err(_) => there && !Path::new("/proc/self").exists(),
    }
}

pub(super) fn signal(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, %signal, %error, "signal not sent");
    }
}

/// Looks for a server that runs on the cluster; waits for one that is starting or stopping. Clears a stale `postmaster.pid` away.
pub(super) async fn find(directory: &Directory, limit: Duration) -> Result<Option<Running>> {
    let cluster = directory.settings().cluster;
    let search = async {
        loop {
            let Some(file) = read_pid_file(&cluster) else { return Ok(None) };
            if !is_alive(file.pid) {
                match fs::remove_file(cluster.join("postmaster.pid")) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(directory.io("a stale postmaster.pid can't be removed", &error));
                    }
                    _ => return Ok(None),
                }
            }
            match belongs(directory, &file).await {
                Ok(true) => return Ok(Some(Running { pid: file.pid, port: file.port, child: None })),
                Ok(false) | Err(Error::Unavailable { .. } | Error::TryLater { .. }) => tokio::time::sleep(POLL).await,
                Err(other) => return Err(other),
            }
        }
    };
    tokio::time::timeout(limit, search).await.unwrap_or_else(|_| {
        let message = format!(
            "a server that runs already doesn't accept connections; its log ends with: {}",
            log_tail(directory)
        );
        Err(directory.error(ServerErrorKind::Failed, message))
    })
}

/// Whether the server on the file's port is the one that wrote the file.
async fn belongs(directory: &Directory, file: &PidFile) -> Result<bool> {
    if file.port == 0 {
        return Ok(false);
    }
    let client = cluster::session(directory, file.port).await?;
    let row = client.query_one("SELECT pg_read_file('postmaster.pid')", &[]).await;
    let text: String = row.map_err(|error| Error::postgres("looking at the private server", &error))?.get(0);
    Ok(text.lines().take(4).eq(file.text.lines().take(4)))
}

/// Starts the server and waits until it accepts connections. The caller holds the start lock and has found none running.
pub(super) async fn launch(directory: &Directory, binaries: &Binaries, options: &ServerOptions) -> Result<Running> {
    let deadline = tokio::time::Instant::now() + options.start_timeout;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = choose_port(directory, options.port, attempts > 1)?;
        cluster::configure(directory, options, port)?;
        let log = open_log(directory)?;
        let from = log.metadata().map_or(0, |metadata| metadata.len());
        let mut child = spawn(directory, binaries, log)?;
        let ready = tokio::time::timeout_at(deadline, wait_until_ready(directory, &mut child, port)).await;
        let words = match ready {
            Ok(Ok(true)) => {
                directory.save(Some(port))?;
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
                tracing::info!(port, pid, "private PostgreSQL server is running");
                return Ok(Running { pid, port, child: Some(child) });
            }
            Ok(Ok(false)) => log_since(directory, from),
            Ok(Err(error)) => {
                stop_child(&mut child).await;
                return Err(error);
            }
            Err(_) => {
                stop_child(&mut child).await;
                let message = format!(
                    "it wasn't ready within {} s; its log ends with: {}",
                    options.start_timeout.as_secs(),
                    log_since(directory, from)
                );
                return Err(directory.error(ServerErrorKind::Failed, message));
            }
        };
        let kind = cluster::kind_of(&words);
        // Sessions of a server that was killed take a moment to notice.
        let lingers = words.contains("pre-existing shared memory block") || words.contains("is another postmaster");
        let port_lost = kind == ServerErrorKind::PortTaken && options.port.is_none() && attempts < PORT_ATTEMPTS;
        if (lingers && tokio::time::Instant::now() < deadline) || port_lost {
            tokio::time::sleep(POLL * 4).await;
            continue;
        }
        return Err(directory.error(kind, format!("it doesn't start: {words}")));
    }
}

async fn stop_child(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        signal(pid, Signal::SIGQUIT);
    }
    // Its sessions end with it; there is nobody to tell if even this fails.
    let _ended = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
}

/// Returns false when the process ends instead.
async fn wait_until_ready(directory: &Directory, child: &mut Child, port: u16) -> Result<bool> {
    loop {
        if child.try_wait().map_err(|error| directory.io("the server can't be waited for", &error))?.is_some() {
            return Ok(false);
        }
        match cluster::session(directory, port).await {
            // Whoever answers while ours is still starting may be a stranger on the same port: ours has written this by then.
            Ok(_)
                if read_pid_file(&directory.settings().cluster)
                    .is_some_and(|file| Some(file.pid) == child.id().and_then(|pid| i32::try_from(pid).ok())) =>
            {
                return Ok(true);
            }
            Ok(_) | Err(Error::Unavailable { .. } | Error::TryLater { .. }) => tokio::time::sleep(POLL).await,
            Err(error) => return Err(error),
        }
    }
}

fn spawn(directory: &Directory, binaries: &Binaries, log: File) -> Result<Child> {
    let failed = |error: std::io::Error| directory.io("postgres can't be run", &error);
    let mut command = cluster::command(directory, &binaries.program("postgres"));
    command.arg("-D").arg(directory.settings().cluster);
    // Out of our process group: Ctrl-C is for us, and the server stays until we have drained.
    command.process_group(0).stdout(log.try_clone().map_err(failed)?).stderr(log);
    command.spawn().map_err(failed)
}

/// The fixed port, or the one of the last start, or a free one.
fn choose_port(directory: &Directory, fixed: Option<u16>, another: bool) -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = fixed {
        return match is_free(port) {
            Ok(_) => Ok(port),
            Err(error) => {
                let message = format!(
                    "port {port} on 127.0.0.1 can't be had: {error}; choose another, or leave it out to get a free one"
                );
                let kind = if error.kind() == std::io::ErrorKind::PermissionDenied {
                    ServerErrorKind::Permission
                } else {
                    ServerErrorKind::PortTaken
                };
                Err(directory.error(kind, message))
            }
        };
    }
    if let Some(port) = directory.settings().port.filter(|_| !another) {
        if is_free(port).is_ok() {
            return Ok(port);
        }
        tracing::warn!(port, "the private server's port of the last start is taken; taking another");
    }
    if let Some(port) = usual_ports(directory.path()).find(|port| is_free(*port).is_ok()) {
        return Ok(port);
    }
    let listener = is_free(0).and_then(|listener| listener.local_addr());
    Ok(listener.map_err(|error| directory.io("no free port can be had", &error))?.port())
}

/// Ports for the server of a directory, each directory's first one another. They lie below those that systems give out by themselves (Linux:
/// from 32768 on), so that nobody takes one by chance while the server is down.
fn usual_ports(directory: &Path) -> impl Iterator<Item = u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    let mut hasher = DefaultHasher::new();
    directory.hash(&mut hasher);
    let begin = u16::try_from(hasher.finish() % u64::from(COUNT)).unwrap_or(0);
    (0..COUNT).map(move |step| FIRST + (begin + step) % COUNT)
}

fn open_log(directory: &Directory) -> Result<File> {
    let path = directory.path().join("server.log");
    let open = || -> std::io::Result<File> {
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            fs::rename(&path, directory.path().join("server.log.1"))?;
        }
        OpenOptions::new().create(true).append(true).open(&path)
    };
    open().map_err(|error| directory.io("server.log can't be opened", &error))
}

fn log_tail(directory: &Directory) -> String {
    log_since(directory, 0)
}

/// The end of the log, at most from a byte on.
fn log_since(directory: &Directory, from: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(directory.path().join("server.log"))?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(LOG_TAIL_BYTES)).min(end)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// Waits until the input ends (we died) or says `done` (we stopped). Then, unless another process uses the server, stops it.
const WATCHER: &str = r#"
trap '' HUP INT TERM
read -r word
[ "$word" = done ] && exit 0
command -v flock >/dev/null || exit 0
exec 9>>"$3"
flock -x -w 5 9 || exit 0
[ "$(head -n 1 "$2/postmaster.pid" 2>/dev/null)" = "$1" ] && kill -INT "$1"
"#;

/// A process that outlives us for as long as it takes to stop the server.
#[derive(Debug)]
pub(super) struct Watcher {
    input: Option<ChildStdin>,
    child: Child,
}

impl Watcher {
    /// Without a shell there is no watcher: the server then stays after a crash of ours, and is used again at the next start.
    pub(super) fn start(directory: &Directory, pid: i32) -> Option<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", WATCHER, "tillstream-postgres-watcher", &pid.to_string()]);
        command.arg(directory.settings().cluster).arg(directory.path().join("users.lock"));
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        match command.spawn() {
            Ok(mut child) => Some(Self { input: child.stdin.take(), child }),
            Err(error) => {
                tracing::warn!(%error, "no watcher for the private server: after a crash it stays until the next start");
                None
            }
        }
    }

    /// Sends the watcher home.
    pub(super) async fn dismiss(mut self) {
        use tokio::io::AsyncWriteExt as _;
        if let Some(mut input) = self.input.take()
            && let Err(error) = input.write_all(b"done\n").await
        {
            tracing::debug!(%error, "the watcher was gone");
        }
        if let Err(error) = self.child.wait().await {
            tracing::debug!(%error, "the watcher can't be waited for");
        }
    }
}
