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

/// A TCP port on the loopback that was free a moment ago, as was the one after it.
///
/// Both lie below the ports that the system gives out by itself (Linux: from 32768 on, see `ip_local_port_range`), so that no connection of
/// another test takes one before the server listens, or while it is down.
///
/// # Panics
/// When all are taken.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PAIRS: u32 = 10_000;
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    // Tests are processes of their own, and begin at places of their own.
    let begin = std::process::id().wrapping_mul(31).wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed));
    let pairs = (0..PAIRS).map(|step| FIRST + begin.wrapping_add(step) % PAIRS * 2);
    let mut ports = pairs.filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| is_free(*port) && is_free(port + 1)).expect("a free port on the loopback")
}
