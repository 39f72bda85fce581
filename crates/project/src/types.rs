//! Names of column types in settings, as Spark SQL writes them.

use arrow_schema::DataType;

/// What can be written, for messages.
pub(crate) const NAMES: &str =
    "`text`, `int`, `bigint`, `double`, `boolean`, `date`, `timestamp`, `binary` and `decimal(precision, scale)`";

/// The type with this name.
pub(crate) fn parse(text: &str) -> Option<DataType> {
    let text = text.trim().to_ascii_lowercase();
    Some(match text.as_str() {
        "text" | "string" | "varchar" => DataType::Utf8,
        "int" | "integer" => DataType::Int32,
        "bigint" | "long" => DataType::Int64,
        "double" => DataType::Float64,
        "boolean" | "bool" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" => model::infer::timestamp_type(),
        "binary" | "bytes" => DataType::Binary,
        other => return decimal(other),
    })
}

fn decimal(text: &str) -> Option<DataType> {
    let arguments = text.strip_prefix("decimal").or_else(|| text.strip_prefix("numeric"))?.trim();
    let (precision, scale) = arguments.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
    let right = (1..=38).contains(&precision) && scale >= 0 && i16::from(scale) <= i16::from(precision);
    right.then_some(DataType::Decimal128(precision, scale))
}

/// The name of a type, for messages.
pub(crate) fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "text".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float64 => "double".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Date32 => "date".into(),
        DataType::Timestamp(_, _) => "timestamp".into(),
        DataType::Binary => "binary".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_agree() {
        for text in ["text", "int", "bigint", "double", "boolean", "date", "timestamp", "binary", "decimal(12,2)"] {
            assert_eq!(name(&parse(text).unwrap()), text);
        }
        for text in ["decimal", "decimal(39,2)", "decimal(2,3)", "money", "decimal(2,-1)", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
