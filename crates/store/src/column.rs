//! Which PostgreSQL type holds a column of a result.

use arrow_schema::{DataType, TimeUnit};

/// The PostgreSQL type of a result's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `bigint`
    Bigint,
    /// `double precision`
    Double,
    /// `numeric(precision, scale)`
    Numeric {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, 0 to `precision`.
        scale: u8,
    },
    /// `text`
    Text,
    /// `bytea`
    Bytes,
    /// `timestamp with time zone`
    Timestamp,
    /// `date`
    Date,
}

impl ColumnType {
    /// The type for an Arrow type, or why there is none.
    ///
    /// # Errors
    /// A sentence that names the Arrow type, when docs/records.md has no PostgreSQL type for it.
    pub fn from_arrow(data_type: &DataType) -> Result<Self, String> {
        match data_type {
            DataType::Boolean => Ok(Self::Boolean),
            DataType::Int32 => Ok(Self::Integer),
            DataType::Int64 => Ok(Self::Bigint),
            DataType::Float64 => Ok(Self::Double),
            DataType::Utf8 => Ok(Self::Text),
            DataType::Binary => Ok(Self::Bytes),
            DataType::Date32 => Ok(Self::Date),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Ok(Self::Timestamp),
            DataType::Decimal128(precision, scale) => match u8::try_from(*scale) {
                Ok(scale) if scale <= *precision => Ok(Self::Numeric { precision: *precision, scale }),
                _ => Err(format!(
                    "decimal({precision}, {scale}) has no PostgreSQL type here: the scale must lie between 0 and the precision"
                )),
            },
            other => Err(format!("the type {other} has no PostgreSQL type here")),
        }
    }

    /// The type as PostgreSQL's `format_type` prints it, which is also how DDL writes it.
    pub fn sql(self) -> String {
        match self {
            Self::Boolean => "boolean".into(),
            Self::Integer => "integer".into(),
            Self::Bigint => "bigint".into(),
            Self::Double => "double precision".into(),
            Self::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
            Self::Text => "text".into(),
            Self::Bytes => "bytea".into(),
            Self::Timestamp => "timestamp with time zone".into(),
            Self::Date => "date".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_types_are_taken() {
        assert_eq!(ColumnType::from_arrow(&DataType::Decimal128(10, 2)).unwrap().sql(), "numeric(10,2)");
        assert!(ColumnType::from_arrow(&DataType::Decimal128(10, -2)).is_err());
        assert!(ColumnType::from_arrow(&DataType::Decimal128(3, 5)).is_err());
        assert!(ColumnType::from_arrow(&DataType::Timestamp(TimeUnit::Microsecond, None)).is_err());
        assert!(ColumnType::from_arrow(&DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))).is_err());
    }
}
