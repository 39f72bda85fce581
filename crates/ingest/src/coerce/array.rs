//! Whole columns of another system, brought to the type of a stream's column.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTimestampType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, new_null_array};
use arrow_schema::{DataType, Field, TimeUnit};

use super::text::{self, MICROSECONDS_PER_DAY, NULL_FAULT, ValueFault};
use super::{Target, decimal, shown};
use crate::key::KeyColumn;

/// A column of the stream's type and what couldn't be brought to it. Rows with a fault hold NULL.
#[derive(Debug)]
pub(crate) struct Coerced {
    pub(crate) array: ArrayRef,
    pub(crate) faults: Vec<(usize, ValueFault)>,
    /// How many decimals had the noise of floating point taken off.
    pub(crate) noisy: usize,
}

/// Values of this type never become values of that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsupported;

/// Brings `source` to the type of `field`.
pub(crate) fn coerce(source: &ArrayRef, field: &Field) -> Result<Coerced, Unsupported> {
    let target = Target::of(field.data_type()).ok_or(Unsupported)?;
    let source = plain(source)?;
    let mut faults = Vec::new();
    let noisy = Cell::new(0);
    let array = convert(&source, field.data_type(), target, &mut faults, &noisy)?;
    if !field.is_nullable() && array.null_count() > 0 {
        add_null_faults(array.as_ref(), &mut faults);
    }
    Ok(Coerced { array, faults, noisy: noisy.get() })
}

fn add_null_faults(array: &dyn Array, faults: &mut Vec<(usize, ValueFault)>) {
    let known = std::mem::take(faults);
    let mut known = known.into_iter().peekable();
    for row in (0..array.len()).filter(|row| array.is_null(*row)) {
        match known.next_if(|(faulty, _)| *faulty == row) {
            Some(fault) => faults.push(fault),
            None => faults.push((row, NULL_FAULT.into())),
        }
    }
}

/// Takes the layout away: what is left is one of eleven types.
fn plain(source: &ArrayRef) -> Result<ArrayRef, Unsupported> {
    let to = match source.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            DataType::Int64
        }
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) if *precision <= 38 => DataType::Decimal128(*precision, *scale),
        DataType::Dictionary(_, values) => {
            return plain(&arrow_cast::cast(source, values).map_err(|_| Unsupported)?);
        }
        DataType::Null
        | DataType::Boolean
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Decimal128(..)
        | DataType::Timestamp(..)
        | DataType::Date32 => return Ok(Arc::clone(source)),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        _ => return Err(Unsupported),
    };
    // All of these casts keep every value.
    arrow_cast::cast(source, &to).map_err(|_| Unsupported)
}

fn convert(
    source: &ArrayRef,
    data_type: &DataType,
    target: Target,
    faults: &mut Vec<(usize, ValueFault)>,
    noisy: &Cell<usize>,
) -> Result<ArrayRef, Unsupported> {
    if source.data_type() == &DataType::Null {
        return Ok(new_null_array(data_type, source.len()));
    }
    Ok(match target {
        Target::Int64 => Arc::new(to_int64(source, faults)?),
        Target::Int32 => {
            let wide = to_int64(source, faults)?;
            Arc::new(each::<Int32Type, _>(wide.iter(), faults, |value| {
                i32::try_from(value).map_err(|_| format!("{value} does not fit in an int"))
            }))
        }
        Target::Float64 => to_float64(source, faults)?,
        Target::Float32 => match source.data_type() {
            DataType::Float32 => {
                Arc::new(each::<Float32Type, _>(source.as_primitive::<Float32Type>().iter(), faults, |value| {
                    if value.is_finite() { Ok(value) } else { Err(not_finite(value)) }
                }))
            }
            _ => return Err(Unsupported),
        },
        Target::Boolean => match source.data_type() {
            DataType::Boolean => Arc::clone(source),
            DataType::Utf8 => to_boolean(source, faults),
            _ => return Err(Unsupported),
        },
        Target::Utf8 => to_text(source)?,
        Target::Binary => match source.data_type() {
            DataType::Binary => Arc::clone(source),
            DataType::Utf8 => arrow_cast::cast(source, &DataType::Binary).map_err(|_| Unsupported)?,
            _ => return Err(Unsupported),
        },
        Target::Decimal { precision, scale } => {
            let values = to_decimal(source, precision, scale, faults, noisy)?;
            Arc::new(values.with_precision_and_scale(precision, scale).map_err(|_| Unsupported)?)
        }
        Target::Timestamp => Arc::new(to_timestamp(source, faults)?.with_data_type(data_type.clone())),
        Target::Date => Arc::new(to_date(source, faults)?),
    })
}

