//! Floors, and the report as text.

use std::fmt::Write as _;

use serde::Serialize;

use super::Report;
use super::latency::Percentiles;
use super::throughput::Drained;

const MEGABYTE: f64 = 1_000_000.0;
const FLOOR_RATE_PER_S: u64 = 3_000;

/// A figure that must be reached on 2 cores with everything on the machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Floor {
    pub(crate) figure: &'static str,
    /// `at most` or `at least`.
    pub(crate) must_be: &'static str,
    pub(crate) limit: f64,
    pub(crate) measured: f64,
    pub(crate) is_met: bool,
}

fn at_most(figure: &'static str, limit: f64, measured: f64) -> Floor {
    Floor { figure, must_be: "at most", limit, measured, is_met: measured <= limit }
}

fn at_least(figure: &'static str, limit: f64, measured: f64) -> Floor {
    Floor { figure, must_be: "at least", limit, measured, is_met: measured >= limit }
}

/// The floors of what was measured. Latency has one at 3,000 payments a second and more.
pub(crate) fn floors(report: &Report) -> Vec<Floor> {
    let mut floors = Vec::new();
    if let Some(latency) = &report.latency {
        if latency.rate_per_s >= FLOOR_RATE_PER_S {
            floors.push(at_most("latency p99, ms", 250.0, latency.latency_ms.p99));
        }
        floors.push(at_most("payments lost", 0.0, latency.lost as f64));
    }
    if let Some(throughput) = &report.throughput {
        let (aggregates, with_rows, patterns) = (&throughput.aggregates, &throughput.with_rows, &throughput.patterns);
        floors.push(at_least("aggregating queries, records/s", 100_000.0, aggregates.records_per_s));
        floors.push(at_least("with a row for each payment, records/s", 30_000.0, with_rows.records_per_s));
        let lost = [aggregates, with_rows, patterns].map(|drained| drained.records.abs_diff(drained.validated));
        floors.push(at_most("preloaded payments without a good verdict", 0.0, lost.iter().sum::<u64>() as f64));
    }
    if let Some(idle) = &report.idle {
        floors.push(at_most("idle memory without PostgreSQL, MB", 100.0, idle.resident_bytes as f64 / MEGABYTE));
        floors.push(at_most("from start to the first row, s", 5.0, idle.first_row_s));
    }
    floors
}

/// The report for people.
pub(crate) fn as_text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let written = write_text(report, &mut text);
    debug_assert!(written.is_ok());
    text
}

fn write_text(report: &Report, out: &mut String) -> std::fmt::Result {
    let (machine, settings) = (&report.machine, &report.settings);
    writeln!(
        out,
        "machine     {} cores of {}, {:.1} GB, Linux {}",
        machine.cores,
        machine.cpu,
        machine.memory_bytes as f64 / 1e9,
        machine.kernel
    )?;
    writeln!(out, "load before {:?}", report.load_average_before)?;
    writeln!(
        out,
        "settings    build {}; broker flush {}; synchronous_commit {}; batch interval {}; {} partitions",
        settings.build,
        settings.broker_flush,
        if settings.synchronous_commit { "on" } else { "off" },
        settings.batch_interval,
        settings.partitions
    )?;
    if let Some(latency) = &report.latency {
        writeln!(out, "latency     at {}/s: {}", latency.rate_per_s, percentiles(&latency.latency_ms))?;
        let hops = &latency.hops;
        for (name, hop) in [
            ("sent", &hops.sent_ms),
            ("validated", &hops.validated_ms),
            ("processed", &hops.processed_ms),
            ("stored, seen", &hops.stored_ms),
        ] {
            writeln!(out, "  {name:<12} {}", percentiles(hop))?;
        }
        writeln!(
            out,
            "  {} sent, {} lost; {:.2} cores in the process, {:.2} on the machine",
            latency.sent, latency.lost, latency.process_cores, latency.machine_cores
        )?;
    }
    if let Some(throughput) = &report.throughput {
        write_drained("aggregating queries", &throughput.aggregates, out)?;
        write_drained("with a row for each", &throughput.with_rows, out)?;
        write_drained("patterns alone", &throughput.patterns, out)?;
    }
    if let Some(idle) = &report.idle {
        writeln!(
            out,
            "idle        {:.1} MB resident, {:.3} cores; up after {:.2} s, first row after {:.2} s",
            idle.resident_bytes as f64 / MEGABYTE,
            idle.cores,
            idle.up_s,
            idle.first_row_s
        )?;
    }
    for floor in &report.floors {
        let word = if floor.is_met { "met   " } else { "MISSED" };
        writeln!(out, "{word}      {}: {:.1}, {} {}", floor.figure, floor.measured, floor.must_be, floor.limit)?;
    }
    Ok(())
}

fn write_drained(name: &str, drained: &Drained, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "throughput  {name}: {:.0}/s ({} records in {:.1} s; validated after {:.1} s, processed after {:.1} s; {:.2} of {:.2} busy \
         cores, {:.0} records per core-second of the process)",
        drained.records_per_s,
        drained.records,
        drained.seconds,
        drained.validated_after_s,
        drained.processed_after_s,
        drained.process_cores,
        drained.machine_cores,
        drained.records_per_process_cpu_s
    )
}

fn percentiles(percentiles: &Percentiles) -> String {
    let Percentiles { p50, p99, p999, max, .. } = percentiles;
    format!("p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p999:.1} ms, max {max:.1} ms")
}
