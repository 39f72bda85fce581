//! Keeps the server running while it is used, and stops it when nobody uses it any more.

use std::fs::{File, TryLockError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::watch;

use super::binaries::{self, Binaries};
use super::cluster;
use super::directory::Directory;
use super::options::ServerOptions;
use super::process::{self, Running, Watcher};
use crate::error::{Result, ServerErrorKind};

const POLL: Duration = Duration::from_millis(100);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Finds the server running or starts it, under the start lock.
pub(super) async fn bring_up(directory: &Directory, options: &ServerOptions) -> Result<(Running, Binaries)> {
    let _starting = directory.lock_start().await?;
    directory.reload();
    let binaries = binaries::find(directory, options).await?;
    let has_cluster = directory.cluster_major().is_some();
    if has_cluster
        && directory.knows_password()
        && let Some(running) = process::find(directory, options.start_timeout).await?
    {
        if let Some(port) = options.port.filter(|port| *port != running.port) {
            let message = format!(
                "it runs on port {} for another process; port {port} can be had once that has stopped",
                running.port
            );
            return Err(directory.error(ServerErrorKind::PortTaken, message));
        }
        return Ok((running, binaries));
    }
    cluster::ensure(directory, &binaries, options).await?;
    let running = process::launch(directory, &binaries, options).await?;
    Ok((running, binaries))
}

/// Owns this process's share in the server.
pub(super) struct Supervisor {
    directory: Directory,
    options: ServerOptions,
    running: Running,
    stopped: watch::Receiver<bool>,
    pid: watch::Sender<i32>,
    /// Let go of before the watcher's input ends, so that the watcher can take it: fields are dropped in this order.
    users: File,
    watcher: Option<Watcher>,
}

impl Supervisor {
    pub(super) fn new(
        directory: Directory,
        options: ServerOptions,
        binaries: Binaries,
        running: Running,
        users: File,
        stopped: watch::Receiver<bool>,
    ) -> Result<Self> {
        tracing::debug!(major = binaries.major, pid = running.pid, "using the private PostgreSQL server");
        let watcher = Watcher::start(&directory, running.pid);
        // From now on the address must stay the same.
        let options = ServerOptions { port: Some(running.port), ..options };
        Ok(Self { directory, options, pid: watch::Sender::new(running.pid), running, stopped, users, watcher })
    }

    pub(super) fn pid(&self) -> watch::Receiver<i32> {
        self.pid.subscribe()
    }

    /// Runs until told to stop, or until the owner is dropped.
    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            let told = tokio::select! {
                told = self.stopped.wait_for(|stop| *stop) => Some(told.is_ok()),
                () = ended(&mut self.running) => None,
            };
            match told {
                Some(true) => return self.stop().await,
                // Dropped without a stop: as after a crash, the watcher sees to it.
                Some(false) => return Ok(()),
                None => {}
            }
            tracing::warn!(pid = self.running.pid, "the private PostgreSQL server ended; starting it again");
            if !self.restart().await? {
                return Ok(());
            }
        }
    }

    /// Returns false when told to stop in the meantime.
    async fn restart(&mut self) -> Result<bool> {
        let mut backoff = BACKOFF_MIN;
        loop {
            match bring_up(&self.directory, &self.options).await {
                Ok((running, _)) => {
                    if let Some(watcher) = self.watcher.take() {
                        watcher.dismiss().await;
                    }
                    self.watcher = Watcher::start(&self.directory, running.pid);
                    self.pid.send_replace(running.pid);
                    self.running = running;
                    return Ok(true);
                }
                Err(error) => tracing::error!(%error, "the private PostgreSQL server can't be started; trying again"),
            }
            let told = tokio::select! {
                told = self.stopped.wait_for(|stop| *stop) => Some(told.is_ok()),
                () = tokio::time::sleep(backoff) => None,
            };
            if let Some(orderly) = told {
                if let Some(watcher) = self.watcher.take().filter(|_| orderly) {
                    watcher.dismiss().await;
                }
                return Ok(false);
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Stops the server if we are its last user.
    async fn stop(mut self) -> Result<()> {
        // Nobody may find it running while it is being stopped.
        let starting = self.directory.lock_start().await?;
        let last = match self.users.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(self.directory.io("users.lock can't be locked", &error)),
        };
        let result = if last { self.shut_down().await } else { Ok(()) };
        drop(starting);
        if let Some(watcher) = self.watcher.take() {
            watcher.dismiss().await;
        }
        result
    }

    async fn shut_down(&mut self) -> Result<()> {
        let pid = self.running.pid;
        // Fast: sessions are ended, the last checkpoint is written.
        process::signal(pid, Signal::SIGINT);
        if tokio::time::timeout(self.options.stop_timeout, ended(&mut self.running)).await.is_ok() {
            tracing::info!(pid, "private PostgreSQL server has stopped");
            return Ok(());
        }
        // Immediate: what is committed is in the log and is recovered at the next start.
        process::signal(pid, Signal::SIGQUIT);
        let ended = tokio::time::timeout(Duration::from_secs(10), ended(&mut self.running)).await;
        let seconds = self.options.stop_timeout.as_secs();
        ended.map_err(|_| self.directory.error(ServerErrorKind::Failed, format!("it didn't stop within {seconds} s")))
    }
}

/// Waits until the server's process has ended.
async fn ended(running: &mut Running) {
    match &mut running.child {
        Some(child) => {
            if let Err(error) = child.wait().await {
                tracing::debug!(%error, "the private server can't be waited for");
            }
        }
        None => {
            while process::is_alive(running.pid) {
                tokio::time::sleep(POLL).await;
            }
        }
    }
}
