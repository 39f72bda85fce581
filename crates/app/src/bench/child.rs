//! The own binary as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::example::Example;
use crate::error::{Error, Result};

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_STEP: Duration = Duration::from_millis(50);
const STOP_STEPS: u32 = 600;

/// `tillstream up` on a copy of the example. It is interrupted when dropped.
pub(super) struct Running {
    child: Child,
    /// Where its PostgreSQL is, as it prints it.
    database: Receiver<String>,
}

impl Running {
    /// Starts the process.
    pub(super) fn start(example: &Example, more: &[&str]) -> Result<Self> {
        let binary = std::env::current_exe().map_err(|error| Error::system("finding the own binary", error))?;
        let mut child = Command::new(&binary)
            .arg("up")
            .arg(example.directory())
            .args(example.arguments())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::system(format!("starting {}", binary.display()), error))?;
        let (tell, database) = sync_channel(1);
        let output = child.stdout.take();
        // Reads to the end, so that the process never blocks on its output; it ends with the process.
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(|line| line.ok())
            {
                if let Some(url) = url_in(&line) {
                    // Only the first is waited for.
                    drop(tell.try_send(url.to_owned()));
                }
            }
        });
        Ok(Self { child, database })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says where its PostgreSQL is, which it does when everything is up.
    pub(super) fn database_url(&self) -> Result<String> {
        self.database
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| Error::Unavailable("tillstream up ended or was not up in time; its log is above".to_owned()))
    }

    /// Asks it to stop, and waits.
    pub(super) fn stop(mut self) -> Result<()> {
        self.interrupt();
        for _ in 0..STOP_STEPS {
            let status = self.child.try_wait().map_err(|error| Error::system("waiting for tillstream up", error))?;
            match status {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(Error::Unavailable(format!("tillstream up ended with {status}; its log is above")));
                }
                None => std::thread::sleep(STOP_STEP),
            }
        }
        Err(Error::Unavailable("tillstream up did not stop within 30 s of being asked".to_owned()))
    }

    fn interrupt(&self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It may have ended already.
            kill(Pid::from_raw(id), Signal::SIGINT).ok();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for _ in 0..STOP_STEPS {
            match self.child.try_wait() {
                Ok(None) => {}
                _ => return,
            }
            self.interrupt();
            std::thread::sleep(STOP_STEP * 4);
        }
        drop(self.child.kill());
    }
}

/// The PostgreSQL URL in a line for people.
fn url_in(line: &str) -> Option<&str> {
    let from = line.find("postgres://").or_else(|| line.find("postgresql://"))?;
    let url = line.get(from..)?;
    let end = url.find(|c: char| c.is_whitespace() || c == '\'' || c == '"').unwrap_or(url.len());
    url.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_found_in_its_line() {
        let line = "psql      psql 'postgres://till:x@127.0.0.1:5432/payments?sslmode=disable'";
        assert_eq!(url_in(line), Some("postgres://till:x@127.0.0.1:5432/payments?sslmode=disable"));
        assert_eq!(url_in("kcat      kcat -b 127.0.0.1:9092 -L"), None);
    }
}
