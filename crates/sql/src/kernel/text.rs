//! Functions of text. Positions and lengths count characters (Unicode code points), from 1.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int32Type;
use arrow_array::{Array as _, ArrayRef, BooleanArray};
use arrow_schema::DataType;
use datafusion_common::{DataFusionError, Result};

use super::{Kernel, Operands, collect};

pub(crate) const LENGTH: Kernel = Kernel::function("length", |operands, _| {
    let texts = operands.texts(0)?;
    let length = |row| texts.get(row).map(|text| i32::try_from(text.chars().count()).unwrap_or(i32::MAX));
    Ok(Arc::new(collect::<Int32Type>(operands.rows, length)))
});

/// Spaces alone are trimmed, as in Spark.
pub(crate) const TRIM: Kernel = Kernel::function("trim", |operands, _| slices(operands, |text| text.trim_matches(' ')));

pub(crate) const TRIM_START: Kernel =
    Kernel::function("ltrim", |operands, _| slices(operands, |text| text.trim_start_matches(' ')));

pub(crate) const TRIM_END: Kernel =
    Kernel::function("rtrim", |operands, _| slices(operands, |text| text.trim_end_matches(' ')));

/// The texts of a list with a separator between.
pub(crate) const ARRAY_JOIN: Kernel = Kernel::function("array_join", |operands, _| {
    let lists = operands.expanded(0)?;
    let lists =
        lists.as_list_opt::<i32>().ok_or_else(|| DataFusionError::Internal("a list is something else".into()))?;
    let separators = operands.texts(1)?;
    build(operands, |row, out| {
        let separator = separators.get(row)?;
        if lists.is_null(row) {
            return None;
        }
        let items = lists.value(row);
        for (index, item) in items.as_string_opt::<i32>()?.iter().flatten().enumerate() {
            if index > 0 {
                out.push_str(separator);
            }
            out.push_str(item);
        }
        Some(())
    })
});

fn slices(operands: &Operands, slice: fn(&str) -> &str) -> Result<ArrayRef> {
    let texts = operands.texts(0)?;
    build(operands, |row, out| {
        out.push_str(slice(texts.get(row)?));
        Some(())
    })
}

