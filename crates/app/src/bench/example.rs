//! A throw-away copy of `examples/payments` and the systems for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::SystemClock;
use project::{Overrides, Project, Rendering};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Plan, Settings, machine};
use crate::cli::runtime;
use crate::cli::signals::asked_to_stop;
use crate::error::{Error, Result};
use crate::run::peers::{Database, Peers};
use crate::run::pipeline::{Pipeline, Stage};
use crate::run::spark::Work;

/// The query that gives one row for each payment.
pub(super) const ROWS: &str = "payments_enriched";

const FILES: [(&str, &str); 12] = [
    ("tillstream.yaml", include_str!("../../../../examples/payments/tillstream.yaml")),
    ("schemas/transaction.avsc", include_str!("../../../../examples/payments/schemas/transaction.avsc")),
    ("reference/merchants.csv", include_str!("../../../../examples/payments/reference/merchants.csv")),
    ("queries/kpis_per_minute.sql", include_str!("../../../../examples/payments/queries/kpis_per_minute.sql")),
    ("queries/spend_by_category.sql", include_str!("../../../../examples/payments/queries/spend_by_category.sql")),
    (
        "queries/spend_by_category_sliding.sql",
        include_str!("../../../../examples/payments/queries/spend_by_category_sliding.sql"),
    ),
    ("queries/velocity.sql", include_str!("../../../../examples/payments/queries/velocity.sql")),
    ("queries/payments_enriched.sql", include_str!("../../../../examples/payments/queries/payments_enriched.sql")),
    ("patterns/card_testing.sql", include_str!("../../../../examples/payments/patterns/card_testing.sql")),
    (
        "patterns/declines_then_success.sql",
        include_str!("../../../../examples/payments/patterns/declines_then_success.sql"),
    ),
    ("patterns/far_above_average.sql", include_str!("../../../../examples/payments/patterns/far_above_average.sql")),
    ("patterns/impossible_travel.sql", include_str!("../../../../examples/payments/patterns/impossible_travel.sql")),
];

/// Which of the example's queries to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queries {
    /// All queries, and no patterns.
    All,
    /// Without the query that gives a row for each payment.
    Aggregates,
    /// The patterns alone.
    Patterns,
}

impl Queries {
    /// Whether a file of the example belongs to the project.
    fn has(self, file: &str) -> bool {
        let (is_query, is_pattern) = (file.starts_with("queries/"), file.starts_with("patterns/"));
        match self {
            Self::All => !is_pattern,
            Self::Aggregates => !is_pattern && file != format!("queries/{ROWS}.sql"),
            Self::Patterns => !is_query,
        }
    }
}

/// A copy of the example; removed when dropped.
#[derive(Debug)]
pub(super) struct Example {
    directory: TempDir,
    sets: Vec<(String, String)>,
}

impl Example {
    pub(super) fn new(plan: &Plan, queries: Queries) -> Result<Self> {
        let parent = plan.directory.clone().unwrap_or_else(cache_directory);
        let failed = |path: &Path| {
            let doing = format!("writing {}", path.display());
            move |error| Error::system(doing, error)
        };
        std::fs::create_dir_all(&parent).map_err(failed(&parent))?;
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(&parent).map_err(failed(&parent))?;
        // The private PostgreSQL runs as another user when we are root.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))
            .map_err(failed(directory.path()))?;
        for (name, text) in FILES.into_iter().filter(|(name, _)| queries.has(name)) {
            let path = directory.path().join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(failed(parent))?;
            }
            std::fs::write(&path, text).map_err(failed(&path))?;
        }
        let mut sets = Vec::new();
        for name in ["broker", "registry", "ingest", "serve"] {
            sets.push((format!("{name}.listen"), format!("127.0.0.1:{}", free_port()?)));
        }
        sets.extend(plan.sets.iter().cloned());
        Ok(Self { directory, sets })
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The overrides as arguments of `tillstream up`.
    pub(super) fn arguments(&self) -> Vec<String> {
        self.sets.iter().flat_map(|(path, value)| ["--set".to_owned(), format!("{path}={value}")]).collect()
    }

