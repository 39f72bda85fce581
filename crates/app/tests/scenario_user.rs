//! The product as those run it who have just got it: an ordinary user, and a machine without PostgreSQL.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown, geteuid};
use serde_json::Value;
use tempfile::TempDir;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(120);
/// `nobody` and its group: a user without any rights or files.
const NOBODY: u32 = 65_534;

/// A user's home directory, with the binary beside it.
struct Home {
    directory: TempDir,
    uid: u32,
}

impl Home {
    /// Of this process's user, or of `nobody` when that is root.
    fn new() -> Self {
        let open = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(open).tempdir().expect("a directory");
        let home = directory.path().join("home");
        fs::create_dir(&home).expect("a directory");
        let uid = match geteuid().is_root() {
            true => {
                chown(&home, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).expect("the directory is given");
                NOBODY
            }
            false => geteuid().as_raw(),
        };
        // Root's build directory is closed to others.
        let binary = directory.path().join("tillstream");
        fs::hard_link(BINARY, &binary).or_else(|_| fs::copy(BINARY, &binary).map(|_| ())).expect("the binary");
        Self { directory, uid }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The program as this user, in the home directory, with every embedded system on a free port.
    fn command(&self, words: &[&str]) -> Command {
        let binary = self.directory.path().join("tillstream");
        let mut command = match geteuid().is_root() {
            true => {
                let mut command = Command::new("setpriv");
                let id = NOBODY.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(binary);
                command
            }
            false => Command::new(binary),
        };
        command.args(words).current_dir(self.path()).env("HOME", self.path()).env_remove("XDG_CACHE_HOME");
        for system in ["BROKER", "REGISTRY", "INGEST", "SERVE"] {
            command.env(format!("TILLSTREAM__{system}__LISTEN"), "127.0.0.1:0");
        }
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let mut process = Supervised::spawn(self.command(words));
        assert!(process.wait(DEADLINE).success(), "{words:?}: {}", process.tail());
        process.stdout().join("\n")
    }
}

/// Every file below `directory` belongs to the user.
fn assert_owned(directory: &Path, uid: u32) {
    for entry in fs::read_dir(directory).expect("the directory can be read").flatten() {
        let metadata = entry.metadata().expect("the file can be looked at");
        assert_eq!(metadata.uid(), uid, "{}", entry.path().display());
        if metadata.is_dir() {
            assert_owned(&entry.path(), uid);
        }
    }
}

#[test]
fn an_ordinary_user_needs_no_rights() {
    let home = Home::new();
    home.run(&["init", "shop"]);
    home.run(&["check", "shop"]);
    let summary: Value = serde_json::from_str(&home.run(&["up", "shop", "--drain"])).expect("JSON");
    assert_eq!((&summary["raw"], &summary["validated"]), (&9.into(), &7.into()), "{summary}");

    let mut up = Supervised::spawn(home.command(&["up", "shop"]));
    up.wait_until_announced();
    let rows = home.run(&["sql", "shop", "--output", "csv", "SELECT count(*) > 0 FROM bi.sales_per_minute"]);
    assert_eq!(rows.lines().nth(1), Some("t"), "{rows}");
    // `setpriv` has become the program.
    kill(Pid::from_raw(i32::try_from(up.id()).expect("a process id")), Signal::SIGTERM).expect("it runs");
    assert_eq!(up.wait(DEADLINE).code(), Some(0), "{}", up.tail());
    assert_owned(&home.path(), home.uid);
}

#[test]
fn without_an_installed_postgresql_one_is_downloaded() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    let project = ProjectDir::copy_of(&template, BINARY, Column::Embedded);
    project.edit(
        "tillstream.yaml",
        "\nname: shop\n",
        "\nname: shop\nconnections: { postgres: { programs: downloaded } }\n",
    );
    let mut up = project.up(&[]);
    let postmaster = project.postmaster().expect("the private server runs");
    let program = fs::read_link(format!("/proc/{postmaster}/exe")).expect("the program of the server");
    let folder = program.parent().and_then(Path::parent).expect("a folder");
    assert!(folder.ends_with("tillstream/postgresql/17"), "{}", program.display());
    project.wait_for_value("SELECT count(*) FROM ops.rejected_records", "2", DEADLINE);
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait(DEADLINE).code(), Some(0), "{}", up.tail());
}
