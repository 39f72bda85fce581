//! Processes that share a project's stages.

use std::path::Path;
use std::time::Duration;

use testkit::process::Supervised;
use testkit::project::ProjectDir;

const DEADLINE: Duration = Duration::from_secs(90);

/// A registry for the project that outlives the processes under test.
pub(crate) fn with_registry(project: &mut ProjectDir) -> Supervised {
    let mut registry = Supervised::start(Path::new(env!("CARGO_BIN_EXE_tillstream")), |command| {
        command.args(["registry", "--memory", "--listen", "127.0.0.1:0"]);
    });
    let line = registry.wait_for_line(DEADLINE, |line| line.contains("http://"));
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    project.set(format!("connections.registry.url={url}"));
    registry
}

/// A process that runs all stages, beside others of its kind.
pub(crate) fn start(project: &ProjectDir) -> Supervised {
    let mut process = project.start("run", &["--serve"]);
    process.wait_until_announced();
    process
}

/// What `/metrics` of a process says of its stages: partitions that it has, and those that there are.
pub(crate) fn partitions(process: &Supervised, stage: &str) -> (u64, u64) {
    let metrics = super::page(process, "/metrics");
    let value = |name: &str| {
        let start = format!("tillstream_{name}{{stage=\"{stage}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |value| value.trim().parse::<f64>().unwrap() as u64)
    };
    (value("stage_partitions"), value("stage_partitions_all"))
}

/// Waits until each of the processes has a part of each stage, and together they have all; of the processing one has it.
pub(crate) fn wait_until_shared(processes: &[&Supervised], stages: &[&str]) {
    testkit::wait_for("a part of each stage", DEADLINE, || {
        let is_shared = |stage: &&str| {
            let parts: Vec<(u64, u64)> = processes.iter().map(|process| partitions(process, stage)).collect();
            let sum: u64 = parts.iter().map(|(own, _)| own).sum();
            parts.iter().all(|&(own, all)| own > 0 && sum == all)
        };
        (stages.iter().all(is_shared) && leaders(processes).len() == 1).then_some(())
    });
}

/// Which of the processes do the processing, which isn't shared.
pub(crate) fn leaders(processes: &[&Supervised]) -> Vec<usize> {
    (0..processes.len()).filter(|&at| partitions(processes[at], "process").0 == 1).collect()
}