/// Converts each value; NULL stays NULL, and what can't be converted becomes NULL with its fault.
fn each<T: ArrowPrimitiveType, V>(
    values: impl ExactSizeIterator<Item = Option<V>>,
    faults: &mut Vec<(usize, ValueFault)>,
    convert: impl Fn(V) -> Result<T::Native, ValueFault>,
) -> PrimitiveArray<T> {
    let known = faults.len();
    let mut builder = PrimitiveBuilder::<T>::with_capacity(values.len());
    for (row, value) in values.enumerate() {
        match value.map(&convert) {
            Some(Ok(value)) => builder.append_value(value),
            Some(Err(fault)) => {
                builder.append_null();
                faults.push((row, fault));
            }
            None => builder.append_null(),
        }
    }
    if known > 0 && faults.len() > known {
        faults.sort_by_key(|(row, _)| *row);
    }
    builder.finish()
}

fn not_finite(value: impl Display) -> ValueFault {
    format!("{value} is not a finite number")
}

/// Below this, whole numbers and doubles are the same things.
const DOUBLE_EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

fn whole(value: f64) -> Result<i64, ValueFault> {
    if value.fract() == 0.0 && value.abs() < DOUBLE_EXACT_BELOW {
        #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        Ok(value as i64)
    } else {
        Err(format!("{value} is not a whole number that a double holds exactly"))
    }
}

fn to_int64(
    source: &ArrayRef,
    faults: &mut Vec<(usize, ValueFault)>,
) -> Result<PrimitiveArray<Int64Type>, Unsupported> {
    Ok(match source.data_type() {
        DataType::Int64 => source.as_primitive::<Int64Type>().clone(),
        DataType::Float64 => each(source.as_primitive::<Float64Type>().iter(), faults, whole),
        DataType::Float32 => each(source.as_primitive::<Float32Type>().iter(), faults, |value| whole(f64::from(value))),
        DataType::Decimal128(_, from) => each(source.as_primitive::<Decimal128Type>().iter(), faults, |value| {
            decimal::rescale(value, *from, 38, 0)
                .ok()
                .and_then(|value| i64::try_from(value).ok())
                .ok_or_else(|| format!("{} is not a whole number of 64 bits", decimal_text(value, *from)))
        }),
        DataType::Utf8 => each(source.as_string::<i32>().iter(), faults, text::int),
        _ => return Err(Unsupported),
    })
}

fn to_float64(source: &ArrayRef, faults: &mut Vec<(usize, ValueFault)>) -> Result<ArrayRef, Unsupported> {
    let finite = |value: f64| if value.is_finite() { Ok(value) } else { Err(not_finite(value)) };
    Ok(Arc::new(match source.data_type() {
        DataType::Float64 => {
            let values = source.as_primitive::<Float64Type>();
            if values.values().iter().all(|value| value.is_finite()) {
                return Ok(Arc::clone(source));
            }
            each::<Float64Type, _>(values.iter(), faults, finite)
        }
        DataType::Float32 => {
            each(source.as_primitive::<Float32Type>().iter(), faults, |value| finite(f64::from(value)))
        }
        DataType::Int64 => each(source.as_primitive::<Int64Type>().iter(), faults, |value| {
            #[allow(clippy::cast_precision_loss, reason = "checked to be exact")]
            let double = value as f64;
            if double.abs() <= DOUBLE_EXACT_BELOW {
                Ok(double)
            } else {
                Err(format!("{value} has more digits than a double holds"))
            }
        }),
        DataType::Decimal128(_, from) => each(source.as_primitive::<Decimal128Type>().iter(), faults, |value| {
            text::float64(&decimal_text(value, *from))
        }),
        DataType::Utf8 => each(source.as_string::<i32>().iter(), faults, text::float64),
        _ => return Err(Unsupported),
    }))
}

