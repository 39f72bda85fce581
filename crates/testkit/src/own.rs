//! Servers that belong to one test, so that it can kill them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A server in a directory of its own, started by a script of `services`, always on the same port.
#[derive(Debug)]
pub struct OwnServer {
    script: &'static str,
    pid_file: &'static str,
    port: u16,
    directory: TempDir,
}

impl OwnServer {
    /// An Apache Kafka, running.
    ///
    /// # Panics
    /// When it doesn't start.
    pub fn kafka() -> Self {
        Self::new("kafka.sh", "kafka.pid")
    }

    /// A PostgreSQL, running.
    ///
    /// # Panics
    /// When it doesn't start.
    pub fn postgres() -> Self {
        Self::new("postgres.sh", "cluster/postmaster.pid")
    }

    /// An Apache Spark with its Connect server, running.
    ///
    /// # Panics
    /// When it doesn't start.
    pub fn spark() -> Self {
        Self::new("spark.sh", "spark.pid")
    }

    fn new(script: &'static str, pid_file: &'static str) -> Self {
        let readable = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(readable).tempdir().expect("a directory");
        // Kafka's controller takes the port after the broker's.
        let server = Self { script, pid_file, port: crate::free_port(), directory };
        server.start();
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it, on the data that it has.
    ///
    /// # Panics
    /// When it isn't ready in time; the message holds what it said.
    pub fn start(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services").join(self.script);
        let mut command = Command::new(script);
        command.arg(self.port.to_string()).arg(self.data());
        match self.script {
            "kafka.sh" => _ = command.arg(crate::cache_dir().join("kafka-libs")),
            // It stands beside the run's own.
            "spark.sh" => _ = command.arg(crate::cache_dir().join("spark-libs")).env("TILLSTREAM_SPARK_MEMORY", "1g"),
            _ => {}
        }
        let output = command.output().expect("the script starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.script);
    }

    /// Ends it by `signal`, and waits until its process is gone.
    ///
    /// # Panics
    /// When it doesn't run.
    pub fn end(&self, signal: Signal) {
        let process = self.process().expect("the server runs");
        kill(process, signal).expect("the server can be signalled");
        crate::wait_for("the server's end", Duration::from_secs(60), || (!is_alive(process)).then_some(()));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn process(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join(self.pid_file)).ok()?;
        let process = Pid::from_raw(text.lines().next()?.trim().parse().ok()?);
        is_alive(process).then_some(process)
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // PostgreSQL takes SIGQUIT with its children, the others die of SIGKILL.
        if let Some(process) = self.process() {
            let signal = if self.script == "postgres.sh" { Signal::SIGQUIT } else { Signal::SIGKILL };
            kill(process, signal).ok();
            crate::wait_for("the server's end", Duration::from_secs(60), || (!is_alive(process)).then_some(()));
        }
    }
}

/// Whether a process is there and no zombie.
fn is_alive(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
