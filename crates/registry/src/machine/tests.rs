//! The state machine on its own: commands are decided, their events applied, as a server does.

use std::collections::{BTreeMap, BTreeSet};

use avro::compatibility::Level;
use proptest::prelude::*;

use super::delete::{delete_subject, delete_version};
use super::query::{Format, Shown, VersionSpec};
use super::register::{Registered, look_up, register};
use super::settings::{Mode, delete_config, place, set_config, set_mode};
use super::values::Reference;
use super::{Decision, Event, Request, State};
use crate::error::Error;

const V1: &str = r#"{"type":"record","name":"P","fields":[{"name":"id","type":"string"}]}"#;
const V2: &str =
    r#"{"type":"record","name":"P","fields":[{"name":"id","type":"string"},{"name":"n","type":"int","default":0}]}"#;
const BREAKING: &str =
    r#"{"type":"record","name":"P","fields":[{"name":"id","type":"string"},{"name":"x","type":"int"}]}"#;

/// A registry that keeps its log.
struct Machine {
    state: State,
    log: Vec<Event>,
}

impl Machine {
    fn new() -> Self {
        Self { state: State::new(Level::Backward), log: Vec::new() }
    }

    fn run<T>(&mut self, decide: impl FnOnce(&State) -> Result<Decision<T>, Error>) -> Result<T, Error> {
        let decision = decide(&self.state)?;
        for event in decision.events {
            self.state.apply(&event).unwrap();
            self.log.push(event);
        }
        Ok(decision.reply)
    }

    fn register(&mut self, subject: &str, schema: &str) -> Result<Registered, Error> {
        self.run(|state| register(state, subject, &request(schema), false))
    }

    fn delete(&mut self, subject: &str, version: u32, permanent: bool) -> Result<u32, Error> {
        self.run(|state| delete_version(state, subject, VersionSpec::Number(version), permanent))
    }

    fn delete_subject(&mut self, subject: &str, permanent: bool) -> Result<Vec<u32>, Error> {
        self.run(|state| delete_subject(state, subject, permanent))
    }
}

