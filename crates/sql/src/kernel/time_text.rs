//! Dates and timestamps as text and back, in UTC, as Spark's casts do it; and the proleptic Gregorian calendar.

/// Microseconds of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Year, month (1 to 12) and day of the month of a day counted from 1970-01-01.
///
/// Algorithm `civil_from_days` of Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html>.
pub(crate) fn civil(days: i32) -> (i32, u32, u32) {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    // A day that fits an i32 has a year that does.
    (i32::try_from(year).unwrap_or(0), u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// The day of a date, counted from 1970-01-01; `None` if there is no such date.
pub(crate) fn days(year: i32, month: u32, day: u32) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

/// Days of a month.
pub(crate) fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Day (from 1970-01-01) and microsecond within it of a timestamp.
pub(crate) fn split(us: i64) -> (i32, i64) {
    // i64 microseconds are at most 107 million days.
    (i32::try_from(us.div_euclid(DAY_US)).unwrap_or(0), us.rem_euclid(DAY_US))
}

/// `2026-01-31`.
pub(crate) fn date(day: i32) -> String {
    let (year, month, day) = civil(day);
    match year {
        0..=9_999 => format!("{year:04}-{month:02}-{day:02}"),
        10_000.. => format!("+{year}-{month:02}-{day:02}"),
        _ => format!("-{:04}-{month:02}-{day:02}", year.unsigned_abs()),
    }
}

/// `2026-01-31 12:00:00.5`: the fraction without trailing zeros, none if it is zero.
pub(crate) fn timestamp(us: i64) -> String {
    let (day, rest) = split(us);
    let seconds = rest / 1_000_000;
    let mut text = format!("{} {:02}:{:02}:{:02}", date(day), seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = rest % 1_000_000;
    if fraction > 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text
}

/// Reads a date as Spark's cast does: `yyyy`, `yyyy-[m]m` or `yyyy-[m]m-[d]d`, the last also followed by a space or `T` and anything.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let text = super::number_text::trim(text);
    let (date, rest) = split_date(text)?;
    if rest.is_empty() || (date.2.is_some() && rest.starts_with([' ', 'T'])) {
        days(date.0, date.1.unwrap_or(1), date.2.unwrap_or(1))
    } else {
        None
    }
}

type DateParts = (i32, Option<u32>, Option<u32>);

/// The date at the start of a text, and what follows it.
fn split_date(text: &str) -> Option<(DateParts, &str)> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (year, width, rest) = number(digits)?;
    if !(4..=6).contains(&width) {
        return None;
    }
    let year = sign * i32::try_from(year).ok()?;
    let Some(after) = rest.strip_prefix('-') else { return Some(((year, None, None), rest)) };
    let (month, width, rest) = number(after)?;
    if width > 2 {
        return None;
    }
    let Some(after) = rest.strip_prefix('-') else { return Some(((year, Some(month), None), rest)) };
    let (day, width, rest) = number(after)?;
    if width > 2 { None } else { Some(((year, Some(month), Some(day)), rest)) }
}

/// The digits at the start of a text: value, how many, and what follows.
fn number(text: &str) -> Option<(u32, usize, &str)> {
    let width = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(1..=9).contains(&width) {
        return None;
    }
    let (digits, rest) = text.split_at(width);
    Some((digits.parse().ok()?, width, rest))
}

/// Reads a timestamp as Spark's cast does: a date, then optionally a space or `T`, `[h]h:[m]m:[s]s[.fraction]` (or less of it) and a zone (`Z`, `UTC`,
/// `+hh:mm`). Without a zone it is UTC. Named regions aren't read.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let text = super::number_text::trim(text);
    let (date, rest) = split_date(text)?;
    let day = i64::from(days(date.0, date.1.unwrap_or(1), date.2.unwrap_or(1))?);
    let midnight = day.checked_mul(DAY_US)?;
    if rest.is_empty() {
        return Some(midnight);
    }
    date.2?;
    let (time_us, zone) = parse_time(rest.strip_prefix([' ', 'T'])?)?;
    midnight.checked_add(time_us)?.checked_sub(parse_zone_us(zone)?)
}

