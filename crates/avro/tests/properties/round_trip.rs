use avro::{Decoder, Encoder, Limits, Reencoder, json, schema_for, wire};
use model::BytesColumn;
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::tables::{Column, batch, schema, table};

proptest! {
    #[test]
    fn rows_come_back_as_they_were(columns in table()) {
        let (schema, batch) = (schema(&columns), batch(&columns));
        prop_assert_eq!(&schema.arrow().unwrap(), &batch.schema());
        let mut values = BytesColumn::default();
        Encoder::new(&schema, 7).unwrap().encode(&batch, &mut values).unwrap();
        let mut decoder = Decoder::new(&schema, None, Limits::default()).unwrap();
        decoder.add_writer(7, &schema).unwrap();
        for _ in 0..2 {
            let decoded = decoder.decode(&values);
            prop_assert_eq!(&decoded.failures, &[]);
            prop_assert_eq!(&decoded.batch, &batch);
            let mut again = BytesColumn::default();
            Reencoder::new(&schema, 7).unwrap().encode(&decoder, &values, &decoded, &mut again).unwrap();
            prop_assert_eq!(&again, &values);
        }
    }

    #[test]
    fn a_projection_gives_the_same_columns(
        (columns, names) in table().prop_flat_map(|columns| {
            let names: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
            let count = names.len();
            (Just(columns), subsequence(names, 0..=count).prop_shuffle())
        }),
    ) {
        let (schema, batch) = (schema(&columns), batch(&columns));
        let mut values = BytesColumn::default();
        Encoder::new(&schema, 7).unwrap().encode(&batch, &mut values).unwrap();
        let mut decoder = Decoder::new(&schema, Some(&names), Limits::default()).unwrap();
        decoder.add_writer(7, &schema).unwrap();
        let places: Vec<_> = names.iter().map(|name| batch.schema().index_of(name).unwrap()).collect();
        let decoded = decoder.decode(&values);
        prop_assert_eq!(decoded.batch, batch.project(&places).unwrap());
    }

    #[test]
    fn json_shows_a_row_and_takes_it_back(columns in table()) {
        let (schema, batch) = (schema(&columns), batch(&columns));
        let mut values = BytesColumn::default();
        Encoder::new(&schema, 7).unwrap().encode(&batch, &mut values).unwrap();
        for value in values.iter().flatten() {
            let (_, payload) = wire::split(value).unwrap();
            let shown = json::decode(&schema, payload).unwrap();
            let mut encoded = Vec::new();
            json::encode(&schema, &shown, &mut encoded).unwrap();
            prop_assert_eq!(encoded, payload, "{}", shown);
        }
    }

    #[test]
    fn a_derived_schema_has_the_same_columns(columns in table()) {
        let arrow = batch(&columns).schema();
        let derived = schema_for("derived", "test", None, &arrow).unwrap();
        prop_assert_eq!(derived.arrow().unwrap(), arrow);
        prop_assert!(avro::compatibility::can_read(&derived, &derived).is_empty());
    }

    #[test]
    fn a_row_at_a_time_is_the_same_as_all_at_once(columns in table()) {
        let (schema, batch) = (schema(&columns), batch(&columns));
        let encoder = Encoder::new(&schema, 7).unwrap();
        let mut values = BytesColumn::default();
        encoder.encode(&batch, &mut values).unwrap();
        let bound = encoder.bind(&batch).unwrap();
        for row in (0..batch.num_rows()).rev() {
            let mut one = Vec::new();
            bound.encode_row(row, &mut one).unwrap();
            prop_assert_eq!(Some(one.as_slice()), values.get(row));
        }
    }
}

#[test]
fn columns_cover_every_type() {
    // Guards the generator: a type that it never draws is a type that nothing above tests.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let columns: Vec<Column> = proptest::strategy::ValueTree::current(&table().new_tree(&mut runner).unwrap());
        seen.extend(
            columns.iter().map(|column| format!("{:?}", column.kind).split('(').next().unwrap_or_default().to_owned()),
        );
    }
    assert_eq!(seen.len(), 15, "{seen:?}");
}
