//! Records of any stream, for `tillstream generate` on a user's own schema: values that fit the columns' types and, guessed from their
//! names, look somewhat like what they stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use model::clock::seeded;
use rand::Rng;
use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use super::GenerateError;
use crate::coerce::{Target, type_name};

/// What is known of the stream besides its types.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnyOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// The event-time column: it gets the intended time.
    pub event_time: Option<String>,
    /// The columns that identify a record; the first that can be is unique.
    pub id: Vec<String>,
    /// The key column: one of [`KEYS`] values, the lower ones more often.
    pub key: Option<String>,
    /// The values a column may have, such as the symbols of an Avro enum.
    pub choices: BTreeMap<String, Vec<String>>,
}

/// Number of distinct keys.
pub const KEYS: u32 = 10_000;
const NULL_SHARE: f64 = 0.05;
const NAMES_OF_THINGS: u32 = 1_000;

/// A generator of records of one stream.
#[derive(Debug)]
pub struct AnySchema {
    schema: SchemaRef,
    columns: Vec<Column>,
    choices: Vec<Vec<String>>,
    random: ChaCha8Rng,
    rows: u64,
}

#[derive(Debug, Clone, Copy)]
struct Column {
    target: Target,
    role: Role,
    nullable: bool,
}

/// What a column stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    EventTime,
    Unique,
    Key,
    Choice,
    Reference,
    Money,
    Currency,
    Country,
    Email,
    Count,
    Other,
}

impl Role {
    fn guess(name: &str, target: Target) -> Self {
        let name = name.to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let text = target == Target::Utf8;
        if says(&["amount", "price", "total", "value", "cost", "fee", "balance"]) && !text {
            Self::Money
        } else if text && says(&["currency"]) {
            Self::Currency
        } else if text && says(&["country"]) {
            Self::Country
        } else if text && says(&["email"]) {
            Self::Email
        } else if name.ends_with("_id") || name == "id" || name.ends_with("_code") {
            Self::Reference
        } else if says(&["count", "quantity", "number", "items"]) {
            Self::Count
        } else {
            Self::Other
        }
    }
}

impl AnySchema {
    /// A generator for a stream's Arrow schema.
    ///
    /// # Errors
    /// When a column has a type that can't be generated, or an option names a column that isn't there.
    pub fn new(schema: SchemaRef, options: &AnyOptions) -> Result<Self, GenerateError> {
        let named = options.event_time.iter().chain(&options.id).chain(&options.key).chain(options.choices.keys());
        for name in named {
            if schema.column_with_name(name).is_none() {
                return Err(GenerateError::Option {
                    option: "column",
                    value: name.clone(),
                    reason: "the stream has no such column",
                });
            }
        }
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let target = Target::of(field.data_type()).ok_or_else(|| GenerateError::UnsupportedColumn {
                column: field.name().clone(),
                data_type: type_name(field.data_type()),
            })?;
            let role = Role::guess(field.name(), target);
            columns.push((field.name(), Column { target, role, nullable: field.is_nullable() }));
        }
        assign_roles(&mut columns, options);
        let choices = columns.iter().map(|(name, _)| options.choices.get(*name).cloned().unwrap_or_default()).collect();
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        Ok(Self { schema, columns, choices, random: seeded(options.seed), rows: 0 })
    }

    /// One record for each intended time of sending, in microseconds since 1970.
    ///
    /// # Errors
    /// Never, but for a bug.
    pub fn batch(&mut self, intended_us: &[i64]) -> Result<RecordBatch, GenerateError> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for ((column, choices), field) in self.columns.iter().zip(&self.choices).zip(self.schema.fields()) {
            let draw = Draw { column: *column, choices, first_row: self.rows, intended_us };
            columns.push(draw.array(field.data_type(), &mut self.random)?);
        }
        self.rows += intended_us.len() as u64;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn assign_roles(columns: &mut [(&String, Column)], options: &AnyOptions) {
    let mut assign = |name: &String, role: Role| {
        if let Some((_, column)) = columns.iter_mut().find(|(known, _)| *known == name) {
            column.role = role;
            column.nullable = false;
        }
    };
    options.choices.keys().for_each(|name| assign(name, Role::Choice));
    options.key.iter().for_each(|name| assign(name, Role::Key));
    options.event_time.iter().for_each(|name| assign(name, Role::EventTime));
    let can_be_unique = |name: &&String| {
        let taken =
            options.event_time.as_ref() == Some(*name) || (options.key.as_ref() == Some(*name) && options.id.len() > 1);
        !taken
            && columns
                .iter()
                .any(|(known, column)| known == name && matches!(column.target, Target::Utf8 | Target::Int64))
    };
    if let Some(unique) = options.id.iter().find(can_be_unique)
        && let Some((_, column)) = columns.iter_mut().find(|(known, _)| *known == unique)
    {
        column.role = Role::Unique;
        column.nullable = false;
    }
}