/// Microseconds since midnight of `h:m:s.f` at the start of a text, and what follows.
fn parse_time(text: &str) -> Option<(i64, &str)> {
    let part = |text: &str, limit: u32| -> Option<(i64, usize)> {
        let (value, width, _) = number(text)?;
        (width <= 2 && value < limit).then_some((i64::from(value), width))
    };
    let (hours, width) = part(text, 24)?;
    let rest = text.get(width..)?;
    // Hours or minutes may end the text; a zone follows seconds alone.
    if rest.is_empty() {
        return Some((hours * 3_600_000_000, rest));
    }
    let rest = rest.strip_prefix(':')?;
    let (minutes, width) = part(rest, 60)?;
    let rest = rest.get(width..)?;
    let minutes_us = (hours * 60 + minutes) * 60_000_000;
    let Some(rest) = rest.strip_prefix(':') else { return rest.is_empty().then_some((minutes_us, rest)) };
    let (seconds, width) = part(rest, 60)?;
    let rest = rest.get(width..)?;
    let seconds_us = minutes_us + seconds * 1_000_000;
    let Some(rest) = rest.strip_prefix('.') else { return Some((seconds_us, rest)) };
    let width = rest.bytes().take_while(u8::is_ascii_digit).count();
    // Digits after the microseconds are cut off, as in Spark.
    let six: String = rest.chars().take(width).chain("000000".chars()).take(6).collect();
    Some((seconds_us + six.parse::<i64>().ok()?, rest.get(width..)?))
}

/// Offset of a zone from UTC in microseconds.
fn parse_zone_us(zone: &str) -> Option<i64> {
    let zone = zone.trim();
    let offset = match zone {
        "" | "Z" | "UTC" | "GMT" | "UT" => return Some(0),
        other => other.strip_prefix("UTC").or(other.strip_prefix("GMT")).or(other.strip_prefix("UT")).unwrap_or(other),
    };
    let (sign, rest) = match offset.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, offset.strip_prefix('+')?),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None if rest.len() == 4 => rest.split_at_checked(2)?,
        None => (rest, "0"),
    };
    let (hours, width, tail) = number(hours)?;
    let (minutes, minutes_width, minutes_tail) = number(minutes)?;
    let right = width <= 2 && minutes_width <= 2 && tail.is_empty() && minutes_tail.is_empty();
    (right && hours <= 18 && minutes < 60).then_some(sign * (i64::from(hours) * 60 + i64::from(minutes)) * 60_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_is_found_again() {
        let mut expected = (1600, 1, 1);
        for day in days(1600, 1, 1).unwrap()..days(2400, 1, 1).unwrap() {
            assert_eq!(civil(day), expected);
            assert_eq!(days(expected.0, expected.1, expected.2), Some(day));
            expected.2 += 1;
            if expected.2 > days_in_month(expected.0, expected.1) {
                expected = (expected.0, expected.1 + 1, 1);
            }
            if expected.1 > 12 {
                expected = (expected.0 + 1, 1, 1);
            }
        }
        assert_eq!(days(1970, 1, 1), Some(0));
        assert_eq!(civil(i32::MAX).0, 5_881_580);
    }

    #[test]
    fn timestamps_read_back() {
        for us in [0, 1, -1, 1_767_225_600_000_000, 1_767_225_600_500_000, -62_135_596_800_000_000] {
            assert_eq!(parse_timestamp(&timestamp(us)), Some(us), "{}", timestamp(us));
        }
        assert_eq!(timestamp(1_767_225_600_500_000), "2026-01-01 00:00:00.5");
    }

    #[test]
    fn what_spark_reads() {
        let noon = parse_timestamp("2026-01-01 12:00:00").unwrap();
        for text in [
            "2026-1-1T12:0:0Z",
            "2026-01-01 14:00:00+02:00",
            " 2026-01-01 12:00:00.000000999 ",
            "2026-01-01 12:00:00 UTC",
            "2026-01-01 12",
        ] {
            assert_eq!(parse_timestamp(text), Some(noon), "{text}");
        }
        assert_eq!(parse_timestamp("2026"), parse_timestamp("2026-01-01"));
        for text in [
            "",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01 25:00:00",
            "2026-01-01x",
            "26-01-01",
            "2026-01-01 12Z",
            "2026-01-01 12:00Z",
            "yesterday",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
        assert_eq!(parse_date("2026-01-01T12:00"), Some(20_454));
        assert_eq!(parse_date("2024-02-29"), days(2024, 2, 29));
        assert_eq!(parse_date("2023-02-29"), None);
    }
}
