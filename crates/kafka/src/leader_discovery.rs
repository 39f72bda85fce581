//! Keeps librdkafka 2.12 from ending the process while a partition has no leader.
//!
//! A broker that isn't a partition's leader may say in its answer who is (KIP-951). While nobody is, as after a restart of Kafka, the answer says
//! -1; librdkafka counts that partition as changed, doesn't fill in its entry, and later reads what happens to be in the memory as the
//! partition's number (<https://github.com/confluentinc/librdkafka/issues/5280>). Linux binaries are therefore linked with
//! `--wrap=rd_kafka_metadata_update_op`, which puts the function below in the place of the one that applies such hints. Without them the
//! client asks the cluster for new metadata, as it does after any answer of that kind.
#![allow(unsafe_code, reason = "the linker finds a function of C by its name")]

use std::ffi::{c_int, c_void};

/// `RD_KAFKA_OP_RES_HANDLED`: the caller frees the hint.
const HANDLED: c_int = 1;

/// Passes over a hint about new leaders. Neither argument is looked at.
#[unsafe(no_mangle)]
extern "C" fn __wrap_rd_kafka_metadata_update_op(_client: *mut c_void, _hint: *mut c_void) -> c_int {
    HANDLED
}
