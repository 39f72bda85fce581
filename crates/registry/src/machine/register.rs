//! Registering a schema, and looking up whether it is registered.

use avro::Schema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::content::{self, identity};
use super::keys::Key;
use super::settings::Mode;
use super::state::{Row, State, context_event};
use super::values::{Event, Reference, SchemaValue};
use super::{Decision, compatibility, subject};
use crate::error::Error;

/// A schema as it is sent to be registered, looked up or checked. Fields that are not listed are ignored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Text of the schema.
    pub schema: Option<String>,
    /// Absent is Avro.
    pub schema_type: Option<String>,
    /// Schemas that it names.
    pub references: Option<Vec<Reference>>,
    /// The version it is to have; only an import may choose.
    pub version: Option<i64>,
    /// The id it is to have; only an import may choose.
    pub id: Option<i64>,
    /// Refused unless empty.
    pub metadata: Option<Json>,
    /// Refused unless empty.
    pub rule_set: Option<Json>,
}

/// A schema that was parsed, and printed as Avro does.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Parsed.
    pub schema: Schema,
    /// References, with `latest` replaced by the version it stands for.
    pub references: Vec<Reference>,
}

/// A schema's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Subject.
    pub subject: String,
    /// Version in the subject.
    pub version: u32,
    /// Id in the subject's context.
    pub id: u32,
}

/// Parses a schema as it is sent.
///
/// # Errors
/// 42201: no schema, not Avro, a reference that leads nowhere, or not valid.
pub fn prepare(state: &State, request: &Request) -> Result<Candidate, Error> {
    if let Some(kind) = request.schema_type.as_deref().filter(|kind| *kind != "AVRO") {
        return Err(Error::invalid_schema(format!(
            "schema type {kind} is not supported, this registry holds Avro schemas; leave schemaType out or send AVRO"
        )));
    }
    for (name, part) in [("metadata", &request.metadata), ("ruleSet", &request.rule_set)] {
        if part.as_ref().is_some_and(|part| !is_empty(part)) {
            return Err(Error::invalid_schema(format!(
                "{name} is not supported by this registry; send the schema without it"
            )));
        }
    }
    let text = request.schema.as_deref().filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| Error::new(42201, "Empty schema"))?;
    let references =
        request.references.iter().flatten().map(|reference| pinned(state, reference)).collect::<Result<Vec<_>, _>>()?;
    let resolved = content::resolve(state, &references, 0).map_err(Error::invalid_schema)?;
    let schema = Schema::parse_with_references(text, &resolved).map_err(Error::invalid_schema)?;
    Ok(Candidate { schema, references })
}

/// The registered schema under `subject` that equals the one sent.
///
/// # Errors
/// 40401 when the subject is not there, 40403 when it has no such schema, 42201 when the schema is not valid.
pub fn look_up(state: &State, subject: &str, request: &Request, with_deleted: bool) -> Result<Registered, Error> {
    let candidate = prepare(state, request)?;
    find(state, subject, &candidate, with_deleted).ok_or_else(|| {
        if state.has_subject(subject, with_deleted) {
            Error::schema_not_found()
        } else {
            Error::subject_not_found(subject)
        }
    })
}

/// Registers a schema under a subject: the same schema again gives what is there, a new one the next version.
///
/// # Errors
/// 42201 invalid, 409 incompatible (not with `force`), 42205 where the mode forbids it, 42208 for a subject that can't be.
pub fn register(state: &State, subject: &str, request: &Request, force: bool) -> Result<Decision<Registered>, Error> {
    if !subject::is_valid(subject, false) {
        return Err(Error::invalid_subject(subject));
    }
    let (wanted_id, wanted_version) = (chosen(request.id, "id")?, chosen(request.version, "version")?);
    let mode = state.mode_in_scope(subject);
    check_mode(state, subject, mode, wanted_id.is_some())?;
    let candidate = prepare(state, request)?;
    let known_id = known_id(state, subject, &candidate).filter(|id| wanted_id.is_none_or(|wanted| wanted == *id));
    if wanted_version.is_none()
        && let Some(there) = find(state, subject, &candidate, false)
        && wanted_id.is_none_or(|wanted| wanted == there.id)
    {
        return Ok(Decision::nothing(there));
    }
    if mode != Mode::Import && !force {
        let earlier: Vec<_> = state.live_rows(subject).collect();
        let level = state.level_in_scope(subject);
        let messages = compatibility::messages(state, level, &candidate.schema, &earlier)?;
        if !messages.is_empty() {
            return Err(Error::incompatible(subject, &messages));
        }
    }
    let next = state.rows(subject).next_back().map_or(1, |(version, _)| version.saturating_add(1));
    let version = wanted_version.unwrap_or(next);
    if version != next && mode != Mode::Import {
        return Err(Error::invalid_schema("Version is not one more than previous version"));
    }
    let id = match wanted_id.or(known_id) {
        Some(id) => {
            check_id_is_free(state, subject, id, &candidate)?;
            id
        }
        None => state.ids(subject::context(subject)).map_or(1, |ids| ids.highest.saturating_add(1)),
    };
    Ok(Decision {
        events: events(state, subject, version, id, candidate),
        reply: Registered { subject: subject.to_owned(), version, id },
    })
}

