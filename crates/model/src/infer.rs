//! What type a column of text has, and the types we give to the columns of other systems.
//!
//! Two readers need the same answer: the check of a project, which plans queries over a CSV file's columns, and the loader, which reads
//! them. So the rules stand here, pure:
//!
//! - an empty text is NULL and says nothing about the type; a column without any value is text;
//! - whole numbers that fit in 64 bits are `Int64`; with a leading zero or a plus sign (`007`, `+49…`) they are identifiers and stay text,
//!   and so do longer ones and powers of ten (`1e5`);
//! - whole numbers and numbers with a decimal point are `Decimal128`, as money is: with the most decimal places seen, and with 18 digits
//!   in all, or 38 where 18 aren't enough. The steps keep the type as it is when the file is refreshed with a somewhat larger number;
//! - `true` and `false` in any case are `Boolean`; `0` and `1` are numbers;
//! - `2026-01-31` is `Date32`; with a time of day it is `Timestamp(µs, UTC)`, and a column with both is too;
//! - anything else, and any other mixture, is `Utf8`.

use arrow_schema::{DataType, TimeUnit};
use chrono::{Datelike as _, NaiveDate};

const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;
const DECIMAL_DIGITS_USUAL: u8 = 18;
const DECIMAL_DIGITS_MAX: u8 = 38;

/// The timestamp of every stream and result: microseconds since 1970, UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The type that we give to a column of another system (a Parquet file, say), or `None` if we have none that holds all of its values.
///
/// Integers become `Int32` or `Int64`, unsigned 64-bit ones `Decimal128(20, 0)`; floating point becomes `Float64`; text, bytes and
/// dictionaries lose their layout; timestamps become microseconds in UTC, those without a zone being taken as UTC.
pub fn column_type(foreign: &DataType) -> Option<DataType> {
    Some(match foreign {
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Boolean => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) if *precision <= DECIMAL_DIGITS_MAX && *scale >= 0 => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date32 => DataType::Date32,
        DataType::Date64 | DataType::Timestamp(_, _) => timestamp_type(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, values) => return column_type(values),
        _ => return None,
    })
}

/// Finds the type of a column from its texts, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnInference {
    values: u64,
    nulls: u64,
    not: Excluded,
    whole_digits: usize,
    decimal_places: usize,
    has_point: bool,
    has_time: bool,
}

/// The types that a value has ruled out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Excluded {
    integer: bool,
    decimal: bool,
    boolean: bool,
    time: bool,
}

impl ColumnInference {
    /// An inference that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one value of the column into account. Space around it is ignored, except that a column of text keeps it.
    pub fn observe(&mut self, text: &str) {
        let text = text.trim();
        if text.is_empty() {
            self.nulls += 1;
            return;
        }
        self.values += 1;
        if !self.not.decimal {
            self.observe_number(text);
        }
        if !self.not.boolean {
            self.not.boolean = boolean(text).is_none();
        }
        if !self.not.time && date(text).is_none() {
            self.has_time = true;
            self.not.time = timestamp_us(text).is_none();
        }
    }

    fn observe_number(&mut self, text: &str) {
        let Some((whole_digits, decimal_places)) = plain_number(text) else {
            self.not.decimal = true;
            self.not.integer = true;
            return;
        };
        self.whole_digits = self.whole_digits.max(whole_digits);
        if let Some(places) = decimal_places {
            self.has_point = true;
            self.not.integer = true;
            self.decimal_places = self.decimal_places.max(places);
        } else if text.parse::<i64>().is_err() {
            self.not.integer = true;
        }
    }

    /// The column's type by what was seen so far.
    pub fn data_type(&self) -> DataType {
        if self.values == 0 {
            DataType::Utf8
        } else if !self.not.integer {
            DataType::Int64
        } else if !self.not.decimal && self.has_point {
            self.decimal_type().unwrap_or(DataType::Utf8)
        } else if !self.not.boolean {
            DataType::Boolean
        } else if !self.not.time {
            if self.has_time { timestamp_type() } else { DataType::Date32 }
        } else {
            DataType::Utf8
        }
    }

