//! Deleting versions and subjects: first softly, which hides them, then for good.

use super::keys::Key;
use super::query::VersionSpec;
use super::state::{State, schema_value};
use super::values::{DeleteSubjectValue, Event, Value};
use super::{Decision, subject};
use crate::error::Error;

/// Deletes one version, softly or (when it is soft-deleted already) for good. The schema stays readable by its id while it is only
/// soft-deleted. With the last version gone for good, the subject's config and mode go too.
///
/// # Errors
/// 40401, 40402 not there; 40406 soft-deleted already; 40407 not yet soft-deleted; 42205 read-only; 42206 another schema refers to it.
pub fn delete_version(
    state: &State,
    subject: &str,
    version: VersionSpec,
    permanent: bool,
) -> Result<Decision<u32>, Error> {
    let (version, row) = state.resolve(subject, version, true)?;
    check_writable(state, subject)?;
    if !permanent && row.deleted {
        return Err(Error::version_soft_deleted(subject, version));
    }
    if !state.referrers(subject, version, permanent).is_empty() {
        return Err(Error::referenced(subject, version));
    }
    if permanent && !row.deleted {
        return Err(Error::version_not_soft_deleted(subject, version));
    }
    let mut events = Vec::new();
    if permanent {
        events.extend(state.remember_ids(subject::context(subject)));
        events.push(Event::tombstone(Key::Schema { subject: subject.to_owned(), version }));
        if state.rows(subject).count() == 1 {
            events.extend(settings_gone(state, subject));
        }
    } else {
        let mut value = schema_value(subject, version, row);
        value.deleted = true;
        events.push(Event::schema(value));
    }
    Ok(Decision { events, reply: version })
}

/// Deletes all versions of a subject, softly or (when all are soft-deleted already) for good, and gives their numbers.
///
/// # Errors
/// 40401 not there; 40404 soft-deleted already; 40405 not yet soft-deleted; 42205 read-only; 42206 another subject refers to it.
pub fn delete_subject(state: &State, subject: &str, permanent: bool) -> Result<Decision<Vec<u32>>, Error> {
    if !state.has_subject(subject, true) {
        return Err(Error::subject_not_found(subject));
    }
    check_writable(state, subject)?;
    if !permanent && !state.has_subject(subject, false) {
        return Err(Error::subject_soft_deleted(subject));
    }
    let rows: Vec<_> = state.rows(subject).filter(|(_, row)| permanent || !row.deleted).collect();
    for (version, row) in &rows {
        if state.referrers(subject, *version, permanent).iter().any(|(by, ..)| *by != subject) {
            return Err(Error::referenced(subject, *version));
        }
        if permanent && !row.deleted {
            return Err(Error::subject_not_soft_deleted(subject));
        }
    }
    let versions: Vec<u32> = rows.iter().map(|(version, _)| *version).collect();
    let mut events = Vec::new();
    if permanent {
        events.extend(state.remember_ids(subject::context(subject)));
        // From the newest back, since a newer one may refer to an older one.
        let keys = versions.iter().rev().map(|&version| Key::Schema { subject: subject.to_owned(), version });
        events.extend(keys.map(Event::tombstone));
        events.extend(settings_gone(state, subject));
    } else if let Some(&version) = versions.last() {
        let value = DeleteSubjectValue { subject: subject.to_owned(), version };
        let key = Key::DeleteSubject { subject: subject.to_owned() };
        events.push(Event { key, value: Some(Value::DeleteSubject(value)) });
    }
    Ok(Decision { events, reply: versions })
}

fn settings_gone(state: &State, subject: &str) -> Vec<Event> {
    let name = Some(subject.to_owned());
    let mut events = Vec::new();
    if state.modes.contains_key(&name) {
        events.push(Event::tombstone(Key::Mode { subject: name.clone() }));
    }
    if state.configs.contains_key(&name) {
        events.push(Event::tombstone(Key::Config { subject: name }));
    }
    events
}

/// Refuses where the mode is read-only.
pub(crate) fn check_writable(state: &State, subject: &str) -> Result<(), Error> {
    if state.is_read_only(subject) {
        let context = subject::context(subject);
        return Err(Error::not_permitted(format!("Subject {subject} in context {context} is in read-only mode")));
    }
    Ok(())
}
