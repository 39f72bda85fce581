//! Names and ports that no other test uses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// `base` with an ending that no other test of any run has; fits topics, databases and subjects.
pub fn unique_name(base: &str) -> String {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{base}_{:x}_{:x}_{count}", micros & 0xffff_ffff_ffff, std::process::id())
}

/// A TCP port on the loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback");
    listener.local_addr().expect("the listener's address").port()
}
