//! Which Avro schemas can be the columns of a stream, and as which Arrow types.
//!
//! | Avro | Arrow |
//! | --- | --- |
//! | `boolean`, `int`, `long` | `Boolean`, `Int32`, `Int64` |
//! | `float`, `double` | `Float64` |
//! | `string`, `enum`, `uuid` | `Utf8` |
//! | `bytes`, `fixed` | `Binary` |
//! | `decimal` (38 digits at most) | `Decimal128` |
//! | `date` | `Date32` |
//! | `timestamp-millis`, `timestamp-micros` | `Timestamp(µs, UTC)` |
//! | union of `null` and one of these, in either order | the same, nullable |
//!
//! Times of day come as plain `Int32` and `Int64`. Everything else is refused with the field's name.

use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, Fields, SchemaRef, TimeUnit};
use model::limits::COLUMNS_MAX;
use model::{Classified, Domain, Retry};

use crate::schema::{Field, Kind, Logical, Node, NodeId, Schema};

/// Most digits of a `Decimal128`.
pub const DECIMAL_DIGITS_MAX: u32 = 38;

/// Why a schema can't be the columns of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrowMappingError {
    /// The root isn't a record.
    #[error("the schema `{name}` is a {kind}; a stream's schema must be a record")]
    NotARecord {
        /// Name of the root type.
        name: String,
        /// Its kind.
        kind: &'static str,
    },
    /// There are more fields than columns allowed.
    #[error("the schema `{name}` has {fields} fields, more than {COLUMNS_MAX}")]
    TooManyFields {
        /// Name of the record.
        name: String,
        /// Number of its fields.
        fields: usize,
    },
    /// A field's type has no column.
    #[error("field `{field}` of the schema `{name}` can't be a column: {message}")]
    Field {
        /// Name of the record.
        name: String,
        /// Name of the field.
        field: String,
        /// Why, and what to write instead.
        message: String,
    },
}

impl Classified for ArrowMappingError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// How the values of a column lie on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Enum,
    Fixed { size: usize },
    UuidFixed,
    Decimal { size: Option<usize>, precision: u32, scale: u32 },
    Date,
    Timestamp { unit: Unit },
}

/// Unit of a timestamp on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
}

/// A field as a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnType {
    /// The node of the value's type: the field's own, or its union's branch that isn't null.
    pub(crate) node: NodeId,
    pub(crate) wire: Wire,
    /// Indexes of the branches, if the field is a union.
    pub(crate) union: Option<UnionShape>,
}

/// Where the branches of a union of null and one type stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnionShape {
    pub(crate) null: Option<u8>,
    pub(crate) value: u8,
}

impl ColumnType {
    pub(crate) fn is_nullable(&self) -> bool {
        self.union.is_some_and(|union| union.null.is_some())
    }

    pub(crate) fn data_type(&self) -> DataType {
        self.wire.data_type()
    }
}

impl Wire {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Float | Self::Double => DataType::Float64,
            Self::Text | Self::Enum | Self::UuidFixed => DataType::Utf8,
            Self::Bytes | Self::Fixed { .. } => DataType::Binary,
            Self::Decimal { precision, scale, .. } => decimal(precision, scale),
            Self::Date => DataType::Date32,
            Self::Timestamp { .. } => timestamp(),
        }
    }
}

/// The type of all timestamps: microseconds since 1970, UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "38 digits at most")]
fn decimal(precision: u32, scale: u32) -> DataType {
    DataType::Decimal128(precision as u8, scale as i8)
}

impl Schema {
    /// The stream's columns as an Arrow schema, in the order of the fields.
    ///
    /// # Errors
    /// The first field that can't be a column.
    pub fn arrow(&self) -> Result<SchemaRef, ArrowMappingError> {
        let fields: Fields = columns(self)?
            .iter()
            .zip(self.fields())
            .map(|(column, field)| ArrowField::new(&field.name, column.data_type(), column.is_nullable()))
            .collect();
        Ok(Arc::new(arrow_schema::Schema::new(fields)))
    }
}

/// The fields of the root record as columns.
pub(crate) fn columns(schema: &Schema) -> Result<Vec<ColumnType>, ArrowMappingError> {
    let root = schema.node(schema.root());
    let name = schema.name().to_owned();
    let Kind::Record(record) = &root.kind else {
        return Err(ArrowMappingError::NotARecord { name, kind: root.kind.word() });
    };
    if record.fields.len() > COLUMNS_MAX {
        return Err(ArrowMappingError::TooManyFields { name, fields: record.fields.len() });
    }
    let column = |field: &Field| {
        column(schema, field.node).map_err(|message| ArrowMappingError::Field {
            name: name.clone(),
            field: field.name.clone(),
            message,
        })
    };
    record.fields.iter().map(column).collect()
}

fn column(schema: &Schema, id: NodeId) -> Result<ColumnType, String> {
    let node = schema.node(id);
    let Kind::Union(branches) = &node.kind else {
        return Ok(ColumnType { node: id, wire: wire(node)?, union: None });
    };
    let is_null = |branch: &NodeId| matches!(schema.node(*branch).kind, Kind::Null);
    let union = |null, value| Some(UnionShape { null, value });
    let (branch, union) = match branches.as_slice() {
        [value] if !is_null(value) => (*value, union(None, 0)),
        [null, value] if is_null(null) => (*value, union(Some(0), 1)),
        [value, null] if is_null(null) => (*value, union(Some(1), 0)),
        _ => return Err("it is a union; only a union of null and one other type is supported".to_owned()),
    };
    Ok(ColumnType { node: branch, wire: wire(schema.node(branch))?, union })
}

