//! One schema text with what belongs to it. Subjects share it by its id.

use std::sync::{Arc, OnceLock};

use avro::Schema;
use md5::{Digest as _, Md5};
use serde_json::Value as Json;
use uuid::Uuid;

use super::state::State;
use super::values::{Reference, SchemaValue};

/// Deepest chain of references that is followed.
const REFERENCE_DEPTH_MAX: usize = 32;

/// A schema's text, its references and what another registry kept with it. It never changes.
#[derive(Debug)]
pub struct Content {
    /// Text as it is served; Avro's own printing unless another registry wrote it.
    pub text: Arc<str>,
    /// `None` is Avro.
    pub schema_type: Option<String>,
    /// Schemas that this one names.
    pub references: Vec<Reference>,
    /// Kept as another registry wrote it.
    pub metadata: Option<Json>,
    /// Kept as another registry wrote it.
    pub rule_set: Option<Json>,
    /// Hash that another registry wrote.
    pub md5: Option<String>,
    /// Identity: equal for equal text, references, metadata and rules. This is Confluent's `guid`.
    pub guid: Uuid,
    parsed: OnceLock<Result<Schema, String>>,
}

impl Content {
    /// The content of a version's record.
    pub fn of(value: &SchemaValue) -> Self {
        let guid = identity(&value.schema, &value.references, value.metadata.as_ref(), value.rule_set.as_ref());
        Self {
            text: value.schema.as_str().into(),
            schema_type: value.schema_type.clone().filter(|kind| kind != "AVRO"),
            references: value.references.clone(),
            metadata: value.metadata.clone(),
            rule_set: value.rule_set.clone(),
            md5: value.md5.clone(),
            guid,
            parsed: OnceLock::new(),
        }
    }

    /// The type of the schema, `AVRO` for what this registry writes.
    pub fn kind(&self) -> &str {
        self.schema_type.as_deref().unwrap_or("AVRO")
    }

    /// The parsed schema. It is parsed when it is first asked for: a log may hold texts that nobody asks for, and texts that don't parse.
    ///
    /// # Errors
    /// Why it can't be parsed.
    pub fn schema(&self, state: &State) -> Result<&Schema, &str> {
        self.schema_at(state, 0)
    }

    fn schema_at(&self, state: &State, depth: usize) -> Result<&Schema, &str> {
        let parsed = self.parsed.get_or_init(|| {
            if self.kind() != "AVRO" {
                return Err(format!("it is of type {}, and this registry checks Avro only", self.kind()));
            }
            let references = resolve(state, &self.references, depth + 1)?;
            Schema::parse_lenient(&self.text, &references).map_err(|error| error.to_string())
        });
        parsed.as_ref().map_err(String::as_str)
    }
}

/// The parsed schemas that references stand for.
///
/// # Errors
/// Which reference leads nowhere or doesn't parse.
pub fn resolve(state: &State, references: &[Reference], depth: usize) -> Result<Vec<Schema>, String> {
    if depth > REFERENCE_DEPTH_MAX {
        return Err(format!("its references are nested deeper than {REFERENCE_DEPTH_MAX}"));
    }
    references
        .iter()
        .map(|reference| {
            let Reference { name, subject, version } = reference;
            let row = u32::try_from(*version).ok().and_then(|version| state.row(subject, version));
            let row = row
                .ok_or_else(|| format!("no schema reference found for subject \"{subject}\" and version {version}"))?;
            row.content
                .schema_at(state, depth)
                .cloned()
                .map_err(|reason| format!("the reference {name} to subject \"{subject}\" version {version}: {reason}"))
        })
        .collect()
}

/// Confluent's `guid`: MD5 over the text, each reference's name, subject and version, and with a leading byte 1 each
/// the metadata and the rules. For the last two the bytes hashed are our own choice, since we only keep them.
pub fn identity(text: &str, references: &[Reference], metadata: Option<&Json>, rule_set: Option<&Json>) -> Uuid {
    let mut hash = Md5::new();
    hash.update(text.as_bytes());
    for reference in references {
        hash.update(reference.name.as_bytes());
        hash.update(reference.subject.as_bytes());
        hash.update(i32::try_from(reference.version).unwrap_or(-1).to_be_bytes());
    }
    for part in [metadata, rule_set].into_iter().flatten() {
        hash.update([1]);
        hash.update(part.to_string().as_bytes());
    }
    Uuid::from_bytes(hash.finalize().into())
}
