//! Random tables: columns of every supported type with their Avro types and cells.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow_schema::Field;
use avro::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Text,
    Enum,
    Bytes,
    Fixed(usize),
    Uuid,
    Decimal(u32, u32),
    FixedDecimal(usize, u32, u32),
    Date,
    Micros,
    Millis,
}

/// Where null stands in the column's union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    None,
    First,
    Last,
}

#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Decimal(i128),
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    pub(crate) nulls: Nulls,
    pub(crate) cells: Vec<Option<Cell>>,
}

pub(crate) const SYMBOLS: [&str; 4] = ["EUR", "USD", "GBP", "_x1"];

fn kinds() -> impl Strategy<Value = Type> {
    prop_oneof![
        Just(Type::Boolean),
        Just(Type::Int),
        Just(Type::Long),
        Just(Type::Float),
        Just(Type::Double),
        Just(Type::Text),
        Just(Type::Enum),
        Just(Type::Bytes),
        (0_usize..5).prop_map(Type::Fixed),
        Just(Type::Uuid),
        (1_u32..=38).prop_flat_map(|precision| (Just(precision), 0..=precision)).prop_map(|(p, s)| Type::Decimal(p, s)),
        (1_u32..=18)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(p, s)| Type::FixedDecimal(9, p, s)),
        Just(Type::Date),
        Just(Type::Micros),
        Just(Type::Millis),
    ]
}

fn cell(kind: Type) -> BoxedStrategy<Cell> {
    let millis = -62_135_596_800_000_i64..=253_402_300_799_999;
    match kind {
        Type::Boolean => any::<bool>().prop_map(Cell::Boolean).boxed(),
        Type::Int => any::<i32>().prop_map(Cell::Int).boxed(),
        Type::Date => (-719_162..=2_932_896).prop_map(Cell::Int).boxed(),
        Type::Long => prop_oneof![any::<i64>(), -200_i64..200].prop_map(Cell::Long).boxed(),
        Type::Micros => (-62_135_596_800_000_000..=253_402_300_799_999_999_i64).prop_map(Cell::Long).boxed(),
        Type::Millis => millis.prop_map(|millis| Cell::Long(millis * 1_000)).boxed(),
        Type::Float => prop::num::f32::NORMAL.prop_map(|float| Cell::Double(f64::from(float))).boxed(),
        Type::Double => prop::num::f64::NORMAL.prop_map(Cell::Double).boxed(),
        Type::Text => "[a-zA-Z0-9 é€\u{1F600}]{0,20}".prop_map(Cell::Text).boxed(),
        Type::Enum => prop::sample::select(&SYMBOLS[..]).prop_map(|symbol| Cell::Text(symbol.to_owned())).boxed(),
        Type::Uuid => any::<[u8; 16]>().prop_map(|bytes| Cell::Text(hyphenated(&bytes))).boxed(),
        Type::Bytes => prop::collection::vec(any::<u8>(), 0..20).prop_map(Cell::Bytes).boxed(),
        Type::Fixed(size) => prop::collection::vec(any::<u8>(), size).prop_map(Cell::Bytes).boxed(),
        Type::Decimal(precision, _) | Type::FixedDecimal(_, precision, _) => {
            let max = 10_i128.pow(precision) - 1;
            (-max..=max, 0_u32..30).prop_map(|(value, shift)| Cell::Decimal(value >> shift)).boxed()
        }
    }
}

