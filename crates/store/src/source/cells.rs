//! Values in PostgreSQL's binary form as Arrow columns.

use std::error::Error as StdError;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_schema::ArrowError;
use tokio_postgres::types::{FromSql, Type};

use crate::column::ColumnType;
use crate::copy::{EPOCH_DAYS, EPOCH_US};
use crate::numeric;

/// The bytes of a value as the server sent them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A column that is being read.
#[derive(Debug)]
pub(crate) enum CellBuilder {
    Boolean(BooleanBuilder),
    Integer(Int32Builder),
    Bigint(Int64Builder),
    Double(Float64Builder),
    Numeric(Decimal128Builder, u8, u8),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
}

impl CellBuilder {
    pub(crate) fn new(column: ColumnType) -> Self {
        match column {
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Integer => Self::Integer(Int32Builder::new()),
            ColumnType::Bigint => Self::Bigint(Int64Builder::new()),
            ColumnType::Double => Self::Double(Float64Builder::new()),
            ColumnType::Numeric { precision, scale } => Self::Numeric(Decimal128Builder::new(), precision, scale),
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Bytes => Self::Bytes(BinaryBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            ColumnType::Date => Self::Date(Date32Builder::new()),
        }
    }

    /// Appends a value, or says why the column can't hold it.
    pub(crate) fn append(&mut self, cell: Option<Raw<'_>>) -> Result<(), String> {
        match self {
            Self::Boolean(values) => {
                values.append_option(cell.map(|cell| Ok::<_, String>(int::<1>(cell)? != [0])).transpose()?)
            }
            Self::Integer(values) => {
                values.append_option(cell.map(|cell| int(cell).map(i32::from_be_bytes)).transpose()?)
            }
            Self::Bigint(values) => {
                values.append_option(cell.map(|cell| int(cell).map(i64::from_be_bytes)).transpose()?)
            }
            Self::Double(values) => {
                values.append_option(cell.map(|cell| int(cell).map(f64::from_be_bytes)).transpose()?)
            }
            Self::Numeric(values, precision, scale) => {
                let value = cell.map(|cell| numeric::read(cell.0, *precision, *scale)).transpose()?;
                values.append_option(value);
            }
            Self::Text(values) => {
                let text = cell.map(|cell| std::str::from_utf8(cell.0)).transpose();
                values.append_option(text.map_err(|error| error.to_string())?);
            }
            Self::Bytes(values) => values.append_option(cell.map(|cell| cell.0)),
            Self::Timestamp(values) => values.append_option(cell.map(timestamp_us).transpose()?),
            Self::Date(values) => values.append_option(cell.map(date_days).transpose()?),
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Boolean(mut values) => Arc::new(values.finish()),
            Self::Integer(mut values) => Arc::new(values.finish()),
            Self::Bigint(mut values) => Arc::new(values.finish()),
            Self::Double(mut values) => Arc::new(values.finish()),
            Self::Numeric(mut values, precision, scale) => {
                let scale = i8::try_from(scale).unwrap_or(i8::MAX);
                Arc::new(values.finish().with_precision_and_scale(precision, scale)?)
            }
            Self::Text(mut values) => Arc::new(values.finish()),
            Self::Bytes(mut values) => Arc::new(values.finish()),
            Self::Timestamp(mut values) => Arc::new(values.finish().with_timezone("UTC")),
            Self::Date(mut values) => Arc::new(values.finish()),
        })
    }
}

/// A value for a message.
pub(crate) fn shown(column: ColumnType, cell: Raw<'_>) -> String {
    let number = match column {
        ColumnType::Text => return String::from_utf8_lossy(cell.0).into_owned(),
        ColumnType::Integer => int(cell).map(|bytes| i32::from_be_bytes(bytes).to_string()),
        ColumnType::Bigint => int(cell).map(|bytes| i64::from_be_bytes(bytes).to_string()),
        _ => Err(String::new()),
    };
    number.unwrap_or_else(|_| cell.0.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn int<const N: usize>(cell: Raw<'_>) -> Result<[u8; N], String> {
    cell.0.try_into().map_err(|_| format!("{} bytes came where {N} are expected", cell.0.len()))
}

fn timestamp_us(cell: Raw<'_>) -> Result<i64, String> {
    match i64::from_be_bytes(int(cell)?) {
        i64::MIN | i64::MAX => Err("an infinite time has no counterpart".into()),
        us => us.checked_add(EPOCH_US).ok_or_else(|| "the time is too far in the future".into()),
    }
}

fn date_days(cell: Raw<'_>) -> Result<i32, String> {
    match i32::from_be_bytes(int(cell)?) {
        i32::MIN | i32::MAX => Err("an infinite date has no counterpart".into()),
        days => days.checked_add(EPOCH_DAYS).ok_or_else(|| "the date is too far in the future".into()),
    }
}
