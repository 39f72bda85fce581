//! A process under a test's control: its output is kept, and it never outlives the test.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

type Lines = Arc<Mutex<Vec<String>>>;

/// A running program with its output so far.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Supervised {
    /// Starts `program`; `configure` adds arguments, environment and directory.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(program: &Path, configure: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(program);
        configure(&mut command);
        Self::spawn(command)
    }

    /// Starts a command that is complete.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers = vec![
            follow(child.stdout.take().expect("stdout is piped"), stdout.clone()),
            follow(child.stderr.take().expect("stderr is piped"), stderr.clone()),
        ];
        Self { name, child, stdout, stderr, readers }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output, line by line.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has written to standard error, line by line.
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Kills it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process can be asked").is_none()
    }

    /// Asserts that it is still running.
    ///
    /// # Panics
    /// When it has ended; the message holds how, and the end of its output.
    pub fn assert_running(&mut self) {
        if !self.is_running() {
            let status = self.wait(Duration::ZERO);
            panic!("{} ended: {status}; {}", self.name, self.tail());
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it runs past `deadline`; the message holds the end of its output.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be asked") {
                for reader in self.readers.drain(..) {
                    reader.join().expect("the reader ends");
                }
                return status;
            }
            assert!(start.elapsed() < deadline, "{} ran past {deadline:?}; {}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it run for `duration`, or until it ends by itself; true if it still runs.
    pub fn run_for(&mut self, duration: Duration) -> bool {
        let start = Instant::now();
        while self.is_running() && start.elapsed() < duration {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.is_running()
    }

    /// Waits for a line of standard output or error that `matches`.
    ///
    /// # Panics
    /// When it ends or `deadline` passes first.
    pub fn wait_for_line(&mut self, deadline: Duration, matches: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            if !self.is_running() {
                // Its last lines are here once it is waited for.
                self.wait(deadline);
            }
            let found = self.stdout().into_iter().chain(self.stderr()).find(|line| matches(line));
            if let Some(line) = found {
                return line;
            }
            self.assert_running();
            assert!(start.elapsed() < deadline, "{} said nothing in {deadline:?}; {}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `tillstream up` or `run --serve` has said where everything is: what comes last on standard error, and on standard output.
    ///
    /// # Panics
    /// As [`wait_for_line`](Self::wait_for_line).
    pub fn wait_until_announced(&mut self) {
        for last in ["registry ", "kcat "] {
            self.wait_for_line(Duration::from_secs(90), |line| line.starts_with(last));
        }
    }

    /// The end of its output, for a test's message.
    pub fn tail(&self) -> String {
        let last = |lines: Vec<String>| lines.iter().rev().take(30).rev().cloned().collect::<Vec<_>>().join("\n");
        format!("stdout ends with:\n{}\nstderr ends with:\n{}", last(self.stdout()), last(self.stderr()))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a test waited for in vain is often explained here.
            eprintln!("{}: {}", self.name, self.tail());
        }
        if self.is_running() {
            // A failure here means that it has just ended by itself.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn follow(output: impl Read + Send + 'static, lines: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    })
}
