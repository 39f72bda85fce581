//! Kafka, the registry and PostgreSQL, embedded or not; Apache Spark where queries run on it.

use std::time::Duration;

use kafka::Admin;
use model::Clock;
use project::Project;
use project::settings::Engine;
use store::private_server;
use tokio::runtime::Handle;

use super::Finding;
use crate::error::Result;
use crate::run::peers::{Database, connect_registry, kafka_connection};
use crate::run::spark::Place;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Difference between PostgreSQL's clock and ours from which lateness and latencies mislead.
const CLOCK_DIFFERENCE_US: i64 = 2_000_000;
/// Oldest version that has what we use.
const POSTGRES_MAJOR_MIN: u32 = 15;

pub(super) fn kafka(project: &Project) -> Finding {
    let settings = &project.settings.connections.kafka;
    if settings.is_embedded() {
        return Finding::ok("kafka", "embedded: the broker is part of this program");
    }
    let brokers = &settings.brokers;
    let asked = kafka_connection(project, brokers.clone()).and_then(|connection| {
        let admin = Admin::new(&connection)?;
        admin.ping(TIMEOUT)?;
        let topics = project.streams.iter().map(|stream| Ok(admin.topic(&stream.raw_topic())?.is_some()));
        Ok(topics.collect::<Result<Vec<bool>>>()?.into_iter().filter(|&is_there| is_there).count())
    });
    match asked {
        Ok(there) => Finding::ok(
            "kafka",
            format!(
                "{brokers} answers; {there} of {} raw topics are there, the rest is made at start",
                project.streams.len()
            ),
        ),
        Err(error) => Finding::failure(
            "kafka",
            format!("{brokers}: {error}"),
            "look whether the address is right, the cluster runs, this machine may reach it, and connections.kafka.security fits",
        ),
    }
}

pub(super) fn registry(project: &Project) -> Finding {
    let settings = &project.settings.connections.registry;
    if settings.is_embedded() {
        return Finding::ok("registry", "embedded: the schema registry is part of this program");
    }
    let asked = connect_registry(project, &settings.url).and_then(|client| {
        client
            .call(|client| async move { client.subjects().await })
            .map_err(|error| crate::error::Error::Unavailable(error.to_string()))
    });
    match asked {
        Ok(subjects) => {
            Finding::ok("registry", format!("{} answers; it has {} subjects", settings.url, subjects.len()))
        }
        Err(error) => Finding::failure(
            "registry",
            format!("{}: {error}", settings.url),
            "look whether the address is right, the registry runs, and connections.registry has the right user or token",
        ),
    }
}

pub(super) fn postgres(project: &Project, clock: &dyn Clock, runtime: &Handle) -> Vec<Finding> {
    let settings = &project.settings.connections.postgres;
    if settings.is_embedded() {
        return vec![programs(&settings.programs)];
    }
    // The URL may name a user, never a password.
    let failure = |error: &dyn std::fmt::Display, advice: &str| {
        vec![Finding::failure("postgres", format!("{}: {error}", settings.url), advice)]
    };
    let asked = Database::with(project, runtime, |database| {
        let query = "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, \
                     (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, \
                     has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery()";
        let rows = runtime.block_on(database.store.query(query, 1))?.rows;
        Ok(rows.into_iter().next().unwrap_or_default())
    });
    let row = match asked {
        Ok(row) => row,
        Err(error) => {
            return failure(
                &error,
                "look whether the address, the database, the user and connections.postgres.password are right",
            );
        }
    };
    let text = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
    let mut findings = Vec::new();
    let major: u32 = text(1).parse().unwrap_or(0);
    if major < POSTGRES_MAJOR_MIN {
        let found = format!("PostgreSQL {} is too old", text(0));
        findings.extend(failure(&found, "PostgreSQL 15 or newer is needed"));
    } else if text(4) == "t" {
        findings.extend(failure(
            &"it is a replica, which can't be written to",
            "name the primary as url, and this one under replicas",
        ));
    } else if text(3) != "t" {
        let advice = "let the user make schemas: GRANT CREATE ON DATABASE … TO …";
        findings.extend(failure(&"the user may not make schemas in this database", advice));
    } else {
        findings.push(Finding::ok("postgres", format!("{} answers: PostgreSQL {}", settings.url, text(0))));
    }
    let difference_us = text(2).parse().map_or(0, |theirs: i64| theirs - clock.now_us());
    if difference_us.abs() > CLOCK_DIFFERENCE_US {
        findings.push(Finding::warning(
            "clock",
            format!("PostgreSQL's clock differs from this machine's by {:.1} s", difference_us as f64 / 1e6),
            "let both be set by a time server; lateness and latencies are measured against the clock",
        ));
    }
    findings
}

/// Apache Spark, where the project's queries run on it.
pub(super) fn spark(project: &Project, runtime: &Handle) -> Option<Finding> {
    if project.engine != Engine::Spark {
        return None;
    }
    let url = &project.settings.connections.spark.url;
    let asked = Place::of(project, runtime).and_then(|place| {
        let mut session = place.own_session()?;
        let asked = runtime.block_on(async { Ok((session.version().await?, session.task_slots().await?)) });
        // It is forgotten by itself after a while, too.
        drop(runtime.block_on(session.close()));
        asked
    });
    Some(match asked {
        Ok((version, slots)) => {
            Finding::ok("spark", format!("{url} answers: Apache Spark {version} with {slots} task slots"))
        }
        Err(error) => Finding::failure(
            "spark",
            format!("{url}: {error}"),
            "look whether the address is right, Spark's Connect server runs (./dev spark starts one here), and connections.spark.token fits",
        ),
    })
}

/// Whether the private server's programs are there.
fn programs(setting: &str) -> Finding {
    let installed = private_server::installed();
    let best = installed.iter().max_by_key(|found| found.major);
    match (setting, best) {
        ("auto" | "installed", Some(found)) => {
            Finding::ok("postgres", format!("embedded: PostgreSQL {} in {}", found.major, found.directory.display()))
        }
        ("auto", None) => Finding::warning(
            "postgres",
            "embedded: no PostgreSQL 15 or newer is installed; it is downloaded at the first start",
            "install the package postgresql if this machine may not download programs",
        ),
        ("installed", None) => Finding::failure(
            "postgres",
            "embedded: no PostgreSQL 15 or newer is installed",
            "install the package postgresql, or allow the download: connections.postgres.programs=auto",
        ),
        ("downloaded", _) => Finding::ok("postgres", "embedded: PostgreSQL is downloaded once, at the first start"),
        (path, _) => Finding::ok("postgres", format!("embedded: the programs in {path}")),
    }
}
