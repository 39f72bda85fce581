//! Compiles a pair of schemas, a writer's and the stream's, into the steps that turn a record's bytes into columns.
//!
//! The rules are Avro's schema resolution, with three additions. Logical types count where both sides have one: a decimal
//! of another scale is refused instead of being off by powers of ten, milliseconds become microseconds. A writer's branch
//! or symbol that the stream's schema lacks fails the records that use it and not the whole schema, as in Java. And null
//! for a column that isn't nullable is such a branch.

use crate::arrow::{ColumnType, Unit, Wire};
use crate::column::Constant;
use crate::compatibility::{names_match, writer_fields};
use crate::schema::{Enumeration, Field, Kind, Logical, Node, NodeId, Schema, latin1};
use crate::values;
use crate::walk::Care;

use model::{Classified, Domain, Retry};
use serde_json::Value;

/// Why records of a writer's schema can't be read as the stream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("data of the schema `{writer}` can't be read as `{reader}`: {message}")]
pub struct ResolveError {
    /// Full name of the writer's schema.
    pub writer: String,
    /// Full name of the stream's schema.
    pub reader: String,
    /// The field concerned, if it is one.
    pub field: Option<String>,
    /// What doesn't fit.
    pub message: String,
}

impl Classified for ResolveError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// The steps for the records of one writer.
#[derive(Debug)]
pub(crate) struct Program {
    /// One for each of the writer's fields, in its order.
    pub(crate) actions: Box<[Action]>,
    /// The writer's field names, for messages.
    pub(crate) names: Box<[Box<str>]>,
    /// Defaults of columns that the writer doesn't have.
    pub(crate) fills: Box<[(usize, Constant)]>,
    /// The writer's schema, which the walks over skipped values need.
    pub(crate) writer: Schema,
    /// Whether the same bytes mean the same record in the stream's schema.
    pub(crate) is_identity: bool,
}

/// What to do with one of the writer's fields.
#[derive(Debug)]
pub(crate) enum Action {
    Read {
        column: usize,
        read: Read,
    },
    /// A union of null and one type, for a nullable column.
    Nullable {
        column: usize,
        null: usize,
        read: Read,
    },
    Union {
        column: usize,
        branches: Box<[Branch]>,
    },
    /// Walk over a value of this type.
    Skip(NodeId),
    /// Pass over a value of a simple type without looking at it.
    Pass(Pass),
    /// The same for a union of null and a simple type.
    PassNullable {
        null: usize,
        pass: Pass,
    },
}

/// How to get past a value whose contents don't matter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pass {
    Number,
    Prefixed,
    Fixed(usize),
}

#[derive(Debug)]
pub(crate) enum Branch {
    Null,
    Read(Read),
    /// The stream's schema can't take it: the record fails with this message.
    Refuse(Box<str>),
}

/// How to read one value and which kind of column takes it.
#[derive(Debug, Clone)]
pub(crate) enum Read {
    Null,
    Boolean,
    Int,
    Date,
    IntToLong,
    Long,
    IntToDouble,
    LongToDouble,
    /// Through 32 bits, as the stream's own type is `float`.
    LongToFloat,
    Float,
    Double,
    Timestamp {
        from: Unit,
        to: Unit,
    },
    IntToTimestamp {
        unit: Unit,
    },
    /// `is_text` when the writer's type promises UTF-8.
    Text {
        is_text: bool,
    },
    Bytes,
    Fixed {
        size: usize,
    },
    UuidFixed,
    Decimal {
        max: i128,
    },
    DecimalFixed {
        size: usize,
        max: i128,
    },
    /// For each of the writer's symbols the stream's, or the name of one it lacks.
    Enum(Box<[Result<Box<str>, Box<str>>]>),
}

/// A column that is wanted: the index of its field in the reader's schema and its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) field: usize,
    pub(crate) column: ColumnType,
}

