use std::collections::{HashMap, HashSet};

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};
use arrow_select::concat::concat_batches;
use proptest::prelude::*;

use super::columns::{push_decimal, push_hex};
use super::*;
use crate::generate::OpenLoop;

fn times(rate: u64, count: u64) -> Vec<i64> {
    let mut times = Vec::new();
    OpenLoop::new(rate, 1_767_225_600_000_000).times_us(0..count, &mut times);
    times
}

fn generate(options: PaymentsOptions, times: &[i64]) -> PaymentBatch {
    Payments::new(options).unwrap().batch(times).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_same_seed_and_times_give_the_same_rows_however_they_are_cut(seed: u64, cut in 1_usize..400) {
        let options = PaymentsOptions { seed, duplicate_share: 0.1, late_share: 0.1, invalid_share: 0.1, fraud_bursts_per_min: 500.0, ..PaymentsOptions::default() };
        let times = times(500, 1_000);
        let whole = generate(options.clone(), &times);
        let mut payments = Payments::new(options.clone()).unwrap();
        let parts: Vec<_> = times.chunks(cut).map(|times| payments.batch(times).unwrap()).collect();
        let batches: Vec<_> = parts.iter().map(|part| part.batch.clone()).collect();
        prop_assert_eq!(&concat_batches(&schema(), &batches).unwrap(), &whole.batch);
        prop_assert_eq!(parts.iter().flat_map(|part| part.marks.clone()).collect::<Vec<_>>(), whole.marks);
        prop_assert_eq!(parts.last().unwrap().first_row, ((1_000 - 1) / cut * cut) as u64);
        let other = generate(PaymentsOptions { seed: seed.wrapping_add(1), ..options }, &times);
        prop_assert_ne!(other.batch, whole.batch);
    }
}

#[test]
fn shares_are_as_set_and_rows_are_as_marked() {
    let options = PaymentsOptions {
        late_share: 0.05,
        duplicate_share: 0.04,
        invalid_share: 0.08,
        fraud_bursts_per_min: 0.0,
        ..PaymentsOptions::default()
    };
    let count = 200_000_u32;
    let times = times(3_000, u64::from(count));
    let payments = generate(options, &times);
    let ids = payments.batch.column_by_name("transaction_id").unwrap().as_string::<i32>().clone();
    let amounts = payments.batch.column_by_name("amount").unwrap().as_primitive::<Decimal128Type>().clone();
    let currencies = payments.batch.column_by_name("currency").unwrap().as_string::<i32>().clone();
    let events =
        payments.batch.column_by_name("event_time").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
    let mut counts: HashMap<String, f64> = HashMap::new();
    for (row, mark) in payments.marks.iter().enumerate() {
        let name = match mark {
            Mark::Late { by_us } => {
                assert_eq!(times[row] - events.value(row), *by_us);
                assert!((10_000_000..=120_000_000).contains(by_us));
                "late".to_owned()
            }
            Mark::DuplicateOf { row: first } => {
                let first = usize::try_from(*first).unwrap();
                assert_eq!(payments.marks[first], Mark::Normal);
                assert_eq!(payments.batch.slice(row, 1), payments.batch.slice(first, 1));
                assert!(times[row] - times[first] <= 2_000_000);
                "duplicate".to_owned()
            }
            Mark::Invalid(kind) => format!("{kind:?}"),
            Mark::Normal => {
                assert_eq!(events.value(row), times[row]);
                "normal".to_owned()
            }
        };
        assert_eq!(amounts.value(row) < 0, *mark == Mark::Invalid(InvalidKind::NegativeAmount));
        assert_eq!(currencies.value(row) == "XXX", *mark == Mark::Invalid(InvalidKind::UnknownCurrency));
        *counts.entry(name).or_default() += 1.0;
    }
    for (name, share) in [
        ("late", 0.05),
        ("duplicate", 0.04),
        ("NegativeAmount", 0.02),
        ("UnknownCurrency", 0.02),
        ("TruncatedAvro", 0.02),
        ("UnknownSchemaId", 0.02),
        ("normal", 0.83),
    ] {
        let expected = share * f64::from(count);
        assert!((counts[name] - expected).abs() < 5.0 * expected.sqrt(), "{name}: {} of {expected}", counts[name]);
    }
    let duplicates = payments.marks.iter().filter(|mark| matches!(mark, Mark::DuplicateOf { .. })).count();
    assert_eq!(ids.iter().flatten().collect::<HashSet<_>>().len(), ids.len() - duplicates, "ids are unique otherwise");
}