fn request(schema: &str) -> Request {
    Request { schema: Some(schema.to_owned()), ..Request::default() }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> u32 {
    outcome.unwrap_err().code()
}

/// Everything that can be asked, for comparison.
fn everything(state: &State) -> String {
    let entities = serde_json::to_string(&state.entities(":*:", Shown::WithDeleted, false).unwrap()).unwrap();
    let next: Vec<_> = state.contexts.iter().map(|(context, ids)| (context, ids.highest)).collect();
    format!("{entities} {next:?} {:?} {:?} {:?}", state.configs, state.modes, state.announced)
}

#[test]
fn the_same_schema_has_one_id_in_all_subjects() {
    let mut machine = Machine::new();
    let first = machine.register("a", V1).unwrap();
    assert_eq!((first.version, first.id), (1, 1));
    assert_eq!(machine.register("a", &V1.replace(':', " : ")).unwrap(), first);
    assert_eq!(machine.register("b", V1).unwrap().id, 1);
    assert_eq!(machine.register("a", V2).unwrap(), Registered { subject: "a".to_owned(), version: 2, id: 2 });
    assert_eq!(machine.log.len(), 3);
}

#[test]
fn texts_are_kept_in_avros_own_printing() {
    let mut machine = Machine::new();
    machine.register("s", r#"{ "type" : "string" }"#).unwrap();
    let entity = machine.state.entity("s", VersionSpec::Latest, false, Format::Kept).unwrap();
    assert_eq!(entity.schema, r#""string""#);
}

#[test]
fn an_incompatible_schema_is_refused_with_reasons() {
    let mut machine = Machine::new();
    machine.register("s", V1).unwrap();
    let error = machine.register("s", BREAKING).unwrap_err();
    assert_eq!((error.code(), error.status()), (409, 409));
    for part in [
        "Schema being registered is incompatible with an earlier schema for subject \"s\", details: [{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'The field 'x' at path '/fields/1' in the new schema has no default value and is missing in the old schema', additionalInfo:'x'}",
        "{oldSchemaVersion: 1}",
        "compatibility: 'BACKWARD'}]",
    ] {
        assert!(error.message().contains(part), "{} lacks {part}", error.message());
    }
    let none = serde_json::json!({ "compatibility": "none" });
    machine.run(|state| set_config(state, &place(Some("s")), none.as_object().unwrap())).unwrap();
    assert_eq!(machine.register("s", BREAKING).unwrap().version, 2);
    machine.run(|state| delete_config(state, &place(Some("s")))).unwrap();
    assert_eq!(code(machine.run(|state| delete_config(state, &place(Some("s"))))), 40401);
}

#[test]
fn transitive_levels_look_at_all_live_versions() {
    let schema = |fields: &str| format!(r#"{{"type":"record","name":"P","fields":[{fields}]}}"#);
    let with_default = schema(r#"{"name":"a","type":"int","default":1}"#);
    let (without, none) = (schema(r#"{"name":"a","type":"int"}"#), schema(""));
    for (level, outcome) in [("BACKWARD", None), ("BACKWARD_TRANSITIVE", Some(409))] {
        let mut machine = Machine::new();
        let config = serde_json::json!({ "compatibility": level });
        machine.run(|state| set_config(state, &None, config.as_object().unwrap())).unwrap();
        machine.register("s", &none).unwrap();
        machine.register("s", &with_default).unwrap();
        assert_eq!(machine.register("s", &without).err().map(|error| error.code()), outcome, "{level}");
        // What is soft-deleted does not count.
        machine.delete("s", 1, false).unwrap();
        machine.register("s", &without).unwrap();
    }
}

#[test]
fn deleting_goes_softly_first() {
    let mut machine = Machine::new();
    machine.register("s", V1).unwrap();
    machine.register("s", V2).unwrap();
    assert_eq!(code(machine.delete("none", 1, false)), 40401);
    assert_eq!(code(machine.delete("s", 9, false)), 40402);
    assert_eq!(code(machine.delete("s", 1, true)), 40407);
    assert_eq!(machine.delete("s", 1, false).unwrap(), 1);
    assert_eq!(code(machine.delete("s", 1, false)), 40406);
    // Softly deleted, it can still be read by id and when asked for.
    assert!(machine.state.schema_by_id(1, None, Format::Kept, false).is_ok());
    assert_eq!(code(machine.state.entity("s", VersionSpec::Number(1), false, Format::Kept)), 40402);
    assert!(machine.state.entity("s", VersionSpec::Number(1), true, Format::Kept).unwrap().deleted);
    assert_eq!(code(machine.delete_subject("s", true)), 40405);
    assert_eq!(machine.delete_subject("s", false).unwrap(), [2]);
    assert_eq!(code(machine.delete_subject("s", false)), 40404);
    assert_eq!(machine.delete_subject("s", true).unwrap(), [1, 2]);
    assert_eq!(code(machine.delete_subject("s", true)), 40401);
    assert_eq!(code(machine.state.schema_by_id(1, None, Format::Kept, false)), 40403);
    // Ids are not given twice.
    assert_eq!(machine.register("t", V1).unwrap().id, 3);
}

#[test]
fn what_was_softly_deleted_comes_back_as_a_new_version_with_the_old_id() {
    let mut machine = Machine::new();
    machine.register("s", V1).unwrap();
    machine.register("s", V2).unwrap();
    machine.delete_subject("s", false).unwrap();
    let again = machine.register("s", V1).unwrap();
    assert_eq!((again.version, again.id), (3, 1));
    assert_eq!(machine.state.version_numbers("s", Shown::WithDeleted, true).unwrap(), [-2, 3]);
}

#[test]
fn modes_forbid_and_imports_choose() {
    let mut machine = Machine::new();
    machine.register("s", V1).unwrap();
    assert_eq!(code(machine.run(|state| set_mode(state, &None, "nonsense", false))), 42204);
    assert_eq!(code(machine.run(|state| set_mode(state, &None, "IMPORT", false))), 42205);
    machine.run(|state| set_mode(state, &None, "readonly", false)).unwrap();
    assert_eq!(machine.register("s", V1).map_err(|error| error.code()), Err(42205));
    assert_eq!(code(machine.delete_subject("s", false)), 42205);
    machine.run(|state| set_mode(state, &None, "READWRITE", false)).unwrap();
    let chosen = Request { id: Some(100), version: Some(7), ..request(V2) };
    assert_eq!(code(machine.run(|state| register(state, "t", &chosen, false))), 42205);
    assert_eq!(machine.run(|state| set_mode(state, &place(Some("t")), "IMPORT", false)).unwrap(), Mode::Import);
    let imported = machine.run(|state| register(state, "t", &chosen, false)).unwrap();
    assert_eq!((imported.version, imported.id), (7, 100));
    let clash = Request { id: Some(100), ..request(BREAKING) };
    assert_eq!(code(machine.run(|state| register(state, "t", &clash, false))), 42205);
    assert_eq!(machine.register("u", BREAKING).unwrap().id, 101);
}

#[test]
fn references_are_resolved_printed_by_name_and_protected() {
    let mut machine = Machine::new();
    let money = r#"{"type":"record","name":"Money","namespace":"m","fields":[{"name":"cents","type":"long"}]}"#;
    let payment = r#"{"type":"record","name":"P","namespace":"m","fields":[{"name":"amount","type":"Money"}]}"#;
    machine.register("money", money).unwrap();
    assert_eq!(machine.register("p", payment).unwrap_err().code(), 42201);
    let reference = Reference { name: "m.Money".to_owned(), subject: "money".to_owned(), version: -1 };
    let with = Request { references: Some(vec![reference.clone()]), ..request(payment) };
    let registered = machine.run(|state| register(state, "p", &with, false)).unwrap();
    let entity = machine.state.registered_entity(&registered).unwrap();
    assert_eq!(entity.schema, payment);
    assert_eq!(entity.references, [Reference { version: 1, ..reference }]);
    let resolved = machine.state.schema_by_id(registered.id, None, Format::Resolved, false).unwrap();
    let inlined = r#"{"type":"record","name":"P","namespace":"m","fields":[{"name":"amount","type":{"type":"record","name":"Money","fields":[{"name":"cents","type":"long"}]}}]}"#;
    assert_eq!(resolved.schema, inlined);
    // Sent with the reference written out, it is the same schema.
    assert_eq!(machine.register("p", inlined).unwrap(), registered);
    assert_eq!(code(machine.delete("money", 1, false)), 42206);
    assert_eq!(code(machine.delete_subject("money", false)), 42206);
    assert_eq!(
        machine.state.referrer_ids("money", VersionSpec::Latest, false).unwrap(),
        BTreeSet::from([registered.id])
    );
}

#[test]
fn contexts_have_ids_and_levels_of_their_own() {
    let mut machine = Machine::new();
    machine.register("s", V2).unwrap();
    machine.register("s", V1).unwrap();
    assert_eq!(machine.register(":.lab:s", V1).unwrap().id, 1);
    assert_eq!(machine.register("s", V1).unwrap().id, 2);
    assert_eq!(machine.state.context_names(), BTreeSet::from([".".to_owned(), ".lab".to_owned()]));
    let none = serde_json::json!({ "compatibility": "NONE" });
    machine.run(|state| set_config(state, &None, none.as_object().unwrap())).unwrap();
    assert_eq!(machine.state.level_in_scope("x"), Level::None);
    assert_eq!(machine.state.level_in_scope(":.lab:x"), Level::Backward);
}

#[test]
fn other_types_and_what_is_not_supported_are_refused_in_words() {
    let mut machine = Machine::new();
    let error = |machine: &mut Machine, request: Request| {
        let error = machine.run(|state| register(state, "s", &request, false)).unwrap_err();
        assert_eq!(error.code(), 42201);
        error.message().to_owned()
    };
    let json = Request { schema_type: Some("JSON".to_owned()), ..request("{}") };
    assert!(error(&mut machine, json).contains("schema type JSON is not supported"));
    let rules = Request { rule_set: Some(serde_json::json!({ "domainRules": [{ "name": "x" }] })), ..request(V1) };
    assert!(error(&mut machine, rules).contains("ruleSet"));
    assert_eq!(error(&mut machine, Request::default()), "Empty schema");
    assert!(error(&mut machine, request("{\"type\":\"recrd\"}")).starts_with("Invalid schema"));
    let empty = Request { metadata: Some(serde_json::json!({ "properties": {} })), ..request(V1) };
    machine.run(|state| register(state, "s", &empty, false)).unwrap();
}

#[test]
fn two_schemas_under_one_id_never_happen() {
    let mut machine = Machine::new();
    machine.register("s", V1).unwrap();
    let mut foreign = machine.log[0].clone();
    let Some(super::values::Value::Schema(value)) = &mut foreign.value else { panic!() };
    value.schema = V2.to_owned();
    foreign.key = super::keys::Key::Schema { subject: "t".to_owned(), version: 1 };
    assert!(machine.state.apply(&foreign).is_err());
    assert!(!machine.state.has_subject("t", true));
    assert_eq!(machine.state.schema_by_id(1, None, Format::Kept, false).unwrap().schema, V1);
}

#[test]
fn old_texts_that_no_parser_takes_are_served_and_do_not_disturb() {
    let mut machine = Machine::new();
    let key = br#"{"keytype":"SCHEMA","subject":"old","version":1,"magic":1}"#;
    let value = br#"{"subject":"old","version":1,"id":4,"schema":"no schema at all","deleted":false}"#;
    machine.state.apply(&Event::parse(Some(key), Some(value)).unwrap()).unwrap();
    assert_eq!(machine.state.schema_by_id(4, None, Format::Kept, false).unwrap().schema, "no schema at all");
    assert_eq!(code(look_up(&machine.state, "old", &request(V1), false)), 40403);
    assert_eq!(code(machine.register("old", V1)), 42201);
    assert_eq!(machine.register("new", V1).unwrap().id, 5);
}

#[test]
fn an_old_text_that_was_not_printed_by_avro_is_found() {
    let mut machine = Machine::new();
    let key = br#"{"keytype":"SCHEMA","subject":"old","version":1,"magic":1}"#;
    let value = br#"{"subject":"old","version":1,"id":4,"schema":"{\"type\": \"string\"}","deleted":false}"#;
    machine.state.apply(&Event::parse(Some(key), Some(value)).unwrap()).unwrap();
    assert_eq!(
        machine.register("old", r#""string""#).unwrap(),
        Registered { subject: "old".to_owned(), version: 1, id: 4 }
    );
}

/// What a user may do, on few subjects and schemas so that it meets itself.
#[derive(Debug, Clone)]
enum Action {
    Register(usize, usize),
    DeleteVersion(usize, u32, bool),
    DeleteSubject(usize, bool),
    SetLevel(Option<usize>, usize),
    DeleteLevel(usize),
    SetMode(usize, usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..4usize, 0..6usize).prop_map(|(subject, schema)| Action::Register(subject, schema)),
        3 => (0..4usize, 1..6u32, any::<bool>()).prop_map(|(subject, version, permanent)| Action::DeleteVersion(subject, version, permanent)),
        2 => (0..4usize, any::<bool>()).prop_map(|(subject, permanent)| Action::DeleteSubject(subject, permanent)),
        1 => (proptest::option::of(0..4usize), 0..7usize).prop_map(|(subject, level)| Action::SetLevel(subject, level)),
        1 => (0..4usize).prop_map(Action::DeleteLevel),
        1 => (0..4usize, 0..3usize).prop_map(|(subject, mode)| Action::SetMode(subject, mode)),
    ]
}

const SUBJECTS: [&str; 4] = ["a", "b", ":.lab:a", "c/d"];
const SCHEMAS: [&str; 6] =
    [V1, V2, BREAKING, r#""string""#, r#""bytes""#, r#"{"type":"enum","name":"E","symbols":["A"]}"#];

fn act(machine: &mut Machine, action: &Action) {
    // Refusals are part of life; what they leave behind is checked.
    let outcome = match action {
        Action::Register(subject, schema) => machine.register(SUBJECTS[*subject], SCHEMAS[*schema]).map(drop),
        Action::DeleteVersion(subject, version, permanent) => {
            machine.delete(SUBJECTS[*subject], *version, *permanent).map(drop)
        }
        Action::DeleteSubject(subject, permanent) => machine.delete_subject(SUBJECTS[*subject], *permanent).map(drop),
        Action::SetLevel(subject, level) => {
            let config = serde_json::json!({ "compatibility": Level::ALL[*level].name() });
            let at = place(subject.map(|subject| SUBJECTS[subject]));
            machine.run(|state| set_config(state, &at, config.as_object().unwrap())).map(drop)
        }
        Action::DeleteLevel(subject) => {
            machine.run(|state| delete_config(state, &place(Some(SUBJECTS[*subject])))).map(drop)
        }
        Action::SetMode(subject, mode) => {
            let mode = ["READWRITE", "READONLY", "IMPORT"][*mode];
            machine.run(|state| set_mode(state, &place(Some(SUBJECTS[*subject])), mode, false)).map(drop)
        }
    };
    if let Err(error) = outcome {
        assert!((400..500).contains(&error.status()), "{error}");
    }
}

/// The log after compaction: the last record of each key, in its place, without the tombstones.
fn compacted(log: &[Event]) -> Vec<Event> {
    let mut last = BTreeMap::new();
    for (offset, event) in log.iter().enumerate() {
        last.insert(event.key.to_bytes().unwrap(), offset);
    }
    let kept: BTreeSet<usize> = last.into_values().collect();
    let kept = |(offset, event): &(usize, &Event)| kept.contains(offset) && event.value.is_some();
    log.iter().enumerate().filter(kept).map(|(_, event)| event.clone()).collect()
}

proptest! {
    #[test]
    fn a_replay_of_the_log_gives_the_same_state(actions in proptest::collection::vec(action(), 1..60)) {
        let mut machine = Machine::new();
        // An id, once given in a context, stands for one schema for ever.
        let mut given: BTreeMap<(String, u32), String> = BTreeMap::new();
        for action in &actions {
            act(&mut machine, action);
            for entity in machine.state.entities(":*:", Shown::WithDeleted, false).unwrap() {
                let context = super::subject::context(&entity.subject).to_owned();
                let before = given.entry((context, entity.id)).or_insert_with(|| entity.schema.clone());
                prop_assert_eq!(&*before, &entity.schema);
            }
        }
        for log in [machine.log.clone(), compacted(&machine.log)] {
            let mut replayed = State::new(Level::Backward);
            for event in &log {
                let read = Event::parse(event.key.to_bytes().as_deref(), event.value_bytes().as_deref()).unwrap();
                prop_assert_eq!(&read, event);
                replayed.apply(&read).unwrap();
            }
            prop_assert_eq!(everything(&replayed), everything(&machine.state));
        }
    }

    #[test]
    fn no_record_of_the_topic_makes_it_panic(key in "\\PC{0,60}", value in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut state = State::new(Level::Backward);
        if let Ok(event) = Event::parse(Some(key.as_bytes()), Some(&value)) {
            drop(state.apply(&event));
        }
    }
}
