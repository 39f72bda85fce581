//! Verdicts of a partition, driven without a broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{BytesColumn, Progress, RecordBlock, RejectReason, SchemaError, Schemas, provenance};
use proptest::prelude::*;
use validate::{DuplicateRules, Error, Outcome, PartitionValidator, Rule, Settled, StreamRules, Verdicts};

const SCHEMA: &str = r#"{"type":"record","name":"payment","fields":[
    {"name":"id","type":"string"},
    {"name":"amount","type":["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}]},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;
const OWN_ID: u32 = 7;
const PROTOBUF_ID: u32 = 77;
const SECOND: i64 = 1_000_000;

/// A registry whose content and health a test sets.
#[derive(Debug, Default)]
struct TestSchemas {
    texts: Mutex<HashMap<u32, String>>,
    is_down: Mutex<bool>,
    asked: Mutex<usize>,
}

impl Schemas for TestSchemas {
    fn by_id(&self, id: u32) -> Result<Arc<str>, SchemaError> {
        if *self.is_down.lock().unwrap() {
            return Err(SchemaError::Unavailable { reason: "down".into() });
        }
        *self.asked.lock().unwrap() += 1;
        if id == PROTOBUF_ID {
            return Err(SchemaError::Unusable { id, reason: "it is PROTOBUF, not Avro".into() });
        }
        let texts = self.texts.lock().unwrap();
        texts.get(&id).map(|text| text.as_str().into()).ok_or(SchemaError::Unknown { id })
    }

    fn register(&self, _: &str, _: &str) -> Result<u32, SchemaError> {
        unreachable!("validation registers nothing")
    }

    fn ids(&self, _: &str) -> Result<Vec<u32>, SchemaError> {
        unreachable!("validation asks for ids of records")
    }
}

fn rules() -> StreamRules {
    let schema = avro::Schema::parse(SCHEMA).unwrap();
    let arrow = schema.arrow().unwrap();
    let positive = Rule {
        name: "positive_amount".into(),
        text: "amount > 0".into(),
        condition: sql::Condition::compile("amount > 0", &arrow).unwrap(),
    };
    StreamRules {
        stream: "payments".into(),
        schema,
        schema_id: OWN_ID,
        event_time: "at".into(),
        id: vec!["id".into()],
        duplicates: Some(DuplicateRules { within: Duration::from_secs(100), memory_bytes_max: 1 << 30, disk: None }),
        lateness: Duration::from_secs(5),
        future_skew: Duration::from_secs(60),
        unknown_schema_grace: Duration::from_secs(30),
        rules: vec![positive],
    }
}

fn fresh() -> PartitionValidator {
    PartitionValidator::resume(Arc::new(rules()), Progress::start(0)).unwrap()
}

fn value(id: &str, amount: &str, at_us: i64) -> Vec<u8> {
    let schema = avro::Schema::parse(SCHEMA).unwrap();
    let json = serde_json::json!({ "id": id, "amount": amount, "at": at_us });
    let mut out = Vec::new();
    avro::wire::write_header(OWN_ID, &mut out);
    avro::json::encode(&schema, &json, &mut out).unwrap();
    out
}

fn block(values: &[Vec<u8>], first_offset: i64) -> RecordBlock {
    let mut block = RecordBlock::new("payments.raw".into(), 0);
    for (offset, value) in (first_offset..).zip(values) {
        block.push(offset, 0, Some(b"key"), Some(value), []);
    }
    block
}

fn reasons(verdicts: &Verdicts) -> Vec<String> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Rejected { rejection, .. } => rejection.reason.name().to_owned(),
        Outcome::Published => "published".to_owned(),
    };
    verdicts.outcomes.iter().map(name).collect()
}

const NOW: i64 = 1_000 * SECOND;

