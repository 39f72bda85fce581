//! What clients do, done to our broker. The scripts themselves know only an address.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod common;
mod scripts;

use broker::{FlushPolicy, Options};
use common::TestBroker;

/// Runs a script against a broker of its own, or against the one whose address is in `BROKER_TEST_BOOTSTRAP`, to see whether the
/// script itself is true to Apache Kafka.
fn with_broker(script: impl FnOnce(&str)) {
    if let Ok(bootstrap) = std::env::var("BROKER_TEST_BOOTSTRAP") {
        return script(&bootstrap);
    }
    let directory = tempfile::tempdir().unwrap();
    let broker = TestBroker::start(directory.path());
    script(&broker.bootstrap());
}

#[test]
fn records_in_every_codec_come_back() {
    with_broker(|bootstrap| {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            scripts::produce_and_consume(bootstrap, codec);
        }
    });
}

#[test]
fn records_come_back_with_a_flush_per_batch() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(([127, 0, 0, 1], 0).into(), directory.path());
    options.flush = FlushPolicy::EveryBatch;
    let broker = TestBroker::start_with(options);
    scripts::produce_and_consume(&broker.bootstrap(), "lz4");
    scripts::long_poll(&broker.bootstrap());
    scripts::groups::two_members(&broker.bootstrap(), "range");
}

#[test]
fn records_come_back_over_small_segments() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(([127, 0, 0, 1], 0).into(), directory.path());
    options.segment_bytes = 20_000;
    options.flush = FlushPolicy::Interval(5);
    let broker = TestBroker::start_with(options);
    scripts::produce_and_consume(&broker.bootstrap(), "none");
    scripts::offsets_by_time(&broker.bootstrap(), "none");
}

#[test]
fn offsets_are_found_by_time_in_every_codec() {
    with_broker(|bootstrap| {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            scripts::offsets_by_time(bootstrap, codec);
        }
    });
}

#[test]
fn a_long_poll_ends_with_the_record() {
    with_broker(scripts::long_poll);
}

#[test]
fn a_batch_that_is_too_large_is_refused() {
    with_broker(scripts::too_large);
}

#[test]
fn an_offset_that_isnt_there_is_told() {
    with_broker(scripts::out_of_range);
}

#[test]
fn a_record_of_a_megabyte_passes() {
    with_broker(scripts::one_megabyte);
}

#[test]
fn topics_have_settings() {
    with_broker(scripts::topics::settings);
}

#[test]
fn nonsense_topics_are_refused() {
    with_broker(scripts::topics::refused_topics);
}

#[test]
fn partitions_are_added() {
    with_broker(scripts::topics::more_partitions);
}

#[test]
fn a_topic_made_again_is_another() {
    with_broker(scripts::topics::delete_and_create);
}

#[test]
fn a_topic_is_created_on_demand() {
    with_broker(scripts::topics::created_on_demand);
}

#[test]
fn records_are_deleted() {
    with_broker(scripts::topics::delete_records);
}

#[test]
fn two_members_share_partitions_by_range() {
    with_broker(|bootstrap| scripts::groups::two_members(bootstrap, "range"));
}

#[test]
fn two_members_share_partitions_by_round_robin() {
    with_broker(|bootstrap| scripts::groups::two_members(bootstrap, "roundrobin"));
}

#[test]
fn two_members_share_partitions_cooperatively() {
    with_broker(|bootstrap| scripts::groups::two_members(bootstrap, "cooperative-sticky"));
}

#[test]
fn a_static_member_comes_back() {
    with_broker(scripts::groups::static_member);
}

#[test]
fn offsets_are_committed_and_deleted() {
    with_broker(scripts::groups::commit_and_delete);
}