/// The events that store the new version, and drop soft-deleted ones of the same schema that nothing refers to.
fn events(state: &State, subject: &str, version: u32, id: u32, candidate: Candidate) -> Vec<Event> {
    let context = subject::context(subject);
    let mut events = Vec::new();
    if context != subject::DEFAULT_CONTEXT && !state.announced.contains_key(context) {
        events.push(context_event(context, 0));
    }
    events.push(Event::schema(SchemaValue {
        subject: subject.to_owned(),
        version,
        id,
        md5: None,
        schema_type: None,
        references: candidate.references,
        metadata: None,
        rule_set: None,
        schema: candidate.schema.canonical().to_owned(),
        deleted: false,
    }));
    // After the new version and not before it as Confluent does: a write that is cut off must not lose the schema of an id.
    let stale = state.rows(subject).filter(|(old, row)| row.deleted && row.id == id && *old < version);
    for (old, _) in stale.filter(|(old, _)| state.referrers(subject, *old, true).is_empty()) {
        events.push(Event::tombstone(Key::Schema { subject: subject.to_owned(), version: old }));
    }
    events
}

/// The newest version under the subject that holds the same schema. Old texts that were not printed by Avro, and schemas sent with their
/// references written out, are found by what they mean.
fn find(state: &State, subject: &str, candidate: &Candidate, with_deleted: bool) -> Option<Registered> {
    let registered = |version, id| Registered { subject: subject.to_owned(), version, id };
    let guid = identity(candidate.schema.canonical(), &candidate.references, None, None);
    let rows = || state.rows(subject).rev().filter(|(_, row)| with_deleted || !row.deleted);
    if let Some((version, row)) = rows().find(|(_, row)| row.content.guid == guid) {
        return Some(registered(version, row.id));
    }
    let means_the_same = |row: &Row| {
        let content = &row.content;
        let referred = (content.references.is_empty(), candidate.references.is_empty());
        let Ok(schema) = content.schema(state) else { return false };
        content.metadata.is_none()
            && content.rule_set.is_none()
            && if content.references == candidate.references {
                schema.canonical() == candidate.schema.canonical()
            } else {
                referred.0 != referred.1 && schema.inlined() == candidate.schema.inlined()
            }
    };
    rows().find(|(_, row)| means_the_same(row)).map(|(version, row)| registered(version, row.id))
}

fn known_id(state: &State, subject: &str, candidate: &Candidate) -> Option<u32> {
    let guid = identity(candidate.schema.canonical(), &candidate.references, None, None);
    state.ids(subject::context(subject))?.of(&guid)
}

fn check_mode(state: &State, subject: &str, mode: Mode, with_id: bool) -> Result<(), Error> {
    let place = || format!("Subject {subject} in context {}", subject::context(subject));
    if state.is_read_only(subject) {
        return Err(Error::not_permitted(format!("{} is in read-only mode", place())));
    }
    match (with_id, mode) {
        (true, Mode::Import) | (false, Mode::ReadWrite) => Ok(()),
        (true, _) => Err(Error::not_permitted(format!("{} is not in import mode", place()))),
        (false, _) => Err(Error::not_permitted(format!("{} is not in read-write mode", place()))),
    }
}

fn check_id_is_free(state: &State, subject: &str, id: u32, candidate: &Candidate) -> Result<(), Error> {
    let context = subject::context(subject);
    let guid = identity(candidate.schema.canonical(), &candidate.references, None, None);
    match state.ids(context).and_then(|ids| ids.by_id.get(&id)) {
        Some(used) if used.content.guid != guid => Err(Error::not_permitted(format!(
            "Overwrite new schema with id {id} in context {context} is not permitted."
        ))),
        _ => Ok(()),
    }
}

/// A reference with `latest` (-1) replaced by the version that it stands for now.
fn pinned(state: &State, reference: &Reference) -> Result<Reference, Error> {
    if reference.name.is_empty() || reference.subject.is_empty() {
        return Err(Error::invalid_schema(format!("Invalid reference: {reference:?}; give name, subject and version")));
    }
    let mut reference = reference.clone();
    let live = |version: u32| state.row(&reference.subject, version).is_some_and(|row| !row.deleted);
    let version = match reference.version {
        -1 => state.live_rows(&reference.subject).next_back().map(|(version, _)| version),
        version => u32::try_from(version).ok().filter(|version| live(*version)),
    };
    reference.version = version.map(i64::from).ok_or_else(|| {
        Error::invalid_schema(format!(
            "No schema reference found for subject \"{}\" and version {}",
            reference.subject, reference.version
        ))
    })?;
    Ok(reference)
}

/// A number that the request may choose: absent, 0 and -1 mean that it does not.
fn chosen(number: Option<i64>, what: &str) -> Result<Option<u32>, Error> {
    match number {
        None | Some(0 | -1) => Ok(None),
        Some(number) => match u32::try_from(number).ok().filter(|number| i32::try_from(*number).is_ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::invalid_schema(format!("{what} {number} is not between 1 and 2^31-1"))),
        },
    }
}

fn is_empty(part: &Json) -> bool {
    match part {
        Json::Null => true,
        Json::Object(fields) => fields.values().all(is_empty),
        Json::Array(items) => items.is_empty(),
        _ => false,
    }
}
