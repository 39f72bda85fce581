//! How the private server is to be run.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::SynchronousCommit;

/// Where PostgreSQL's programs come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Programs {
    /// Those that are installed; if there are none, downloaded ones.
    #[default]
    Any,
    /// Those that are installed, or an error.
    Installed,
    /// Downloaded once into the user's cache, whatever is installed.
    Downloaded,
    /// Those in this directory.
    Directory(PathBuf),
}

/// How the private server is to be run.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The project's database, created if it isn't there.
    pub database: String,
    /// Port on 127.0.0.1. `None` takes a free one and keeps to it as long as it stays free.
    pub port: Option<u16>,
    /// When a commit counts as done. Default: when it is on disk.
    pub synchronous_commit: SynchronousCommit,
    /// Whether PostgreSQL waits for the disk at all. Turn it off only for tests: a crash of the machine then destroys the cluster.
    pub fsync: bool,
    /// More settings of PostgreSQL, applied after ours.
    pub settings: Vec<(String, String)>,
    /// Where PostgreSQL's programs come from.
    pub programs: Programs,
    /// Longest time for the server to accept connections; recovery after a crash is part of it.
    pub start_timeout: Duration,
    /// Longest time for an orderly stop.
    pub stop_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            database: "tillstream".into(),
            port: None,
            synchronous_commit: SynchronousCommit::On,
            fsync: true,
            settings: Vec::new(),
            programs: Programs::Any,
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(60),
        }
    }
}

impl ServerOptions {
    /// The settings for a small machine, as lines of a configuration file.
    pub(super) fn configuration(&self, port: u16, socket_directory: &str) -> String {
        let mut lines =
            String::from("# Written by Tillstream at each start. Own settings belong into postgresql.conf.\n");
        let mut set = |name: &str, value: &str| {
            // A quote or a line break in a value must not start another setting.
            let value = value.replace(['\n', '\r', '\0'], " ").replace('\\', "\\\\").replace('\'', "''");
            lines.push_str(&format!("{name} = '{value}'\n"));
        };
        let fsync = if self.fsync { "on" } else { "off" };
        for (name, value) in [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port.to_string()),
            ("unix_socket_directories", socket_directory),
            ("max_connections", "100"),
            ("shared_buffers", "128MB"),
            ("max_wal_size", "1GB"),
            ("checkpoint_completion_target", "0.9"),
            ("wal_compression", "on"),
            ("synchronous_commit", self.synchronous_commit.setting()),
            ("fsync", fsync),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("lc_messages", "C"),
            ("password_encryption", "scram-sha-256"),
            ("log_checkpoints", "off"),
            // Statements and their values stay out of the log: they are transactions of people.
            ("log_min_error_statement", "panic"),
            ("log_error_verbosity", "terse"),
        ] {
            set(name, value);
        }
        for (name, value) in &self.settings {
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
            {
                set(name, value);
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_start_another_setting() {
        let options = ServerOptions {
            settings: vec![("a".into(), "x'\nfsync = off #".into()), ("b\nc".into(), "1".into())],
            ..ServerOptions::default()
        };
        let text = options.configuration(1, "/tmp");
        assert!(text.contains("a = 'x'' fsync = off #'\n"), "{text}");
        assert!(!text.contains("\nc ="), "{text}");
    }
}