/// Compiles the steps from a writer's records to the wanted columns.
pub(crate) fn compile(
    reader: &Schema,
    wanted: &[Wanted],
    writer: &Schema,
    care: Care,
) -> Result<Program, ResolveError> {
    let error = |field: Option<&str>, message: String| ResolveError {
        writer: writer.name().to_owned(),
        reader: reader.name().to_owned(),
        field: field.map(str::to_owned),
        message,
    };
    let Kind::Record(record) = &writer.node(writer.root()).kind else {
        return Err(error(None, format!("it is a {}, not a record", writer.node(writer.root()).kind.word())));
    };
    if !names_match(reader, reader.root(), writer, writer.root()) {
        let message =
            format!("the names differ; add the alias `{}` to `{}` if they mean the same", writer.name(), reader.name());
        return Err(error(None, message));
    }
    // For each of the writer's fields, the column it feeds.
    let mut feeds: Vec<Option<usize>> = vec![None; record.fields.len()];
    let mut fills = Vec::new();
    for (column, want) in wanted.iter().enumerate() {
        let Some(field) = reader.fields().get(want.field) else { continue };
        let found = writer_fields(field, record);
        let place = found.first().and_then(|first| record.fields.iter().position(|other| std::ptr::eq(other, *first)));
        match (place.and_then(|place| feeds.get_mut(place)), found.len()) {
            (Some(feed @ None), 1) => *feed = Some(column),
            (Some(_), _) => {
                let message = format!("several fields match the field `{}` by name and alias", field.name);
                return Err(error(Some(&field.name), message));
            }
            (None, _) => match &field.default {
                Some(default) => {
                    let constant = constant(reader, &want.column, default).map_err(|message| {
                        error(Some(&field.name), format!("the default of `{}`: {message}", field.name))
                    })?;
                    fills.push((column, constant));
                }
                None => {
                    let message = format!("it has no field `{}`, and that has no default", field.name);
                    return Err(error(Some(&field.name), message));
                }
            },
        }
    }
    let mut actions = Vec::with_capacity(record.fields.len());
    for (field, feed) in record.fields.iter().zip(&feeds) {
        let target = feed.and_then(|column| wanted.get(column).map(|want| (column, want)));
        actions.push(match target {
            Some((column, want)) => action(reader, &want.column, column, writer, field.node)
                .map_err(|message| error(Some(&field.name), format!("field `{}`: {message}", field.name)))?,
            None => skip(writer, field.node, care),
        });
    }
    Ok(Program {
        actions: actions.into(),
        names: record.fields.iter().map(|field| field.name.as_str().into()).collect(),
        fills: fills.into(),
        writer: writer.clone(),
        is_identity: same_layout(reader, writer),
    })
}

fn skip(writer: &Schema, id: NodeId, care: Care) -> Action {
    if care == Care::Full {
        return Action::Skip(id);
    }
    let node = writer.node(id);
    let nullable = match &node.kind {
        Kind::Union(branches) => match branches.as_slice() {
            [first, second] if matches!(writer.node(*first).kind, Kind::Null) => Some((0, *second)),
            [first, second] if matches!(writer.node(*second).kind, Kind::Null) => Some((1, *first)),
            _ => None,
        },
        _ => None,
    };
    match nullable {
        Some((null, value)) => pass(&writer.node(value).kind).map(|pass| Action::PassNullable { null, pass }),
        None => pass(&node.kind).map(Action::Pass),
    }
    .unwrap_or(Action::Skip(id))
}

fn pass(kind: &Kind) -> Option<Pass> {
    Some(match kind {
        Kind::Int | Kind::Long | Kind::Enum(_) => Pass::Number,
        Kind::String | Kind::Bytes => Pass::Prefixed,
        Kind::Boolean => Pass::Fixed(1),
        Kind::Float => Pass::Fixed(4),
        Kind::Double => Pass::Fixed(8),
        Kind::Fixed(fixed) => Pass::Fixed(fixed.size),
        Kind::Null | Kind::Record(_) | Kind::Array(_) | Kind::Map(_) | Kind::Union(_) => return None,
    })
}

fn action(reader: &Schema, own: &ColumnType, column: usize, writer: &Schema, id: NodeId) -> Result<Action, String> {
    let Kind::Union(branches) = &writer.node(id).kind else {
        return Ok(match branch(reader, own, writer, id)? {
            Branch::Read(read) => Action::Read { column, read },
            Branch::Null => Action::Read { column, read: Read::Null },
            Branch::Refuse(message) => return Err(message.into()),
        });
    };
    let mut compiled = Vec::with_capacity(branches.len());
    let mut last = None;
    let mut is_readable = false;
    for id in branches {
        compiled.push(match branch(reader, own, writer, *id) {
            Ok(branch) => {
                is_readable |= matches!(branch, Branch::Read(_));
                branch
            }
            Err(message) => {
                let refusal = Branch::Refuse(message.as_str().into());
                last = Some(message);
                refusal
            }
        });
    }
    match (last, compiled.as_slice()) {
        // Nothing but null could ever be read.
        (Some(message), _) if !is_readable => Err(message),
        (_, [Branch::Null, Branch::Read(read)]) => Ok(Action::Nullable { column, null: 0, read: read.clone() }),
        (_, [Branch::Read(read), Branch::Null]) => Ok(Action::Nullable { column, null: 1, read: read.clone() }),
        _ => Ok(Action::Union { column, branches: compiled.into() }),
    }
}

