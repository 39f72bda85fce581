//! The commands that look into a project: topics, rejected records, and what it needs.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testkit::project::{Column, Ended, ProjectDir};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(120);

fn shop() -> ProjectDir {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../project/template");
    ProjectDir::copy_of(&template, BINARY, Column::Embedded)
}

fn drained_shop() -> ProjectDir {
    let project = shop();
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    project
}

fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn tap_shows_what_is_there_and_what_comes() {
    let project = drained_shop();
    let validated = lines(&project.run("tap", &["orders.validated", "--from", "beginning"]));
    assert_eq!(validated.len(), 7, "{validated:?}");
    let first = validated.iter().find(|record| record["value"]["order_id"] == "o1").expect("the first order");
    assert_eq!(
        (&first["topic"], &first["key"]),
        (&"orders.validated".into(), &first["value"]["customer_id"]),
        "{first}"
    );
    assert!(first["headers"]["ts.raw.offset"].is_string(), "{first}");
    assert_eq!(lines(&project.run("tap", &["orders.raw", "--from", "beginning", "--max", "3"])).len(), 3);
    let windows = lines(&project.run("tap", &["sales_per_minute", "--from", "beginning"]));
    assert!(windows.iter().any(|window| window["key"]["category"].is_string()), "keys are decoded too: {windows:?}");
    let unknown = project.run("tap", &["order.raw"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("orders.raw"), "{}", unknown.stderr);

    let mut up = project.up(&[]);
    let mut tap = project.start("tap", &["orders.rejected", "--max", "1"]);
    let file = project.path.join("late.csv");
    // Loaded again and again under other names until the tap, which starts at some time, has seen one.
    let mut number = 0;
    testkit::wait_for("a rejected record", DEADLINE, || {
        number += 1;
        let header = "order_id,customer_id,product_id,quantity,price,ordered_at";
        fs::write(&file, format!("{header}\nx{number},c1,p1,0,2.40,2026-01-05T09:02:20Z\n")).expect("written");
        let name = project.path.join(format!("late{number}.csv"));
        fs::rename(&file, &name).expect("renamed");
        let loaded = project.run("load", &[name.to_str().expect("a path"), "--stream", "orders"]);
        assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
        (!tap.is_running()).then_some(())
    });
    tap.wait(DEADLINE);
    let seen: Value = serde_json::from_str(&tap.stdout().concat()).expect("one record");
    assert_eq!(seen["headers"]["ts.reason"], "rule", "{seen}");
    up.signal(Signal::SIGINT);
    assert_eq!(up.wait(DEADLINE).code(), Some(0), "{}", up.tail());
}

#[test]
fn rejected_records_are_listed_and_shown() {
    let project = drained_shop();
    let listed = project.run("rejects", &[]);
    assert_eq!(listed.code, Some(2), "list or show must be said");
    let list = |rest: &[&str]| {
        let command = [&["list"], rest].concat();
        rejects(&project, &command)
    };
    let all: Value = serde_json::from_str(&list(&["--output", "json"]).stdout).expect("JSON");
    let all = all.as_array().expect("rows").clone();
    assert_eq!(all.len(), 2, "{all:?}");
    let rules: Value = serde_json::from_str(&list(&["--output", "json", "--reason", "rule"]).stdout).expect("JSON");
    let row = &rules[0];
    assert_eq!((rules.as_array().map(Vec::len), &row["rule"]), (Some(1), &"positive_quantity".into()), "{rules}");
    let unknown = list(&["--reason", "ugly"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("duplicate"), "{}", unknown.stderr);

    let place = [row["raw_partition"].to_string(), row["raw_offset"].to_string()];
    let shown = rejects(&project, &["show", "orders", &place[0], &place[1], "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!((&shown["reason"], &shown["rule"]), (&"rule".into(), &"positive_quantity".into()), "{shown}");
    assert_eq!((&shown["value"]["quantity"], &shown["key"]), (&0.into(), &shown["value"]["customer_id"]), "{shown}");
    assert_eq!(rejects(&project, &["show", "orders", "0", "9999"]).code, Some(2));
}

/// `tillstream rejects WHAT DIR REST…`.
fn rejects(project: &ProjectDir, words: &[&str]) -> Ended {
    let (what, rest) = words.split_first().expect("a word");
    let directory = project.path.to_str().expect("a path");
    let output = std::process::Command::new(BINARY)
        .args(["rejects", what, directory])
        .args(rest)
        .args(["--profile", "rig"])
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn doctor_tells_what_is_missing_and_what_to_do() {
    let project = shop();
    let examine = |rest: &[&str]| {
        let ended = project.run("doctor", &[&["--output", "json"], rest].concat());
        let told: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
        (ended.code, told)
    };
    let of = |told: &Value, check: &str| -> Value {
        let findings = told["findings"].as_array().expect("findings");
        findings.iter().filter(|finding| finding["check"] == check).cloned().collect()
    };
    let (code, well) = examine(&[]);
    assert_eq!((code, &well["ok"]), (Some(0), &true.into()), "{well}");
    for check in [
        "version",
        "project",
        "clock",
        "open files",
        "data directory",
        "disk",
        "kafka",
        "registry",
        "postgres",
        "ports",
    ] {
        assert_ne!(of(&well, check), json!([]), "{check}: {well}");
    }
    assert_eq!(of(&well, "spark"), json!([]), "it runs no query: {well}");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let closed = testkit::free_port();
    let (code, ill) = examine(&[
        "--set",
        &format!("serve.listen={port}"),
        "--set",
        &format!("connections.registry.url=http://127.0.0.1:{closed}"),
        "--set",
        &format!("connections.postgres.url=postgres://a@127.0.0.1:{closed}/a"),
        "--set",
        &format!("connections.kafka.brokers=127.0.0.1:{closed}"),
        "--set",
        "engine=spark",
        "--set",
        &format!("connections.spark.url=sc://127.0.0.1:{closed}"),
    ]);
    assert_eq!((code, &ill["ok"]), (Some(1), &false.into()), "{ill}");
    for check in ["kafka", "registry", "postgres", "spark"] {
        let finding = &of(&ill, check)[0];
        assert_eq!(finding["level"], "failure", "{ill}");
        assert!(finding["found"].as_str().is_some_and(|found| found.contains(&closed.to_string())), "{finding}");
        assert!(finding["advice"].is_string(), "{finding}");
    }
    let ports = of(&ill, "ports");
    let served = ports.as_array().expect("ports").iter().find(|finding| finding["level"] == "failure").expect("a port");
    assert!(served["found"].as_str().is_some_and(|found| found.contains(&port)), "{served}");

    let project = ProjectDir::of_example("payments", BINARY, Column::Servers);
    let url = format!("connections.spark.url={}", testkit::spark::url());
    let ended = project.run("doctor", &["--set", "engine=spark", "--set", &url]);
    assert_eq!(ended.code, Some(0), "Kafka, PostgreSQL and Spark of the rig: {}{}", ended.stdout, ended.stderr);
    for words in ["PostgreSQL 1", "0 of 1 raw topics", "task slots"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
}

#[test]
fn explain_says_what_the_state_has_needed() {
    let project = shop();
    let explain =
        || lines(&project.run("explain", &["sales_per_minute", "--output", "json"])).remove(0)["queries"][0].clone();
    assert!(explain().get("seen").is_none(), "it never ran");
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let (explained, count) = (explain(), |value: &Value| value.as_u64().expect("a number"));
    let seen = &explained["seen"];
    let (groups, bytes, per_window) =
        (count(&seen["groups"]), count(&seen["bytes"]), count(&seen["groups_per_window"]));
    assert!(groups > 0 && bytes > 50 * groups && per_window > 0, "{seen}");
    let open = count(&explained["state"][0]["windows_open"]);
    assert_eq!(count(&seen["bytes_bound"]), per_window * open * bytes.div_ceil(groups), "{seen}");
    let text = project.run("explain", &["sales_per_minute"]).stdout;
    assert!(text.contains("\n  seen ") && text.contains(" groups a window and "), "{text}");

    for _ in ["selected", "grouped by"] {
        project.edit("queries/sales_per_minute.sql", "'1 minute'", "'2 minutes'");
    }
    assert!(explain().get("seen").is_none(), "another query, which never ran");
}
