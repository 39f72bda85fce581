//! Arrow schemas to Avro: the schemas of results, as `docs/records.md` lays down.

use arrow_schema::{DataType, TimeUnit};
use model::{Classified, Domain, Retry};
use serde_json::{Map, Value, json};

use crate::schema::{ParseError, Schema, is_name};

/// Key of an Arrow field's metadata that becomes the Avro field's `doc`.
pub const DOC_METADATA: &str = "doc";

/// Why an Arrow schema has no Avro schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// A column's name isn't allowed in Avro.
    #[error(
        "column `{column}`: the name may hold letters, digits and _ and must not begin with a digit; give it an alias with AS"
    )]
    Name {
        /// Name of the column.
        column: String,
    },
    /// A column's type has no counterpart.
    #[error(
        "column `{column}` has the type {data_type}, which results can't hold; cast it to a number, text, boolean, decimal, date or timestamp"
    )]
    Type {
        /// Name of the column.
        column: String,
        /// Its type.
        data_type: Box<DataType>,
    },
    /// The names make no valid schema: two columns with one name, or a bad record name.
    #[error(transparent)]
    Schema(#[from] ParseError),
}

impl Classified for DeriveError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// The Avro record `namespace.name` for an Arrow schema. Nullable columns are unions of null and their type, with null as
/// default. A field's metadata `doc` becomes its documentation.
///
/// # Errors
/// A column whose name or type Avro doesn't have.
pub fn schema_for(
    name: &str,
    namespace: &str,
    doc: Option<&str>,
    arrow: &arrow_schema::Schema,
) -> Result<Schema, DeriveError> {
    let mut fields = Vec::with_capacity(arrow.fields().len());
    for field in arrow.fields() {
        if !is_name(field.name()) {
            return Err(DeriveError::Name { column: field.name().clone() });
        }
        let avro = type_for(field.data_type()).ok_or_else(|| DeriveError::Type {
            column: field.name().clone(),
            data_type: Box::new(field.data_type().clone()),
        })?;
        let mut attributes = Map::new();
        attributes.insert("name".to_owned(), field.name().as_str().into());
        attributes.insert("type".to_owned(), if field.is_nullable() { json!(["null", avro]) } else { avro });
        if let Some(doc) = field.metadata().get(DOC_METADATA) {
            attributes.insert("doc".to_owned(), doc.as_str().into());
        }
        if field.is_nullable() {
            attributes.insert("default".to_owned(), Value::Null);
        }
        fields.push(Value::Object(attributes));
    }
    let mut record = Map::new();
    record.insert("type".to_owned(), "record".into());
    record.insert("name".to_owned(), name.into());
    if !namespace.is_empty() {
        record.insert("namespace".to_owned(), namespace.into());
    }
    if let Some(doc) = doc {
        record.insert("doc".to_owned(), doc.into());
    }
    record.insert("fields".to_owned(), fields.into());
    Ok(Schema::parse(&Value::Object(record).to_string())?)
}

fn type_for(data_type: &DataType) -> Option<Value> {
    Some(match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "long".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 => "string".into(),
        DataType::Binary => "bytes".into(),
        DataType::Date32 => json!({"type": "int", "logicalType": "date"}),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            json!({"type": "long", "logicalType": "timestamp-micros"})
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow_schema::Field;

    use super::*;

    fn derive(fields: Vec<Field>) -> Result<Schema, DeriveError> {
        schema_for("spend", "tillstream", Some("per category"), &arrow_schema::Schema::new(fields))
    }

    #[test]
    fn columns_become_fields_and_come_back() {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![
            Field::new("window_start", timestamp, false),
            Field::new("category", DataType::Utf8, true)
                .with_metadata(HashMap::from([("doc".to_owned(), "of goods".to_owned())])),
            Field::new("total", DataType::Decimal128(28, 2), false),
            Field::new("day", DataType::Date32, false),
            Field::new("n", DataType::Int64, false),
        ];
        let schema = derive(fields.clone()).unwrap();
        assert_eq!(
            schema.canonical(),
            concat!(
                r#"{"type":"record","name":"spend","namespace":"tillstream","doc":"per category","fields":["#,
                r#"{"name":"window_start","type":{"type":"long","logicalType":"timestamp-micros"}},"#,
                r#"{"name":"category","type":["null","string"],"doc":"of goods","default":null},"#,
                r#"{"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":28,"scale":2}},"#,
                r#"{"name":"day","type":{"type":"int","logicalType":"date"}},{"name":"n","type":"long"}]}"#
            )
        );
        for (before, after) in fields.iter().zip(schema.arrow().unwrap().fields()) {
            assert_eq!(
                (before.name(), before.data_type(), before.is_nullable()),
                (after.name(), after.data_type(), after.is_nullable())
            );
        }
    }

    #[test]
    fn what_has_no_counterpart_is_refused() {
        assert!(matches!(derive(vec![Field::new("a b", DataType::Utf8, true)]), Err(DeriveError::Name { .. })));
        assert!(matches!(derive(vec![Field::new("a", DataType::Int16, true)]), Err(DeriveError::Type { .. })));
        let twice = derive(vec![Field::new("a", DataType::Utf8, true), Field::new("a", DataType::Int64, true)]);
        assert!(twice.unwrap_err().to_string().contains("two fields named `a`"));
    }
}