/// The values of one column for one batch.
struct Draw<'a> {
    column: Column,
    choices: &'a [String],
    first_row: u64,
    intended_us: &'a [i64],
}

impl Draw<'_> {
    fn array(&self, data_type: &DataType, random: &mut ChaCha8Rng) -> Result<ArrayRef, GenerateError> {
        Ok(match self.column.target {
            Target::Utf8 => self.texts(random),
            Target::Binary => {
                let rows: Vec<_> =
                    self.rows().map(|_| self.maybe(random, |random| random.random::<[u8; 8]>())).collect();
                Arc::new(rows.iter().map(Option::as_ref).collect::<BinaryArray>())
            }
            Target::Boolean => {
                let rows = self.rows().map(|_| self.maybe(random, |random| random.random_bool(0.5)));
                Arc::new(rows.collect::<BooleanArray>())
            }
            Target::Int32 => self.primitive::<Int32Type>(random, |draw, row, random| {
                i32::try_from(draw.integer(row, random) & 0x7fff_ffff).unwrap_or(0)
            }),
            Target::Int64 => self.primitive::<Int64Type>(random, Self::integer),
            Target::Float64 => self.primitive::<Float64Type>(random, |_, _, random| money(random)),
            #[allow(clippy::cast_possible_truncation, reason = "any single will do")]
            Target::Float32 => self.primitive::<Float32Type>(random, |_, _, random| money(random) as f32),
            Target::Date => self.primitive::<Date32Type>(random, |draw, row, random| {
                let day = draw.time_us(row).div_euclid(86_400_000_000) - random.random_range(0..365);
                i32::try_from(day).unwrap_or(0)
            }),
            Target::Timestamp => {
                let times = self.primitive_array::<TimestampMicrosecondType>(random, |draw, row, random| {
                    if draw.column.role == Role::EventTime {
                        draw.time_us(row)
                    } else {
                        draw.time_us(row).saturating_sub(random.random_range(0..3_600_000_000))
                    }
                });
                Arc::new(times.with_data_type(data_type.clone()))
            }
            Target::Decimal { precision, scale } => {
                let values = self.primitive_array::<Decimal128Type>(random, |draw, row, random| {
                    draw.decimal(row, precision, scale, random)
                });
                Arc::new(values.with_precision_and_scale(precision, scale)?)
            }
        })
    }

    fn rows(&self) -> std::ops::Range<usize> {
        0..self.intended_us.len()
    }

    fn time_us(&self, row: usize) -> i64 {
        self.intended_us.get(row).copied().unwrap_or(0)
    }

    fn maybe<T>(&self, random: &mut ChaCha8Rng, value: impl FnOnce(&mut ChaCha8Rng) -> T) -> Option<T> {
        if self.column.nullable && random.random_bool(NULL_SHARE) { None } else { Some(value(random)) }
    }

    fn primitive_array<T: ArrowPrimitiveType>(
        &self,
        random: &mut ChaCha8Rng,
        value: impl Fn(&Self, usize, &mut ChaCha8Rng) -> T::Native,
    ) -> PrimitiveArray<T> {
        self.rows().map(|row| self.maybe(random, |random| value(self, row, random))).collect()
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        random: &mut ChaCha8Rng,
        value: impl Fn(&Self, usize, &mut ChaCha8Rng) -> T::Native,
    ) -> ArrayRef
    where
        PrimitiveArray<T>: Array + 'static,
    {
        Arc::new(self.primitive_array(random, value))
    }

    /// A number that no other row and no later run has: the time and the row.
    fn unique(&self, row: usize) -> i64 {
        let number = self.first_row.wrapping_add(row as u64) & 0xf_ffff;
        (self.time_us(row) / 1_000) << 20 | i64::try_from(number).unwrap_or(0)
    }

    fn integer(&self, row: usize, random: &mut ChaCha8Rng) -> i64 {
        match self.column.role {
            Role::Unique => self.unique(row),
            Role::EventTime => self.time_us(row),
            Role::Key => i64::from(skewed(KEYS, random)),
            Role::Reference => i64::from(skewed(NAMES_OF_THINGS, random)),
            Role::Count => i64::from(1 + skewed(10, random)),
            _ => random.random_range(0..100_000),
        }
    }

    fn decimal(&self, row: usize, precision: u8, scale: i8, random: &mut ChaCha8Rng) -> i128 {
        let bound = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
        let unit = 10_i128.checked_pow(u32::from(scale.unsigned_abs())).unwrap_or(1);
        let value = match self.column.role {
            Role::Key | Role::Reference | Role::Count | Role::Unique => {
                i128::from(self.integer(row, random)).saturating_mul(unit)
            }
            #[allow(clippy::cast_possible_truncation, reason = "a made-up amount; it is bounded below")]
            _ => (money(random) * 100.0) as i128 * unit / 100,
        };
        value % bound
    }

    fn texts(&self, random: &mut ChaCha8Rng) -> ArrayRef {
        let mut texts = StringBuilder::with_capacity(self.intended_us.len(), self.intended_us.len() * 12);
        for row in self.rows() {
            texts.append_option(self.maybe(random, |random| self.text(row, random)));
        }
        Arc::new(texts.finish())
    }

    fn text(&self, row: usize, random: &mut ChaCha8Rng) -> String {
        const WORDS: [&str; 12] =
            ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbour", "iris", "jade", "karst", "lark"];
        let mut pick = |words: &[&str]| words.choose(random).copied().unwrap_or_default().to_owned();
        match self.column.role {
            Role::Choice => self.choices.choose(random).cloned().unwrap_or_default(),
            Role::Unique => format!("{:x}", self.unique(row)),
            Role::Key => format!("k{:05}", skewed(KEYS, random)),
            Role::Reference => format!("r{:04}", skewed(NAMES_OF_THINGS, random)),
            Role::Currency => pick(&["EUR", "USD", "GBP"]),
            Role::Country => pick(&["DE", "FR", "GB", "US", "ES", "IT", "NL"]),
            Role::Email => {
                let name = pick(&WORDS);
                format!("{name}{}@example.com", random.random_range(1..1_000))
            }
            _ => pick(&WORDS),
        }
    }
}