#[test]
fn amounts_and_merchants_are_skewed_as_in_life() {
    let payments = generate(PaymentsOptions::default(), &times(3_000, 100_000));
    let column = |name: &str| payments.batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    let mut by_merchant: HashMap<String, u32> = HashMap::new();
    for merchant in column("merchant_id").iter().flatten() {
        *by_merchant.entry(merchant.to_owned()).or_default() += 1;
    }
    let mut counts: Vec<u32> = by_merchant.values().copied().collect();
    counts.sort_unstable_by(|left, right| right.cmp(left));
    assert!(by_merchant.len() > 450, "nearly all merchants appear");
    assert!(counts[..50].iter().sum::<u32>() > 30_000, "a tenth of them has a good part of the payments");
    let mut amounts: Vec<i128> = payments.batch.column(3).as_primitive::<Decimal128Type>().values().to_vec();
    amounts.sort_unstable();
    let (median, mean) = (amounts[50_000], amounts.iter().sum::<i128>() / 100_000);
    assert!((1_000..4_000).contains(&median) && mean > median * 3 / 2, "log-normal: {median} {mean}");
    for (name, distinct) in [("currency", 3..=4), ("country", 7..=7), ("channel", 4..=4), ("status", 3..=3)] {
        let values = column(name);
        let values: HashSet<_> = values.iter().flatten().collect();
        assert!(distinct.contains(&values.len()), "{name}: {values:?}");
    }
    let mut by_account: HashMap<String, u32> = HashMap::new();
    for (account, fraud) in column("account_id").iter().flatten().zip(&payments.frauds) {
        *by_account.entry(account.to_owned()).or_default() += u32::from(fraud.is_none());
    }
    assert!(
        by_account.values().all(|count| *count < 15),
        "no account pays so often by itself that it looks like fraud"
    );
}

#[test]
fn bursts_look_like_fraud() {
    let options = PaymentsOptions { fraud_bursts_per_min: 30.0, ..PaymentsOptions::default() };
    let payments = generate(options, &times(1_000, 600_000));
    let amounts = payments.batch.column(3).as_primitive::<Decimal128Type>().clone();
    let accounts = payments.batch.column(1).as_string::<i32>().clone();
    let mut bursts: HashMap<u32, Vec<usize>> = HashMap::new();
    for (row, fraud) in payments.frauds.iter().enumerate() {
        if let Some(fraud) = fraud {
            assert_eq!(payments.marks[row], Mark::Normal);
            bursts.entry(fraud.burst).or_default().push(row);
        }
    }
    assert!((230..370).contains(&bursts.len()), "about 300 in ten minutes: {}", bursts.len());
    for rows in bursts.values() {
        assert!(rows.iter().all(|row| accounts.value(*row) == accounts.value(rows[0])), "one account per burst");
        let Some(fraud) = payments.frauds[*rows.last().unwrap()].filter(|fraud| fraud.last) else { continue };
        match fraud.kind {
            FraudKind::CardTesting => {
                let (last, small) = rows.split_last().unwrap();
                assert!((5..=12).contains(&small.len()) && small.iter().all(|row| amounts.value(*row) <= 200));
                assert!(amounts.value(*last) >= 40_000);
            }
            FraudKind::Velocity => assert!((20..=40).contains(&rows.len())),
        }
    }
}

#[test]
fn options_out_of_range_are_refused() {
    for options in [
        PaymentsOptions { late_share: 1.5, ..PaymentsOptions::default() },
        PaymentsOptions { late_share: f64::NAN, ..PaymentsOptions::default() },
        PaymentsOptions { late_share: 0.6, invalid_share: 0.6, ..PaymentsOptions::default() },
        PaymentsOptions { accounts: 0, ..PaymentsOptions::default() },
        PaymentsOptions { late_by_max_us: 1, ..PaymentsOptions::default() },
        PaymentsOptions { fraud_bursts_per_min: -1.0, ..PaymentsOptions::default() },
    ] {
        assert!(matches!(Payments::new(options), Err(GenerateError::Option { .. })));
    }
}

#[test]
fn numbers_become_digits() {
    let mut text = String::new();
    push_hex(&mut text, 0x1f_0000_00ab, 10);
    push_decimal(&mut text, 42, 6);
    push_decimal(&mut text, u32::MAX, 6);
    push_decimal(&mut text, 0, 2);
    assert_eq!(text, "1f000000ab000042429496729500");
}

#[test]
fn the_example_project_has_this_schema() {
    let text = include_str!("../../../../../examples/payments/schemas/transaction.avsc");
    assert_eq!(avro::Schema::parse(text).unwrap().arrow().unwrap().fields(), schema().fields());
}

#[test]
fn records_are_as_marked_on_the_wire() {
    let text = include_str!("../../../../../examples/payments/schemas/transaction.avsc");
    let schema = avro::Schema::parse(text).unwrap();
    let options = PaymentsOptions { invalid_share: 0.2, ..PaymentsOptions::default() };
    let payments = generate(options, &times(3_000, 5_000));
    let mut encoded = crate::encode::EncodedRows::default();
    PaymentEncoder::new(&schema, 9).unwrap().encode(&payments, &mut encoded).unwrap();
    let mut decoder = avro::Decoder::new(&schema, None, avro::Limits::default()).unwrap();
    decoder.add_writer(9, &schema).unwrap();
    let decoded = decoder.decode(&encoded.values);
    let damaged =
        |mark: &Mark| matches!(mark, Mark::Invalid(InvalidKind::TruncatedAvro | InvalidKind::UnknownSchemaId));
    let sound: Vec<u32> =
        (0_u32..).zip(&payments.marks).filter(|(_, mark)| !damaged(mark)).map(|(row, _)| row).collect();
    assert_eq!(decoded.rows, sound);
    assert_eq!(decoded.failures.len(), 5_000 - sound.len());
    let indices = arrow_array::UInt32Array::from(sound);
    assert_eq!(decoded.batch, arrow_select::take::take_record_batch(&payments.batch, &indices).unwrap());
    let accounts = payments.batch.column(1).as_string::<i32>().clone();
    assert!(encoded.keys.iter().zip(accounts.iter()).all(|(key, account)| key == account.map(str::as_bytes)));
}