    fn decimal_type(&self) -> Option<DataType> {
        let digits = self.whole_digits + self.decimal_places;
        let scale = i8::try_from(self.decimal_places).ok()?;
        if digits <= usize::from(DECIMAL_DIGITS_USUAL) {
            Some(DataType::Decimal128(DECIMAL_DIGITS_USUAL, scale))
        } else if digits <= usize::from(DECIMAL_DIGITS_MAX) {
            Some(DataType::Decimal128(DECIMAL_DIGITS_MAX, scale))
        } else {
            None
        }
    }

    /// Whether a value was empty, or there was none at all.
    pub fn nullable(&self) -> bool {
        self.nulls > 0 || self.values == 0
    }
}

/// Digits before the point and, if there is a point, after it. `None` for what isn't a number in its usual form: an optional minus,
/// digits without a leading zero, and optionally a point with digits behind it.
fn plain_number(text: &str) -> Option<(usize, Option<usize>)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, places) = match digits.split_once('.') {
        Some((whole, places)) => (whole, Some(places)),
        None => (digits, None),
    };
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let whole_fits = if places.is_some() && whole.is_empty() { true } else { all_digits(whole) };
    if !whole_fits || places.is_some_and(|places| !all_digits(places)) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    Some((whole.len(), places.map(str::len)))
}

/// `true` or `false`, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Days since 1970 of a date written `YYYY-MM-DD` (ISO 8601).
pub fn date(text: &str) -> Option<i32> {
    let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else { return None };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, number(&[*m1, *m2])?, number(&[*d1, *d2])?)?;
    Some(date.num_days_from_ce() - UNIX_EPOCH_DAYS_FROM_CE)
}

const UNIX_EPOCH_DAYS_FROM_CE: i32 = 719_163;

/// Microseconds since 1970 of a point in time written in ISO 8601: a date, `T` or a space, `HH:MM`, optionally seconds with a fraction,
/// optionally `Z` or an offset (`+02:00`, `+0200`, `+02`). Without either it is taken as UTC.
///
/// Digits beyond microseconds are cut off, towards the past, so that order and windows stay as they were. A leap second isn't a time of
/// the POSIX clock and is refused.
pub fn timestamp_us(text: &str) -> Option<i64> {
    let (day, rest) = (text.get(..10)?, text.get(10..)?);
    let days = date(day)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let clock_end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = (rest.get(..clock_end)?.trim_end(), rest.get(clock_end..)?);
    let offset_minutes = zone_minutes(zone)?;
    let microseconds = time_of_day_us(clock)? - offset_minutes * 60_000_000;
    i64::from(days).checked_mul(MICROSECONDS_PER_DAY)?.checked_add(microseconds)
}

/// Microseconds since midnight of `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`.
fn time_of_day_us(clock: &str) -> Option<i64> {
    let bytes = clock.as_bytes();
    let two = |at: usize| number(bytes.get(at..at + 2)?);
    let (hour, minute) = (two(0)?, two(3)?);
    let second = if bytes.len() > 5 { two(6)? } else { 0 };
    let separated = bytes.get(2) == Some(&b':') && (bytes.len() == 5 || bytes.get(5) == Some(&b':'));
    if !separated || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut microseconds = 0;
    if bytes.len() > 8 {
        let fraction = bytes.get(9..)?;
        if !matches!(bytes.get(8), Some(b'.' | b',')) || fraction.is_empty() || !fraction.iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        for place in 0..6 {
            microseconds = microseconds * 10 + i64::from(fraction.get(place).map_or(0, |digit| digit - b'0'));
        }
    }
    let seconds = i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second);
    Some(seconds * 1_000_000 + microseconds)
}

