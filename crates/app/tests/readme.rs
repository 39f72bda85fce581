//! The README's commands, run as they stand there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's panic is its report")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use testkit::process::Supervised;

const README: &str = include_str!("../../../README.md");
/// Long enough for a machine that builds and tests other things at the same time.
const DEADLINE: Duration = Duration::from_secs(120);

/// Where the binary of this build is, as programs' names are looked up.
fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tillstream"))
}

/// A directory that PostgreSQL reaches too: as root we run it under another user.
fn directory() -> TempDir {
    let permissions = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("tillstream-readme-").permissions(permissions).tempdir().expect("a directory")
}

/// The shell block under the comment `<!-- test: NAME -->`.
fn block(name: &str) -> String {
    let (_, after) = README.split_once(&format!("<!-- test: {name} -->")).expect("the README has the block");
    let (_, after) = after.split_once("```sh\n").expect("a shell block follows");
    let (commands, _) = after.split_once("```").expect("the block ends");
    commands.to_owned()
}

/// The binary first in the path, and every embedded system on a port that is free.
fn prepare(command: &mut Command, directory: &Path) {
    let folder = binary().parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    command.current_dir(directory).env("PATH", format!("{}:{path}", folder.display())).env("NO_COLOR", "1");
    for system in ["BROKER", "REGISTRY", "INGEST", "SERVE"] {
        command.env(format!("TILLSTREAM__{system}__LISTEN"), "127.0.0.1:0");
    }
}

/// Runs commands in one shell, which stops at the first that fails.
fn shell(directory: &Path, commands: &str) -> Output {
    let mut command = Command::new("timeout");
    command.args([&DEADLINE.as_secs().to_string(), "bash", "-euo", "pipefail", "-c", commands]);
    prepare(&mut command, directory);
    command.output().expect("bash runs")
}

/// Standard output of commands that must do.
fn run(directory: &Path, commands: &str) -> String {
    let output = shell(directory, commands);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\nof\n{commands}\nstdout:\n{stdout}\nstderr:\n{stderr}", output.status);
    stdout
}

fn assert_holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} isn't in:\n{text}");
    }
}

#[test]
fn own_data_comes_through_as_the_readme_says() {
    let directory = directory();
    let output = run(directory.path(), &block("new-project"));
    assert_holds(
        &output,
        &["3 tests passed", "\"raw\": 9", "\"validated\": 7", "\"duplicate\": 1", "\"rule\": 1", "equipment", "89.00"],
    );

    let output = run(directory.path(), &block("own-data"));
    // The new query has worked out the earlier orders too: 2 × 2.40 + 7.50 of c1, and 2 × 2.80 of the new customer c5.
    assert_holds(&output, &["1 rows sent, 0 were there already, 0 refused", "\"raw\": 10", "\"validated\": 8"]);
    assert_holds(&output, &["c1,2,12.30", "c5,1,5.60", "positive_quantity"]);
}

#[test]
fn a_running_pipeline_shows_itself_to_other_tools() {
    let directory = directory();
    run(directory.path(), "tillstream init shop");
    let mut up = Supervised::start(&binary(), |command| {
        prepare(command, directory.path());
        command.args(["up", "shop"]);
    });
    up.wait_until_announced();
    let lines = [up.stdout(), up.stderr()].concat();
    let word = |start: &str, number: usize| {
        let line = lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}? {lines:?}"));
        line.split_whitespace().nth(number).expect("the line has the word").to_owned()
    };
    let door = word("records ", 2);
    let door = door.trim_start_matches("http://").split('/').next().expect("an address");
    let commands = block("while-it-runs").replace("127.0.0.1:9092", &word("kcat ", 3)).replace("127.0.0.1:7601", door);
    // The project's own input is being loaded: ask until all of it has its verdict. The order sent again and again counts once.
    let wanted = ["\"appended\":1", "ts.reason=duplicate", "ts.rule=positive_quantity", "89.00", "2.40"];
    testkit::wait_for("the rejected records and the windows to be there", DEADLINE, || {
        let output = run(directory.path(), &commands);
        wanted.iter().all(|part| output.contains(part)).then_some(())
    });
    let metrics = run(directory.path(), &format!("curl -sSf {}metrics && curl -sSf {0}livez", word("dashboard ", 1)));
    assert_holds(&metrics, &["# TYPE tillstream_"]);
    run(directory.path(), &format!("kill -INT {}", up.id()));
    let status = up.wait(DEADLINE);
    assert!(status.success(), "{status} after Ctrl-C; {}", up.tail());
}

#[test]
fn exit_codes_are_those_that_the_readme_lists() {
    let directory = directory();
    let code = |commands: &str| {
        let output = shell(directory.path(), commands);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("the shell ended by itself"), stderr)
    };
    assert_eq!(code("tillstream init shop").0, 0);
    assert_eq!(code("tillstream load shop --stream orders").0, 2);
    assert_eq!(code("tillstream nonsense").0, 2);

    let (exit, stderr) = code("sed -i 's/quantity > 0/quantitty > 0/' shop/tillstream.yaml && tillstream check shop");
    assert_eq!(exit, 3, "{stderr}");
    assert_holds(&stderr, &["tillstream.yaml", "quantitty", "quantity"]);
    assert_eq!(code("sed -i 's/quantitty > 0/quantity > 0/' shop/tillstream.yaml && tillstream check shop").0, 0);

    let rows = "order_id,customer_id,product_id,quantity,price,ordered_at\no1,c1,p1,many,2.40,2026-01-05T09:00:05Z\n";
    std::fs::write(directory.path().join("bad.csv"), rows).expect("the file is written");
    let (exit, stderr) = code("tillstream load shop bad.csv --stream orders");
    assert_eq!(exit, 5, "{stderr}");
    assert_holds(&stderr, &["bad.csv.rejected.jsonl"]);

    let closed = testkit::free_port();
    let postgres =
        format!("tillstream sql shop 'SELECT 1' --set connections.postgres.url=postgres://a@127.0.0.1:{closed}/a");
    let (exit, stderr) = code(&postgres);
    assert_eq!(exit, 4, "{stderr}");
}

#[test]
fn the_table_of_commands_is_the_programs_own() {
    let rows = README.lines().filter_map(|line| line.strip_prefix("| `tillstream "));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split([' ', '`']).next()).collect();
    let directory = directory();
    let help = run(directory.path(), "tillstream --help");
    let (_, commands) = help.split_once("Commands:\n").expect("the help lists commands");
    // A command stands two spaces in; further lines of its description stand further in.
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let commands = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let known: BTreeSet<&str> = commands.filter(|name| !name.is_empty() && *name != "help").collect();
    assert_eq!(listed, known, "the README's table against `tillstream --help`");
}