fn hyphenated(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn column(index: usize, rows: usize) -> impl Strategy<Value = Column> {
    let nulls = prop_oneof![2 => Just(Nulls::None), 1 => Just(Nulls::First), 1 => Just(Nulls::Last)];
    (kinds(), nulls).prop_flat_map(move |(kind, nulls)| {
        let cell = match nulls {
            Nulls::None => cell(kind).prop_map(Some).boxed(),
            _ => prop::option::of(cell(kind)).boxed(),
        };
        prop::collection::vec(cell, rows).prop_map(move |cells| Column {
            name: format!("c{index}"),
            kind,
            nulls,
            cells,
        })
    })
}

/// Up to seven columns of up to twelve rows.
pub(crate) fn table() -> impl Strategy<Value = Vec<Column>> {
    (1_usize..8, 1_usize..13)
        .prop_flat_map(|(columns, rows)| (0..columns).map(|index| column(index, rows)).collect::<Vec<_>>())
}

impl Column {
    /// The Avro type without its union.
    pub(crate) fn plain_type(&self) -> Value {
        // A renamed column keeps its type's name.
        let name = format!("N_{}", self.name.trim_start_matches("renamed_"));
        match self.kind {
            Type::Boolean => json!("boolean"),
            Type::Int => json!("int"),
            Type::Long => json!("long"),
            Type::Float => json!("float"),
            Type::Double => json!("double"),
            Type::Text => json!("string"),
            Type::Enum => json!({"type": "enum", "name": name, "symbols": SYMBOLS}),
            Type::Bytes => json!("bytes"),
            Type::Fixed(size) => json!({"type": "fixed", "name": name, "size": size}),
            Type::Uuid => json!({"type": "fixed", "name": name, "size": 16, "logicalType": "uuid"}),
            Type::Decimal(precision, scale) => {
                json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
            }
            Type::FixedDecimal(size, precision, scale) => {
                json!({"type": "fixed", "name": name, "size": size, "logicalType": "decimal", "precision": precision, "scale": scale})
            }
            Type::Date => json!({"type": "int", "logicalType": "date"}),
            Type::Micros => json!({"type": "long", "logicalType": "timestamp-micros"}),
            Type::Millis => json!({"type": "long", "logicalType": "timestamp-millis"}),
        }
    }

    pub(crate) fn field(&self) -> Value {
        let plain = self.plain_type();
        let avro = match self.nulls {
            Nulls::None => plain,
            Nulls::First => json!(["null", plain]),
            Nulls::Last => json!([plain, "null"]),
        };
        json!({"name": self.name, "type": avro})
    }

    fn array(&self) -> ArrayRef {
        macro_rules! build {
            ($array:ty, $cell:ident) => {
                self.cells
                    .iter()
                    .map(|cell| {
                        cell.as_ref().map(|cell| match cell {
                            Cell::$cell(value) => value.clone(),
                            other => panic!("{other:?}"),
                        })
                    })
                    .collect::<$array>()
            };
        }
        match self.kind {
            Type::Boolean => Arc::new(build!(BooleanArray, Boolean)),
            Type::Int => Arc::new(build!(Int32Array, Int)),
            Type::Date => Arc::new(build!(Date32Array, Int)),
            Type::Long => Arc::new(build!(Int64Array, Long)),
            Type::Micros | Type::Millis => Arc::new(build!(TimestampMicrosecondArray, Long).with_timezone("UTC")),
            Type::Float | Type::Double => Arc::new(build!(Float64Array, Double)),
            Type::Decimal(precision, scale) | Type::FixedDecimal(_, precision, scale) => {
                let array = build!(Decimal128Array, Decimal);
                Arc::new(
                    array
                        .with_precision_and_scale(u8::try_from(precision).unwrap(), i8::try_from(scale).unwrap())
                        .unwrap(),
                )
            }
            Type::Text | Type::Enum | Type::Uuid => {
                let mut builder = StringBuilder::new();
                for cell in &self.cells {
                    builder.append_option(cell.as_ref().map(|cell| match cell {
                        Cell::Text(text) => text,
                        other => panic!("{other:?}"),
                    }));
                }
                Arc::new(builder.finish())
            }
            Type::Bytes | Type::Fixed(_) => {
                let mut builder = BinaryBuilder::new();
                for cell in &self.cells {
                    builder.append_option(cell.as_ref().map(|cell| match cell {
                        Cell::Bytes(bytes) => bytes,
                        other => panic!("{other:?}"),
                    }));
                }
                Arc::new(builder.finish())
            }
        }
    }
}

/// The record schema of fields.
pub(crate) fn record(fields: &[Value]) -> Schema {
    Schema::parse(&json!({"type": "record", "name": "T", "namespace": "test", "fields": fields}).to_string()).unwrap()
}

pub(crate) fn schema(columns: &[Column]) -> Schema {
    record(&columns.iter().map(Column::field).collect::<Vec<_>>())
}

pub(crate) fn batch(columns: &[Column]) -> RecordBatch {
    let arrays: Vec<_> = columns.iter().map(Column::array).collect();
    let field = |(column, array): (&Column, &ArrayRef)| {
        Field::new(&column.name, arrow_array::Array::data_type(array).clone(), column.nulls != Nulls::None)
    };
    let fields: Vec<_> = columns.iter().zip(&arrays).map(field).collect();
    RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(fields)), arrays).unwrap()
}