    pub(super) fn project(&self) -> Result<Project> {
        let overrides = Overrides { profile: None, sets: self.sets.clone(), environment: BTreeMap::new() };
        Project::load(self.directory(), &overrides).map_err(|errors| Error::Project(errors.render(Rendering::plain())))
    }

    pub(super) fn settings(&self) -> Result<Settings> {
        let project = self.project()?;
        Ok(Settings {
            build: machine::build(),
            broker_flush: project.settings.broker.flush.to_string(),
            synchronous_commit: project.settings.store.synchronous_commit,
            batch_interval: project.settings.process.batch_interval.to_string(),
            checkpoint_interval: project.settings.process.checkpoint_interval.to_string(),
            batch_rows: project.settings.store.batch_rows,
            partitions: project.streams.first().map_or(0, |stream| stream.partitions),
        })
    }

    /// Starts the systems, does the work, and stops them whatever its outcome.
    pub(super) fn with_systems<T>(&self, work: impl FnOnce(&Systems) -> Result<T>) -> Result<T> {
        let runtime = runtime()?;
        let project = self.project()?;
        let peers = Peers::start(&project, runtime.handle())?;
        let database = match Database::start(&project, runtime.handle()) {
            Ok(database) => database,
            Err(error) => {
                peers.stop()?;
                return Err(error);
            }
        };
        let systems = Systems { project, runtime, peers, database };
        let worked = work(&systems);
        let Systems { runtime, peers, database, .. } = systems;
        let database_stopped = database.stop(runtime.handle());
        let peers_stopped = peers.stop();
        let worked = worked?;
        database_stopped?;
        peers_stopped?;
        Ok(worked)
    }
}

/// Broker, registry and PostgreSQL of a copy, running in this process and beside it.
pub(super) struct Systems {
    pub(super) project: Project,
    pub(super) runtime: Runtime,
    pub(super) peers: Peers,
    pub(super) database: Database,
}

impl Systems {
    /// Starts the stages, does the work, and stops them whatever its outcome. Ctrl-C stops the stages, and with them the work.
    pub(super) fn with_stages<T>(&self, stages: &[Stage], work: impl FnOnce(&Pipeline) -> Result<T>) -> Result<T> {
        let stages: BTreeSet<Stage> = stages.iter().copied().collect();
        let clock = Arc::new(SystemClock::new());
        let handle = self.runtime.handle();
        let (project, database, how) = (&self.project, Some(&self.database), Work::Stream.into());
        let pipeline = Pipeline::start(project, &self.peers, database, handle, clock, &stages, how)?;
        let stop = pipeline.context.stop.clone();
        let asked = asked_to_stop(handle);
        let watch = handle.spawn(async move {
            asked.await;
            stop.now();
        });
        let worked = work(&pipeline);
        watch.abort();
        pipeline.stop()?;
        worked
    }
}

/// The user's cache. It lies on a real disk, where a directory for temporary files may lie in memory.
fn cache_directory() -> PathBuf {
    let of_user = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let of_user = of_user.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    of_user.unwrap_or_else(std::env::temp_dir).join("tillstream").join("bench")
}

/// A port that is free now.
fn free_port() -> Result<u16> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| Error::system("looking for a free port", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_example_and_checks() {
        let parent = tempfile::tempdir().unwrap();
        let plan = Plan {
            directory: Some(parent.path().to_owned()),
            sets: vec![("broker.flush".to_owned(), "each".to_owned())],
            ..Plan::default()
        };
        let all = Example::new(&plan, Queries::All).unwrap();
        assert!(all.project().unwrap().query(ROWS).is_some());
        assert_eq!(all.settings().unwrap().broker_flush, "each");
        assert!(all.arguments().contains(&"broker.flush=each".to_owned()));
        let aggregates = Example::new(&plan, Queries::Aggregates).unwrap().project().unwrap();
        assert!(aggregates.query(ROWS).is_none());
        assert_eq!(aggregates.queries.len() + 1, all.project().unwrap().queries.len());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/payments/queries");
        let known = FILES.iter().filter(|(name, _)| name.starts_with("queries/")).count();
        assert_eq!(std::fs::read_dir(source).unwrap().count(), known, "a query of the example isn't measured");
    }
}
