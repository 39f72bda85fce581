//! Whose function applies hints about new leaders: `src/leader_discovery.rs` says why it mustn't be librdkafka's.

#![allow(missing_docs)]
#![allow(unsafe_code, reason = "librdkafka calls it without a wrapper, too")]
#![cfg(target_os = "linux")]

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use kafka as _;

unsafe extern "C" {
    fn rd_kafka_metadata_update_op(client: *mut c_void, hint: *mut c_void) -> c_int;
}

#[test]
fn a_hint_is_handled_without_being_read() {
    // SAFETY: ours looks at neither argument; librdkafka's would end the test here.
    let handled = unsafe { rd_kafka_metadata_update_op(null_mut(), null_mut()) };
    assert_eq!(handled, 1);
}
