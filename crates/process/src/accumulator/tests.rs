use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
use proptest::prelude::*;

use super::*;

fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
}

/// Folds a part of a column's rows. Orders repeat, and so do event times: three rows each have the same.
fn update(accumulator: &mut dyn Accumulator, column: &ArrayRef, rows: std::ops::Range<usize>, groups: &[u32]) {
    let orders: ArrayRef = Arc::new((0..column.len()).map(|row| ORDERS[row % ORDERS.len()]).collect::<Int64Array>());
    let times: Vec<i64> = (0..column.len() as i64).map(|row| row * 7 % 5).collect();
    let offsets: Vec<i64> = (0..column.len() as i64).collect();
    let places =
        Places { times_us: &times[rows.clone()], partition: 1, offsets: &offsets[rows.clone()], ..Places::default() };
    let (argument, order) = (column.slice(rows.start, rows.len()), orders.slice(rows.start, rows.len()));
    let input = Input { argument: Some(&argument), order: Some(&order), places: &places };
    accumulator.update(&input, groups).unwrap();
}

const ORDERS: [Option<i64>; 7] = [Some(3), Some(1), None, Some(1), Some(3), Some(2), Some(3)];

/// Folds everything into group 0 and evaluates it.
fn whole(mut accumulator: Box<dyn Accumulator>, column: &ArrayRef) -> ArrayRef {
    accumulator.resize(1);
    update(accumulator.as_mut(), column, 0..column.len(), &vec![0; column.len()]);
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
    cases.push((totals::average(money.data_type(), &DataType::Decimal128(16, 6)).unwrap(), Arc::clone(&money)));
    for column in [&wide, &narrow, &floats, &money, &texts, &truths] {
        let kind = column.data_type();
        cases.push((Box::new(distinct::Distinct::new(kind).unwrap()), Arc::clone(column)));
        cases.push((sketch::sketch(kind, 5).unwrap(), Arc::clone(column)));
        for greatest in [false, true] {
            let by_order = by_order::ByOrder::new(kind, &DataType::Int64, greatest).unwrap();
            cases.push((Box::new(by_order), Arc::clone(column)));
        }
    }
    for column in [&wide, &narrow, &floats, &money] {
        // So few values are all kept, and the result is exact.
        cases.push((quantiles::quantiles(column.data_type(), 500_000_000, 10_000).unwrap(), Arc::clone(column)));
    }
    cases.push((Box::new(lists::Lists::new(&DataType::Utf8, 3).unwrap()), texts));
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
            update(at_once.as_mut(), &column, 0..rows.len(), &groups);
            split.resize(4);
            let mut begin = 0;
            for cut in cuts.iter().cycle() {
                let end = (begin + cut).min(rows.len());
                partial.resize(0);
                partial.resize(4);
                update(partial.as_mut(), &column, begin..end, &groups[begin..end]);
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
        let shown = format!("{accumulator:?}");
        let is_count = ["Count", "Distinct", "Sketches", "Lists"].iter().any(|name| shown.starts_with(name));
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

fn integers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn double(array: &ArrayRef) -> Option<f64> {
    let values = array.as_any().downcast_ref::<Float64Array>().unwrap();
    values.iter().next().flatten()
}

#[test]
fn deviations_are_those_of_the_textbook_and_stable_far_from_zero() {
    use moments::Result::{StddevPop, StddevSamp, VarPop, VarSamp};
    let of = |values: &[f64], result| {
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        double(&whole(moments::moments(&DataType::Float64, result).unwrap(), &column))
    };
    // Mean 5, squared distances 32.
    let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    assert_eq!(of(&values, VarPop), Some(4.0));
    assert_eq!(of(&values, StddevPop), Some(2.0));
    assert!((of(&values, VarSamp).unwrap() - 32.0 / 7.0).abs() < 1e-12);
    assert!((of(&values, StddevSamp).unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    assert_eq!((of(&[3.0], VarSamp), of(&[3.0], VarPop), of(&[], VarPop)), (None, Some(0.0), None));
    let far: Vec<f64> = values.iter().map(|value| value + 1e6).collect();
    assert!((of(&far, VarPop).unwrap() - 4.0).abs() < 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// However the rows are cut and merged, the rank is off by rows / accuracy at most, and the summary stays small.
    #[test]
    fn percentiles_are_within_their_error(
        seed: u64,
        rows in 1..6000_usize,
        spread in prop::sample::select(vec![3_i64, 1000, i64::MAX]),
        percent in 0..=100_u32,
        cuts in prop::collection::vec(1..900_usize, 1..6),
    ) {
        let accuracy = 50_u32;
        let mut random = model::clock::seeded(seed);
        let mut values: Vec<i64> =
            (0..rows).map(|_| rand::Rng::random_range(&mut random, 0..spread)).collect();
        let column = integers(values.iter().copied());
        let make = || {
            let mut made = quantiles::quantiles(&DataType::Int64, percent * 10_000_000, accuracy).unwrap();
            made.resize(1);
            made
        };
        let (mut merged, mut begin) = (make(), 0);
        for cut in cuts.iter().cycle() {
            let end = (begin + cut).min(rows);
            let mut partial = make();
            update(partial.as_mut(), &column, begin..end, &vec![0; end - begin]);
            merged.merge(partial.as_ref(), &[0], &[0]).unwrap();
            begin = end;
            if begin == rows {
                break;
            }
        }
        let found = merged.evaluate(&[0]).unwrap();
        let found = found.as_any().downcast_ref::<Int64Array>().unwrap().value(0);
        values.sort_unstable();
        let (below, up_to) = (values.partition_point(|value| *value < found), values.partition_point(|value| *value <= found));
        prop_assert!(below < up_to, "{} isn't a value", found);
        let wanted = (rows as f64 * f64::from(percent) / 100.0).ceil().max(1.0);
        let off = (below as f64 + 1.0 - wanted).max(wanted - up_to as f64).max(0.0);
        prop_assert!(off <= rows as f64 / f64::from(accuracy), "{} of {} rows, off by {}", found, rows, off);
        prop_assert!(merged.heap_bytes() < 600 * 64, "{} bytes of {} rows", merged.heap_bytes(), rows);
    }
}

#[test]
fn of_equal_orders_the_place_decides_and_null_orders_are_skipped() {
    let column = integers(0..7);
    let by = |greatest| {
        whole(Box::new(by_order::ByOrder::new(&DataType::Int64, &DataType::Int64, greatest).unwrap()), &column)
    };
    // Orders 3 1 - 1 3 2 3, times 0 2 4 1 3 0 2.
    assert_eq!(&by(false), &integers([3]), "order 1: row 3 at time 1 is before row 1 at time 2");
    assert_eq!(&by(true), &integers([4]), "order 3: row 4 at time 3 is the last");
}

#[test]
fn a_list_holds_the_first_by_place_whatever_comes_later() {
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("d"), Some("e"), Some("f")]));
    // Times 0 2 4 1 3 0.
    let list = whole(Box::new(lists::Lists::new(&DataType::Utf8, 3).unwrap()), &texts);
    let list = arrow_array::cast::AsArray::as_list::<i32>(&list).value(0);
    assert_eq!(list.as_ref(), &StringArray::from(vec!["a", "f", "d"]) as &dyn arrow_array::Array);
}

#[test]
fn bytes_held_are_counted_and_given_back() {
    let texts: ArrayRef = Arc::new((0..1000).map(|row| Some(format!("a text of row {row}"))).collect::<StringArray>());
    let kinds: [Box<dyn Accumulator>; 4] = [
        Box::new(distinct::Distinct::new(&DataType::Utf8).unwrap()),
        Box::new(lists::Lists::new(&DataType::Utf8, 500).unwrap()),
        Box::new(by_order::ByOrder::new(&DataType::Utf8, &DataType::Int64, true).unwrap()),
        sketch::sketch(&DataType::Utf8, 12).unwrap(),
    ];
    for mut accumulator in kinds {
        accumulator.resize(1);
        let empty = accumulator.bytes();
        update(accumulator.as_mut(), &texts, 0..1000, &[0; 1000]);
        assert!(accumulator.heap_bytes() > 0 && accumulator.bytes() > empty, "{accumulator:?}");
        accumulator.resize(0);
        assert_eq!(accumulator.heap_bytes(), 0);
    }
}

#[test]
fn unknown_types_are_refused_at_once() {
    assert!(extremes::extreme(&DataType::Duration(arrow_schema::TimeUnit::Second), true).is_none());
    assert!(totals::sum(&DataType::Utf8, &DataType::Int64).is_none());
    assert!(totals::average(&DataType::Boolean, &DataType::Float64).is_none());
}