/// A column of text; `row` writes one value or gives `None` for NULL.
fn build(operands: &Operands, row: impl Fn(usize, &mut String) -> Option<()>) -> Result<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(operands.rows, operands.rows * 8);
    let mut value = String::new();
    for index in 0..operands.rows {
        value.clear();
        match row(index, &mut value) {
            Some(()) => builder.append_value(&value),
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// `substring(text, position, length)`: position 0 is as 1, a negative one counts from the end.
pub(crate) const SUBSTRING: Kernel = Kernel::function("substring", |operands, _| {
    let (texts, positions) = (operands.texts(0)?, operands.numbers::<Int32Type>(1)?);
    let lengths = if operands.len() > 2 { Some(operands.numbers::<Int32Type>(2)?) } else { None };
    build(operands, |row, out| {
        let text = texts.get(row)?;
        let position = positions.get(row)?;
        let length = match &lengths {
            Some(lengths) => lengths.get(row)?,
            None => i32::MAX,
        };
        out.push_str(substring(text, position, length));
        Some(())
    })
});

/// `UTF8String.substringSQL` of Spark.
fn substring(text: &str, position: i32, length: i32) -> &str {
    let position = i64::from(position);
    let start = match position {
        1.. => position - 1,
        0 => 0,
        _ => i64::try_from(text.chars().count()).unwrap_or(i64::MAX) + position,
    };
    let end = start + i64::from(length);
    if end <= start || end <= 0 {
        return "";
    }
    let at = |characters: i64| match usize::try_from(characters) {
        Ok(characters) => text.char_indices().nth(characters).map_or(text.len(), |(at, _)| at),
        Err(_) => 0,
    };
    let start_byte = at(start.max(0));
    text.get(start_byte..at(end)).unwrap_or("")
}

/// `left(text, n)`.
pub(crate) const LEFT: Kernel = Kernel::function("left", |operands, _| {
    let (texts, counts) = (operands.texts(0)?, operands.numbers::<Int32Type>(1)?);
    build(operands, |row, out| {
        out.push_str(substring(texts.get(row)?, 1, counts.get(row)?.max(0)));
        Some(())
    })
});

/// `right(text, n)`.
pub(crate) const RIGHT: Kernel = Kernel::function("right", |operands, _| {
    let (texts, counts) = (operands.texts(0)?, operands.numbers::<Int32Type>(1)?);
    build(operands, |row, out| {
        let (text, count) = (texts.get(row)?, counts.get(row)?);
        if count > 0 {
            out.push_str(substring(text, count.wrapping_neg(), count));
        }
        Some(())
    })
});

/// NULL if one operand is.
pub(crate) const CONCAT: Kernel = Kernel::function("concat", |operands, _| {
    let texts = (0..operands.len()).map(|index| operands.texts(index)).collect::<Result<Vec<_>>>()?;
    build(operands, |row, out| {
        for text in &texts {
            out.push_str(text.get(row)?);
        }
        Some(())
    })
});

/// `replace(text, search, replacement)`; an empty search replaces nothing.
pub(crate) const REPLACE: Kernel = Kernel::function("replace", |operands, _| {
    let (texts, searches, replacements) = (operands.texts(0)?, operands.texts(1)?, operands.texts(2)?);
    build(operands, |row, out| {
        let (text, search, replacement) = (texts.get(row)?, searches.get(row)?, replacements.get(row)?);
        if search.is_empty() {
            out.push_str(text);
            return Some(());
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(search) {
            out.push_str(before);
            out.push_str(replacement);
            rest = after;
        }
        out.push_str(rest);
        Some(())
    })
});

/// Longest text that padding makes, in characters, so that one row can't take all memory.
pub(crate) const PADDED_MAX: i32 = 10_000;

/// `lpad(text, length, pad)`.
pub(crate) const PAD_START: Kernel = Kernel::function("lpad", |operands, _| pad(operands, true));

/// `rpad(text, length, pad)`.
pub(crate) const PAD_END: Kernel = Kernel::function("rpad", |operands, _| pad(operands, false));

fn pad(operands: &Operands, at_start: bool) -> Result<ArrayRef> {
    let (texts, lengths, pads) = (operands.texts(0)?, operands.numbers::<Int32Type>(1)?, operands.texts(2)?);
    build(operands, |row, out| {
        let (text, length, pad) = (texts.get(row)?, lengths.get(row)?.clamp(0, PADDED_MAX), pads.get(row)?);
        let missing = usize::try_from(length).unwrap_or(0).saturating_sub(text.chars().count());
        let kept = substring(text, 1, length);
        if !at_start {
            out.push_str(kept);
        }
        out.extend(pad.chars().cycle().take(missing));
        if at_start {
            out.push_str(kept);
        }
        Some(())
    })
}

pub(crate) const STARTS_WITH: Kernel =
    Kernel::function("startswith", |operands, _| test(operands, |text, part| text.starts_with(part)));

pub(crate) const ENDS_WITH: Kernel =
    Kernel::function("endswith", |operands, _| test(operands, |text, part| text.ends_with(part)));

pub(crate) const CONTAINS: Kernel =
    Kernel::function("contains", |operands, _| test(operands, |text, part| text.contains(part)));

fn test(operands: &Operands, holds: fn(&str, &str) -> bool) -> Result<ArrayRef> {
    let (texts, parts) = (operands.texts(0)?, operands.texts(1)?);
    let array: BooleanArray = (0..operands.rows).map(|row| Some(holds(texts.get(row)?, parts.get(row)?))).collect();
    Ok(Arc::new(array))
}

/// `instr(text, part)`: where the part begins, 0 if nowhere.
pub(crate) const POSITION: Kernel = Kernel::function("instr", |operands, _: &DataType| {
    let (texts, parts) = (operands.texts(0)?, operands.texts(1)?);
    let found = |row| {
        let (text, part) = (texts.get(row)?, parts.get(row)?);
        let before = text.find(part).and_then(|at| text.get(..at));
        Some(before.map_or(0, |before| i32::try_from(before.chars().count() + 1).unwrap_or(i32::MAX)))
    };
    Ok(Arc::new(collect::<Int32Type>(operands.rows, found)))
});

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of Spark's `UTF8StringSuite.substringSQL`.
    #[test]
    fn substring_is_sparks() {
        let text = "example";
        assert_eq!(substring(text, 0, 2), "ex");
        assert_eq!(substring(text, 1, 2), "ex");
        assert_eq!(substring(text, 0, 7), "example");
        assert_eq!(substring(text, 1, 2), "ex");
        assert_eq!(substring(text, 0, 100), "example");
        assert_eq!(substring(text, 1, 100), "example");
        assert_eq!(substring(text, 2, 2), "xa");
        assert_eq!(substring(text, 1, 6), "exampl");
        assert_eq!(substring(text, 2, 100), "xample");
        assert_eq!(substring(text, 0, 0), "");
        assert_eq!(substring(text, 100, 4), "");
        assert_eq!(substring(text, -2, 2), "le");
        assert_eq!(substring(text, -100, 4), "");
        assert_eq!(substring(text, -7, 2), "ex");
        assert_eq!(substring(text, -9, 3), "e");
        assert_eq!(substring(text, i32::MIN, 6), "");
        assert_eq!(substring(text, i32::MAX, i32::MAX), "");
        assert_eq!(substring("aäöb", 2, 2), "äö");
    }
}
