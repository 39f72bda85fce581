//! How a pipeline and a load end: what has come in is finished, a peer that is away doesn't hold the process, and the next start goes on.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kafka::{Connection, Reader, ReaderOptions};
use model::TopicPartition;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(120);
const ROWS: &str = "SELECT count(*) FROM bi.payments_enriched";

fn shop() -> ProjectDir {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    ProjectDir::copy_of(&template, BINARY, Column::Embedded)
}

/// Runs `up --drain`; gives its summary.
fn drain(project: &ProjectDir, rest: &[&str]) -> Value {
    let ended = project.run("up", &[&["--drain"], rest].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

fn wait_for_more_rows(project: &ProjectDir, than: u64) -> u64 {
    testkit::wait_for("more rows in PostgreSQL", DEADLINE, || {
        let now: u64 = project.sql_value(ROWS).parse().expect("a number");
        (now > than).then_some(now)
    })
}

#[test]
fn after_ctrl_c_all_that_came_in_is_stored() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    let mut pipeline = project.up(&["--generate", "2000"]);
    wait_for_more_rows(&project, 0);
    pipeline.signal(Signal::SIGINT);
    assert_eq!(pipeline.wait(DEADLINE).code(), Some(0), "{}", pipeline.tail());
    let said = pipeline.stderr().join("\n");
    assert!(said.contains("stopping: no more records are taken"), "{said}");
    assert!(said.contains("stopped: all that came in is stored"), "{said}");
    // The broker stopped first of all would be told as an outage.
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");

    let count = format!(
        "SELECT ({ROWS}) + (SELECT count(*) FROM ops.rejected_records), ({ROWS}), sum(payments) FROM bi.kpis_per_minute"
    );
    let stored = project.sql_value(&count);
    let summary = drain(&project, &[]);
    let (raw, validated) = (&summary["raw"], &summary["validated"]);
    assert_eq!(stored, format!("{raw},{validated},{validated}"), "rows and open windows; {summary}");
}

#[test]
fn a_start_that_can_not_be_does_no_harm_to_what_runs() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    let mut pipeline = project.up(&["--generate", "1000"]);
    let process = format!("process {}", pipeline.id());
    for rest in [&["--generate", "1000"][..], &["--drain"]] {
        let second = project.run("up", rest);
        assert_eq!(second.code, Some(4), "{}", second.stderr);
        assert!(second.stderr.contains(&process) && second.stderr.contains("tillstream run"), "{}", second.stderr);
    }
    let beside = project.run("run", &["--stages", "store"]);
    assert_eq!(beside.code, Some(4), "{}", beside.stderr);
    assert!(beside.stderr.contains(&process) && beside.stderr.contains("to itself"), "{}", beside.stderr);
    let rows = project.sql_value(ROWS).parse().expect("a number");
    wait_for_more_rows(&project, rows);
    pipeline.assert_running();
    pipeline.kill();
    // The lock went with the process.
    drain(&project, &[]);
}

#[test]
fn a_start_beside_processes_that_share_the_work_does_them_no_harm() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    let mut process = project.start("run", &[]);
    process.wait_for_line(DEADLINE, |line| line.starts_with("running "));
    let up = project.run("up", &["--drain"]);
    assert_eq!(up.code, Some(4), "{}", up.stderr);
    assert!(up.stderr.contains("`tillstream run` works on payments already"), "{}", up.stderr);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    for setting in ["serve.listen", "ingest.listen"] {
        let second = project.run("run", &["--serve", "--set", &format!("{setting}={address}")]);
        assert_eq!(second.code, Some(4), "{}", second.stderr);
        assert!(second.stderr.contains("can't listen on"), "{}", second.stderr);
    }
    process.assert_running();
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait(DEADLINE).code(), Some(0), "{}", process.tail());
    drain(&project, &[]);
}

#[test]
fn a_broker_that_is_away_holds_nobody_and_costs_nothing() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Embedded);
    let address = format!("127.0.0.1:{}", testkit::free_port());
    let data = project.path.join("broker");
    let broker = || {
        let mut broker = Supervised::start(Path::new(BINARY), |command| {
            command.args(["broker", "--listen", &address, "--data"]).arg(&data);
        });
        broker.wait_for_line(DEADLINE, |line| line.starts_with("127.0.0.1:"));
        broker
    };
    let brokers = format!("connections.kafka.brokers={address}");
    let up = ["--generate", "1000", "--set", &brokers, "--output", "json"];
    let started = |project: &ProjectDir| {
        let mut pipeline = project.start("up", &up);
        pipeline.wait_for_line(DEADLINE, |line| line.starts_with("registry "));
        pipeline
    };

    let mut first = broker();
    let mut pipeline = started(&project);
    let rows = wait_for_more_rows(&project, 0);
    first.kill();
    pipeline.signal(Signal::SIGTERM);
    let status = pipeline.wait(DEADLINE);
    assert_eq!(status.code(), Some(0), "{}", pipeline.tail());
    let said = pipeline.stderr().join("\n");
    assert!(said.contains("Nothing is lost"), "{said}");
    let events: Vec<Value> =
        pipeline.stdout().iter().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let names: Vec<&Value> = events.iter().map(|event| &event["event"]).collect();
    assert_eq!(names, ["started", "stopped"], "{events:?}");

    let mut second = broker();
    let mut pipeline = started(&project);
    wait_for_more_rows(&project, rows);
    second.kill();
    pipeline.signal(Signal::SIGINT);
    pipeline.wait_for_line(DEADLINE, |line| line.starts_with("stopping: "));
    pipeline.signal(Signal::SIGINT);
    assert_eq!(pipeline.wait(DEADLINE).code(), Some(130), "{}", pipeline.tail());

    let _third = broker();
    let summary = drain(&project, &["--set", &brokers]);
    let count = |value: &Value| value.as_u64().expect("a number");
    let rejected: u64 = summary["rejected"].as_object().expect("reasons").values().map(count).sum();
    assert_eq!(count(&summary["validated"]) + rejected, count(&summary["raw"]), "{summary}");
    let distinct = "SELECT count(*), count(DISTINCT (source_partition, source_offset)) FROM bi.payments_enriched";
    assert_eq!(project.sql_value(distinct), format!("{0},{0}", summary["validated"]));
}

