//! The state with the place in the log that it stands at.

use std::collections::BTreeSet;

use avro::compatibility::Level;

use crate::machine::keys::Key;
use crate::machine::{Event, State};

/// Findings that are kept to be shown.
const FINDINGS_MAX: usize = 100;

/// The header that holds the offset a record's writer expected, as `<cluster id>/<offset>`.
pub(crate) const EXPECTED_HEADER: &str = "ts.registry.expected";

/// What a reader of the log knows.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    /// Offset of the next record.
    pub(crate) next_offset: i64,
    /// Keys whose last record does not count; the next writer writes them again.
    pub(crate) overtaken: BTreeSet<Key>,
    /// Records that were left out, in words.
    pub(crate) findings: Vec<String>,
    /// Why the view may be behind or wrong.
    pub(crate) trouble: Option<String>,
    cluster: String,
}

impl View {
    /// The view of an empty log of a cluster.
    pub(crate) fn new(default_level: Level, cluster: String) -> Self {
        let state = State::new(default_level);
        Self { state, next_offset: 0, overtaken: BTreeSet::new(), findings: Vec::new(), trouble: None, cluster }
    }

    /// The header's text for a record that is expected at `offset`.
    pub(crate) fn expectation(&self, offset: i64) -> String {
        format!("{}/{offset}", self.cluster)
    }

    /// Takes in a record of the log.
    pub(crate) fn record(&mut self, offset: i64, key: Option<&[u8]>, value: Option<&[u8]>, expected: Option<&[u8]>) {
        self.next_offset = self.next_offset.max(offset);
        let event = match Event::parse(key, value) {
            Ok(event) => event,
            Err(error) => {
                self.next_offset = offset + 1;
                self.found(format!("offset {offset}: {error}"));
                return;
            }
        };
        if expected.is_some_and(|expected| self.was_overtaken(offset, expected)) {
            tracing::info!(offset, "another registry wrote first, so this record does not count");
            self.overtaken.insert(event.key);
            self.next_offset = offset + 1;
            return;
        }
        self.apply(&event);
    }

    /// Takes in the next event that counts.
    pub(crate) fn apply(&mut self, event: &Event) {
        let offset = self.next_offset;
        self.next_offset += 1;
        self.overtaken.remove(&event.key);
        if let Err(finding) = self.state.apply(event) {
            self.found(format!("offset {offset}: {finding}"));
        }
    }

    /// Events that write again what holds for keys whose last record does not count, except those in `events`.
    pub(crate) fn repairs(&self, events: &[Event]) -> Vec<Event> {
        let keys = self.overtaken.iter().filter(|key| !events.iter().any(|event| event.key == **key));
        keys.filter_map(|key| self.state.event_for(key)).collect()
    }

    fn was_overtaken(&self, offset: i64, expected: &[u8]) -> bool {
        let parts = std::str::from_utf8(expected).ok().and_then(|text| text.rsplit_once('/'));
        let Some((cluster, expected)) = parts else { return false };
        // A copy of the topic, even one within the cluster, has its records at smaller offsets or none that we know of.
        cluster == self.cluster && expected.parse::<i64>().is_ok_and(|expected| offset > expected)
    }

    fn found(&mut self, finding: String) {
        tracing::warn!(finding, "a record of the schemas topic was left out");
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Request;
    use crate::machine::keys::Key;
    use crate::machine::register::register;

    /// Key, value and header.
    type Written = (Vec<u8>, Option<Vec<u8>>, String);

    fn view() -> View {
        View::new(Level::Backward, "c".to_owned())
    }

    /// Decides on one view, and gives the records as they would be written.
    fn decided(view: &View, subject: &str, schema: &str) -> Vec<Written> {
        let request = Request { schema: Some(schema.to_owned()), ..Request::default() };
        let mut events = register(&view.state, subject, &request, false).unwrap().events;
        events.splice(0..0, view.repairs(&events));
        let at = (view.next_offset..).map(|offset| view.expectation(offset));
        events.iter().zip(at).map(|(event, at)| (event.key.to_bytes().unwrap(), event.value_bytes(), at)).collect()
    }

    fn write(views: &mut [&mut View], records: &[Written]) {
        for (key, value, expected) in records {
            let offset = views[0].next_offset;
            for view in views.iter_mut() {
                view.record(offset, Some(key), value.as_deref(), Some(expected.as_bytes()));
            }
        }
    }

    #[test]
    fn of_two_writers_the_first_in_the_log_wins_for_all_readers() {
        let (mut one, mut other) = (view(), view());
        let (a, b) = (decided(&one, "s", r#""string""#), decided(&other, "s", r#""bytes""#));
        write(&mut [&mut one, &mut other], &a);
        write(&mut [&mut one, &mut other], &b);
        for view in [&one, &other] {
            assert_eq!(view.state.row("s", 1).unwrap().content.text.as_ref(), r#""string""#);
            assert_eq!(view.overtaken.len(), 1);
        }
        // The loser decides again: it brings the key back first, then takes the next version and id.
        let again = decided(&other, "s", r#""bytes""#);
        assert_eq!(again.len(), 2);
        write(&mut [&mut one, &mut other], &again);
        for view in [&one, &other] {
            assert!(view.overtaken.is_empty());
            let row = view.state.row("s", 2).unwrap();
            assert_eq!((row.id, row.content.text.as_ref()), (2, r#""bytes""#));
            assert_eq!(view.state.row("s", 1).unwrap().id, 1);
        }
        // Compaction keeps the last record of each key; a new reader sees the same.
        let mut fresh = view();
        for (offset, (key, value, expected)) in (2..).zip(&again) {
            fresh.record(offset, Some(key), value.as_deref(), Some(expected.as_bytes()));
        }
        assert_eq!(fresh.state.row("s", 1).unwrap().content.text.as_ref(), r#""string""#);
        assert_eq!(fresh.state.row("s", 2).unwrap().id, 2);
    }

    #[test]
    fn a_copied_topic_counts_in_full() {
        let original = view();
        let records = decided(&original, "s", r#""string""#);
        let mut copy = View::new(Level::Backward, "elsewhere".to_owned());
        let (key, value, expected) = &records[0];
        copy.record(90, Some(key), value.as_deref(), Some(expected.as_bytes()));
        assert_eq!(copy.state.row("s", 1).unwrap().id, 1);
        assert_eq!(copy.next_offset, 91);
    }

    #[test]
    fn garbage_is_passed_over_and_told() {
        let mut view = view();
        view.record(0, None, None, None);
        view.record(1, Some(b"\xff"), Some(b"x"), None);
        view.record(2, Key::Noop.to_bytes().as_deref(), None, None);
        assert_eq!((view.next_offset, view.findings.len()), (3, 2));
    }
}
