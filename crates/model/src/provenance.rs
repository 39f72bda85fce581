//! The headers that a validated or rejected record carries, and what a reader does with them.
//!
//! Validation writes each verdict to the partition with the raw record's number, in raw order. Two headers, as decimal text, say where
//! the record comes from: its own raw offset, and the raw offset of the record before it in the same output. A reader drops repeats by
//! one comparison and stops at a break instead of losing a row.

/// Header of validated and rejected records: the record's offset in its raw partition, decimal.
pub const RAW_OFFSET: &str = "ts.raw.offset";
/// Header of validated and rejected records: the raw offset of the record before it in this output, decimal; -1 for the first.
pub const PREVIOUS_RAW_OFFSET: &str = "ts.raw.previous";
/// Header of rejected records: name of the reason.
pub const REASON: &str = "ts.reason";
/// Header of rejected records: name of the rule, where a rule rejected it.
pub const RULE: &str = "ts.rule";
/// Header of rejected records: what was wrong, for people.
pub const MESSAGE: &str = "ts.message";
/// Header of rejected records: raw topic.
pub const RAW_TOPIC: &str = "ts.raw.topic";
/// Header of rejected records: raw partition, decimal.
pub const RAW_PARTITION: &str = "ts.raw.partition";
/// Header of rejected records: Kafka timestamp of the raw record in milliseconds, decimal.
pub const RAW_TIMESTAMP_MS: &str = "ts.raw.timestamp_ms";
/// Header of rejected duplicates: raw offset of the record that came first.
pub const FIRST_OFFSET: &str = "ts.first.offset";
/// Header of result records: generation, rows and finality as `generation:rows:final`.
pub const VERSION: &str = "ts.version";
/// Versions of the reference tables that a result was joined with: `name=number`, separated by commas.
pub const REFERENCES: &str = "ts.references";
/// Header of raw records that were loaded: name of the file.
pub const LOAD_FILE: &str = "ts.load.file";
/// Header of raw records that were loaded: row in the file, counted from 0, decimal.
pub const LOAD_ROW: &str = "ts.load.row";

/// Where a validated or rejected record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance {
    /// Offset in the raw partition.
    pub raw_offset: i64,
    /// Raw offset of the record before it in the same output; -1 for the first.
    pub previous_raw_offset: i64,
}

/// What a reader does with the next record of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// It follows the last one: take it.
    Next,
    /// It was taken before: drop it.
    Repeat,
    /// Records are missing between the last one and this one: stop, loudly.
    Break,
}

impl Provenance {
    /// How this record follows the one with raw offset `last` (-1 before the first).
    pub fn follows(self, last: i64) -> Continuity {
        if self.raw_offset <= last {
            Continuity::Repeat
        } else if self.previous_raw_offset == last {
            Continuity::Next
        } else {
            Continuity::Break
        }
    }

    /// Reads both headers of a record; `None` if one is absent or isn't a number.
    pub fn from_headers<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<Self> {
        let (mut raw_offset, mut previous_raw_offset) = (None, None);
        for (name, value) in headers {
            match name {
                RAW_OFFSET => raw_offset = decimal(value?),
                PREVIOUS_RAW_OFFSET => previous_raw_offset = decimal(value?),
                _ => {}
            }
        }
        Some(Self { raw_offset: raw_offset?, previous_raw_offset: previous_raw_offset? })
    }
}

/// Reads a header that holds a whole number as decimal text.
pub fn decimal(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_dropped_and_breaks_are_seen() {
        let record = Provenance { raw_offset: 7, previous_raw_offset: 4 };
        assert_eq!(record.follows(4), Continuity::Next);
        assert_eq!(record.follows(7), Continuity::Repeat);
        assert_eq!(record.follows(9), Continuity::Repeat);
        assert_eq!(record.follows(3), Continuity::Break);
        assert_eq!(Provenance { raw_offset: 0, previous_raw_offset: -1 }.follows(-1), Continuity::Next);
    }

    #[test]
    fn headers_round_trip() {
        let headers = [(RAW_OFFSET, Some(&b"12"[..])), ("other", None), (PREVIOUS_RAW_OFFSET, Some(&b"-1"[..]))];
        let read = Provenance::from_headers(headers.into_iter());
        assert_eq!(read, Some(Provenance { raw_offset: 12, previous_raw_offset: -1 }));
        assert_eq!(Provenance::from_headers([(RAW_OFFSET, Some(&b"x"[..]))].into_iter()), None);
    }
}
