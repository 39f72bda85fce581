//! Settings of a topic: which there are, what values they take, what they are by default.
//!
//! All of Apache Kafka's topic settings are known, so that a project moves between the two. Those that this broker doesn't act upon yet
//! are kept and shown; one that would change the bytes of records (`compression.type`) is refused instead of being ignored.

use std::collections::BTreeMap;

/// Kind of a value, with the number that DescribeConfigs has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    /// Allowed words for texts and lists; empty for any.
    words: &'static [&'static str],
    /// Least number.
    least: i64,
}

const fn number(name: &'static str, kind: Kind, default: &'static str, least: i64) -> Setting {
    Setting { name, kind, default, words: &[], least }
}

const fn words(name: &'static str, kind: Kind, default: &'static str, words: &'static [&'static str]) -> Setting {
    Setting { name, kind, default, words, least: 0 }
}

/// Name of the largest batch's size in bytes.
pub(crate) const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Name of the size at which a segment is finished, in bytes.
pub(crate) const SEGMENT_BYTES: &str = "segment.bytes";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const COMPRESSION_TYPE: &str = "compression.type";
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
const SEGMENT_BYTES_MIN: i64 = 14;

/// Every setting, by name.
pub(crate) const SETTINGS: &[Setting] = &[
    words("cleanup.policy", Kind::List, "delete", &["delete", "compact"]),
    words(COMPRESSION_TYPE, Kind::Text, "producer", &["producer"]),
    number("delete.retention.ms", Kind::Long, "86400000", 0),
    number("file.delete.delay.ms", Kind::Long, "60000", 0),
    number("flush.messages", Kind::Long, "9223372036854775807", 1),
    number("flush.ms", Kind::Long, "9223372036854775807", 0),
    words("follower.replication.throttled.replicas", Kind::List, "", &[]),
    number("index.interval.bytes", Kind::Int, "4096", 0),
    words("leader.replication.throttled.replicas", Kind::List, "", &[]),
    number("max.compaction.lag.ms", Kind::Long, "9223372036854775807", 1),
    number(MAX_MESSAGE_BYTES, Kind::Int, "1048588", 0),
    number("message.timestamp.after.max.ms", Kind::Long, "3600000", 0),
    number("message.timestamp.before.max.ms", Kind::Long, "9223372036854775807", 0),
    words(TIMESTAMP_TYPE, Kind::Text, "CreateTime", &["CreateTime", "LogAppendTime"]),
    number("min.cleanable.dirty.ratio", Kind::Double, "0.5", 0),
    number("min.compaction.lag.ms", Kind::Long, "0", 0),
    number("min.insync.replicas", Kind::Int, "1", 1),
    words("preallocate", Kind::Boolean, "false", &[]),
    number("retention.bytes", Kind::Long, "-1", -1),
    number("retention.ms", Kind::Long, "604800000", -1),
    number(SEGMENT_BYTES, Kind::Int, "268435456", SEGMENT_BYTES_MIN),
    number("segment.index.bytes", Kind::Int, "10485760", 4),
    number("segment.jitter.ms", Kind::Long, "0", 0),
    number("segment.ms", Kind::Long, "604800000", 1),
    words("unclean.leader.election.enable", Kind::Boolean, "false", &[]),
];

/// The setting with this name.
pub(crate) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// Checks a value; the error says what is wrong with it.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(setting) = setting(name) else {
        return Err(format!("unknown topic setting {name}"));
    };
    let refused = |wanted: &str| Err(format!("{name}={value}: {wanted} is needed"));
    match setting.kind {
        Kind::Boolean if !matches!(value, "true" | "false") => refused("true or false"),
        Kind::Int => match value.parse::<i32>() {
            Ok(number) if i64::from(number) >= setting.least => Ok(()),
            _ => refused(&format!("a whole number of at least {}", setting.least)),
        },
        Kind::Long => match value.parse::<i64>() {
            Ok(number) if number >= setting.least => Ok(()),
            _ => refused(&format!("a whole number of at least {}", setting.least)),
        },
        Kind::Double => match value.parse::<f64>() {
            Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
            _ => refused("a number from 0 to 1"),
        },
        Kind::Text | Kind::List if !setting.words.is_empty() => {
            let known = value.split(',').all(|word| setting.words.contains(&word.trim()));
            if known && (setting.kind == Kind::List || !value.contains(',')) {
                Ok(())
            } else if name == COMPRESSION_TYPE {
                refused("producer (this broker never compresses anew; set the compression in the producer)")
            } else {
                refused(&format!("one of {}", setting.words.join(", ")))
            }
        }
        _ => Ok(()),
    }
}

/// A topic's settings as the broker acts upon them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicConfig {
    /// What was set for this topic.
    pub(crate) overrides: BTreeMap<String, String>,
    pub(crate) message_bytes_max: usize,
    pub(crate) segment_bytes: u64,
    /// Whether the broker's time is stamped on batches.
    pub(crate) log_append_time: bool,
}

/// Defaults of the broker's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) message_bytes_max: usize,
    pub(crate) segment_bytes: u64,
}

impl Defaults {
    /// The value of a setting that a topic hasn't set.
    pub(crate) fn value(&self, setting: &Setting) -> String {
        match setting.name {
            MAX_MESSAGE_BYTES => self.message_bytes_max.to_string(),
            SEGMENT_BYTES => self.segment_bytes.to_string(),
            _ => setting.default.to_owned(),
        }
    }
}

impl TopicConfig {
    /// Settings from what was set. Each value has passed [`check`].
    pub(crate) fn new(overrides: BTreeMap<String, String>, defaults: Defaults) -> Self {
        let number = |name: &str| overrides.get(name).and_then(|value| value.parse::<u64>().ok());
        let message_bytes_max = number(MAX_MESSAGE_BYTES).and_then(|bytes| usize::try_from(bytes).ok());
        let segment_bytes = number(SEGMENT_BYTES).unwrap_or(defaults.segment_bytes).min(SEGMENT_BYTES_MAX);
        let log_append_time = overrides.get(TIMESTAMP_TYPE).is_some_and(|value| value == "LogAppendTime");
        Self {
            message_bytes_max: message_bytes_max.unwrap_or(defaults.message_bytes_max),
            segment_bytes,
            log_append_time,
            overrides,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check() {
        for setting in SETTINGS {
            assert_eq!(check(setting.name, setting.default), Ok(()), "{}", setting.name);
        }
    }

    #[test]
    fn wrong_values_are_refused_with_a_reason() {
        for (name, value) in [
            ("cleanup.policy", "shred"),
            ("compression.type", "zstd"),
            ("retention.ms", "soon"),
            ("retention.ms", "-2"),
            ("preallocate", "yes"),
            ("no.such.setting", "1"),
            ("message.timestamp.type", "CreateTime,LogAppendTime"),
        ] {
            let reason = check(name, value).unwrap_err();
            assert!(reason.contains(name), "{reason}");
        }
        assert_eq!(check("cleanup.policy", "compact,delete"), Ok(()));
    }
}
