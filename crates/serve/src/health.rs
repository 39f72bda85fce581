//! Whether the pipeline is well, in one sentence; and whether it is ready.

use serde::Serialize;

use crate::latency::Percentiles;
use crate::live::State;
use crate::snapshot::Totals;

/// A backlog of less than this many records is never called one.
const BACKLOG_RECORDS_MIN: u64 = 1_000;
/// A backlog that takes longer than this to work off is called one.
const BACKLOG_SECONDS_MIN: f64 = 5.0;

/// How the pipeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// No part has reported yet.
    Starting,
    /// All is well, but no record has come in yet.
    Empty,
    /// All is well.
    Ok,
    /// Records come in faster than they are worked off, or a backlog is being worked off.
    Behind,
    /// A peer doesn't answer or a stage waits.
    Trouble,
}

/// How the pipeline is, for people.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Health {
    level: Level,
    sentence: String,
}

/// What is not ready, as lines like "peer postgresql: connection refused". Empty when all is.
pub(crate) fn not_ready(state: &State) -> Vec<String> {
    if state.stages.is_empty() && state.peers.is_empty() {
        return vec!["pipeline: no stage has reported yet".to_owned()];
    }
    let peers =
        state.peers.iter().filter(|(_, peer)| !peer.ok).map(|(name, peer)| format!("peer {name}: {}", peer.detail));
    let stages = state
        .stages
        .iter()
        .filter_map(|(name, stage)| Some(format!("stage {name}: {}", stage.numbers.trouble.as_ref()?)));
    peers.chain(stages).collect()
}

/// What of each stage is this process's, as lines like "stage store: has 2 of 5 partitions: ...".
pub(crate) fn shares(state: &State) -> Vec<String> {
    let share = |(name, stage): (&std::sync::Arc<str>, &crate::live::Stage)| {
        let share = stage.numbers.share.as_ref().filter(|share| !share.text.is_empty())?;
        Some(format!("stage {name}: {}", share.text))
    };
    state.stages.iter().filter_map(share).collect()
}

/// The sentence at the top of the page.
pub(crate) fn health(state: &State, totals: &Totals, latency: Option<Percentiles>) -> Health {
    if let Some(sentence) = trouble(state) {
        return Health { level: Level::Trouble, sentence };
    }
    if state.stages.is_empty() && state.streams.is_empty() && state.peers.is_empty() {
        return Health { level: Level::Starting, sentence: "Starting: no stage has reported yet.".to_owned() };
    }
    if totals.raw_end == 0 {
        return Health { level: Level::Empty, sentence: "Ready, and waiting for the first record.".to_owned() };
    }
    let backlog_seconds = totals.lag as f64 / totals.done_per_second.max(1.0);
    if totals.lag >= BACKLOG_RECORDS_MIN && backlog_seconds >= BACKLOG_SECONDS_MIN {
        let lag = grouped(totals.lag);
        let sentence = if totals.done_per_second < 1.0 {
            format!("Behind: {lag} records wait and none is worked off.")
        } else if totals.done_per_second <= totals.input_per_second {
            format!("Behind: {lag} records wait, and more come in than are worked off.")
        } else {
            let left_s = totals.lag as f64 / (totals.done_per_second - totals.input_per_second);
            format!("Catching up: {lag} records wait, about {} left.", span(left_s))
        };
        return Health { level: Level::Behind, sentence };
    }
    let rate = grouped(totals.input_per_second.round() as u64);
    let sentence = match latency {
        _ if totals.input_per_second < 0.5 => "Running; no records come in at the moment.".to_owned(),
        Some(of) => format!("Running: {rate} records a second, 99% of them through within {} ms.", grouped(of.p99)),
        None => format!("Running: {rate} records a second."),
    };
    Health { level: Level::Ok, sentence }
}

