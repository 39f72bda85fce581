//! Spark's Real-Time Mode: which queries run in it, and whether Spark has room for them.
//!
//! A query in Real-Time Mode has a task for each partition that never ends. With fewer task slots Spark reads only some of the partitions, and
//! doesn't say so.

use std::time::Duration;

use spark::Session;
use spark::print::can_be_real_time;

use super::SparkStage;
use crate::error::{Error, Result};
use crate::run::results::ResultTopic;

/// The first Spark that starts such queries over Spark Connect.
const VERSION_MIN: (u32, u32) = (4, 2);
/// How long a job that takes no time may wait for a task slot.
const SLOT_PATIENCE: Duration = Duration::from_secs(60);

/// Whether the project wants the query in Real-Time Mode, and the query can be.
pub(super) fn is_wanted(stage: &SparkStage, result: &ResultTopic) -> bool {
    stage.place.settings.real_time.is_some() && can_be_real_time(&result.query)
}

/// Checks that Spark has what all queries in Real-Time Mode need, before one is started.
///
/// # Errors
/// `Project` when Spark is too old or too small, `Unavailable` when none of its task slots gets free.
pub(super) fn check(stage: &SparkStage, session: &mut Session) -> Result<()> {
    let (wanted, others): (Vec<_>, Vec<_>) = stage.results.iter().partition(|result| is_wanted(stage, result));
    let runtime = &stage.place.runtime;
    let version = runtime.block_on(session.version())?;
    if !has_real_time(&version) {
        let (major, minor) = VERSION_MIN;
        return Err(Error::Project(format!(
            "spark.real_time needs Apache Spark {major}.{minor} or later, and this one is {version}; leave spark.real_time out, then \
             results come with each micro-batch"
        )));
    }
    let partitions = |result: &&ResultTopic| -> usize {
        let partitions = stage.streams_of(result).map(|known| known.stream.topics.partitions);
        partitions.map(|count| usize::try_from(count).unwrap_or(0)).sum()
    };
    let held: usize = wanted.iter().map(partitions).sum();
    let slots = runtime.block_on(async { tokio::time::timeout(SLOT_PATIENCE, session.task_slots()).await }).map_err(
        |_| {
            Error::Unavailable(
                "all task slots of Apache Spark are taken; spark.real_time needs one free to count them".to_owned(),
            )
        },
    )??;
    if let Some(needed) = lacking(held, !others.is_empty(), slots) {
        let names: Vec<&str> = wanted.iter().map(|result| result.query.name.as_str()).collect();
        let rest = if others.is_empty() { "" } else { ", and the other queries one" };
        return Err(Error::Project(format!(
            "spark.real_time needs {needed} task slots, and Apache Spark has {slots}: in Real-Time Mode a query holds one for each partition \
             that it reads ({} hold {held}){rest}; with fewer Spark would read some partitions only. Give it more cores, or leave \
             spark.real_time out",
            names.join(", ")
        )));
    }
    Ok(())
}

/// The number of task slots that are needed, if there are fewer.
fn lacking(held: usize, has_others: bool, slots: usize) -> Option<usize> {
    let needed = held + usize::from(has_others);
    (slots < needed).then_some(needed)
}

/// Whether Spark of this version knows the mode. One whose version can't be read is given the benefit of the doubt.
fn has_real_time(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) >= VERSION_MIN,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for version in ["4.2.0", "4.10.1", "5.0.0-preview1", "nightly"] {
            assert!(has_real_time(version), "{version}");
        }
        for version in ["4.1.1", "3.5.6"] {
            assert!(!has_real_time(version), "{version}");
        }
    }

    #[test]
    fn micro_batches_need_a_slot_beside_those_that_are_held() {
        assert_eq!(lacking(4, true, 4), Some(5));
        assert_eq!(lacking(4, false, 4), None);
    }
}