#[test]
fn each_kind_of_record_gets_its_verdict_and_the_others_are_undisturbed() {
    let good = value("a", "1.00", 500 * SECOND);
    let mut truncated = value("b", "1.00", 500 * SECOND);
    truncated.pop();
    let values = [
        good.clone(),
        truncated,
        b"not avro at all".to_vec(),
        value("c", "-1.00", 500 * SECOND),
        good.clone(),
        value("a", "2.00", 500 * SECOND),
        value("d", "1.00", 494 * SECOND),
        value("e", "1.00", NOW + 61 * SECOND),
        value("f", "1.00", 495 * SECOND),
    ];
    let mut validator = fresh();
    let verdicts = validator.validate(&block(&values, 0), NOW, &TestSchemas::default()).unwrap();
    assert_eq!(
        reasons(&verdicts),
        ["accepted", "decode", "wire_format", "rule", "duplicate", "id_conflict", "late", "future", "accepted"]
    );
    assert_eq!(verdicts.payloads.len(), 2);
    assert_eq!(verdicts.payloads.get(0), Some(&good[..]));
    assert_eq!(verdicts.outcomes[8], Outcome::Accepted { previous: 0 });
    let Outcome::Rejected { previous, rejection } = &verdicts.outcomes[4] else { panic!() };
    assert_eq!((*previous, rejection.first_offset), (3, Some(0)));
    let Outcome::Rejected { rejection, .. } = &verdicts.outcomes[3] else { panic!() };
    assert_eq!(rejection.rule.as_deref(), Some("positive_amount"));
    let progress = validator.progress();
    assert_eq!((progress.raw_offset, progress.validated_offset, progress.rejected_offset), (9, 2, 7));
    assert_eq!((progress.validated, progress.rejected.values().sum::<u64>()), (2, 7));
    assert_eq!(progress.watermark_us, Some(495 * SECOND));
}

#[test]
fn a_null_amount_fails_its_rule() {
    let schema = avro::Schema::parse(SCHEMA).unwrap();
    let mut bytes = Vec::new();
    avro::wire::write_header(OWN_ID, &mut bytes);
    let json = serde_json::json!({ "id": "n", "amount": null, "at": SECOND });
    avro::json::encode(&schema, &json, &mut bytes).unwrap();
    let verdicts = fresh().validate(&block(&[bytes], 0), NOW, &TestSchemas::default()).unwrap();
    assert_eq!(reasons(&verdicts), ["rule"]);
}

#[test]
fn another_writers_schema_is_resolved_and_the_payload_written_in_ours() {
    let older = r#"{"type":"record","name":"payment","fields":[
        {"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"id","type":"string"},
        {"name":"amount","type":["null",{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}]}]}"#;
    let schemas = TestSchemas::default();
    schemas.texts.lock().unwrap().insert(3, older.to_owned());
    let mut bytes = Vec::new();
    avro::wire::write_header(3, &mut bytes);
    let json = serde_json::json!({ "id": "a", "amount": "1.25", "at": SECOND });
    avro::json::encode(&avro::Schema::parse(older).unwrap(), &json, &mut bytes).unwrap();
    let verdicts = fresh().validate(&block(&[bytes], 0), NOW, &schemas).unwrap();
    assert_eq!(verdicts.payloads.get(0), Some(&value("a", "1.25", SECOND)[..]));
}

