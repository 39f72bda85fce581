//! JSON to Avro binary.

use model::limits::{NESTING_DEPTH_MAX, RECORD_BYTES_MAX};
use serde_json::{Map, Value};

use crate::arrow::Unit;
use crate::json::FieldError;
use crate::json::scalar::{date, decimal, expected, int, integer, timestamp};
use crate::schema::{Kind, Logical, Node, NodeId, Record, Schema, latin1};
use crate::{put, values};

/// Values that may be tried in one call: unions of records could make it exponential.
const STEPS_MAX: usize = 4_000_000;

pub(super) fn encode(schema: &Schema, value: &Value, out: &mut Vec<u8>) -> Result<(), FieldError> {
    let start = out.len();
    let mut reader = Reader { schema, path: Vec::new(), steps_left: STEPS_MAX, start };
    let result = reader.value(schema.root(), value, Form::Human, 1, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A person or a program wrote it.
    Human,
    /// It is a default of the schema, in Avro's JSON encoding.
    Default,
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

struct Reader<'a> {
    schema: &'a Schema,
    path: Vec<Step<'a>>,
    steps_left: usize,
    /// Length of the buffer before the value.
    start: usize,
}

type Done = Result<(), FieldError>;

impl<'a> Reader<'a> {
    fn value(&mut self, id: NodeId, value: &'a Value, form: Form, depth: usize, out: &mut Vec<u8>) -> Done {
        if depth > NESTING_DEPTH_MAX {
            return self.fail(format!("nested deeper than {NESTING_DEPTH_MAX} levels"));
        }
        match self.steps_left.checked_sub(1) {
            Some(left) => self.steps_left = left,
            None => return self.fail("the value is too complex for its schema".to_owned()),
        }
        if out.len() - self.start > RECORD_BYTES_MAX {
            return self.fail(format!("the record has more than {RECORD_BYTES_MAX} bytes"));
        }
        let schema = self.schema;
        let node = schema.node(id);
        match &node.kind {
            Kind::Record(record) => self.record(record, value, form, depth, out),
            Kind::Union(branches) => self.union(branches, value, form, depth, out),
            Kind::Array(items) => {
                let Value::Array(list) = value else { return self.result(expected("a list", value)) };
                if !list.is_empty() {
                    put::length(list.len(), out);
                }
                for (index, item) in list.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.value(*items, item, form, depth + 1, out)?;
                    self.path.pop();
                }
                put::long(0, out);
                Ok(())
            }
            Kind::Map(values) => {
                let Value::Object(entries) = value else { return self.result(expected("an object", value)) };
                if !entries.is_empty() {
                    put::length(entries.len(), out);
                }
                for (key, item) in entries {
                    self.path.push(Step::Key(key));
                    put::prefixed(key.as_bytes(), out);
                    self.value(*values, item, form, depth + 1, out)?;
                    self.path.pop();
                }
                put::long(0, out);
                Ok(())
            }
            _ => self.result(scalar(node, value, form, out)),
        }
    }

    fn record(&mut self, record: &'a Record, value: &'a Value, form: Form, depth: usize, out: &mut Vec<u8>) -> Done {
        let Value::Object(entries) = value else { return self.result(expected("an object", value)) };
        if form == Form::Human {
            self.check_keys(record, entries)?;
        }
        for field in &record.fields {
            self.path.push(Step::Key(&field.name));
            match (entries.get(&field.name), &field.default) {
                (Some(value), _) => self.value(field.node, value, form, depth + 1, out)?,
                (None, Some(default)) => self.value(field.node, default, Form::Default, depth + 1, out)?,
                (None, None) => return self.fail("missing, and the schema has no default for it".to_owned()),
            }
            self.path.pop();
        }
        Ok(())
    }

    fn check_keys(&mut self, record: &'a Record, entries: &'a Map<String, Value>) -> Done {
        let is_known = |key: &str| record.fields.iter().any(|field| field.name == key);
        let Some(unknown) = entries.keys().find(|key| !is_known(key)) else { return Ok(()) };
        let names = record.fields.iter().map(|field| field.name.as_str());
        let likely = names
            .filter(|name| !entries.contains_key(*name))
            .map(|name| (strsim::jaro_winkler(name, unknown), name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(likeness, _)| *likeness > 0.8);
        let hint = match likely {
            Some((_, name)) => format!("; did you mean `{name}`?"),
            None => String::new(),
        };
        self.path.push(Step::Key(unknown));
        self.fail(format!("the schema `{}` has no field `{unknown}`{hint}", record.name.full()))
    }

    /// Takes the first branch that the value fits. If only one could, its reason tells more than that none fits.
    fn union(&mut self, branches: &'a [NodeId], value: &'a Value, form: Form, depth: usize, out: &mut Vec<u8>) -> Done {
        let (start, depth_of_path) = (out.len(), self.path.len());
        let mut failures = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            if matches!(self.schema.node(*branch).kind, Kind::Null) != value.is_null() {
                continue;
            }
            put::length(index, out);
            match self.value(*branch, value, form, depth + 1, out) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    out.truncate(start);
                    self.path.truncate(depth_of_path);
                    failures.push(error);
                }
            }
        }
        match (failures.pop(), failures.is_empty()) {
            (Some(error), true) => Err(error),
            _ => {
                let words: Vec<_> = branches.iter().map(|branch| self.schema.type_name(*branch)).collect();
                self.result(expected(&format!("one of {}", words.join(", ")), value))
            }
        }
    }

    fn result<T>(&self, result: Result<T, String>) -> Result<T, FieldError> {
        result.map_err(|message| self.error(message))
    }

    fn fail<T>(&self, message: String) -> Result<T, FieldError> {
        Err(self.error(message))
    }

    fn error(&self, message: String) -> FieldError {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        if path.is_empty() {
            path.push_str("value");
        }
        FieldError { path, message }
    }
}

