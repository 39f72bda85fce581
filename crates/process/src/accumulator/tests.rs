use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
use proptest::prelude::*;

use super::*;

fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
}

/// Folds everything into group 0 and evaluates it.
fn whole(mut accumulator: Box<dyn Accumulator>, column: &ArrayRef) -> ArrayRef {
    accumulator.resize(1);
    accumulator.update(Some(column), &vec![0; column.len()]).unwrap();
    accumulator.evaluate(&[0]).unwrap()
}

/// One column of each kind with the accumulators that take it. Sums of floats are of whole numbers, so that they are exact.
fn cases(numbers: &[Option<i32>]) -> Vec<(Box<dyn Accumulator>, ArrayRef)> {
    let wide: ArrayRef = Arc::new(numbers.iter().map(|value| value.map(i64::from)).collect::<Int64Array>());
    let narrow: ArrayRef = Arc::new(numbers.iter().copied().collect::<Int32Array>());
    let floats: ArrayRef = Arc::new(numbers.iter().map(|value| value.map(f64::from)).collect::<Float64Array>());
    let money = decimals(numbers.iter().map(|value| value.map(i128::from)).collect(), 12, 2);
    let texts: ArrayRef =
        Arc::new(numbers.iter().map(|value| value.map(|value| value.to_string())).collect::<StringArray>());
    let truths: ArrayRef =
        Arc::new(numbers.iter().map(|value| value.map(|value| value % 2 == 0)).collect::<BooleanArray>());
    let mut cases: Vec<(Box<dyn Accumulator>, ArrayRef)> = Vec::new();
    for column in [&wide, &narrow, &floats, &money, &texts, &truths] {
        cases.push((Box::new(count::Count::default()), Arc::clone(column)));
        for greatest in [false, true] {
            cases.push((extremes::extreme(column.data_type(), greatest).unwrap(), Arc::clone(column)));
        }
    }
    for (column, result) in [(&wide, DataType::Int64), (&narrow, DataType::Int64), (&floats, DataType::Float64)] {
        cases.push((totals::sum(column.data_type(), &result).unwrap(), Arc::clone(column)));
        cases.push((totals::average(column.data_type(), &DataType::Float64).unwrap(), Arc::clone(column)));
    }
    cases.push((totals::sum(money.data_type(), &DataType::Decimal128(22, 2)).unwrap(), Arc::clone(&money)));
    cases.push((totals::average(money.data_type(), &DataType::Decimal128(16, 6)).unwrap(), money));
    cases
}

proptest! {
    /// Whatever the split into batches, and whether a snapshot lies between, groups hold the same; and evaluating changes nothing.
    #[test]
    fn batches_and_snapshots_make_no_difference(
        rows in prop::collection::vec((prop::option::weighted(0.8, -50..50i32), 0..4u32), 1..60),
        cuts in prop::collection::vec(1..20usize, 1..8),
    ) {
        let numbers: Vec<_> = rows.iter().map(|row| row.0).collect();
        let groups: Vec<_> = rows.iter().map(|row| row.1).collect();
        let all = [0, 1, 2, 3];
        for ((mut at_once, column), ((mut split, _), (mut partial, _))) in
            cases(&numbers).into_iter().zip(cases(&numbers).into_iter().zip(cases(&numbers)))
        {
            at_once.resize(4);
            at_once.update(Some(&column), &groups).unwrap();
            split.resize(4);
            let mut begin = 0;
            for cut in cuts.iter().cycle() {
                let end = (begin + cut).min(rows.len());
                partial.resize(0);
                partial.resize(4);
                partial.update(Some(&column.slice(begin, end - begin)), &groups[begin..end]).unwrap();
                split.merge(partial.as_ref(), &all, &all).unwrap();
                split.evaluate(&all).unwrap();
                let mut writer = SnapshotWriter::new("test", "");
                split.save(&mut writer).unwrap();
                let bytes = writer.finish();
                let mut reader = SnapshotReader::open(&bytes, "test", "").unwrap();
                split.load(&mut reader, 4).unwrap();
                reader.finish().unwrap();
                begin = end;
                if begin == rows.len() {
                    break;
                }
            }
            prop_assert_eq!(&split.evaluate(&all).unwrap(), &at_once.evaluate(&all).unwrap(), "{:?}", at_once);
        }
    }
}