fn wire(node: &Node) -> Result<Wire, String> {
    if let Some(logical) = node.logical {
        return logical_wire(node, logical);
    }
    if node.property("logicalType").is_some_and(|logical| logical == "decimal") {
        return Err("its decimal is invalid; it needs a precision of at least 1 that the type can hold, and a scale \
                    that is no greater"
            .to_owned());
    }
    plain_wire(node)
}

fn plain_wire(node: &Node) -> Result<Wire, String> {
    let unsupported =
        |what: &str| Err(format!("{what} is not supported in a stream; flatten it into fields of its own"));
    match &node.kind {
        Kind::Boolean => Ok(Wire::Boolean),
        Kind::Int => Ok(Wire::Int),
        Kind::Long => Ok(Wire::Long),
        Kind::Float => Ok(Wire::Float),
        Kind::Double => Ok(Wire::Double),
        Kind::Bytes => Ok(Wire::Bytes),
        Kind::String => Ok(Wire::Text),
        Kind::Enum(_) => Ok(Wire::Enum),
        Kind::Fixed(fixed) => Ok(Wire::Fixed { size: fixed.size }),
        Kind::Null => Err("it is always null; leave it out or give it a type".to_owned()),
        Kind::Record(_) => unsupported("a nested record"),
        Kind::Array(_) => unsupported("an array"),
        Kind::Map(_) => unsupported("a map"),
        Kind::Union(_) => unsupported("a union inside a union"),
    }
}

fn logical_wire(node: &Node, logical: Logical) -> Result<Wire, String> {
    let not_utc = "is not supported; use timestamp-micros";
    match logical {
        Logical::Decimal { precision, .. } if precision > DECIMAL_DIGITS_MAX => {
            Err(format!("its decimal has {precision} digits; at most {DECIMAL_DIGITS_MAX} are supported"))
        }
        Logical::Decimal { precision, scale } => {
            let size = if let Kind::Fixed(fixed) = &node.kind { Some(fixed.size) } else { None };
            Ok(Wire::Decimal { size, precision, scale })
        }
        Logical::Uuid if matches!(node.kind, Kind::Fixed(_)) => Ok(Wire::UuidFixed),
        Logical::Uuid => Ok(Wire::Text),
        Logical::Date => Ok(Wire::Date),
        Logical::TimeMillis | Logical::TimeMicros | Logical::Duration => plain_wire(node),
        Logical::TimestampMillis => Ok(Wire::Timestamp { unit: Unit::Millis }),
        Logical::TimestampMicros => Ok(Wire::Timestamp { unit: Unit::Micros }),
        Logical::TimestampNanos => Err(format!("timestamp-nanos {not_utc}")),
        Logical::LocalTimestampMillis | Logical::LocalTimestampMicros | Logical::LocalTimestampNanos => {
            Err(format!("a timestamp without a time zone {not_utc}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(fields: &str) -> Result<String, String> {
        let schema = Schema::parse(&format!(r#"{{"type":"record","name":"T","fields":[{fields}]}}"#)).unwrap();
        let schema = schema.arrow().map_err(|error| error.to_string())?;
        let field = schema.field(0);
        Ok(format!("{}{}", field.data_type(), if field.is_nullable() { "?" } else { "" }))
    }

    #[test]
    fn types_become_columns() {
        for (avro, expected) in [
            (r#""boolean""#, "Boolean"),
            (r#""int""#, "Int32"),
            (r#"["null","long"]"#, "Int64?"),
            (r#"["float","null"]"#, "Float64?"),
            (r#"["string"]"#, "Utf8"),
            (r#"{"type":"enum","name":"E","symbols":["A"]}"#, "Utf8"),
            (r#"{"type":"fixed","name":"F","size":3}"#, "Binary"),
            (r#"{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}"#, "Utf8"),
            (
                r#"{"type":"fixed","name":"F","size":8,"logicalType":"decimal","precision":18,"scale":4}"#,
                "Decimal128(18, 4)",
            ),
            (r#"{"type":"bytes","logicalType":"decimal","precision":38}"#, "Decimal128(38, 0)"),
            (r#"{"type":"int","logicalType":"date"}"#, "Date32"),
            (r#"{"type":"int","logicalType":"time-millis"}"#, "Int32"),
            (r#"["null",{"type":"long","logicalType":"timestamp-millis"}]"#, "Timestamp(µs, \"UTC\")?"),
            (r#"{"type":"long","logicalType":"unheard-of"}"#, "Int64"),
        ] {
            assert_eq!(arrow(&format!(r#"{{"name":"a","type":{avro}}}"#)), Ok(expected.to_owned()), "{avro}");
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        for (avro, words) in [
            (r#"["int","string"]"#, "only a union of null"),
            (r#"["null","int","string"]"#, "only a union of null"),
            (r#"["null"]"#, "only a union of null"),
            (r#""null""#, "always null"),
            (r#"{"type":"array","items":"int"}"#, "an array"),
            (r#"["null",{"type":"map","values":"int"}]"#, "a map"),
            (r#"["null","T"]"#, "a nested record"),
            (r#"{"type":"bytes","logicalType":"decimal","precision":39}"#, "at most 38"),
            (r#"{"type":"bytes","logicalType":"decimal"}"#, "decimal is invalid"),
            (r#"{"type":"long","logicalType":"timestamp-nanos"}"#, "timestamp-micros"),
            (r#"{"type":"long","logicalType":"local-timestamp-micros"}"#, "timestamp-micros"),
        ] {
            let message = arrow(&format!(r#"{{"name":"a","type":{avro}}}"#)).unwrap_err();
            assert!(message.starts_with("field `a` of the schema `T`") && message.contains(words), "{message}");
        }
        let message = Schema::parse("\"int\"").unwrap().arrow().unwrap_err().to_string();
        assert!(message.contains("must be a record"), "{message}");
    }
}
