//! Answers to questions about what is registered, in the form that they are sent.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::content::Content;
use super::register::Registered;
use super::state::{Row, State, Used};
use super::subject;
use super::values::Reference;
use crate::error::Error;

/// A version as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSpec {
    /// The newest live one.
    Latest,
    /// This one.
    Number(u32),
}

impl VersionSpec {
    /// Reads `latest`, `-1` or a number from 1.
    ///
    /// # Errors
    /// 42202.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("latest") || trimmed == "-1" {
            return Ok(Self::Latest);
        }
        let number =
            trimmed.parse::<i32>().ok().filter(|number| *number > 0).and_then(|number| u32::try_from(number).ok());
        number.map(Self::Number).ok_or_else(|| Error::invalid_version(text))
    }
}

impl std::fmt::Display for VersionSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latest => f.write_str("-1"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Which versions a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Live ones.
    Live,
    /// All.
    WithDeleted,
    /// Soft-deleted ones.
    DeletedOnly,
}

impl Shown {
    fn shows(self, row: &Row) -> bool {
        match self {
            Self::Live => !row.deleted,
            Self::WithDeleted => true,
            Self::DeletedOnly => row.deleted,
        }
    }
}

/// How the text of a schema is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As it is kept.
    Kept,
    /// With the types of its references written out (`format=resolved`).
    Resolved,
}

/// A version of a subject, as the registry answers it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaEntity {
    /// Subject.
    pub subject: String,
    /// Version.
    pub version: u32,
    /// Id.
    pub id: u32,
    /// Identity of the schema across registries.
    #[serde(serialize_with = "as_text")]
    pub guid: Uuid,
    /// `AVRO`.
    pub schema_type: String,
    /// Schemas that it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Kept as another registry wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Kept as another registry wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Json>,
    /// Text.
    pub schema: String,
    /// Present on soft-deleted versions.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// A schema under its id, as the registry answers it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaString {
    /// Present when the question named a subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Present when the question named a subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Identity of the schema across registries.
    #[serde(serialize_with = "as_text")]
    pub guid: Uuid,
    /// `AVRO`.
    pub schema_type: String,
    /// Text.
    pub schema: String,
    /// Schemas that it names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// Kept as another registry wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// Kept as another registry wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_set: Option<Json>,
    /// Greatest id of the context, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_id: Option<u32>,
}

fn as_text<S: serde::Serializer>(guid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(guid)
}

/// A version by name, as listings hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectVersion {
    /// Subject.
    pub subject: String,
    /// Version.
    pub version: u32,
}

