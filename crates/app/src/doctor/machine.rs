//! The machine: its clock, its limits, the disk, the ports.

use std::net::TcpListener;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use project::Project;

use super::Finding;
use crate::run::peers::{listen_address, running};

/// 1 January 2026, in microseconds since 1970: this version didn't exist before.
const EPOCH_US: i64 = 1_767_225_600_000_000;
/// Connections, log segments and PostgreSQL's files need so many at a busy moment.
const OPEN_FILES: u64 = 4_096;
const GIGABYTE: u64 = 1_000_000_000;
/// Below it the pipeline won't run for long.
const DISK_BYTES: u64 = 2 * GIGABYTE;
/// Below it hardly anything can be made.
const DISK_BYTES_MIN: u64 = GIGABYTE / 4;

pub(super) fn clock(now_us: i64) -> Finding {
    if now_us < EPOCH_US {
        let found =
            format!("the clock says {} s since 1970, which lies before this version was made", now_us / 1_000_000);
        return Finding::failure("clock", found, "set the clock, or let it be set: timedatectl set-ntp true");
    }
    Finding::ok("clock", "set to a time that can be")
}

pub(super) fn open_files() -> Finding {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        // Each command raises its own limit as far as this user may.
        Ok((soft, _)) if soft < OPEN_FILES => Finding::warning(
            "open files",
            format!("a process may hold at most {soft} files open"),
            "let an administrator raise the hard limit before a busy pipeline runs into it: ulimit -Hn 65536",
        ),
        Ok((soft, _)) => Finding::ok("open files", format!("a process may hold {soft}")),
        Err(error) => Finding::warning("open files", format!("the limit can't be read: {error}"), "look at ulimit -n"),
    }
}

/// Whether the data directory can be written to, and how much room there is.
pub(super) fn data_directory(path: &Path) -> Vec<Finding> {
    let shown = path.display();
    let tried = std::fs::create_dir_all(path).and_then(|()| tempfile::tempfile_in(path)).map(|_| ());
    let mut findings = vec![match tried {
        Ok(()) => Finding::ok("data directory", format!("{shown} can be written to")),
        Err(error) => Finding::failure(
            "data directory",
            format!("{shown} can't be written to: {error}"),
            "give it to the user who runs the pipeline, or set data_dir to another place",
        ),
    }];
    if let Ok(disk) = statvfs(path) {
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let found = format!("{:.1} GB are free for {shown}", free as f64 / GIGABYTE as f64);
        let advice = "make room, or set data_dir to a place on another disk";
        findings.push(match free {
            free if free < DISK_BYTES_MIN => Finding::failure("disk", found, advice),
            free if free < DISK_BYTES => Finding::warning("disk", found, advice),
            _ => Finding::ok("disk", found),
        });
    }
    findings
}

/// Whether the addresses that the project listens on can be had. A project that runs has them itself.
pub(super) fn ports(project: &Project) -> Vec<Finding> {
    if let Some(running) = running(&project.data_dir.join("addresses.json")) {
        return vec![Finding::ok("ports", format!("the project runs, as process {}", running.process_id))];
    }
    let settings = &project.settings;
    let connections = &settings.connections;
    let mut wanted = vec![("serve", &settings.serve.listen), ("ingest", &settings.ingest.listen)];
    if connections.kafka.is_embedded() {
        wanted.push(("broker", &settings.broker.listen));
    }
    if connections.registry.is_embedded() {
        wanted.push(("registry", &settings.registry.listen));
    }
    wanted.into_iter().map(|(what, listen)| port(what, listen)).collect()
}

fn port(what: &'static str, listen: &str) -> Finding {
    let address = match listen_address(what, listen) {
        Ok(address) => address,
        Err(error) => return Finding::failure("ports", error.to_string(), "write it as 127.0.0.1:PORT"),
    };
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("ports", format!("{what} can listen on {address}")),
        Err(error) => Finding::failure(
            "ports",
            format!("{what} can't listen on {address}: {error}"),
            format!(
                "stop what listens there (ss -ltnp), or choose another: --set {what}.listen=127.0.0.1:0 takes a free port"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_clock_of_1970_and_a_taken_port_are_failures() {
        assert_eq!(clock(5_000_000).level, Level::Failure);
        assert_eq!(clock(EPOCH_US + 1).level, Level::Ok);
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let taken = TcpListener::bind(&address).unwrap();
        let finding = port("serve", &address);
        assert_eq!(finding.level, Level::Failure);
        assert!(
            finding.found.contains(&address) && finding.advice.is_some_and(|advice| advice.contains("serve.listen"))
        );
        drop(taken);
        assert_eq!(port("serve", &address).level, Level::Ok);
    }

    #[test]
    fn a_directory_that_is_a_file_is_a_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(data_directory(file.path())[0].level, Level::Failure);
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(data_directory(&directory.path().join("new")).len(), 2);
    }
}
