//! What every command promises: examples in its help, JSON when asked, and errors that a program can read.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

fn run(directory: &Path, words: &[&str]) -> Output {
    Command::new(BINARY).args(words).current_dir(directory).env("NO_COLOR", "1").output().expect("the program starts")
}

fn stdout(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The error of a command that was asked for JSON: the last line of standard error.
fn error(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().last().expect("an error is told");
    let error: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(error["error"]["code"], output.status.code().expect("it ended by itself"), "{error}");
    error["error"].clone()
}

fn shop() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let made = run(directory.path(), &["init", "shop", "--output", "json"]);
    assert!(made.status.success());
    let made = stdout(&made);
    assert_eq!(made["project"], "shop");
    let files = made["files"].as_array().expect("a list").iter().map(|file| file.as_str().expect("a text"));
    for file in files {
        assert!(directory.path().join(file).is_file(), "{file}");
    }
    directory
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let help = |words: &[&str]| String::from_utf8(run(Path::new("/"), words).stdout).expect("text");
    let all = help(&["--help"]);
    let (_, commands) = all.split_once("Commands:\n").expect("the commands");
    let lines = commands.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() >= 10, "{all}");
    for name in names {
        let help = help(&[name, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("  tillstream {name}")), "{help}");
        assert!(help.contains("--output <"), "{help}");
    }
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    for code in ["0 ok", "2 usage", "3 project error", "4 a peer", "5 data refused", "70 internal", "130 stopped"] {
        assert!(all.contains(code), "{code}: {all}");
    }
}

#[test]
fn a_project_error_is_json_with_its_place() {
    let directory = shop();
    let checked = stdout(&run(directory.path(), &["check", "shop", "--output", "json"]));
    assert_eq!((&checked["project"], &checked["streams"][0]), (&"shop".into(), &"orders".into()), "{checked}");

    let file = directory.path().join("shop/tillstream.yaml");
    let text = fs::read_to_string(&file).expect("read");
    let line = 1 + text.lines().position(|line| line.contains("quantity > 0")).expect("the rule is there");
    fs::write(&file, text.replace("quantity > 0", "quantitty > 0")).expect("written");
    let checked = run(directory.path(), &["check", "shop", "--output", "json"]);
    assert!(checked.stdout.is_empty());
    let error = error(&checked);
    assert_eq!((&error["code"], &error["domain"]), (&3.into(), &"user".into()), "{error}");
    let problem = &error["problems"][0];
    assert_eq!((&problem["file"], &problem["line"]), (&"tillstream.yaml".into(), &line.into()), "{error}");
    assert!(problem["message"].as_str().is_some_and(|message| message.contains("quantitty")), "{error}");
    // People get the place with a caret.
    let plain = run(directory.path(), &["check", "shop"]);
    assert!(String::from_utf8_lossy(&plain.stderr).contains("quantitty > 0"));
}

#[test]
fn a_peer_that_is_away_is_told_apart_in_json() {
    let directory = shop();
    let url = format!("connections.postgres.url=postgres://a@127.0.0.1:{}/a", testkit::free_port());
    let asked = run(directory.path(), &["sql", "shop", "SELECT 1", "--set", &url, "--output", "json"]);
    let error = error(&asked);
    assert_eq!((&error["code"], &error["domain"]), (&4.into(), &"external".into()), "{error}");
}

#[test]
fn servers_say_where_they_listen() {
    let directory = tempfile::tempdir().expect("a directory");
    for (words, field) in [
        (&["broker", "--listen", "127.0.0.1:0", "--data", "broker"][..], "address"),
        (&["registry", "--listen", "127.0.0.1:0", "--memory"][..], "url"),
    ] {
        let mut server = Supervised::start(Path::new(BINARY), |command| {
            command.args(words).args(["--output", "json"]).current_dir(directory.path());
        });
        let line = server.wait_for_line(Duration::from_secs(60), |line| line.starts_with('{'));
        let told: Value = serde_json::from_str(&line).expect("JSON");
        assert!(told[field].as_str().is_some_and(|address| address.contains("127.0.0.1:")), "{line}");
        server.signal(Signal::SIGTERM);
        assert!(server.wait(Duration::from_secs(60)).success(), "{}", server.tail());
    }
}

#[test]
fn a_low_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let shop = shop();
    for (limits, told) in
        [("256:8192", "a process may hold 8192"), ("256:300", "a process may hold at most 300 files open")]
    {
        let output = Command::new("prlimit")
            .args([&format!("--nofile={limits}"), BINARY, "doctor", "shop", "--output", "json"])
            .current_dir(shop.path())
            .output()
            .expect("prlimit starts");
        let findings = stdout(&output)["findings"].clone();
        let found = findings.as_array().expect("findings").iter().find(|finding| finding["check"] == "open files");
        assert_eq!(found.expect("the limit is looked at")["found"], told);
    }
}

/// What `deploy/kubernetes` says is what Kubernetes' schemas allow, and fits together with the profile of the example.
#[test]
fn the_example_for_kubernetes_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (objects, example) = (root.join("deploy/kubernetes"), root.join("examples/payments"));
    let said = testkit::python::run("validate_kubernetes.py", &[&objects, &example.join("tillstream.yaml")]);
    assert!(said.ends_with("objects are valid\n"), "{said}");
    let checked = run(&example, &["check", "--profile", "kubernetes"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_query_of_the_comparison_with_other_engines_is_valid() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    for others in ["queries", "patterns", "tests"] {
        fs::remove_dir_all(project.path.join(others)).expect("removed");
    }
    fs::create_dir(project.path.join("queries")).expect("a directory");
    let query = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/peers/query.sql");
    fs::copy(query, project.path.join("queries/spend.sql")).expect("copied");
    for engine in ["engine=local", "engine=spark"] {
        let ended = project.run("check", &["--set", engine]);
        assert_eq!(ended.code, Some(0), "{engine}: {}", ended.stderr);
    }
}