/// A number below `bound`, the lower ones more often.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the bound")]
fn skewed(bound: u32, random: &mut ChaCha8Rng) -> u32 {
    let draw: f64 = random.random();
    ((draw.powf(1.5) * f64::from(bound)) as u32).min(bound.saturating_sub(1))
}

/// An amount: log-normal around 20, with two places.
fn money(random: &mut ChaCha8Rng) -> f64 {
    let sum: f64 = (0..12).map(|_| random.random::<f64>()).sum();
    ((3.0 + (sum - 6.0)).exp() * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray as _;
    use arrow_schema::{Field, Schema};
    use std::collections::HashSet;

    fn schema() -> SchemaRef {
        let column = |name: &str, data_type: DataType| Field::new(name, data_type, name == "note");
        Arc::new(Schema::new(vec![
            column("order_id", DataType::Utf8),
            column("line", DataType::Int64),
            column("customer", DataType::Int64),
            column("amount", DataType::Decimal128(5, 2)),
            column("rate", DataType::Decimal128(38, 10)),
            column("note", DataType::Utf8),
            column("state", DataType::Utf8),
            column("score", DataType::Float64),
            column("ratio", DataType::Float32),
            column("level", DataType::Int32),
            column("paid", DataType::Boolean),
            column("token", DataType::Binary),
            column("due", DataType::Date32),
            column("at", model::infer::timestamp_type()),
        ]))
    }

    fn options() -> AnyOptions {
        AnyOptions {
            seed: 3,
            event_time: Some("at".into()),
            id: vec!["order_id".into(), "line".into()],
            key: Some("customer".into()),
            choices: [("state".to_owned(), vec!["NEW".to_owned(), "PAID".to_owned()])].into(),
        }
    }

    #[test]
    fn rows_fit_the_schema_and_are_the_same_again() {
        let times: Vec<i64> = (0..2_000).map(|row| 1_767_225_600_000_000 + row * 300).collect();
        let batch = AnySchema::new(schema(), &options()).unwrap().batch(&times).unwrap();
        assert_eq!(AnySchema::new(schema(), &options()).unwrap().batch(&times).unwrap(), batch);
        let ids: HashSet<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(ids.len(), 2_000);
        assert_eq!(batch.column(13).as_primitive::<TimestampMicrosecondType>().values()[..], times[..]);
        let states: HashSet<_> = batch.column(6).as_string::<i32>().iter().flatten().collect();
        assert_eq!(states, HashSet::from(["NEW", "PAID"]));
        assert!(batch.column(3).as_primitive::<Decimal128Type>().iter().flatten().all(|amount| amount < 100_000));
        assert!(batch.column(5).null_count() > 0);
    }

    #[test]
    fn what_can_not_be_generated_is_refused() {
        let nested = Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true);
        let error = AnySchema::new(Arc::new(Schema::new(vec![nested])), &AnyOptions::default()).unwrap_err();
        assert!(matches!(error, GenerateError::UnsupportedColumn { .. }));
        let misspelt = AnyOptions { key: Some("custmer".into()), ..options() };
        assert!(matches!(AnySchema::new(schema(), &misspelt), Err(GenerateError::Option { .. })));
    }
}
