//! State that doesn't fit into its memory: it goes to the disk, or reading waits; nothing is lost, also when the process is killed.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::process::Supervised;
use testkit::project::ProjectDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const PATIENCE: Duration = Duration::from_secs(90);

/// Payments with these settings of the process stage.
fn payments(settings: &str) -> ProjectDir {
    let project = common::payments(BINARY);
    project.edit("tillstream.yaml", "\nprofiles:\n", &format!("\nprocess: {{ {settings} }}\n\nprofiles:\n"));
    project
}

/// What a metric of the pipeline says; 0 while it isn't there.
fn metric(pipeline: &Supervised, series: &str) -> f64 {
    let page = common::page(pipeline, "/metrics");
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Waits until so many payments more than `before` are validated that a minute of them has accounts that pay more than once, however early the
/// state was full.
fn wait_for_enough(pipeline: &Supervised, before: u64) {
    let validated = "tillstream_records_total{stream=\"transactions\",outcome=\"validated\"}";
    let wanted = (before + 10_000) as f64;
    testkit::wait_for("10,000 payments", PATIENCE, || (metric(pipeline, validated) >= wanted).then_some(()));
}

#[test]
fn state_on_the_disk_outlives_a_kill_and_leaves_no_file() {
    let project = payments("state_limit: 100KB, checkpoint_interval: 300ms");
    let mut generated = 0;
    for _ in 0..2 {
        let mut pipeline = project.up(&[]);
        let generator = common::generate(&project, 2_000, "0");
        for query in ["velocity", "far_above_average"] {
            let spilled = format!("tillstream_query_spilled_bytes{{query=\"{query}\"}}");
            testkit::wait_for(&format!("state of {query} on the disk"), PATIENCE, || {
                (metric(&pipeline, &spilled) > 0.0).then_some(())
            });
        }
        wait_for_enough(&pipeline, generated);
        generated += common::end(generator);
        pipeline.signal(Signal::SIGKILL);
        pipeline.wait(PATIENCE);
        // Its files had no names.
        let spill = std::fs::read_dir(project.data_dir().join("spill")).expect("a directory");
        assert_eq!(spill.count(), 0);
    }
    common::assert_nothing_is_lost(&project, generated);
}

#[test]
fn a_query_without_room_waits_and_says_so_and_goes_on_with_more() {
    let project = payments("state_limit: 100KB, state_overflow: pause");
    // One that waits is enough.
    std::fs::remove_dir_all(project.path.join("patterns")).expect("the example has patterns");
    let mut pipeline = project.up(&[]);
    let generator = common::generate(&project, 2_000, "0");
    testkit::wait_for("word of the query that has no room", PATIENCE, || {
        let said = common::readiness(&pipeline);
        (said.contains("query velocity: its state needs about") && said.contains("process.state_limit")).then_some(())
    });
    wait_for_enough(&pipeline, 0);
    let generated = common::end(generator);
    pipeline.assert_running();
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(PATIENCE).code(), Some(0), "{}", pipeline.tail());
    project.edit("tillstream.yaml", "state_limit: 100KB, state_overflow: pause", "state_limit: 100MB");
    common::assert_nothing_is_lost(&project, generated);
}
