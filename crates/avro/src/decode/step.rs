//! One record's steps: the hot path.

use crate::arrow::Unit;
use crate::column::Column;
use crate::cursor::{Cursor, Fault, is_plain};
use crate::decode::DecodeFailure;
use crate::resolve::{Action, Branch, Pass, Program, Read};
use crate::values;
use crate::walk::{Care, Limits, Walk};
use crate::wire::HEADER_BYTES;

/// Decodes a value into the columns. On failure some columns have a row more than others, which the caller takes back.
pub(super) fn run(
    program: &Program,
    columns: &mut [Column],
    value: &[u8],
    limits: &Limits,
    care: Care,
) -> Result<(), DecodeFailure> {
    let mut cursor = Cursor::new(value, HEADER_BYTES);
    cursor.any_value = limits.any_value;
    let mut walk = None;
    for (index, action) in program.actions.iter().enumerate() {
        let done = match action {
            Action::Skip(node) => walk
                .get_or_insert_with(|| Walk::new(&program.writer, care, limits, value.len()))
                .value(*node, &mut cursor, 1),
            action => fill(action, columns, &mut cursor),
        };
        if done.is_none() {
            return Err(failure(program, index, cursor, value.len()));
        }
    }
    if cursor.left() > 0 {
        let message = format!("{} bytes are left over after the record", cursor.left());
        return Err(DecodeFailure::Malformed { offset: cursor.at(), message });
    }
    for (column, constant) in &program.fills {
        let pushed = columns.get_mut(*column).and_then(|column| column.push_constant(constant));
        if pushed.is_none() {
            return Err(full(value.len()));
        }
    }
    Ok(())
}

#[cold]
fn failure(program: &Program, index: usize, cursor: Cursor<'_>, bytes: usize) -> DecodeFailure {
    let field = program.names.get(index).map(ToString::to_string).unwrap_or_default();
    match cursor.fault {
        Some(Fault::Malformed { offset, message }) => {
            DecodeFailure::Malformed { offset, message: format!("field `{field}`: {message}") }
        }
        Some(Fault::Invalid { message }) => DecodeFailure::InvalidValue { field, message: message.into_owned() },
        None => full(bytes),
    }
}

#[cold]
fn full(bytes: usize) -> DecodeFailure {
    DecodeFailure::TooLarge { bytes, bytes_max: i32::MAX as usize }
}

#[inline]
fn fill(action: &Action, columns: &mut [Column], cursor: &mut Cursor<'_>) -> Option<()> {
    match action {
        Action::Read { column, read } => one(read, columns.get_mut(*column)?, cursor),
        Action::Nullable { column, null, read } => {
            let column = columns.get_mut(*column)?;
            if cursor.index(2, "there is no union branch")? == *null {
                column.push_null();
                return Some(());
            }
            one(read, column, cursor)
        }
        Action::Union { column, branches } => {
            let column = columns.get_mut(*column)?;
            let index = cursor.index(branches.len(), "there is no union branch")?;
            match branches.get(index)? {
                Branch::Null => {
                    column.push_null();
                    Some(())
                }
                Branch::Read(read) => one(read, column, cursor),
                Branch::Refuse(message) => cursor.invalid(message.to_string()),
            }
        }
        Action::Pass(how) => pass(*how, cursor),
        Action::PassNullable { null, pass: how } => {
            if cursor.index(2, "there is no union branch")? == *null {
                Some(())
            } else {
                pass(*how, cursor)
            }
        }
        // The caller walks, since it keeps the record's budget.
        Action::Skip(_) => Some(()),
    }
}

#[inline]
fn pass(how: Pass, cursor: &mut Cursor<'_>) -> Option<()> {
    match how {
        Pass::Number => cursor.skip_number(),
        Pass::Prefixed => cursor.prefixed().map(drop),
        Pass::Fixed(size) => cursor.take(size).map(drop),
    }
}