impl State {
    /// The subjects whose names start with `prefix`, sorted.
    pub fn subject_names(&self, prefix: &str, shown: Shown) -> Vec<String> {
        self.subjects
            .iter()
            .filter(|(name, rows)| subject::has_prefix(name, prefix) && rows.values().any(|row| shown.shows(row)))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The version numbers of a subject; with `negative`, soft-deleted ones are below zero.
    ///
    /// # Errors
    /// 40401.
    pub fn version_numbers(&self, subject: &str, shown: Shown, negative: bool) -> Result<Vec<i64>, Error> {
        if !self.has_subject(subject, shown != Shown::Live) {
            return Err(Error::subject_not_found(subject));
        }
        let number = |(version, row): (u32, &Row)| {
            if negative && row.deleted { -i64::from(version) } else { i64::from(version) }
        };
        Ok(self.rows(subject).filter(|(_, row)| shown.shows(row)).map(number).collect())
    }

    /// A version and its number. `latest` is the newest live one.
    ///
    /// # Errors
    /// 40401, 40402.
    pub fn resolve(&self, subject: &str, version: VersionSpec, with_deleted: bool) -> Result<(u32, &Row), Error> {
        let found = match version {
            VersionSpec::Latest => self.live_rows(subject).next_back(),
            VersionSpec::Number(number) => {
                self.row(subject, number).filter(|row| with_deleted || !row.deleted).map(|row| (number, row))
            }
        };
        found.ok_or_else(|| {
            if self.has_subject(subject, with_deleted) {
                Error::version_not_found(version)
            } else {
                Error::subject_not_found(subject)
            }
        })
    }

    /// A version as it is answered.
    ///
    /// # Errors
    /// 40401, 40402.
    pub fn entity(
        &self,
        subject: &str,
        version: VersionSpec,
        with_deleted: bool,
        format: Format,
    ) -> Result<SchemaEntity, Error> {
        let (version, row) = self.resolve(subject, version, with_deleted)?;
        self.row_entity(subject, version, row, format)
    }

    /// The answer for a schema that was registered or looked up.
    ///
    /// # Errors
    /// 40403 when it is gone in the meantime.
    pub fn registered_entity(&self, registered: &Registered) -> Result<SchemaEntity, Error> {
        let row = self.row(&registered.subject, registered.version).ok_or_else(Error::schema_not_found)?;
        self.row_entity(&registered.subject, registered.version, row, Format::Kept)
    }

    /// All versions of the subjects whose names start with `prefix`; with `latest_only`, the newest of each.
    ///
    /// # Errors
    /// None of the state's own; `Result` so that texts that don't resolve can be reported.
    pub fn entities(&self, prefix: &str, shown: Shown, latest_only: bool) -> Result<Vec<SchemaEntity>, Error> {
        let mut entities = Vec::new();
        for (name, rows) in self.subjects.iter().filter(|(name, _)| subject::has_prefix(name, prefix)) {
            let rows: Vec<_> = rows.iter().filter(|(_, row)| shown.shows(row)).collect();
            let from = if latest_only { rows.len().saturating_sub(1) } else { 0 };
            for (version, row) in rows.into_iter().skip(from) {
                entities.push(self.row_entity(name, *version, row, Format::Kept)?);
            }
        }
        Ok(entities)
    }

    /// The schema with an id. `subject` names the context, and if it names a subject that holds the id, the version too.
    ///
    /// # Errors
    /// 40403.
    pub fn schema_by_id(
        &self,
        id: u32,
        subject: Option<&str>,
        format: Format,
        max_id: bool,
    ) -> Result<SchemaString, Error> {
        let (context, used) = self.used(id, subject).ok_or_else(|| Error::schema_id_not_found(id))?;
        let place = subject.map(subject::normalize);
        let place = place.and_then(|name| used.by.iter().rfind(|(holder, _)| holder == name));
        let content = &used.content;
        Ok(SchemaString {
            subject: place.map(|(subject, _)| subject.clone()),
            version: place.map(|(_, version)| *version),
            guid: content.guid,
            schema_type: content.kind().to_owned(),
            schema: self.text(content, format)?,
            references: if format == Format::Resolved { Vec::new() } else { content.references.clone() },
            metadata: content.metadata.clone(),
            rule_set: content.rule_set.clone(),
            max_id: max_id.then(|| self.ids(context).map_or(0, |ids| ids.highest)),
        })
    }

    /// The versions that hold an id.
    ///
    /// # Errors
    /// 40403.
    pub fn versions_of_id(
        &self,
        id: u32,
        subject: Option<&str>,
        with_deleted: bool,
    ) -> Result<Vec<SubjectVersion>, Error> {
        let (_, used) = self.used(id, subject).ok_or_else(|| Error::schema_id_not_found(id))?;
        let shown = used
            .by
            .iter()
            .filter(|(name, version)| with_deleted || self.row(name, *version).is_some_and(|row| !row.deleted));
        Ok(shown.map(|(subject, version)| SubjectVersion { subject: subject.clone(), version: *version }).collect())
    }

    /// The schema with a guid, in the default context first.
    ///
    /// # Errors
    /// 40403.
    pub fn schema_by_guid(&self, guid: &str, format: Format) -> Result<SchemaString, Error> {
        let (context, id) =
            self.ids_of_guid(guid).into_iter().next().ok_or_else(|| Error::schema_id_not_found(guid))?;
        self.schema_by_id(id, Some(&subject::of_context(&context)), format, false)
    }

    /// Contexts and ids that a guid has.
    pub fn ids_of_guid(&self, guid: &str) -> Vec<(String, u32)> {
        let Ok(guid) = guid.parse::<Uuid>() else { return Vec::new() };
        self.contexts.iter().filter_map(|(context, ids)| Some((context.clone(), ids.of(&guid)?))).collect()
    }

    /// Ids of the schemas that refer to a version.
    ///
    /// # Errors
    /// 40401, 40402.
    pub fn referrer_ids(
        &self,
        subject: &str,
        version: VersionSpec,
        with_deleted: bool,
    ) -> Result<BTreeSet<u32>, Error> {
        let (version, _) = self.resolve(subject, version, true)?;
        Ok(self.referrers(subject, version, with_deleted).into_iter().map(|(_, _, id)| id).collect())
    }

    /// Names of all contexts; the default one is always there.
    pub fn context_names(&self) -> BTreeSet<String> {
        let used = self.contexts.iter().filter(|(_, ids)| !ids.by_id.is_empty()).map(|(context, _)| context);
        used.chain(self.announced.keys()).cloned().chain([subject::DEFAULT_CONTEXT.to_owned()]).collect()
    }

    fn used(&self, id: u32, subject: Option<&str>) -> Option<(&str, &Used)> {
        let wanted = subject.map(subject::normalize).unwrap_or_default();
        let (context, ids) = self.contexts.get_key_value(subject::context(wanted))?;
        Some((context, ids.by_id.get(&id)?))
    }

    fn row_entity(&self, subject: &str, version: u32, row: &Row, format: Format) -> Result<SchemaEntity, Error> {
        let content = &row.content;
        Ok(SchemaEntity {
            subject: subject.to_owned(),
            version,
            id: row.id,
            guid: content.guid,
            schema_type: content.kind().to_owned(),
            references: content.references.clone(),
            metadata: content.metadata.clone(),
            rule_set: content.rule_set.clone(),
            schema: self.text(content, format)?,
            deleted: row.deleted,
        })
    }

    fn text(&self, content: &Content, format: Format) -> Result<String, Error> {
        match format {
            Format::Kept => Ok(content.text.to_string()),
            Format::Resolved => match content.schema(self) {
                Ok(schema) => Ok(schema.inlined()),
                Err(reason) => Err(Error::invalid_schema(reason)),
            },
        }
    }
}
