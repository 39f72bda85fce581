//! What holds after the events so far.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use avro::compatibility::Level;
use serde_json::Value as Json;
use uuid::Uuid;

use super::content::Content;
use super::keys::Key;
use super::subject;
use super::values::{ConfigValue, DeleteSubjectValue, Event, ModeValue, SchemaValue, Value};

/// One version of a subject.
#[derive(Debug, Clone)]
pub struct Row {
    /// Id of its schema in the subject's context.
    pub id: u32,
    /// Whether it is soft-deleted.
    pub deleted: bool,
    /// Its schema.
    pub content: Arc<Content>,
}

/// The schema ids of one context.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ids {
    pub(crate) by_id: BTreeMap<u32, Used>,
    by_identity: HashMap<Uuid, BTreeSet<u32>>,
    /// Greatest id ever seen.
    pub(crate) highest: u32,
}

/// A schema under its id, and the versions that hold it.
#[derive(Debug, Clone)]
pub(crate) struct Used {
    pub(crate) content: Arc<Content>,
    pub(crate) by: BTreeSet<(String, u32)>,
}

impl Ids {
    /// The id of a schema that is held by some version; the smallest if there are several.
    pub(crate) fn of(&self, identity: &Uuid) -> Option<u32> {
        self.by_identity.get(identity)?.first().copied()
    }

    fn add(&mut self, id: u32, content: Arc<Content>, subject: &str, version: u32) -> Arc<Content> {
        self.highest = self.highest.max(id);
        self.by_identity.entry(content.guid).or_default().insert(id);
        let used = self.by_id.entry(id).or_insert_with(|| Used { content, by: BTreeSet::new() });
        used.by.insert((subject.to_owned(), version));
        Arc::clone(&used.content)
    }

    fn remove(&mut self, id: u32, subject: &str, version: u32) {
        let Some(used) = self.by_id.get_mut(&id) else { return };
        used.by.remove(&(subject.to_owned(), version));
        if !used.by.is_empty() {
            return;
        }
        let identity = used.content.guid;
        self.by_id.remove(&id);
        if let Some(ids) = self.by_identity.get_mut(&identity) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_identity.remove(&identity);
            }
        }
    }
}

/// Something in the log that should not be there. It was left out; the log goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Finding(pub String);

/// The state of the registry.
#[derive(Debug, Clone)]
pub struct State {
    pub(crate) subjects: BTreeMap<String, BTreeMap<u32, Row>>,
    pub(crate) contexts: BTreeMap<String, Ids>,
    pub(crate) configs: BTreeMap<Option<String>, ConfigValue>,
    pub(crate) modes: BTreeMap<Option<String>, ModeValue>,
    /// Contexts that have a record of their own, with the greatest id that the record remembers.
    pub(crate) announced: BTreeMap<String, u32>,
    /// Last DELETE_SUBJECT of each subject.
    soft_deletes: BTreeMap<String, u32>,
    /// Level where nothing is set.
    pub(crate) default_level: Level,
}

impl State {
    /// An empty registry, with the level that holds where nothing is set.
    pub fn new(default_level: Level) -> Self {
        Self {
            subjects: BTreeMap::new(),
            contexts: BTreeMap::new(),
            configs: BTreeMap::new(),
            modes: BTreeMap::new(),
            announced: BTreeMap::new(),
            soft_deletes: BTreeMap::new(),
            default_level,
        }
    }

    /// Takes in the next event of the log.
    ///
    /// # Errors
    /// What is wrong with the event, which is then left out. The registry is as before.
    pub fn apply(&mut self, event: &Event) -> Result<(), Finding> {
        match (&event.key, &event.value) {
            (Key::Schema { subject, version }, Some(Value::Schema(value))) => self.put_row(subject, *version, value),
            (Key::Schema { subject, version }, None) => {
                self.remove_row(subject, *version);
                Ok(())
            }
            (Key::Config { subject }, value) => {
                match value {
                    Some(Value::Config(config)) => self.configs.insert(subject.clone(), config.clone()),
                    _ => self.configs.remove(subject),
                };
                Ok(())
            }
            (Key::Mode { subject }, value) => {
                match value {
                    Some(Value::Mode(mode)) => self.modes.insert(subject.clone(), mode.clone()),
                    _ => self.modes.remove(subject),
                };
                Ok(())
            }
            (Key::DeleteSubject { subject }, Some(Value::DeleteSubject(value))) => {
                self.soft_delete(subject, value.version);
                Ok(())
            }
            (Key::DeleteSubject { subject }, None) => {
                self.soft_deletes.remove(subject);
                Ok(())
            }
            (Key::Context { context, .. }, value) => {
                match value {
                    Some(Value::Other(value)) => {
                        let highest =
                            value.get(HIGHEST_ID).and_then(Json::as_u64).and_then(|id| u32::try_from(id).ok());
                        let highest = highest.unwrap_or(0);
                        self.announced.insert(context.clone(), highest);
                        let ids = self.contexts.entry(context.clone()).or_default();
                        ids.highest = ids.highest.max(highest);
                    }
                    _ => {
                        self.announced.remove(context);
                    }
                }
                Ok(())
            }
            // Clearing caches means nothing to a state that is no cache: the rows concerned have tombstones of their own.
            (Key::ClearSubject { .. } | Key::Noop | Key::Unknown(_), _) => Ok(()),
            (key, _) => Err(Finding(format!("the value of {key:?} is of another kind than its key"))),
        }
    }