/// A value that holds no others.
fn scalar(node: &Node, value: &Value, form: Form, out: &mut Vec<u8>) -> Result<(), String> {
    if form == Form::Human
        && let Some(logical) = node.logical
    {
        return with_meaning(node, logical, value, out);
    }
    match &node.kind {
        Kind::Null if value.is_null() => {}
        Kind::Null => return expected("null", value),
        Kind::Boolean => match value {
            Value::Bool(flag) => out.push(u8::from(*flag)),
            other => return expected("true or false", other),
        },
        Kind::Int => put::long(i64::from(int(value, "integer")?), out),
        Kind::Long => put::long(integer(value, "integer")?, out),
        #[allow(clippy::cast_possible_truncation, reason = "the field's own type is float")]
        Kind::Float => {
            let float = number(value)? as f32;
            if !float.is_finite() {
                return Err("the number is too large for a 32-bit float".to_owned());
            }
            out.extend_from_slice(&float.to_le_bytes());
        }
        Kind::Double => out.extend_from_slice(&number(value)?.to_le_bytes()),
        Kind::Bytes => put::prefixed(&bytes(value)?, out),
        Kind::String => put::prefixed(text(value)?.as_bytes(), out),
        Kind::Fixed(fixed) => {
            let bytes = bytes(value)?;
            if bytes.len() != fixed.size {
                return Err(format!("{} bytes for a fixed of {}", bytes.len(), fixed.size));
            }
            out.extend_from_slice(&bytes);
        }
        Kind::Enum(enumeration) => {
            let symbol = text(value)?;
            match enumeration.symbols.iter().position(|known| known == symbol) {
                Some(index) => put::length(index, out),
                None => return Err(format!("`{symbol}` is none of {}", enumeration.symbols.join(", "))),
            }
        }
        Kind::Record(_) | Kind::Array(_) | Kind::Map(_) | Kind::Union(_) => {}
    }
    Ok(())
}

/// A value of a logical type, in the form people write.
fn with_meaning(node: &Node, logical: Logical, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    match (logical, &node.kind) {
        (Logical::Decimal { precision, scale }, kind) => {
            let size = if let Kind::Fixed(fixed) = kind { Some(fixed.size) } else { None };
            if !put::decimal(decimal(value, precision, scale)?, size, out) {
                return Err("the decimal is too large for its fixed".to_owned());
            }
            Ok(())
        }
        (Logical::Date, _) => {
            put::long(i64::from(date(value)?), out);
            Ok(())
        }
        (Logical::TimestampMillis | Logical::LocalTimestampMillis, _) => {
            put::long(timestamp(value, Unit::Millis)? / 1_000, out);
            Ok(())
        }
        (Logical::TimestampMicros | Logical::LocalTimestampMicros, _) => {
            put::long(timestamp(value, Unit::Micros)?, out);
            Ok(())
        }
        (Logical::Uuid, kind) => {
            let text = text(value)?;
            let bytes = values::uuid_bytes(text).ok_or_else(|| format!("`{text}` is no uuid"))?;
            if matches!(kind, Kind::Fixed(_)) {
                out.extend_from_slice(&bytes);
            } else {
                put::prefixed(text.as_bytes(), out);
            }
            Ok(())
        }
        // Times of day, nanoseconds and durations are given as Avro holds them.
        _ => scalar(node, value, Form::Default, out),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().map_or_else(|| expected("a number", value), Ok)
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::String(text) if text.contains('\0') => Err(values::NUL_IN_TEXT.to_owned()),
        Value::String(text) => Ok(text),
        other => expected("text", other),
    }
}

/// Bytes whose values are the text's characters.
fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) => {
            latin1(text).ok_or_else(|| "bytes are written as characters up to U+00FF; this text has others".to_owned())
        }
        other => expected("bytes as text", other),
    }
}