fn to_boolean(source: &ArrayRef, faults: &mut Vec<(usize, ValueFault)>) -> ArrayRef {
    let texts = source.as_string::<i32>();
    let mut builder = BooleanBuilder::with_capacity(texts.len());
    for (row, value) in texts.iter().enumerate() {
        match value.map(text::boolean) {
            Some(Ok(value)) => builder.append_value(value),
            Some(Err(fault)) => {
                builder.append_null();
                faults.push((row, fault));
            }
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// Text of what has one text only. Floating point has not: an identifier that a tool made `12.0` of must not get a new name unseen.
fn to_text(source: &ArrayRef) -> Result<ArrayRef, Unsupported> {
    match source.data_type() {
        DataType::Utf8 => return Ok(Arc::clone(source)),
        DataType::Int64 | DataType::Decimal128(..) | DataType::Boolean | DataType::Date32 => {}
        DataType::Timestamp(TimeUnit::Microsecond, _) => {}
        _ => return Err(Unsupported),
    }
    let values = KeyColumn::new(source.as_ref()).ok_or(Unsupported)?;
    let mut builder = StringBuilder::with_capacity(source.len(), source.len() * 8);
    let mut buffer = Vec::new();
    for row in 0..source.len() {
        buffer.clear();
        if values.write(row, &mut buffer) {
            builder.append_value(std::str::from_utf8(&buffer).map_err(|_| Unsupported)?);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn decimal_text(value: i128, scale: i8) -> String {
    format!("{value}e{}", -i32::from(scale))
}

fn to_decimal(
    source: &ArrayRef,
    precision: u8,
    scale: i8,
    faults: &mut Vec<(usize, ValueFault)>,
    noisy: &Cell<usize>,
) -> Result<PrimitiveArray<Decimal128Type>, Unsupported> {
    let explain =
        |fault: decimal::DecimalFault, value: &dyn Display| fault.message(&value.to_string(), precision, scale);
    let count = |taken: decimal::Taken| {
        noisy.set(noisy.get() + usize::from(taken.noisy));
        taken.value
    };
    Ok(match source.data_type() {
        DataType::Decimal128(from_precision, from) if *from == scale && *from_precision <= precision => {
            source.as_primitive::<Decimal128Type>().clone()
        }
        DataType::Decimal128(_, from) => each(source.as_primitive::<Decimal128Type>().iter(), faults, |value| {
            decimal::rescale(value, *from, precision, scale)
                .map_err(|fault| explain(fault, &decimal_text(value, *from)))
        }),
        DataType::Int64 => each(source.as_primitive::<Int64Type>().iter(), faults, |value| {
            decimal::rescale(i128::from(value), 0, precision, scale).map_err(|fault| explain(fault, &value))
        }),
        DataType::Float64 => each(source.as_primitive::<Float64Type>().iter(), faults, |value| {
            decimal::from_f64(value, precision, scale).map(count).map_err(|fault| explain(fault, &value))
        }),
        DataType::Float32 => each(source.as_primitive::<Float32Type>().iter(), faults, |value| {
            decimal::from_f32(value, precision, scale).map(count).map_err(|fault| explain(fault, &value))
        }),
        DataType::Utf8 => each(source.as_string::<i32>().iter(), faults, |value| {
            text::parse_decimal(value, precision, scale).map(count)
        }),
        _ => return Err(Unsupported),
    })
}

fn from_unit<T: ArrowTimestampType>(
    source: &ArrayRef,
    faults: &mut Vec<(usize, ValueFault)>,
    convert: impl Fn(i64) -> Option<i64>,
) -> PrimitiveArray<TimestampMicrosecondType> {
    each(source.as_primitive::<T>().iter(), faults, |value| {
        convert(value).ok_or_else(|| format!("the time {value} is beyond what microseconds in 64 bits reach"))
    })
}

/// A stored time has a unit, and a zone or none. With a zone, Arrow's numbers are UTC already; without, they are taken as UTC.
fn to_timestamp(
    source: &ArrayRef,
    faults: &mut Vec<(usize, ValueFault)>,
) -> Result<PrimitiveArray<TimestampMicrosecondType>, Unsupported> {
    Ok(match source.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => source.as_primitive::<TimestampMicrosecondType>().clone(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            from_unit::<TimestampNanosecondType>(source, faults, |value| Some(value.div_euclid(1_000)))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            from_unit::<TimestampMillisecondType>(source, faults, |value| value.checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            from_unit::<TimestampSecondType>(source, faults, |value| value.checked_mul(1_000_000))
        }
        DataType::Date32 => {
            each(
                source.as_primitive::<Date32Type>().iter(),
                faults,
                |value| Ok(i64::from(value) * MICROSECONDS_PER_DAY),
            )
        }
        DataType::Int64 => source.as_primitive::<Int64Type>().reinterpret_cast::<TimestampMicrosecondType>(),
        DataType::Utf8 => each(source.as_string::<i32>().iter(), faults, text::timestamp_us),
        _ => return Err(Unsupported),
    })
}

fn to_date(
    source: &ArrayRef,
    faults: &mut Vec<(usize, ValueFault)>,
) -> Result<PrimitiveArray<Date32Type>, Unsupported> {
    Ok(match source.data_type() {
        DataType::Date32 => source.as_primitive::<Date32Type>().clone(),
        DataType::Timestamp(..) => {
            let times = to_timestamp(source, faults)?;
            each(times.iter(), faults, |value| {
                let day = i32::try_from(value.div_euclid(MICROSECONDS_PER_DAY)).ok();
                day.filter(|_| value.rem_euclid(MICROSECONDS_PER_DAY) == 0)
                    .ok_or_else(|| "it has a time of day, and the column is a date".to_owned())
            })
        }
        DataType::Utf8 => each(source.as_string::<i32>().iter(), faults, |value| {
            text::date(value).map_err(|_| format!("{} is not a date; write it as 2026-01-31", shown(value)))
        }),
        _ => return Err(Unsupported),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        Decimal128Array, DictionaryArray, Float64Array, Int64Array, LargeStringArray, StringArray,
        TimestampNanosecondArray, UInt64Array,
    };
    use model::infer::timestamp_type;
    use proptest::prelude::*;

    fn run(source: impl Array + 'static, data_type: DataType, nullable: bool) -> Coerced {
        coerce(&(Arc::new(source) as ArrayRef), &Field::new("c", data_type, nullable)).unwrap()
    }

    #[test]
    fn money_in_doubles_is_exact_or_refused() {
        let source =
            Float64Array::from(vec![Some(3.49), Some(f64::NAN), None, Some(0.305), Some(-0.05), Some(0.1 + 0.2)]);
        let coerced = run(source, DataType::Decimal128(10, 2), false);
        let values: Vec<_> = coerced.array.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(values, [Some(349), None, None, None, Some(-5), Some(30)]);
        let rows: Vec<_> = coerced.faults.iter().map(|(row, _)| *row).collect();
        assert_eq!(rows, [1, 2, 3]);
        assert_eq!(coerced.faults[1].1, NULL_FAULT);
        assert!(coerced.faults[2].1.contains("0.305 has more than 2 decimal places"));
        assert_eq!(coerced.noisy, 1);
        assert_eq!(coerced.array.data_type(), &DataType::Decimal128(10, 2));
    }

    #[test]
    fn nanoseconds_are_cut_off_towards_the_past() {
        let coerced = run(TimestampNanosecondArray::from(vec![1_999, -1, 0]), timestamp_type(), false);
        assert_eq!(coerced.array.as_primitive::<TimestampMicrosecondType>().values()[..], [1, -1, 0]);
        assert_eq!(coerced.array.data_type(), &timestamp_type());
    }

    #[test]
    fn layouts_do_not_matter() {
        let words = DictionaryArray::<Int32Type>::from_iter([Some("5"), None, Some("x")]);
        let coerced = run(words, DataType::Int64, true);
        assert_eq!(coerced.array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(5), None, None]);
        assert_eq!(coerced.faults.len(), 1);
        let large = run(LargeStringArray::from(vec!["a"]), DataType::Utf8, false);
        assert_eq!(large.array.as_string::<i32>().value(0), "a");
        let unsigned = run(UInt64Array::from(vec![u64::MAX, 7]), DataType::Int64, false);
        assert_eq!((unsigned.array.is_null(0), unsigned.faults.len()), (true, 1));
        let ids = run(Int64Array::from(vec![7]), DataType::Utf8, false);
        assert_eq!(ids.array.as_string::<i32>().value(0), "7");
    }

    #[test]
    fn some_types_never_meet() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        for refused in [DataType::Utf8, timestamp_type(), DataType::Boolean, DataType::Date32] {
            assert!(coerce(&floats, &Field::new("c", refused, true)).is_err());
        }
    }

    #[test]
    fn narrower_types_take_what_fits() {
        let coerced = run(Int64Array::from(vec![1, i64::MAX]), DataType::Int32, false);
        assert_eq!(coerced.faults, [(1, "9223372036854775807 does not fit in an int".to_owned())]);
        let decimals = Decimal128Array::from(vec![12_300, 12_345]).with_precision_and_scale(12, 4).unwrap();
        let coerced = run(decimals, DataType::Decimal128(10, 2), false);
        assert_eq!(coerced.array.as_primitive::<Decimal128Type>().value(0), 123);
        assert_eq!(coerced.faults.len(), 1);
    }

    proptest! {
        /// Each conversion from text in a column is the one from text on its own.
        #[test]
        fn columns_and_single_values_agree(texts in proptest::collection::vec(proptest::option::of("[-0-9.eT:Z]{1,12}|2026-01-0[1-9]|true"), 1..20)) {
            for data_type in [DataType::Int32, DataType::Int64, DataType::Float64, DataType::Boolean, DataType::Decimal128(9, 3), DataType::Date32, timestamp_type()] {
                let field = Field::new("c", data_type, true);
                let source: ArrayRef = Arc::new(StringArray::from(texts.clone()));
                let columns = coerce(&source, &field).unwrap();
                let mut builder = text::ColumnBuilder::new(&field, 1).unwrap();
                let mut faults = Vec::new();
                for (row, value) in texts.iter().enumerate() {
                    let appended = match value { Some(value) => builder.append_text(value), None => builder.append_null() };
                    if appended.is_err() { faults.push(row); }
                }
                prop_assert_eq!(&columns.array, &builder.finish());
                prop_assert_eq!(columns.faults.iter().map(|(row, _)| *row).collect::<Vec<_>>(), faults);
            }
        }
    }
}