/// A type of the writer's that is no union.
fn branch(reader: &Schema, own: &ColumnType, writer: &Schema, id: NodeId) -> Result<Branch, String> {
    let node = writer.node(id);
    if matches!(node.kind, Kind::Null) {
        return Ok(if own.is_nullable() {
            Branch::Null
        } else {
            Branch::Refuse("null, which the stream's schema doesn't allow".into())
        });
    }
    match (&node.kind, &reader.node(own.node).kind) {
        (Kind::Enum(other), Kind::Enum(mine)) => {
            check_names(reader, own.node, writer, id)?;
            Ok(Branch::Read(symbols(mine, other)))
        }
        (Kind::Fixed(other), Kind::Fixed(mine)) => {
            check_names(reader, own.node, writer, id)?;
            if other.size != mine.size {
                return Err(format!("a fixed of {} bytes can't be read as one of {}", other.size, mine.size));
            }
            fixed(own, node, mine.size).map(Branch::Read)
        }
        _ => plain(own, node).map(Branch::Read),
    }
}

fn check_names(reader: &Schema, own: NodeId, writer: &Schema, other: NodeId) -> Result<(), String> {
    if names_match(reader, own, writer, other) {
        return Ok(());
    }
    Err(format!(
        "the type `{}` can't be read as `{}`, their names differ",
        writer.type_name(other),
        reader.type_name(own)
    ))
}

fn symbols(mine: &Enumeration, other: &Enumeration) -> Read {
    let symbol = |symbol: &String| match (mine.symbols.contains(symbol), &mine.default) {
        (true, _) => Ok(symbol.as_str().into()),
        (false, Some(default)) => Ok(default.as_str().into()),
        (false, None) => Err(symbol.as_str().into()),
    };
    Read::Enum(other.symbols.iter().map(symbol).collect())
}

fn fixed(own: &ColumnType, node: &Node, size: usize) -> Result<Read, String> {
    match (own.wire, node.logical) {
        (Wire::UuidFixed, None | Some(Logical::Uuid)) => Ok(Read::UuidFixed),
        (Wire::Decimal { precision, scale, .. }, logical) => {
            check_decimal(scale, logical)?;
            Ok(Read::DecimalFixed { size, max: values::decimal_max(precision) })
        }
        (Wire::Fixed { .. }, _) => Ok(Read::Fixed { size }),
        _ => Err(mismatch(own, node)),
    }
}

fn plain(own: &ColumnType, node: &Node) -> Result<Read, String> {
    Ok(match (&node.kind, own.wire, node.logical) {
        (Kind::Boolean, Wire::Boolean, _) => Read::Boolean,
        (Kind::Int, Wire::Int, _) => Read::Int,
        (Kind::Int, Wire::Date, None | Some(Logical::Date)) => Read::Date,
        (Kind::Int, Wire::Long, _) => Read::IntToLong,
        (Kind::Int, Wire::Float, _) => Read::LongToFloat,
        (Kind::Int, Wire::Double, _) => Read::IntToDouble,
        (Kind::Int, Wire::Timestamp { unit }, None) => Read::IntToTimestamp { unit },
        (Kind::Long, Wire::Long, _) => Read::Long,
        (Kind::Long, Wire::Float, _) => Read::LongToFloat,
        (Kind::Long, Wire::Double, _) => Read::LongToDouble,
        (Kind::Long, Wire::Timestamp { unit: to }, logical) => match logical {
            None => Read::Timestamp { from: to, to },
            Some(Logical::TimestampMillis) => Read::Timestamp { from: Unit::Millis, to },
            Some(Logical::TimestampMicros) => Read::Timestamp { from: Unit::Micros, to },
            Some(_) => return Err(mismatch(own, node)),
        },
        (Kind::Float, Wire::Float | Wire::Double, _) => Read::Float,
        (Kind::Double, Wire::Double, _) => Read::Double,
        (Kind::String, Wire::Text, _) => Read::Text { is_text: true },
        (Kind::Bytes, Wire::Text, None) => Read::Text { is_text: false },
        (Kind::String | Kind::Bytes, Wire::Bytes, None) => Read::Bytes,
        (Kind::Bytes, Wire::Bytes, _) => Read::Bytes,
        (Kind::Bytes, Wire::Decimal { size: None, precision, scale }, logical) => {
            check_decimal(scale, logical)?;
            Read::Decimal { max: values::decimal_max(precision) }
        }
        _ => return Err(mismatch(own, node)),
    })
}

fn check_decimal(scale: u32, logical: Option<Logical>) -> Result<(), String> {
    match logical {
        Some(Logical::Decimal { scale: other, .. }) if other != scale => Err(format!(
            "a decimal of scale {other} can't be read as one of scale {scale}; Avro would take the digits as they are"
        )),
        _ => Ok(()),
    }
}

