//! The broker as a whole: start, accept, stop.

use std::fs::{self, File, TryLockError};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::error::{Error, Result};
use crate::group::coordinator::Coordinator;
use crate::group::store::OffsetStore;
use crate::metrics::Metrics;
use crate::options::{FlushPolicy, Options};
use crate::topics::Topics;

const LOCK_FILE: &str = "lock";
/// There while the data directory was closed properly and isn't open.
const CLEAN_FILE: &str = "closed-properly";
/// How long connections have to end when the broker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) topics: Topics,
    pub(crate) groups: Coordinator,
    pub(crate) metrics: Arc<Metrics>,
    /// Host and port that clients are told, if they are set.
    pub(crate) advertised: Option<(String, u16)>,
}

/// A broker that listens.
#[derive(Debug)]
pub struct Broker {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Held while the broker lives.
    lock: File,
}

impl Broker {
    /// Opens the data directory, recovering what a killed broker left, and listens. Clients can connect when it returns; they are
    /// answered once [`Broker::run`] runs.
    ///
    /// # Errors
    /// `Listen` for a taken port, `InUse` if another broker has the directory, `Storage`, `Damaged`, `Option`.
    pub async fn bind(options: Options) -> Result<Self> {
        let advertised = options.advertised.as_deref().map(parse_advertised).transpose()?;
        if options.default_partitions < 1 {
            let reason = format!("{} is too few, at least 1 is needed", options.default_partitions);
            return Err(Error::Option { option: "default_partitions", reason });
        }
        // The port first: it is the usual mistake, and is found out without touching the data.
        let listen = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let metrics = Arc::new(Metrics::default());
        let opening = {
            let (options, metrics) = (options.clone(), metrics.clone());
            tokio::task::spawn_blocking(move || open(&options, &metrics))
        };
        let (lock, topics, offsets) = match opening.await {
            Ok(opened) => opened?,
            Err(panicked) => return Err(Error::storage("open", &options.data_dir)(io::Error::other(panicked))),
        };
        let groups =
            Coordinator::new(Arc::new(offsets), options.clock.clone(), options.group_initial_delay, metrics.clone());
        tracing::info!(%address, data = %options.data_dir.display(), flush = ?options.flush, "the broker listens");
        let shared = Arc::new(Shared { options, topics, groups, metrics, advertised });
        Ok(Self { listener, address, shared, lock })
    }

    /// Where it listens, with the port that the system chose if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Serves clients until `shutdown` is ready, then ends connections, flushes and closes the data directory. If the future is
    /// dropped instead, connections end and the next start recovers as after a kill.
    ///
    /// # Errors
    /// `Storage` if the data can't be flushed at the end.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { listener, shared, lock, .. } = self;
        let stop = CancellationToken::new();
        let _stop_if_dropped = stop.clone().drop_guard();
        let tasks = TaskTracker::new();
        spawn_background(&tasks, &shared, &stop);

        let permits = Arc::new(Semaphore::new(shared.options.connections_max));
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => serve(stream, peer, &permits, &tasks, &shared, &stop),
                    Err(error) => {
                        tracing::warn!(%error, "a connection couldn't be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        stop.cancel();
        tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!("some connections didn't end in time");
        }
        let directory = shared.options.data_dir.clone();
        let closing = {
            let directory = directory.clone();
            tokio::task::spawn_blocking(move || close(&shared, &directory))
        };
        let closed = closing.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        drop(lock);
        closed.map_err(Error::storage("close", &directory))
    }
}

fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    permits: &Arc<Semaphore>,
    tasks: &TaskTracker,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) {
    let Ok(permit) = permits.clone().try_acquire_owned() else {
        shared.metrics.connections_refused.add(1);
        tracing::warn!(%peer, limit = shared.options.connections_max, "too many connections; this one is closed");
        return;
    };
    let (shared, stop) = (shared.clone(), stop.clone());
    tasks.spawn(async move {
        shared.metrics.connections.add(1);
        connection::serve(stream, peer, &shared, &stop).await;
        shared.metrics.connections.subtract(1);
        drop(permit);
    });
}

fn spawn_background(tasks: &TaskTracker, shared: &Arc<Shared>, stop: &CancellationToken) {
    let (timers, stopped) = (shared.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = timers.groups.run_timers() => {}
            () = stopped.cancelled() => {}
        }
    });
    if let FlushPolicy::Interval(interval_ms) = shared.options.flush {
        let (shared, stopped) = (shared.clone(), stop.clone());
        tasks.spawn(async move {
            let interval = Duration::from_millis(interval_ms.max(1));
            while stopped.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
                let shared = shared.clone();
                let flushed = tokio::task::spawn_blocking(move || flush_dirty(&shared)).await;
                if let Ok(Err(error)) = flushed {
                    tracing::error!(%error, "flushing failed");
                }
            }
        });
    }
}

fn flush_dirty(shared: &Shared) -> io::Result<()> {
    for topic in shared.topics.all() {
        for log in topic.partitions().iter().filter(|log| log.is_dirty()) {
            log.flush_now()?;
        }
    }
    shared.groups.offsets.flush_now().map(drop)
}

fn open(options: &Options, metrics: &Arc<Metrics>) -> Result<(File, Topics, OffsetStore)> {
    let directory = &options.data_dir;
    fs::create_dir_all(directory).map_err(Error::storage("make", directory))?;
    let lock_path = directory.join(LOCK_FILE);
    let lock = File::create(&lock_path).map_err(Error::storage("open", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::InUse { directory: directory.clone() }),
        Err(TryLockError::Error(error)) => return Err(Error::storage("lock", &lock_path)(error)),
    }
    let clean_path = clean_path(directory);
    let clean = match fs::remove_file(&clean_path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::storage("remove", &clean_path)(error)),
    };
    crate::log::files::flush_directory_of(&clean_path).map_err(Error::storage("flush", directory))?;
    let topics = Topics::open(options, clean, metrics.clone())?;
    let offsets = OffsetStore::open(directory, options.flush)?;
    Ok((lock, topics, offsets))
}

fn close(shared: &Shared, directory: &Path) -> io::Result<()> {
    let are_whole = shared.topics.close()?;
    shared.groups.offsets.flush_now()?;
    if are_whole { crate::log::files::replace(&clean_path(directory), b"") } else { Ok(()) }
}

fn clean_path(directory: &Path) -> PathBuf {
    directory.join(CLEAN_FILE)
}

fn parse_advertised(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() && port > 0 => Ok((host.trim_matches(['[', ']']).to_owned(), port)),
        _ => Err(Error::Option { option: "advertised", reason: format!("{text:?} isn't HOST:PORT") }),
    }
}