/// What is wrong, the cause first: a peer that is down, then the stages that wait.
fn trouble(state: &State) -> Option<String> {
    let down: Vec<_> = state.peers.iter().filter(|(_, peer)| !peer.ok).collect();
    let waiting: Vec<_> = state
        .stages
        .iter()
        .filter_map(|(name, stage)| Some((name.as_ref(), stage.numbers.trouble.as_ref()?)))
        .collect();
    let stages = enumeration(waiting.iter().map(|(name, _)| *name));
    match (down.as_slice(), waiting.as_slice()) {
        ([], []) => None,
        ([], [(name, trouble)]) => Some(format!("{name}: {trouble}.")),
        ([], [(_, trouble), ..]) => Some(format!("{stages} wait: {trouble}.")),
        ([(peer, of)], []) => Some(format!("{peer} is down: {}.", of.detail)),
        ([(peer, of)], [_]) => Some(format!("{peer} is down: {}. {stages} waits for it; nothing is lost.", of.detail)),
        ([(peer, of)], _) => Some(format!("{peer} is down: {}. {stages} wait; nothing is lost.", of.detail)),
        (peers, _) => {
            let peers = enumeration(peers.iter().map(|(name, _)| name.as_ref()));
            let wait = if waiting.is_empty() { String::new() } else { format!(" Waiting: {stages}; nothing is lost.") };
            Some(format!("{peers} are down.{wait}"))
        }
    }
}

/// "a", "a and b", "a, b and c".
fn enumeration<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A number with its thousands apart: 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time to wait, roughly.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{} s", s.ceil()),
        s if s < 5_400.0 => format!("{} min", (s / 60.0).ceil()),
        s => format!("{} h", (s / 3_600.0).ceil()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::ManualClock;

    use super::*;
    use crate::{Live, StageNumbers, StreamNumbers};

    fn live() -> (Live, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000_000));
        (Live::new("payments", Arc::clone(&clock) as _), clock)
    }

    fn says(live: &Live) -> (String, String) {
        let health = &live.snapshot_json()["health"];
        (health["level"].as_str().unwrap().to_owned(), health["sentence"].as_str().unwrap().to_owned())
    }

    fn stage(trouble: Option<&str>) -> StageNumbers {
        StageNumbers { steps: 1, trouble: trouble.map(str::to_owned), share: None }
    }

    fn stream(raw_end: u64, raw_done: u64) -> StreamNumbers {
        StreamNumbers { raw_end, raw_done, ..StreamNumbers::default() }
    }

    #[test]
    fn from_starting_to_running() {
        let (live, clock) = live();
        assert_eq!(says(&live).0, "starting");
        live.set_stage("validate", stage(None));
        live.set_stream("transactions", stream(0, 0));
        assert_eq!(says(&live).0, "empty");
        clock.advance(Duration::from_secs(1));
        live.set_stream("transactions", stream(3_000, 2_990));
        live.record_latencies_ms(&[40, 40, 180]);
        assert_eq!(
            says(&live),
            ("ok".into(), "Running: 3,000 records a second, 99% of them through within 180 ms.".into())
        );
    }

    #[test]
    fn a_backlog_says_how_long_it_takes() {
        let (live, clock) = live();
        live.set_stream("transactions", stream(100_000, 0));
        clock.advance(Duration::from_secs(1));
        live.set_stream("transactions", stream(101_000, 11_000));
        assert_eq!(says(&live), ("behind".into(), "Catching up: 90,000 records wait, about 9 s left.".into()));
        clock.advance(Duration::from_secs(10));
        live.set_stream("transactions", stream(201_000, 11_000));
        assert_eq!(says(&live), ("behind".into(), "Behind: 190,000 records wait and none is worked off.".into()));
    }

    #[test]
    fn trouble_names_the_cause_first() {
        let (live, _clock) = live();
        live.set_stage("store", stage(Some("waiting for postgresql: connection refused")));
        assert_eq!(says(&live), ("trouble".into(), "store: waiting for postgresql: connection refused.".into()));
        live.set_peer("postgresql", false, "connection refused");
        live.set_peer("kafka", true, "127.0.0.1:9092");
        assert_eq!(says(&live).1, "postgresql is down: connection refused. store waits for it; nothing is lost.");
        live.set_stage("process", stage(Some("waiting for kafka: timed out")));
        live.set_peer("kafka", false, "timed out");
        assert_eq!(says(&live).1, "kafka and postgresql are down. Waiting: process and store; nothing is lost.");
        let lines = live.read(not_ready);
        assert_eq!(lines[0], "peer kafka: timed out");
        assert_eq!(lines[3], "stage store: waiting for postgresql: connection refused");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
