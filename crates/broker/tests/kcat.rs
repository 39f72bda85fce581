//! kcat, an older librdkafka: lists, produces, consumes, joins a group.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::TestBroker;

fn kcat(bootstrap: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("timeout")
        .args(["60", "kcat", "-b", bootstrap])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kcat is needed for this test: apt-get install kcat");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kcat {arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kcat_lists_produces_and_consumes() {
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path());
    let bootstrap = broker.bootstrap();
    let mut expected = String::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: String = (0..50).map(|number| format!("{codec}-{number}\n")).collect();
        kcat(&bootstrap, &["-P", "-t", "words", "-z", codec], &lines);
        expected.push_str(&lines);
    }
    let listed = kcat(&bootstrap, &["-L"], "");
    assert!(listed.contains("topic \"words\" with 1 partitions"), "{listed}");
    assert!(listed.contains(&format!("broker 1 at {bootstrap} (controller)")), "{listed}");

    let from_the_start = kcat(&bootstrap, &["-C", "-t", "words", "-o", "beginning", "-e", "-q"], "");
    assert_eq!(from_the_start, expected);
    let last_two = kcat(&bootstrap, &["-C", "-t", "words", "-o", "-2", "-e", "-q"], "");
    assert_eq!(last_two, "zstd-48\nzstd-49\n");
    let by_time = kcat(&bootstrap, &["-Q", "-t", "words:0:0"], "");
    assert_eq!(by_time.trim(), "words [0] offset 0");

    let in_a_group = &["-G", "readers", "words", "-X", "auto.offset.reset=earliest", "-e", "-q"];
    assert_eq!(kcat(&bootstrap, in_a_group, ""), expected);
    assert_eq!(kcat(&bootstrap, in_a_group, ""), "", "all was committed");
}
