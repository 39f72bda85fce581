use avro::{Decoder, Encoder, Limits, Schema, json, wire};
use model::BytesColumn;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::tables::{Column, batch, record, schema, table};

/// What happens to a record on its way.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Flip(Index, u8),
    Insert(Index, u8),
    Noise(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        prop::collection::vec(any::<u8>(), 0..80).prop_map(Damage::Noise),
    ]
}

fn apply(value: &[u8], damage: &Damage) -> Vec<u8> {
    let mut value = value.to_vec();
    match damage {
        Damage::Cut(at) => value.truncate(at.index(value.len())),
        Damage::Flip(at, bit) => {
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
        }
        Damage::Insert(at, byte) => value.insert(at.index(value.len()), *byte),
        Damage::Noise(bytes) => {
            value.truncate(wire::HEADER_BYTES);
            value.extend_from_slice(bytes);
        }
    }
    value
}

/// A field that only the writer has, of all the shapes that a stream's schema can't have.
fn nested() -> (Value, Schema) {
    let avro = json!({"type": "array", "items": ["null", "string", {"type": "map", "values": "long"},
        {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": {"type": "array", "items": "null"}}, {"name": "d", "type": "double"}]}]});
    let schema = record(&[json!({"name": "extra", "type": avro})]);
    (json!({"name": "extra", "type": avro}), schema)
}

fn encoded(columns: &[Column]) -> BytesColumn {
    let (_, extra) = nested();
    let mut front = Vec::new();
    let value = json!({"extra": [null, "text", {"a": 1, "b": -5}, {"n": [null, null], "d": 1.5}]});
    json::encode(&extra, &value, &mut front).unwrap();
    let mut flat = BytesColumn::default();
    Encoder::new(&schema(columns), 1).unwrap().encode(&batch(columns), &mut flat).unwrap();
    let mut values = BytesColumn::default();
    for value in flat.iter().flatten() {
        let (header, payload) = value.split_at(wire::HEADER_BYTES);
        values.push(Some(&[header, &front, payload].concat()));
    }
    values
}

fn decoder(columns: &[Column], projection: Option<&[String]>) -> Decoder {
    let (extra, _) = nested();
    let fields: Vec<Value> = std::iter::once(extra).chain(columns.iter().map(Column::field)).collect();
    let mut decoder = Decoder::new(&schema(columns), projection, Limits::default()).unwrap();
    decoder.add_writer(1, &record(&fields)).unwrap();
    decoder
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_damaged_record_harms_no_other(
        columns in table(),
        hit in any::<Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let (values, batch) = (encoded(&columns), batch(&columns));
        let hit = hit.index(values.len());
        let mut damaged = BytesColumn::default();
        for (row, value) in values.iter().flatten().enumerate() {
            let value = if row == hit {
                damages.iter().fold(value.to_vec(), |value, damage| if value.is_empty() { value } else { apply(&value, damage) })
            } else {
                value.to_vec()
            };
            damaged.push(Some(&value));
        }
        let decoded = decoder(&columns, None).decode(&damaged);
        let mut judged: Vec<u32> = decoded.rows.iter().copied().chain(decoded.failures.iter().map(|(row, _)| *row)).collect();
        judged.sort_unstable();
        prop_assert_eq!(judged, (0..u32::try_from(values.len()).unwrap()).collect::<Vec<_>>());
        prop_assert!(decoded.failures.iter().all(|(row, _)| *row as usize == hit));
        for (place, row) in decoded.rows.iter().enumerate().filter(|(_, row)| **row as usize != hit) {
            prop_assert_eq!(decoded.batch.slice(place, 1), batch.slice(*row as usize, 1));
        }
        let bound = 64 * (damaged.byte_len() + 40 * columns.len() * (values.len() + 8)) + 65_536;
        prop_assert!(decoded.batch.get_array_memory_size() < bound);
    }

    #[test]
    fn a_record_cut_anywhere_fails(columns in table()) {
        let values = encoded(&columns);
        let whole = values.get(0).unwrap();
        let mut cut = BytesColumn::default();
        (0..whole.len()).for_each(|end| cut.push(Some(&whole[..end])));
        for projection in [None, Some(&[][..])] {
            let decoded = decoder(&columns, projection).decode(&cut);
            prop_assert_eq!(decoded.batch.num_rows(), 0);
            prop_assert_eq!(decoded.failures.len(), whole.len());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]{}\",:a-z0-9 ]{0,60}", damage in any::<(Index, u8)>()) {
        drop(Schema::parse(&text));
        let mut schema = record(&[nested().0]).canonical().to_owned().into_bytes();
        let at = damage.0.index(schema.len());
        schema[at] = damage.1;
        if let Ok(text) = String::from_utf8(schema)
            && let Ok(schema) = Schema::parse(&text)
        {
            prop_assert_eq!(Schema::parse(schema.canonical()).unwrap(), schema);
        }
    }
}