/// Writes orders `from..to` as a file.
fn orders(file: &Path, from: u32, to: u32) {
    let mut text = String::from("order_id,customer_id,product_id,quantity,price,ordered_at\n");
    for number in from..to {
        writeln!(text, "n{number},c{},p1,1,2.40,2026-01-05T09:00:00Z", number % 50).expect("a string takes all");
    }
    fs::write(file, text).expect("written");
}

fn loaded(project: &ProjectDir, file: &Path) -> Value {
    let path = file.to_str().expect("a path");
    let ended = project.run("load", &[path, "--stream", "orders", "--output", "json"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// Records in the raw topic of a project that runs; `None` while it starts.
fn raw_records(project: &ProjectDir) -> Option<i64> {
    project.data_dir().join("addresses.json").is_file().then_some(())?;
    let (brokers, _) = project.addresses();
    let connection = Connection { brokers, properties: Default::default(), client_id: "test".into() };
    let reader = Reader::new(&connection, &ReaderOptions::default()).ok()?;
    (0..4).map(|number| Some(reader.range(&TopicPartition::new("orders.raw", number)).ok()?.1)).sum()
}

#[test]
fn a_load_that_ctrl_c_cut_off_goes_on() {
    let project = shop();
    let file = project.path.join("many.csv");
    orders(&file, 0, 20_000);
    let path = file.to_str().expect("a path");
    let mut load = project.start("load", &[path, "--stream", "orders", "--rate", "100", "--output", "json"]);
    testkit::wait_for("the first rows", DEADLINE, || raw_records(&project).filter(|&records| records > 0));
    load.signal(Signal::SIGINT);
    assert_eq!(load.wait(DEADLINE).code(), Some(130), "{}", load.tail());
    let error: Value = serde_json::from_str(load.stderr().last().expect("an error")).expect("JSON");
    assert_eq!(error["error"]["code"], 130, "{error}");
    let first: Value = serde_json::from_str(&load.stdout().concat()).expect("JSON");
    let sent = first["sent"].as_u64().expect("a number");
    assert!(sent > 0 && sent < 20_000, "{first}");
    assert_eq!(loaded(&project, &file), json!({ "sent": 20_000 - sent, "already": sent, "refused": 0 }));
    assert_eq!(drain(&project, &[])["raw"], 20_009, "the file, and the template's own nine orders");
}

#[test]
fn a_load_shows_a_bar_on_a_terminal_and_lines_elsewhere() {
    let project = shop();
    let file = project.path.join("many.csv");
    orders(&file, 0, 20_000);
    let path = file.to_str().expect("a path");
    let load = project.command("load", &[path, "--stream", "orders", "--rate", "20000"]);
    let words: Vec<String> =
        [load.get_program()].into_iter().chain(load.get_args()).map(|word| format!("'{}'", word.display())).collect();
    // `script` gives the program a terminal.
    let mut terminal = Supervised::start(Path::new("script"), |command| {
        command.args(["-qefc", &words.join(" "), "/dev/null"]).env("TERM", "xterm");
    });
    assert_eq!(terminal.wait(DEADLINE).code(), Some(0), "{}", terminal.tail());
    let shown = terminal.stdout().join("\n");
    assert!(shown.contains("many.csv [=") && shown.contains("rows/s"), "{shown}");
    assert!(shown.contains("20000 rows sent, 0 were there already, 0 refused"), "{shown}");

    let plain = project.run("load", &[path, "--stream", "orders"]);
    assert!(!plain.stderr.contains('\u{1b}') && !plain.stdout.contains('\u{1b}'), "{}", plain.stderr);
    assert!(plain.stdout.contains("0 rows sent, 20000 were there already, 0 refused"), "{}", plain.stdout);
}

#[test]
fn a_file_that_was_loaded_is_remembered_while_it_and_its_topic_are_the_same() {
    let project = shop();
    let file: PathBuf = project.path.join("data/orders.csv");
    assert_eq!(drain(&project, &[])["raw"], 9);
    let done = project.data_dir().join("load/data_orders.csv.done.json");
    let remembered = fs::read_to_string(&done).expect("read");
    // Proof that the file itself isn't read again: what is remembered is believed.
    fs::write(&done, remembered.replace("\"rows\":9", "\"rows\":909")).expect("written");
    assert_eq!(loaded(&project, &file), json!({ "sent": 0, "already": 909, "refused": 0 }));

    let mut text = fs::read_to_string(&file).expect("read");
    text.push_str("o90,c9,p1,1,2.40,2026-01-05T09:02:50Z\n");
    fs::write(&file, &text).expect("written");
    assert_eq!(loaded(&project, &file), json!({ "sent": 1, "already": 9, "refused": 0 }), "the file has grown");
    assert_eq!(loaded(&project, &file), json!({ "sent": 0, "already": 10, "refused": 0 }));

    fs::remove_dir_all(project.data_dir().join("broker")).expect("removed");
    assert_eq!(loaded(&project, &file), json!({ "sent": 10, "already": 0, "refused": 0 }), "another topic");
}
