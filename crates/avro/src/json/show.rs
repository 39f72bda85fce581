//! Avro binary to JSON.

use serde_json::{Map, Number, Value};

use crate::cursor::{Cursor, Fault};
use crate::decode::DecodeFailure;
use crate::json::scalar::{show_date, show_timestamp};
use crate::schema::{Kind, Logical, Node, NodeId, Schema};
use crate::values;
use crate::walk::{Block, Care, Limits, Walk, min_width};

pub(super) fn decode(schema: &Schema, payload: &[u8]) -> Result<Value, DecodeFailure> {
    let limits = Limits::default();
    if payload.len() > limits.record_bytes_max {
        return Err(DecodeFailure::TooLarge { bytes: payload.len(), bytes_max: limits.record_bytes_max });
    }
    // The walk finds everything that is wrong before anything is built.
    let mut cursor = Cursor::new(payload, 0);
    let mut walk = Walk::new(schema, Care::Full, &limits, payload.len());
    if walk.value(schema.root(), &mut cursor, 1).is_none() {
        return Err(failure(cursor));
    }
    if cursor.left() > 0 {
        let message = format!("{} bytes are left over after the value", cursor.left());
        return Err(DecodeFailure::Malformed { offset: cursor.at(), message });
    }
    let mut cursor = Cursor::new(payload, 0);
    match value(schema, schema.root(), &mut cursor, limits.zero_width_items_max) {
        Some(value) => Ok(value),
        None => Err(failure(cursor)),
    }
}

fn failure(cursor: Cursor<'_>) -> DecodeFailure {
    match cursor.fault {
        Some(Fault::Invalid { message }) => {
            DecodeFailure::InvalidValue { field: String::new(), message: message.into_owned() }
        }
        Some(Fault::Malformed { offset, message }) => {
            DecodeFailure::Malformed { offset, message: message.into_owned() }
        }
        None => DecodeFailure::Malformed { offset: cursor.at(), message: "the value can't be read".to_owned() },
    }
}

/// The value at the cursor; the walk over it has bounded depth and counts.
fn value(schema: &Schema, id: NodeId, cursor: &mut Cursor<'_>, zero_width_max: usize) -> Option<Value> {
    let node = schema.node(id);
    Some(match &node.kind {
        Kind::Record(record) => {
            let mut entries = Map::new();
            for field in &record.fields {
                entries.insert(field.name.clone(), value(schema, field.node, cursor, zero_width_max)?);
            }
            Value::Object(entries)
        }
        Kind::Union(branches) => {
            let index = cursor.index(branches.len(), "there is no union branch")?;
            value(schema, *branches.get(index)?, cursor, zero_width_max)?
        }
        Kind::Array(items) => {
            let width = min_width(schema, *items);
            let mut list = Vec::new();
            blocks(cursor, width, zero_width_max, |cursor| {
                list.push(value(schema, *items, cursor, zero_width_max)?);
                Some(())
            })?;
            Value::Array(list)
        }
        Kind::Map(values) => {
            let width = min_width(schema, *values) + 1;
            let mut entries = Map::new();
            blocks(cursor, width, zero_width_max, |cursor| {
                let key = text(cursor)?;
                entries.insert(key, value(schema, *values, cursor, zero_width_max)?);
                Some(())
            })?;
            Value::Object(entries)
        }
        _ => scalar(node, cursor)?,
    })
}

fn blocks(
    cursor: &mut Cursor<'_>,
    width: usize,
    zero_width_max: usize,
    mut item: impl FnMut(&mut Cursor<'_>) -> Option<()>,
) -> Option<()> {
    let mut zero_width_left = zero_width_max;
    loop {
        let block = Block::read(cursor, width, &mut zero_width_left)?;
        if block.items == 0 {
            return Some(());
        }
        (0..block.items).try_for_each(|_| item(cursor))?;
    }
}

fn scalar(node: &Node, cursor: &mut Cursor<'_>) -> Option<Value> {
    Some(match (&node.kind, node.logical) {
        (Kind::Boolean, _) => cursor.boolean()?.into(),
        (Kind::Int, Some(Logical::Date)) => show_date(cursor.int()?),
        (Kind::Int, _) => cursor.int()?.into(),
        (Kind::Long, Some(Logical::TimestampMicros)) => show_timestamp(cursor.long()?),
        (Kind::Long, Some(Logical::TimestampMillis)) => match cursor.long()? {
            millis if millis.checked_mul(1_000).is_none() => millis.into(),
            millis => show_timestamp(millis.saturating_mul(1_000)),
        },
        (Kind::Long, _) => cursor.long()?.into(),
        (Kind::Float, _) => {
            // Through text, so that 0.1 shows as 0.1 and not as the double nearest to it.
            let float = cursor.float()?;
            float_value(float.to_string().parse().unwrap_or(f64::from(float)))
        }
        (Kind::Double, _) => float_value(cursor.double()?),
        (Kind::String, _) => text(cursor)?.into(),
        (Kind::Enum(enumeration), _) => {
            let index = cursor.index(enumeration.symbols.len(), "there is no enum symbol")?;
            enumeration.symbols.get(index)?.as_str().into()
        }
        (Kind::Bytes, logical) => bytes(cursor.prefixed()?, logical),
        (Kind::Fixed(fixed), logical) => bytes(cursor.take(fixed.size)?, logical),
        _ => Value::Null,
    })
}

fn bytes(bytes: &[u8], logical: Option<Logical>) -> Value {
    let plain = || bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    match logical {
        Some(Logical::Decimal { scale, .. }) if scale <= 38 => {
            values::unscaled(bytes).map_or_else(plain, |value| values::decimal_text(value, scale)).into()
        }
        Some(Logical::Uuid) => values::uuid_text(bytes).into(),
        _ => plain().into(),
    }
}

fn float_value(float: f64) -> Value {
    Number::from_f64(float).map_or_else(|| float.to_string().into(), Value::Number)
}

fn text(cursor: &mut Cursor<'_>) -> Option<String> {
    let start = cursor.at();
    match std::str::from_utf8(cursor.prefixed()?) {
        Ok(text) => Some(text.to_owned()),
        Err(_) => cursor.malformed(start, "a text is not valid UTF-8"),
    }
}