    /// The event that brings a key back to what holds now, for when a record that does not count is the last one of its key.
    /// `None` for a kind that holds nothing.
    pub fn event_for(&self, key: &Key) -> Option<Event> {
        let value = match key {
            Key::Schema { subject, version } => {
                self.row(subject, *version).map(|row| Value::Schema(Box::new(schema_value(subject, *version, row))))
            }
            Key::Config { subject } => self.configs.get(subject).cloned().map(Value::Config),
            Key::Mode { subject } => self.modes.get(subject).cloned().map(Value::Mode),
            Key::DeleteSubject { subject } => self
                .soft_deletes
                .get(subject)
                .map(|&version| Value::DeleteSubject(DeleteSubjectValue { subject: subject.clone(), version })),
            Key::Context { context, .. } => self.announced.get(context).map(|highest| context_value(context, *highest)),
            Key::ClearSubject { .. } | Key::Noop | Key::Unknown(_) => return None,
        };
        Some(Event { key: key.clone(), value })
    }

    /// The event that remembers a context's greatest id in a record of its own, unless one does. Needed before the records that hold the
    /// id go for good: after compaction and a restart the id would be given again, and old data would be read with a wrong schema.
    pub(crate) fn remember_ids(&self, context: &str) -> Option<Event> {
        let highest = self.ids(context)?.highest;
        let remembered = self.announced.get(context).copied().unwrap_or(0);
        (remembered < highest).then(|| context_event(context, highest))
    }

    /// A version of a subject, soft-deleted or not.
    pub fn row(&self, subject: &str, version: u32) -> Option<&Row> {
        self.subjects.get(subject)?.get(&version)
    }

    /// The versions of a subject in ascending order.
    pub fn rows(&self, subject: &str) -> impl DoubleEndedIterator<Item = (u32, &Row)> {
        self.subjects.get(subject).into_iter().flatten().map(|(version, row)| (*version, row))
    }

    /// The live versions of a subject in ascending order.
    pub fn live_rows(&self, subject: &str) -> impl DoubleEndedIterator<Item = (u32, &Row)> {
        self.rows(subject).filter(|(_, row)| !row.deleted)
    }

    /// Whether a subject has a version.
    pub fn has_subject(&self, subject: &str, with_deleted: bool) -> bool {
        self.rows(subject).any(|(_, row)| with_deleted || !row.deleted)
    }

    pub(crate) fn ids(&self, context: &str) -> Option<&Ids> {
        self.contexts.get(context)
    }

    /// Versions, as (subject, version), that name version `version` of `subject` in their references.
    pub(crate) fn referrers(&self, subject: &str, version: u32, with_deleted: bool) -> Vec<(&str, u32, u32)> {
        let rows =
            self.subjects.iter().flat_map(|(name, rows)| rows.iter().map(move |(number, row)| (name, number, row)));
        rows.filter(|(_, _, row)| with_deleted || !row.deleted)
            .filter(|(_, _, row)| {
                row.content
                    .references
                    .iter()
                    .any(|reference| reference.subject == subject && reference.version == i64::from(version))
            })
            .map(|(name, number, row)| (name.as_str(), *number, row.id))
            .collect()
    }

    fn put_row(&mut self, subject: &str, version: u32, value: &SchemaValue) -> Result<(), Finding> {
        let content = Arc::new(Content::of(value));
        let ids = self.contexts.entry(subject::context(subject).to_owned()).or_default();
        if let Some(used) = ids.by_id.get(&value.id)
            && used.content.guid != content.guid
            && !(used.by.len() == 1 && used.by.contains(&(subject.to_owned(), version)))
        {
            return Err(Finding(format!(
                "subject {subject} version {version} has the id {} that stands for another schema already; it is left out",
                value.id
            )));
        }
        if let Some(old) = self.subjects.get(subject).and_then(|rows| rows.get(&version)) {
            ids.remove(old.id, subject, version);
        }
        let content = ids.add(value.id, content, subject, version);
        let row = Row { id: value.id, deleted: value.deleted, content };
        self.subjects.entry(subject.to_owned()).or_default().insert(version, row);
        Ok(())
    }

    fn remove_row(&mut self, subject: &str, version: u32) {
        let Some(rows) = self.subjects.get_mut(subject) else { return };
        if let Some(row) = rows.remove(&version)
            && let Some(ids) = self.contexts.get_mut(subject::context(subject))
        {
            ids.remove(row.id, subject, version);
        }
        if rows.is_empty() {
            self.subjects.remove(subject);
        }
    }

    fn soft_delete(&mut self, subject: &str, through: u32) {
        self.soft_deletes.insert(subject.to_owned(), through);
        if let Some(rows) = self.subjects.get_mut(subject) {
            for (_, row) in rows.range_mut(..=through) {
                row.deleted = true;
            }
        }
    }
}

/// Property of a context's record that other registries don't know and drop.
const HIGHEST_ID: &str = "highestId";

fn context_value(context: &str, highest: u32) -> Value {
    let mut value = serde_json::json!({ "tenant": "default", "context": context });
    if let (Json::Object(fields), true) = (&mut value, highest > 0) {
        fields.insert(HIGHEST_ID.to_owned(), highest.into());
    }
    Value::Other(value)
}

/// The record that makes a context known, with its greatest id if that is to be remembered.
pub(crate) fn context_event(context: &str, highest: u32) -> Event {
    let key = Key::Context { tenant: "default".to_owned(), context: context.to_owned() };
    Event { key, value: Some(context_value(context, highest)) }
}

/// The record's value of a version.
pub(crate) fn schema_value(subject: &str, version: u32, row: &Row) -> SchemaValue {
    let content = &row.content;
    SchemaValue {
        subject: subject.to_owned(),
        version,
        id: row.id,
        md5: content.md5.clone(),
        schema_type: content.schema_type.clone(),
        references: content.references.clone(),
        metadata: content.metadata.clone(),
        rule_set: content.rule_set.clone(),
        schema: content.text.to_string(),
        deleted: row.deleted,
    }
}