/// Minutes ahead of UTC of `Z`, `+HH:MM`, `+HHMM`, `+HH` (or with a minus); 0 for an empty text.
fn zone_minutes(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.as_bytes() {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = match rest {
        [h1, h2] => (number(&[*h1, *h2])?, 0),
        [h1, h2, m1, m2] | [h1, h2, b':', m1, m2] => (number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then(|| sign * (i64::from(hours) * 60 + i64::from(minutes)))
}

/// The number that ASCII digits write.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inferred(values: &[&str]) -> DataType {
        let mut inference = ColumnInference::new();
        values.iter().for_each(|value| inference.observe(value));
        inference.data_type()
    }

    #[test]
    fn each_type_is_found() {
        assert_eq!(inferred(&["1", "", "-20"]), DataType::Int64);
        assert_eq!(inferred(&["0"]), DataType::Int64);
        assert_eq!(inferred(&["1", "2.50", "-.125"]), DataType::Decimal128(18, 3));
        assert_eq!(inferred(&["12345678901234567.25"]), DataType::Decimal128(38, 2));
        assert_eq!(inferred(&["true", "FALSE"]), DataType::Boolean);
        assert_eq!(inferred(&["2026-01-31", "2024-02-29"]), DataType::Date32);
        assert_eq!(inferred(&["2026-01-31", "2026-01-31T10:00:00Z"]), timestamp_type());
        assert_eq!(inferred(&["", ""]), DataType::Utf8);
        assert_eq!(inferred(&[]), DataType::Utf8);
    }

    #[test]
    fn what_only_looks_like_a_number_stays_text() {
        for identifiers in [
            &["007"][..],
            &["1", "010"],
            &["+491"],
            &["1e5"],
            &["12345678901234567890"],
            &["1", "true"],
            &["2026-02-30"],
            &["1", "2026-01-31"],
            &["0xff"],
            &["1."],
            &["-"],
            &["1,5"],
            &["NaN"],
            &["007.5"],
        ] {
            assert_eq!(inferred(identifiers), DataType::Utf8, "{identifiers:?}");
        }
    }

    #[test]
    fn only_an_empty_value_makes_a_column_nullable() {
        let mut inference = ColumnInference::new();
        assert!(inference.nullable());
        inference.observe("1");
        assert!(!inference.nullable());
        inference.observe(" ");
        assert!(inference.nullable());
    }

    #[test]
    fn times_in_all_their_forms() {
        let noon = 1_767_268_800_000_000;
        for text in [
            "2026-01-01T12:00:00Z",
            "2026-01-01 12:00",
            "2026-01-01T12:00:00.0000009",
            "2026-01-01T14:00:00+02:00",
            "2026-01-01T14:00:00+0200",
            "2026-01-01T11:00:00-01",
            "2026-01-01 12:00:00 +00:00",
        ] {
            assert_eq!(timestamp_us(text), Some(noon), "{text}");
        }
        assert_eq!(timestamp_us("1969-12-31T23:59:59.9999999Z"), Some(-1));
        for text in [
            "2026-01-01",
            "2026-01-01T24:00:00Z",
            "2026-01-01T23:59:60Z",
            "2026-01-01T12",
            "2026-01-01T12:00:00.Z",
            "2026-13-01T12:00:00Z",
            "2026-01-01T12:00:00+2",
            "2026-01-01T12-00",
            "é026-01-01T12:00",
        ] {
            assert_eq!(timestamp_us(text), None, "{text}");
        }
    }

    #[test]
    fn foreign_types_have_their_place() {
        assert_eq!(column_type(&DataType::UInt32), Some(DataType::Int64));
        assert_eq!(
            column_type(&DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::LargeUtf8))),
            Some(DataType::Utf8)
        );
        assert_eq!(column_type(&DataType::Timestamp(TimeUnit::Nanosecond, None)), Some(timestamp_type()));
        assert_eq!(column_type(&DataType::Duration(TimeUnit::Second)), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(texts in proptest::collection::vec("\\PC{0,24}", 0..8)) {
            let mut inference = ColumnInference::new();
            texts.iter().for_each(|text| inference.observe(text));
            let _type = inference.data_type();
        }

        #[test]
        fn a_timestamp_printed_is_read_back(microseconds in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
            let time = chrono::DateTime::from_timestamp_micros(microseconds).unwrap();
            prop_assert_eq!(timestamp_us(&time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()), Some(microseconds));
        }

        #[test]
        fn the_order_of_values_does_not_matter(mut texts in proptest::collection::vec("[-0-9.Tt:]{0,6}|true|2026-01-01", 0..6)) {
            let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
            let forwards = inferred(&refs);
            texts.reverse();
            let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
            prop_assert_eq!(forwards, inferred(&refs));
        }
    }
}
