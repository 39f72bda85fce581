//! Durations and sizes as people write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written as `250ms`, `5s`, `10 min`, `1h 30m` or `7d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub std::time::Duration);

/// The units, largest first, with the spellings that are read; the first spelling is written.
const TIME_UNITS: [(&[&str], u64); 6] = [
    (&["d", "day", "days"], 86_400_000_000),
    (&["h", "hour", "hours"], 3_600_000_000),
    (&["m", "min", "minute", "minutes"], 60_000_000),
    (&["s", "sec", "second", "seconds"], 1_000_000),
    (&["ms", "millisecond", "milliseconds"], 1_000),
    (&["us", "microsecond", "microseconds"], 1),
];

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// Microseconds, the unit of event time.
    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("a duration is a number with a unit".into());
        }
        let mut total: u64 = 0;
        let mut below = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start();
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            if number.is_empty() {
                return Err(format!("`{text}` is no duration: a whole number is expected before each unit"));
            }
            if unit.is_empty() {
                return Err(format!("`{text}` has no unit"));
            }
            let unit = unit.to_ascii_lowercase();
            let Some((_, micros)) = TIME_UNITS.iter().find(|(names, _)| names.contains(&unit.as_str())) else {
                return Err(format!("`{unit}` is no unit of time"));
            };
            if *micros >= below {
                return Err(format!("`{text}` is no duration: larger units come first, each once"));
            }
            below = *micros;
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*micros));
            let sum = part.and_then(|part| total.checked_add(part)).filter(|sum| *sum <= MICROS_MAX);
            total = sum.ok_or_else(|| format!("`{text}` is longer than 1000 years"))?;
            rest = after.trim_start();
        }
        Ok(Self(std::time::Duration::from_micros(total)))
    }
}

/// 1000 years: event times plus any duration stay within 64 bits.
const MICROS_MAX: u64 = 1000 * 366 * 86_400_000_000;

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        let mut separator = "";
        for (names, micros) in TIME_UNITS {
            if rest >= micros {
                write!(f, "{separator}{}{}", rest / micros, names.first().copied().unwrap_or_default())?;
                rest %= micros;
                separator = " ";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of bytes, written as `512kB`, `64MB` or `2 GiB`. Decimal units count 1000, `KiB` and so on 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let trimmed = text.trim();
        let digits = trimmed.len() - trimmed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = trimmed.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        if number.is_empty() {
            return Err(format!("`{text}` is no size: a whole number with a unit is expected"));
        }
        if unit.is_empty() {
            return Err(format!("`{text}` has no unit"));
        }
        let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is no unit of size"));
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        bytes.map(Self).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [
            ("TB", 1_000_000_000_000),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
            ("MiB", 1 << 20),
            ("kB", 1_000),
            ("KiB", 1 << 10),
        ] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How long a topic keeps its records: a duration, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Nothing is deleted.
    Forever,
    /// Records may be deleted after this time.
    For(Duration),
}

impl Retention {
    /// The value of Kafka's topic setting `retention.ms`.
    pub fn retention_ms(self) -> i64 {
        match self {
            Self::Forever => -1,
            Self::For(duration) => i64::try_from(duration.0.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "forever" { Ok(Self::Forever) } else { text.parse().map(Self::For) }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::For(duration) => duration.fmt(f),
        }
    }
}

/// When the embedded broker brings records to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Before each acknowledgement: survives a power cut. The slowest.
    Each,
    /// At least this often: a power cut may cost the last moments, a killed process nothing.
    Every(Duration),
    /// When the operating system likes: a killed process loses nothing, a power cut may.
    System,
}

impl FromStr for Flush {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "each" => Ok(Self::Each),
            "system" => Ok(Self::System),
            other => other.parse().map(Self::Every),
        }
    }
}

impl fmt::Display for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Each => f.write_str("each"),
            Self::System => f.write_str("system"),
            Self::Every(duration) => duration.fmt(f),
        }
    }
}

/// Serde and the editors' schema for types that are written as one text.
macro_rules! text_setting {
    ($type:ident, $format:literal, $pattern:literal, $description:literal, $examples:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "format": $format, "pattern": $pattern, "description": $description, "examples": $examples
                })
            }
        }
    };
}

text_setting!(
    Duration,
    "duration-text",
    "^ *([0-9]+ *[A-Za-z]+ *)+$",
    "A length of time: whole numbers with units, such as 250ms, 5s, 10 min, 1h 30m or 7d.",
    ["250ms", "5s", "10 min", "1h", "7d"]
);
text_setting!(
    ByteSize,
    "size-text",
    "^ *[0-9]+ *[A-Za-z]+ *$",
    "A number of bytes with a unit, such as 512kB, 64MB or 2GiB.",
    ["64MB", "2GB"]
);
text_setting!(
    Retention,
    "retention-text",
    "^(forever| *([0-9]+ *[A-Za-z]+ *)+)$",
    "How long records are kept: a duration such as 7d, or forever.",
    ["7d", "forever"]
);
text_setting!(
    Flush,
    "flush-text",
    "^(each|system| *([0-9]+ *[A-Za-z]+ *)+)$",
    "When records reach the disk: `each` (before each acknowledgement), a duration (at least this often), or `system` (when the operating system likes).",
    ["each", "100ms", "system"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, micros, shown) in [
            ("5s", 5_000_000, "5s"),
            ("10 min", 600_000_000, "10m"),
            ("1h", 3_600_000_000, "1h"),
            ("7d", 604_800_000_000, "7d"),
            ("1h 30m", 5_400_000_000, "1h 30m"),
            ("1h30m", 5_400_000_000, "1h 30m"),
            ("250ms", 250_000, "250ms"),
            ("90s", 90_000_000, "1m 30s"),
            ("0s", 0, "0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_micros(), micros, "{text}");
            assert_eq!(duration.to_string(), shown);
            assert_eq!(shown.parse::<Duration>().unwrap(), duration);
        }
        for text in ["", "5", "s", "5 parsecs", "1m 1h", "5s 5s", "-5s", "1.5h", "99999999999999999999d", "99999999d"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes, shown) in
            [("64MB", 64_000_000, "64MB"), ("2 GiB", 2 << 30, "2048MiB"), ("512kb", 512_000, "512kB"), ("7B", 7, "7B")]
        {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), shown);
        }
        for text in ["", "5", "MB", "1.5MB", "5 parsecs", "99999999999TB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