#[test]
fn groups_without_values_are_null_and_counts_are_zero() {
    for (accumulator, column) in cases(&[None, None]) {
        let is_count = accumulator.as_any().is::<count::Count>();
        let value = whole(accumulator, &column);
        assert_eq!(value.is_null(0), !is_count, "{value:?}");
    }
}

#[test]
fn whole_numbers_wrap_around_as_in_spark() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1]));
    let sum = whole(totals::sum(&DataType::Int64, &DataType::Int64).unwrap(), &column);
    assert_eq!(sum.as_ref(), &Int64Array::from(vec![i64::MIN]) as &dyn arrow_array::Array);
    let average = whole(totals::average(&DataType::Int64, &DataType::Float64).unwrap(), &column);
    assert_eq!(average.as_ref(), &Float64Array::from(vec![4_611_686_018_427_387_904.0]) as &dyn arrow_array::Array);
}

#[test]
fn decimal_sums_beyond_their_precision_are_null() {
    let nines = 10i128.pow(38) - 1;
    let result = DataType::Decimal128(38, 0);
    let sum = |values: Vec<Option<i128>>| {
        let column = decimals(values, 38, 0);
        whole(totals::sum(column.data_type(), &result).unwrap(), &column)
    };
    assert!(sum(vec![Some(nines), Some(1)]).is_null(0), "39 digits that fit an i128");
    assert!(sum(vec![Some(nines), Some(nines), Some(-nines), Some(-nines)]).is_null(0), "beyond i128, then back");
    assert_eq!(&sum(vec![Some(nines), Some(-1)]), &decimals(vec![Some(nines - 1)], 38, 0));
}

#[test]
fn decimal_averages_round_halves_away_from_zero() {
    let average = |values: Vec<i128>| {
        let column = decimals(values.into_iter().map(Some).collect(), 4, 0);
        whole(totals::average(column.data_type(), &DataType::Decimal128(8, 4)).unwrap(), &column)
    };
    // 1/32 = 0.03125, 2/3 = 0.6666…
    let thirty_second = |sign: i128| std::iter::once(sign).chain(std::iter::repeat_n(0, 31)).collect::<Vec<_>>();
    assert_eq!(&average(thirty_second(1)), &decimals(vec![Some(313)], 8, 4));
    assert_eq!(&average(thirty_second(-1)), &decimals(vec![Some(-313)], 8, 4));
    assert_eq!(&average(vec![1, 1, 0]), &decimals(vec![Some(6667)], 8, 4));
    assert_eq!(&average(vec![-1, -1, 0]), &decimals(vec![Some(-6667)], 8, 4));
    assert_eq!(&average(vec![1, 0, 0]), &decimals(vec![Some(3333)], 8, 4));
}

#[test]
fn nan_is_the_greatest_whatever_its_sign() {
    for nan in [f64::NAN, -f64::NAN] {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![nan, f64::INFINITY, -1.0]));
        let least = whole(extremes::extreme(&DataType::Float64, false).unwrap(), &column);
        assert_eq!(least.as_ref(), &Float64Array::from(vec![-1.0]) as &dyn arrow_array::Array);
        let greatest = whole(extremes::extreme(&DataType::Float64, true).unwrap(), &column);
        let greatest = greatest.as_any().downcast_ref::<Float64Array>().unwrap().value(0);
        assert!(greatest.is_nan());
    }
}

#[test]
fn unknown_types_are_refused_at_once() {
    assert!(extremes::extreme(&DataType::Duration(arrow_schema::TimeUnit::Second), true).is_none());
    assert!(totals::sum(&DataType::Utf8, &DataType::Int64).is_none());
    assert!(totals::average(&DataType::Boolean, &DataType::Float64).is_none());
}
