//! What was measured on, and what a process used of it. All of it from `/proc`.

use std::time::Duration;

use model::Clock;
use serde::Serialize;

/// Ticks of `/proc/…/stat` in a second: `USER_HZ`, which is 100 on every Linux that PostgreSQL and Rust run on.
const TICKS_PER_S: f64 = 100.0;

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu,
            memory_bytes: field("/proc/meminfo", "MemTotal").map_or(0, |text| kilobytes(&text)),
            kernel,
        }
    }
}

/// The 1, 5 and 15 minute load averages; empty where the system doesn't tell.
pub(crate) fn load_average() -> Vec<f64> {
    read("/proc/loadavg").split_whitespace().take(3).filter_map(|number| number.parse().ok()).collect()
}

/// Resident memory of a process in bytes, now and at its highest.
pub(crate) fn resident_bytes(process: &str) -> (u64, u64) {
    let status = format!("/proc/{process}/status");
    let bytes = |name| field(&status, name).map_or(0, |text| kilobytes(&text));
    (bytes("VmRSS"), bytes("VmHWM"))
}

/// Processor time of a process with all its threads, without its children.
pub(crate) fn cpu_time(process: &str) -> Duration {
    let stat = read(&format!("/proc/{process}/stat"));
    // The second field is the name in brackets and may hold spaces; user and system time are the 14th and 15th.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS_PER_S)
}

/// Processor time that the whole machine has spent on work.
pub(crate) fn machine_cpu_time() -> Duration {
    let stat = read("/proc/stat");
    let numbers = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let all: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal: all but idle and iowait, and the guest times are in user already.
    let ticks: f64 =
        all.iter().take(8).enumerate().filter(|(index, _)| ![3, 4].contains(index)).map(|(_, ticks)| ticks).sum();
    Duration::from_secs_f64(ticks / TICKS_PER_S)
}

/// Processor time used since a moment.
#[derive(Debug)]
pub(crate) struct Usage {
    at: Duration,
    process: Duration,
    machine: Duration,
}

/// What was used, on average.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    /// Processor time of this process per second.
    pub(crate) process_cores: f64,
    /// Processor time of the whole machine per second.
    pub(crate) machine_cores: f64,
}

impl Usage {
    pub(crate) fn start(clock: &dyn Clock) -> Self {
        Self { at: clock.elapsed(), process: cpu_time("self"), machine: machine_cpu_time() }
    }

    /// When it started, by the clock's `elapsed`.
    pub(crate) fn at(&self) -> Duration {
        self.at
    }

    pub(crate) fn stop(&self, clock: &dyn Clock) -> Used {
        let seconds = clock.elapsed().saturating_sub(self.at).as_secs_f64().max(0.001);
        Used {
            seconds,
            process_cores: cpu_time("self").saturating_sub(self.process).as_secs_f64() / seconds,
            machine_cores: machine_cpu_time().saturating_sub(self.machine).as_secs_f64() / seconds,
        }
    }
}

/// How the running binary was built.
pub(crate) fn build() -> String {
    let profile = std::env::current_exe().ok();
    let profile = profile.as_deref().and_then(|file| file.parent()?.file_name()?.to_str()).unwrap_or("unknown");
    let name = if profile == "debug" { "dev" } else { profile };
    let assertions = if cfg!(debug_assertions) { "on" } else { "off" };
    format!("{name}, debug assertions {assertions}")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// The text after `name:` in a file of such lines.
fn field(file: &str, name: &str) -> Option<String> {
    read(file).lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        (known.trim() == name).then(|| value.trim().to_owned())
    })
}

/// `1234 kB` as bytes.
fn kilobytes(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() {
        let (now, highest) = resident_bytes("self");
        assert!(now > 1_000_000 && highest >= now / 2, "{now} {highest}");
        let machine = Machine::here();
        assert!(machine.cores > 0 && machine.memory_bytes > 100_000_000 && !machine.kernel.is_empty());
        assert!(machine_cpu_time() >= cpu_time("self"));
        assert_eq!(load_average().len(), 3);
    }
}