fn mismatch(own: &ColumnType, node: &Node) -> String {
    let logical = node.property("logicalType").and_then(Value::as_str);
    let word =
        logical.map_or_else(|| node.kind.word().to_owned(), |logical| format!("{} ({logical})", node.kind.word()));
    format!("{word} can't be read as {}", own.data_type())
}

/// A default as the value of a column.
fn constant(reader: &Schema, own: &ColumnType, default: &Value) -> Result<Constant, String> {
    if default.is_null() && own.is_nullable() {
        return Ok(Constant::Null);
    }
    let wrong = || format!("{default} is no value of the column's type");
    let text = default.as_str();
    let bytes = || text.and_then(latin1).ok_or_else(wrong);
    let long = || default.as_i64().ok_or_else(wrong);
    let said = |reason: values::Reason| reason.into_owned();
    Ok(match own.wire {
        Wire::Boolean => Constant::Boolean(default.as_bool().ok_or_else(wrong)?),
        Wire::Int => Constant::Int32(i32::try_from(long()?).map_err(|_| wrong())?),
        Wire::Date => Constant::Int32(values::check_date(i32::try_from(long()?).map_err(|_| wrong())?).map_err(said)?),
        Wire::Long => Constant::Int64(long()?),
        Wire::Timestamp { unit } => {
            let factor = if unit == Unit::Millis { 1_000 } else { 1 };
            let micros = long()?.checked_mul(factor).ok_or_else(wrong)?;
            Constant::Int64(values::check_timestamp(micros).map_err(said)?)
        }
        #[allow(clippy::cast_possible_truncation, reason = "the column's own type is float")]
        Wire::Float => Constant::Float64(f64::from(default.as_f64().ok_or_else(wrong)? as f32)),
        Wire::Double => Constant::Float64(default.as_f64().ok_or_else(wrong)?),
        Wire::Text => {
            let text = text.ok_or_else(wrong)?;
            if text.contains('\0') {
                return Err(values::NUL_IN_TEXT.to_owned());
            }
            Constant::Bytes(text.as_bytes().into())
        }
        Wire::Enum => match &reader.node(own.node).kind {
            Kind::Enum(mine) if text.is_some_and(|text| mine.symbols.iter().any(|symbol| symbol == text)) => {
                Constant::Bytes(text.unwrap_or_default().as_bytes().into())
            }
            _ => return Err(wrong()),
        },
        Wire::Bytes => Constant::Bytes(bytes()?.into()),
        Wire::Fixed { size } => Constant::Bytes(bytes()?.into()).sized(size).ok_or_else(wrong)?,
        Wire::UuidFixed => {
            let bytes = bytes()?;
            Constant::Bytes(values::uuid_text(&bytes).into_bytes().into()).sized(36).ok_or_else(wrong)?
        }
        Wire::Decimal { precision, .. } => {
            let value = values::unscaled(&bytes()?).ok_or_else(wrong)?;
            let max = values::decimal_max(precision);
            if value.abs() > max {
                return Err(said(values::beyond_precision(max)));
            }
            Constant::Decimal(value)
        }
    })
}

impl Constant {
    fn sized(self, size: usize) -> Option<Self> {
        matches!(&self, Self::Bytes(bytes) if bytes.len() == size).then_some(self)
    }
}

/// Whether the bytes of any record of one schema are those of the same record in the other: same fields in the same order
/// with the same types. Documentation, defaults, aliases and namespaces don't matter.
fn same_layout(reader: &Schema, writer: &Schema) -> bool {
    let same =
        |(own, other): (&Field, &Field)| own.name == other.name && same_type(reader, own.node, writer, other.node);
    reader.canonical() == writer.canonical()
        || reader.fields().len() == writer.fields().len() && reader.fields().iter().zip(writer.fields()).all(same)
}

/// The same for one field's type. Types that no column has don't get this far on the reader's side.
fn same_type(reader: &Schema, own: NodeId, writer: &Schema, other: NodeId) -> bool {
    let (own, other) = (reader.node(own), writer.node(other));
    own.logical == other.logical
        && match (&own.kind, &other.kind) {
            (Kind::Enum(own), Kind::Enum(other)) => own.symbols == other.symbols,
            (Kind::Fixed(own), Kind::Fixed(other)) => own.size == other.size,
            (Kind::Union(own), Kind::Union(other)) => {
                own.len() == other.len()
                    && own.iter().zip(other).all(|(own, other)| same_type(reader, *own, writer, *other))
            }
            (Kind::Record(_) | Kind::Array(_) | Kind::Map(_), _) => false,
            (own, other) => own.word() == other.word(),
        }
}
