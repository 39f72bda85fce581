//! A project directory of its own for one test, on either column of peers, and the program run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::Database;
use crate::process::Supervised;

/// Longest time of one command.
const COMMAND_DEADLINE: Duration = Duration::from_secs(300);
/// Profile that the test writes into the project: the only change to it.
const PROFILE: &str = "rig";

/// Which peers a project runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Embedded broker and registry, private PostgreSQL.
    Embedded,
    /// The run's Apache Kafka and PostgreSQL server; the embedded registry, which keeps its schemas in that Kafka.
    Servers,
}

/// A copy of a project that only this test uses.
#[derive(Debug)]
pub struct ProjectDir {
    binary: PathBuf,
    /// The project's directory.
    pub path: PathBuf,
    /// Prefix of its topics.
    pub topic_prefix: String,
    column: Column,
    database: Option<Database>,
    settings: Vec<String>,
    _parent: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ProjectDir {
    /// Copies the project directory `source` and adds a profile with the addresses of the column's peers.
    ///
    /// # Panics
    /// When it can't be copied.
    pub fn copy_of(source: &Path, binary: &str, column: Column) -> Self {
        // A private PostgreSQL of a test that runs as root belongs to another user, who must be able to pass.
        let parent =
            tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("a directory");
        let path = parent.path().join("project");
        copy(source, &path);
        let database = (column == Column::Servers).then(Database::create);
        let topic_prefix = match column {
            Column::Embedded => String::new(),
            Column::Servers => format!("{}.", crate::unique_name("scenario")),
        };
        let project =
            Self { binary: binary.into(), path, topic_prefix, column, database, settings: Vec::new(), _parent: parent };
        project.add_profile();
        project
    }

    /// A copy of `examples/<name>`.
    pub fn of_example(name: &str, binary: &str, column: Column) -> Self {
        Self::copy_of(&examples().join(name), binary, column)
    }

    /// Gives every command `--set setting`.
    pub fn set(&mut self, setting: impl Into<String>) {
        self.settings.push(setting.into());
    }

    /// Replaces a part of a file of the project.
    ///
    /// # Panics
    /// When the part isn't there.
    pub fn edit(&self, file: &str, old: &str, new: &str) {
        let path = self.path.join(file);
        let text = fs::read_to_string(&path).expect("the file can be read");
        assert!(text.contains(old), "{} has no {old:?}", path.display());
        fs::write(&path, text.replacen(old, new, 1)).expect("the file can be written");
    }

    /// A command line of the program on this project: `words`, then the directory, then `rest`.
    pub fn command(&self, command: &str, rest: &[&str]) -> Command {
        let mut process = Command::new(&self.binary);
        process.arg(command).arg(&self.path).args(rest).args(["--profile", PROFILE]);
        for setting in &self.settings {
            process.args(["--set", setting]);
        }
        process
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &str, rest: &[&str]) -> Ended {
        let mut process = self.start(command, rest);
        let status = process.wait(COMMAND_DEADLINE);
        Ended { code: status.code(), stdout: process.stdout().join("\n"), stderr: process.stderr().join("\n") }
    }

    /// Starts a command.
    pub fn start(&self, command: &str, rest: &[&str]) -> Supervised {
        Supervised::spawn(self.command(command, rest))
    }

    /// Starts `up` and waits until its stages run and other commands find it.
    pub fn up(&self, rest: &[&str]) -> Supervised {
        let mut process = self.start("up", rest);
        process.wait_until_announced();
        process
    }

    /// `tillstream sql --output csv`, the lines below the header.
    ///
    /// # Panics
    /// When the command fails.
    pub fn sql(&self, query: &str) -> Vec<String> {
        let output: Output = self.command("sql", &[query, "--output", "csv"]).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{query}: {stderr}");
        let text = String::from_utf8(output.stdout).expect("CSV is UTF-8");
        text.lines().skip(1).map(str::to_owned).collect()
    }

    /// The one value that a query gives.
    pub fn sql_value(&self, query: &str) -> String {
        let rows = self.sql(query);
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        rows.concat()
    }

    /// Asks `query` again and again until its one value is `wanted`.
    ///
    /// # Panics
    /// When `deadline` passes first; the message has the last value.
    pub fn wait_for_value(&self, query: &str, wanted: &str, deadline: Duration) {
        let start = Instant::now();
        loop {
            let value = self.sql_value(query);
            if value == wanted {
                return;
            }
            assert!(start.elapsed() < deadline, "{query} is {value} after {deadline:?}, expected {wanted}");
        }
    }

    /// The addresses that the running `up` of this project wrote for other commands: Kafka's and the registry's.
    ///
    /// # Panics
    /// When there is none.
    pub fn addresses(&self) -> (String, String) {
        let text = fs::read_to_string(self.data_dir().join("addresses.json")).expect("the pipeline runs");
        let field = |name: &str| {
            let rest = text.split_once(&format!("\"{name}\"")).expect("the address is in the file").1;
            rest.split('"').nth(1).expect("the address is a text").to_owned()
        };
        (field("kafka"), field("registry"))
    }

    /// Where the project's state lies.
    pub fn data_dir(&self) -> PathBuf {
        self.path.join(".tillstream")
    }

    /// Process id of the private PostgreSQL, if it runs.
    pub fn postmaster(&self) -> Option<i32> {
        let file = find(&self.data_dir().join("postgres"), "postmaster.pid")?;
        fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
    }

    fn add_profile(&self) {
        let listen = "    serve: { listen: \"127.0.0.1:0\" }\n    ingest: { listen: \"127.0.0.1:0\" }\n    registry: { listen: \"127.0.0.1:0\" }\n";
        let peers = match &self.database {
            None => "    broker: { listen: \"127.0.0.1:0\" }\n".to_owned(),
            Some(database) => format!(
                "    connections:\n      kafka: {{ brokers: \"{}\", topic_prefix: {} }}\n      postgres: {{ url: \"{}\" }}\n",
                crate::kafka::bootstrap(),
                self.topic_prefix,
                database.url()
            ),
        };
        self.edit("tillstream.yaml", "\nprofiles:\n", &format!("\nprofiles:\n  {PROFILE}:\n{listen}{peers}\n"));
    }
}

impl Drop for ProjectDir {
    fn drop(&mut self) {
        if self.column == Column::Servers {
            crate::kafka::delete_topics_with_prefix(&self.topic_prefix);
        }
        // The private server ends by itself when its process has gone; its directory must outlive it.
        let start = Instant::now();
        while self.postmaster().is_some() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The examples of the repository.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// The directory of the grocery example's data.
///
/// # Panics
/// When it hasn't been fetched.
pub fn grocery_data() -> PathBuf {
    let data = examples().join("grocery").join("data");
    for file in ["transactions.parquet", "products.parquet"] {
        assert!(data.join(file).is_file(), "{file} isn't there: run examples/grocery/fetch (./dev test does)");
    }
    data
}

/// Copies a directory, but for the state of pipelines that ran in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("the directory can be read") {
        let entry = entry.expect("the directory can be read");
        let target = to.join(entry.file_name());
        if entry.file_name() == ".tillstream" {
            continue;
        }
        if entry.file_type().expect("the entry's type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("the file can be copied");
        }
    }
}

fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            return Some(path);
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = find(&path, name)
        {
            return Some(found);
        }
    }
    None
}