#[inline]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "Avro's promotions to floating point")]
fn one(read: &Read, column: &mut Column, cursor: &mut Cursor<'_>) -> Option<()> {
    match read {
        Read::Null => column.push_null(),
        Read::Boolean => column.push_boolean(cursor.boolean()?),
        Read::Int => column.push_int32(cursor.int()?),
        Read::Date => {
            let days = cursor.int()?;
            column.push_int32(if cursor.any_value { days } else { checked(values::check_date(days), cursor)? });
        }
        Read::IntToLong => column.push_int64(i64::from(cursor.int()?)),
        Read::Long => column.push_int64(cursor.long()?),
        Read::IntToDouble => column.push_float64(f64::from(cursor.int()?)),
        Read::LongToDouble => column.push_float64(cursor.long()? as f64),
        Read::LongToFloat => column.push_float64(f64::from(cursor.long()? as f32)),
        Read::Float => {
            let value = f64::from(cursor.float()?);
            column.push_float64(number(value, cursor)?);
        }
        Read::Double => {
            let value = cursor.double()?;
            column.push_float64(number(value, cursor)?);
        }
        Read::Timestamp { from, to } => {
            let value = cursor.long()?;
            column.push_int64(timestamp(value, *from, *to, cursor)?);
        }
        Read::IntToTimestamp { unit } => {
            let value = i64::from(cursor.int()?);
            column.push_int64(timestamp(value, *unit, *unit, cursor)?);
        }
        Read::Text { is_text } => {
            let start = cursor.at();
            let text = cursor.prefixed()?;
            if !is_plain(text) {
                check_text(text, start, *is_text, cursor)?;
            }
            return column.push_bytes(text);
        }
        Read::Bytes => return column.push_bytes(cursor.prefixed()?),
        Read::Fixed { size } => return column.push_bytes(cursor.take(*size)?),
        Read::UuidFixed => return column.push_bytes(values::uuid_text(cursor.take(16)?).as_bytes()),
        Read::Decimal { max } => {
            let bytes = cursor.prefixed()?;
            column.push_decimal(decimal(bytes, *max, cursor)?);
        }
        Read::DecimalFixed { size, max } => {
            let bytes = cursor.take(*size)?;
            column.push_decimal(decimal(bytes, *max, cursor)?);
        }
        Read::Enum(symbols) => {
            let index = cursor.index(symbols.len(), "there is no enum symbol")?;
            return match symbols.get(index)? {
                Ok(symbol) => column.push_bytes(symbol.as_bytes()),
                Err(unknown) => cursor.invalid(format!("the symbol `{unknown}` is not in the stream's schema")),
            };
        }
    }
    Some(())
}

#[inline]
fn checked<T>(value: Result<T, values::Reason>, cursor: &mut Cursor<'_>) -> Option<T> {
    match value {
        Ok(value) => Some(value),
        Err(reason) => cursor.invalid(reason),
    }
}

#[inline]
fn number(value: f64, cursor: &mut Cursor<'_>) -> Option<f64> {
    if cursor.any_value { Some(value) } else { checked(values::check_number(value), cursor) }
}

#[inline]
fn timestamp(value: i64, from: Unit, to: Unit, cursor: &mut Cursor<'_>) -> Option<i64> {
    let micros = match from {
        Unit::Micros => value,
        Unit::Millis => value.saturating_mul(1_000),
    };
    if from == Unit::Micros && to == Unit::Millis && micros % 1_000 != 0 {
        return cursor.invalid(format!("a timestamp of {micros} µs, which the stream's timestamp-millis can't hold"));
    }
    if cursor.any_value { Some(micros) } else { checked(values::check_timestamp(micros), cursor) }
}

#[inline]
fn decimal(bytes: &[u8], max: i128, cursor: &mut Cursor<'_>) -> Option<i128> {
    match values::unscaled(bytes) {
        Some(value) if (-max..=max).contains(&value) => Some(value),
        None if bytes.is_empty() => cursor.invalid("a decimal of no bytes"),
        _ => cursor.invalid(values::beyond_precision(max)),
    }
}

/// Text that isn't plain ASCII: it must be UTF-8 and hold no NUL.
fn check_text(text: &[u8], start: usize, is_text: bool, cursor: &mut Cursor<'_>) -> Option<()> {
    if std::str::from_utf8(text).is_err() {
        return if is_text {
            cursor.malformed(start, "a text is not valid UTF-8")
        } else {
            cursor.invalid("the bytes are not valid UTF-8")
        };
    }
    if text.contains(&0) { cursor.invalid(values::NUL_IN_TEXT) } else { Some(()) }
}
