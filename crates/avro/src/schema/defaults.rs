//! Whether a field's default fits its type, by the rules of Avro Java's `isValidDefault`, and a little beyond: the
//! symbol of an enum must exist, bytes must be characters up to U+00FF, a fixed must have its length.

use model::limits::NESTING_DEPTH_MAX;
use serde_json::Value;

use super::{Kind, Node, NodeId};

/// Values that are looked at in all defaults of a schema. Unions and nested defaults could make it exponential.
pub(super) const STEPS_MAX: usize = 1_000_000;

/// Says what is wrong with `default` for the type `id`, or nothing. Takes from `steps` what the check costs.
pub(super) fn check(nodes: &[Node], id: NodeId, default: &Value, steps: &mut usize) -> Result<(), String> {
    fits(nodes, id, default, 0, steps)
}

fn fits(nodes: &[Node], id: NodeId, value: &Value, depth: usize, steps: &mut usize) -> Result<(), String> {
    let Some(node) = nodes.get(id.index()) else { return Err("its type is missing".to_owned()) };
    *steps = steps.checked_sub(1).ok_or("the schema's defaults are too complex to be checked")?;
    if depth > NESTING_DEPTH_MAX {
        return Err(format!("the default is nested deeper than {NESTING_DEPTH_MAX} levels"));
    }
    let fine = match (&node.kind, value) {
        (Kind::Null, Value::Null) | (Kind::Boolean, Value::Bool(_)) | (Kind::String, Value::String(_)) => true,
        (Kind::Int, Value::Number(number)) => number.as_i64().is_some_and(|long| i32::try_from(long).is_ok()),
        (Kind::Long, Value::Number(number)) => number.as_i64().is_some(),
        (Kind::Float | Kind::Double, Value::Number(_)) => true,
        (Kind::Float | Kind::Double, Value::String(text)) => text.parse::<f64>().is_ok(),
        (Kind::Bytes, Value::String(text)) => latin1(text).is_some(),
        (Kind::Fixed(fixed), Value::String(text)) => latin1(text).is_some_and(|bytes| bytes.len() == fixed.size),
        (Kind::Enum(enumeration), Value::String(text)) => enumeration.symbols.contains(text),
        (Kind::Array(items), Value::Array(values)) => {
            return values.iter().try_for_each(|item| fits(nodes, *items, item, depth + 1, steps));
        }
        (Kind::Map(values), Value::Object(entries)) => {
            return entries.values().try_for_each(|item| fits(nodes, *values, item, depth + 1, steps));
        }
        (Kind::Union(branches), value) => {
            branches.iter().any(|branch| fits(nodes, *branch, value, depth + 1, steps).is_ok())
        }
        (Kind::Record(record), Value::Object(entries)) => {
            return record.fields.iter().try_for_each(|field| {
                match entries.get(&field.name).or(field.default.as_ref()) {
                    Some(inner) => fits(nodes, field.node, inner, depth + 1, steps),
                    None => Err(format!("the default has no value for the field `{}`", field.name)),
                }
            });
        }
        _ => false,
    };
    if fine { Ok(()) } else { Err(format!("the default {value} is no valid {}", describe(nodes, node))) }
}

fn describe(nodes: &[Node], node: &Node) -> String {
    match &node.kind {
        Kind::Enum(enumeration) => format!("symbol of the enum `{}`", enumeration.name.full()),
        Kind::Fixed(fixed) => format!("fixed of {} bytes", fixed.size),
        Kind::Union(branches) => {
            let words: Vec<_> = branches
                .iter()
                .filter_map(|branch| nodes.get(branch.index()))
                .map(|branch| branch.kind.word())
                .collect();
            format!("value of the union of {}", words.join(", "))
        }
        kind => kind.word().to_owned(),
    }
}

/// The bytes that Avro's JSON encoding writes as characters up to U+00FF.
pub(crate) fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect()
}