#[test]
fn ids_of_records_with_an_earlier_schema_are_recalled() {
    let earlier = SCHEMA.replace("timestamp-micros", "timestamp-millis");
    let mut before = Vec::new();
    avro::wire::write_header(3, &mut before);
    let json = serde_json::json!({ "id": "a", "amount": "1.00", "at": 100_000 });
    avro::json::encode(&avro::Schema::parse(&earlier).unwrap(), &json, &mut before).unwrap();
    let recalled = Outputs::block([(0, -1, &before[..])].into_iter(), 0);

    let mut rules = rules();
    let field = r#""fields":[{"name":"note","type":["null","string"],"default":null},"#;
    rules.schema = avro::Schema::parse(&SCHEMA.replace(r#""fields":["#, field)).unwrap();
    let progress = Progress { raw_offset: 1, validated_offset: 1, last_validated_raw_offset: 0, ..Progress::start(0) };
    let resume = || PartitionValidator::resume(Arc::new(rules.clone()), progress.clone()).unwrap();
    let schemas = TestSchemas::default();
    *schemas.is_down.lock().unwrap() = true;
    assert!(matches!(resume().recall(&recalled, &schemas), Err(Error::Registry(_))));
    *schemas.is_down.lock().unwrap() = false;
    let unknown = resume().recall(&recalled, &schemas).unwrap_err();
    assert!(matches!(&unknown, Error::BrokenOutput { offset: 0, .. }), "{unknown}");

    schemas.texts.lock().unwrap().extend([(3, earlier), (OWN_ID + 1, SCHEMA.to_owned())]);
    let mut validator = resume();
    validator.recall(&recalled, &schemas).unwrap();
    // The same record again, as its producer wrote it, and another one with its id.
    let mut conflict = value("a", "2.00", 100 * SECOND);
    conflict[4] += 1;
    let values = [before, conflict];
    assert_eq!(reasons(&validator.validate(&block(&values, 1), NOW, &schemas).unwrap()), ["duplicate", "id_conflict"]);
}

#[test]
fn an_unknown_schema_is_waited_for_then_rejected_and_an_outage_is_no_verdict() {
    let mut bytes = value("a", "1.00", SECOND);
    bytes[4] = 99;
    let block = block(&[value("b", "1.00", SECOND), bytes], 0);
    let schemas = TestSchemas::default();
    let mut validator = fresh();
    *schemas.is_down.lock().unwrap() = true;
    assert!(matches!(validator.validate(&block, NOW, &schemas), Err(Error::Registry(_))));
    *schemas.is_down.lock().unwrap() = false;
    assert!(matches!(validator.validate(&block, NOW, &schemas), Err(Error::SchemaGrace { id: 99, .. })));
    assert_eq!(validator.progress(), Progress { duplicates_from_offset: 0, ..Progress::start(0) });
    let verdicts = validator.validate(&block, NOW + 31 * SECOND, &schemas).unwrap();
    assert_eq!(reasons(&verdicts), ["accepted", "unknown_schema"]);
}

/// A record under a schema id of its own, which nobody has registered.
fn under(id: u32) -> Vec<u8> {
    let mut bytes = value("a", "1.00", SECOND);
    bytes[1..5].copy_from_slice(&id.to_be_bytes());
    bytes
}

#[test]
fn a_record_under_a_schema_that_is_not_avro_is_rejected() {
    let block = block(&[value("b", "1.00", SECOND), under(PROTOBUF_ID)], 0);
    let verdicts = fresh().validate(&block, NOW, &TestSchemas::default()).unwrap();
    assert_eq!(reasons(&verdicts), ["accepted", "incompatible_schema"]);
}

#[test]
fn records_under_many_unknown_schemas_wait_together_and_each_is_asked_for_once() {
    let schemas = TestSchemas::default();
    let mut validator = fresh();
    let first: Vec<Vec<u8>> = (1_000..1_200).map(under).collect();
    let second: Vec<Vec<u8>> = (1_100..1_300).map(under).chain([value("b", "1.00", SECOND)]).collect();
    let (first, second) = (block(&first, 0), block(&second, 200));
    assert!(matches!(validator.validate(&first, NOW, &schemas), Err(Error::SchemaGrace { id: 1_000, .. })));
    validator.expect(&second, NOW);
    *schemas.asked.lock().unwrap() = 0;

    // One of them is registered meanwhile.
    schemas.texts.lock().unwrap().insert(1_250, SCHEMA.to_owned());
    let mut now = NOW + 31 * SECOND;
    for (block, expected) in [(&first, [0, 200]), (&second, [2, 199])] {
        let verdicts = loop {
            match validator.validate(block, now, &schemas) {
                // However long it takes to ask for all.
                Err(Error::SchemaQuestions { left }) if left > 0 => now += 2 * SECOND,
                verdicts => break verdicts.unwrap(),
            }
        };
        let count = |wanted: &str| reasons(&verdicts).iter().filter(|reason| **reason == wanted).count();
        assert_eq!([count("accepted"), count("unknown_schema")], expected);
    }
    let asked = *schemas.asked.lock().unwrap();
    assert!((300..=400).contains(&asked), "{asked} questions for 300 ids, of which 100 are in both blocks");
}

#[test]
fn idle_follows_the_others_and_what_comes_below_is_late() {
    let mut validator = fresh();
    validator.declare_idle(Some(300 * SECOND));
    assert_eq!((validator.progress().idle, validator.watermark_us()), (true, Some(300 * SECOND)));
    let values = [value("a", "1.00", 299 * SECOND), value("b", "1.00", 301 * SECOND)];
    let verdicts = validator.validate(&block(&values, 0), NOW, &TestSchemas::default()).unwrap();
    assert_eq!(reasons(&verdicts), ["late", "accepted"]);
    assert!(!validator.progress().idle);
}

/// The outputs as topics: what a restart finds.
#[derive(Default, Clone)]
struct Outputs {
    validated: Vec<(i64, i64, Vec<u8>)>,
    rejected: Vec<(i64, i64, RejectReason)>,
}

impl Outputs {
    fn write(&mut self, block: &RecordBlock, verdicts: &Verdicts) {
        let mut payloads = verdicts.payloads.iter();
        for (index, outcome) in verdicts.outcomes.iter().enumerate() {
            let raw = block.offsets[index];
            match outcome {
                Outcome::Accepted { previous } => {
                    self.validated.push((raw, *previous, payloads.next().unwrap().unwrap().to_vec()));
                }
                Outcome::Rejected { previous, rejection } => self.rejected.push((raw, *previous, rejection.reason)),
                Outcome::Published => {}
            }
        }
    }

    fn block<'a>(records: impl Iterator<Item = (i64, i64, &'a [u8])>, first: i64) -> RecordBlock {
        let mut block = RecordBlock::new("out".into(), 0);
        for (offset, (raw, previous, payload)) in (first..).zip(records) {
            let (raw, previous) = (raw.to_string(), previous.to_string());
            let headers = [
                (provenance::RAW_OFFSET, Some(raw.as_bytes())),
                (provenance::PREVIOUS_RAW_OFFSET, Some(previous.as_bytes())),
            ];
            block.push(offset, 0, None, Some(payload), headers);
        }
        block
    }

    /// A validator as a restart makes it from a progress record and these outputs.
    fn resume(&self, progress: &Progress) -> PartitionValidator {
        let mut validator = PartitionValidator::resume(Arc::new(rules()), progress.clone()).unwrap();
        let validated = |from: i64, to: i64| {
            let records = self.validated.iter().skip(from as usize).take((to - from) as usize);
            Self::block(records.map(|(raw, previous, payload)| (*raw, *previous, &payload[..])), from)
        };
        let recalled = validated(progress.duplicates_from_offset, progress.validated_offset);
        validator.recall(&recalled, &TestSchemas::default()).unwrap();
        let mut settled = Settled::after(progress);
        settled.validated(&validated(progress.validated_offset, self.validated.len() as i64)).unwrap();
        let rejected = self.rejected.iter().skip(progress.rejected_offset as usize);
        let rejected = rejected.map(|(raw, previous, _)| (*raw, *previous, &b"x"[..]));
        settled.rejected(&Self::block(rejected, progress.rejected_offset)).unwrap();
        validator.settle(settled);
        validator
    }
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    (0u8..30, -1i64..6, 0i64..60).prop_map(|(id, amount, at)| {
        if amount == 5 { b"garbage".to_vec() } else { value(&format!("id{id}"), &format!("{amount}.00"), at * SECOND) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was published before a crash stays, and what was not is published: the outputs are those of a run without a crash.
    #[test]
    fn a_crash_at_any_point_changes_no_verdict(
        records in prop::collection::vec(record(), 1..60),
        batch in 1usize..9,
        crash_after in 0usize..60,
        validated_lost in 0usize..4,
        rejected_lost in 0usize..4,
        progress_lost in 0usize..5,
    ) {
        let schemas = TestSchemas::default();
        let blocks: Vec<RecordBlock> =
            records.chunks(batch).enumerate().map(|(index, chunk)| block(chunk, (index * batch) as i64)).collect();
        let mut expected = Outputs::default();
        let mut straight = fresh();
        for block in &blocks {
            expected.write(block, &straight.validate(block, NOW, &schemas).unwrap());
        }

        let mut outputs = Outputs::default();
        let mut validator = fresh();
        let mut published = vec![Progress::start(0)];
        for block in blocks.iter().take(crash_after / batch + 1) {
            let verdicts = validator.validate(block, NOW, &schemas).unwrap();
            let before = outputs.clone();
            outputs.write(block, &verdicts);
            published.push(validator.progress());
            if block.offsets.contains(&(crash_after as i64)) {
                // Both outputs lose an end of their own, but never what an earlier progress vouches for.
                let keep = |now: usize, before: usize, lost: usize| now.saturating_sub(lost).max(before);
                outputs.validated.truncate(keep(outputs.validated.len(), before.validated.len(), validated_lost));
                outputs.rejected.truncate(keep(outputs.rejected.len(), before.rejected.len(), rejected_lost));
                published.pop();
            }
        }
        let progress = published[published.len().saturating_sub(1 + progress_lost)].clone();
        let mut validator = outputs.resume(&progress);
        for block in &blocks {
            outputs.write(block, &validator.validate(block, NOW, &schemas).unwrap());
        }
        prop_assert_eq!(&outputs.validated, &expected.validated);
        prop_assert_eq!(&outputs.rejected, &expected.rejected);
        prop_assert_eq!(validator.progress(), straight.progress());
    }
}

#[test]
fn a_column_of_nothing_is_a_block_without_verdicts() {
    let verdicts = fresh().validate(&block(&[], 0), NOW, &TestSchemas::default()).unwrap();
    assert!(verdicts.outcomes.is_empty() && verdicts.payloads == BytesColumn::default());
}
