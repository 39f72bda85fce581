//! Values of files and of JSON, brought to the types of a stream.
//!
//! One rule holds everywhere: a value is taken exactly or refused with its reason; it is never rounded, wrapped or guessed. The one
//! exception is time finer than a microsecond, which is cut off towards the past, so that order and windows stay as they were.
//!
//! | file | says |
//! | --- | --- |
//! | `decimal` | exact decimals from text and floating point |
//! | `text` | one value at a time, from text (CSV) and JSON |
//! | `array` | whole columns, from Arrow arrays (Parquet) |

use arrow_schema::{DataType, TimeUnit};

pub(crate) mod array;
pub(crate) mod decimal;
pub(crate) mod text;

/// A column type that a stream may have, as far as files can fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    Utf8,
    Binary,
    Decimal { precision: u8, scale: i8 },
    Timestamp,
    Date,
}

impl Target {
    /// The target of an Arrow type; `None` for lists, maps, structures and whatever else a file's cell can't hold.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Boolean => Self::Boolean,
            DataType::Utf8 => Self::Utf8,
            DataType::Binary => Self::Binary,
            DataType::Decimal128(precision, scale) => Self::Decimal { precision: *precision, scale: *scale },
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Timestamp,
            DataType::Date32 => Self::Date,
            _ => return None,
        })
    }
}

/// A type in the words of the project's files.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "long".into(),
        DataType::Float16 | DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytes".into()
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Timestamp(..) | DataType::Date64 => "timestamp".into(),
        DataType::Date32 => "date".into(),
        DataType::Dictionary(_, values) => type_name(values),
        other => other.to_string(),
    }
}

/// A value for an error message: in quotes and not too long.
pub(crate) fn shown(value: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    if value.chars().nth(CHARACTERS_MAX).is_none() {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(CHARACTERS_MAX).collect();
    format!("{start:?}… ({} bytes)", value.len())
}
