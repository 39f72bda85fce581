//! Durations as Spark writes them: `'10 seconds'`, `'1 minute 30 seconds'`, `'1.5 seconds'`.

const UNITS: [(&str, i64); 8] = [
    ("week", 604_800_000_000),
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1_000),
    ("microsecond", 1),
    ("nanosecond", 0),
];

/// Why a text isn't a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("`{0}` isn't a unit of time")]
    Unit(String),
    #[error("months and years have no fixed length")]
    Calendar,
    #[error("time is kept to the microsecond")]
    Nanoseconds,
    #[error("`{0}` isn't a number")]
    Number(String),
    #[error("the number has no unit")]
    NoUnit,
    #[error("it is empty")]
    Empty,
    #[error("it is too long")]
    Overflow,
}

/// Microseconds of a unit, singular or plural, in any case.
pub(crate) fn unit_us(word: &str) -> Result<i64, DurationError> {
    let lower = word.to_lowercase();
    let singular = lower.strip_suffix('s').unwrap_or(&lower);
    match UNITS.iter().find(|(name, _)| *name == singular) {
        Some(("nanosecond", _)) => Err(DurationError::Nanoseconds),
        Some((_, us)) => Ok(*us),
        None if matches!(singular, "month" | "year" | "quarter") => Err(DurationError::Calendar),
        None => Err(DurationError::Unit(word.to_owned())),
    }
}

/// Names of the units, for suggestions.
pub(crate) fn unit_names() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(name, _)| *name).filter(|name| *name != "nanosecond")
}

/// Microseconds of a duration. Signs are allowed; a fraction only on seconds, as in Spark.
pub(crate) fn parse_us(text: &str) -> Result<i64, DurationError> {
    let mut words = text.split_whitespace().peekable();
    if words.peek().is_some_and(|word| word.eq_ignore_ascii_case("interval")) {
        words.next();
    }
    if words.peek().is_none() {
        return Err(DurationError::Empty);
    }
    let mut total: i64 = 0;
    while let Some(number) = words.next() {
        let unit = unit_us(words.next().ok_or(DurationError::NoUnit)?)?;
        let us = scaled_us(number, unit)?;
        total = total.checked_add(us).ok_or(DurationError::Overflow)?;
    }
    Ok(total)
}

/// `number` units of `unit` microseconds.
pub(crate) fn scaled_us(number: &str, unit: i64) -> Result<i64, DurationError> {
    let wrong = || DurationError::Number(number.to_owned());
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || (digits.contains('.') && unit != 1_000_000) {
        return Err(wrong());
    }
    let whole: i64 = whole.parse().map_err(|_| DurationError::Overflow)?;
    let mut us = whole.checked_mul(unit).ok_or(DurationError::Overflow)?;
    if !fraction.is_empty() {
        let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
        us = us.checked_add(six.parse().map_err(|_| wrong())?).ok_or(DurationError::Overflow)?;
    }
    Ok(if negative { -us } else { us })
}

/// A duration in the greatest units that give whole numbers, as `parse_us` reads it.
pub(crate) fn display_us(us: i64) -> String {
    let mut rest = us.unsigned_abs();
    let mut parts = Vec::new();
    for (name, unit) in UNITS {
        let Ok(unit) = u64::try_from(unit) else { continue };
        if unit == 0 || rest < unit {
            continue;
        }
        let count = rest / unit;
        rest %= unit;
        let sign = if us < 0 { "-" } else { "" };
        parts.push(format!("{sign}{count} {name}{}", if count == 1 { "" } else { "s" }));
    }
    if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_spark_reads_them() {
        assert_eq!(parse_us("10 seconds"), Ok(10_000_000));
        assert_eq!(parse_us("1 Minute"), Ok(60_000_000));
        assert_eq!(parse_us("interval 1 minute 30 seconds"), Ok(90_000_000));
        assert_eq!(parse_us(" 1.5 seconds "), Ok(1_500_000));
        assert_eq!(parse_us("2 weeks"), Ok(1_209_600_000_000));
        assert_eq!(parse_us("500 milliseconds"), Ok(500_000));
        assert_eq!(parse_us("-5 seconds"), Ok(-5_000_000));
        assert_eq!(parse_us("1 month"), Err(DurationError::Calendar));
        assert_eq!(parse_us("10 secnds"), Err(DurationError::Unit("secnds".to_owned())));
        assert_eq!(parse_us("10"), Err(DurationError::NoUnit));
        assert_eq!(parse_us("ten seconds"), Err(DurationError::Number("ten".to_owned())));
        assert_eq!(parse_us("1.5 minutes"), Err(DurationError::Number("1.5".to_owned())));
        assert_eq!(parse_us(""), Err(DurationError::Empty));
        assert_eq!(parse_us("99999999999999 days"), Err(DurationError::Overflow));
    }

    #[test]
    fn display_reads_back() {
        for us in [1, 1_000, 60_000_000, 90_000_000, 86_400_000_000, 3_661_001_001, -5_000_000, 0] {
            assert_eq!(parse_us(&display_us(us)), Ok(us), "{}", display_us(us));
        }
        assert_eq!(display_us(90_000_000), "1 minute 30 seconds");
    }
}
