//! What a project needs from its machine and its peers, looked at one by one.
//!
//! | file | looks at |
//! | --- | --- |
//! | `machine` | clock, open files, disk, ports |
//! | `peers` | Kafka, the registry, PostgreSQL, Apache Spark |

mod machine;
mod peers;

use model::Clock;
use project::Project;
use serde::Serialize;
use tokio::runtime::Handle;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but not for long or not as well as it could.
    Warning,
    /// The pipeline can't run.
    Failure,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    /// What is the case.
    pub(crate) found: String,
    /// What to do about it.
    pub(crate) advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, found: found.into(), advice: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn failure(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Failure, found: found.into(), advice: Some(advice.into()) }
    }
}

/// `3 queries and 2 patterns`.
fn queries_and_patterns(project: &Project) -> String {
    let patterns = project.queries.iter().filter(|query| query.pattern.is_some()).count();
    let counted = |number: usize, one: &str, several: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {several}"),
    };
    let queries = counted(project.queries.len() - patterns, "query", "queries");
    if patterns == 0 { queries } else { format!("{queries} and {}", counted(patterns, "pattern", "patterns")) }
}

/// Looks at everything that the project needs. `runtime` is what PostgreSQL and Apache Spark are asked on.
pub(crate) fn examine(project: &Project, clock: &dyn Clock, runtime: &Handle) -> Vec<Finding> {
    let version = format!("tillstream {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let streams: Vec<&str> = project.streams.iter().map(|stream| stream.name.as_str()).collect();
    let mut findings = vec![
        Finding::ok("version", version),
        Finding::ok(
            "project",
            format!("{}: streams {}; {}", project.name, streams.join(", "), queries_and_patterns(project)),
        ),
        machine::clock(clock.now_us()),
        machine::open_files(),
    ];
    findings.extend(machine::data_directory(&project.data_dir));
    findings.push(peers::kafka(project));
    findings.push(peers::registry(project));
    findings.extend(peers::postgres(project, clock, runtime));
    findings.extend(peers::spark(project, runtime));
    findings.extend(machine::ports(project));
    findings
}
