//! `/subjects/...`

use std::sync::Arc;

use axum::extract::{Path, State};

use super::request::{Body, Parameters};
use super::response::{Answer, Text};
use crate::error::Error;
use crate::machine::delete::{delete_subject, delete_version as delete_one};
use crate::machine::query::{Format, SchemaEntity, VersionSpec};
use crate::machine::register::{look_up as find, register as add};
use crate::machine::{Request, subject};
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;

/// Names, numbers and ids in one answer at most.
pub(super) const LISTED_MAX: usize = 1_000_000;

pub(super) async fn list(State(registry): Shared, parameters: Parameters) -> Result<Answer<Vec<String>>, Error> {
    let prefix = parameters.text("subjectPrefix").unwrap_or(subject::ALL_CONTEXTS);
    let names = registry.read(|state| Ok(state.subject_names(prefix, parameters.shown()))).await?;
    Ok(Answer(parameters.page(names, LISTED_MAX)?))
}

pub(super) async fn look_up(
    State(registry): Shared,
    Path(name): Path<String>,
    parameters: Parameters,
    Body(request): Body<Request>,
) -> Result<Answer<SchemaEntity>, Error> {
    let name = subject::normalize(&name);
    let found = |state: &crate::machine::State| {
        let found = find(state, name, &request, parameters.flag("deleted"))?;
        state.entity(name, VersionSpec::Number(found.version), true, parameters.format())
    };
    Ok(Answer(registry.read(found).await?))
}

pub(super) async fn delete(
    State(registry): Shared,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Answer<Vec<u32>>, Error> {
    let name = subject::normalize(&name);
    let versions = registry.write(|state| delete_subject(state, name, parameters.flag("permanent"))).await?;
    tracing::info!(subject = name, ?versions, permanent = parameters.flag("permanent"), "deleted a subject");
    Ok(Answer(versions))
}

pub(super) async fn versions(
    State(registry): Shared,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Answer<Vec<i64>>, Error> {
    let (name, negative) = (subject::normalize(&name), parameters.flag("deletedAsNegative"));
    let numbers = registry.read(|state| state.version_numbers(name, parameters.shown(), negative)).await?;
    Ok(Answer(parameters.page(numbers, LISTED_MAX)?))
}

pub(super) async fn register(
    State(registry): Shared,
    Path(name): Path<String>,
    parameters: Parameters,
    Body(request): Body<Request>,
) -> Result<Answer<serde_json::Value>, Error> {
    let name = subject::normalize(&name);
    let registered = registry.write(|state| add(state, name, &request, parameters.flag("force"))).await?;
    tracing::debug!(subject = name, version = registered.version, id = registered.id, "registered a schema");
    let entity = registry.read(|state| state.registered_entity(&registered)).await?;
    // The reference server's answer is the entity without its subject, the id first.
    let mut answer = serde_json::json!({ "id": entity.id });
    if let (serde_json::Value::Object(answer), Ok(serde_json::Value::Object(fields))) =
        (&mut answer, serde_json::to_value(&entity))
    {
        answer.extend(fields.into_iter().filter(|(key, _)| key != "subject" && key != "id"));
    }
    Ok(Answer(answer))
}

pub(super) async fn version(
    State(registry): Shared,
    Path((name, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Answer<SchemaEntity>, Error> {
    Ok(Answer(entity(&registry, &name, &version, &parameters).await?))
}

pub(super) async fn version_text(
    State(registry): Shared,
    Path((name, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Text, Error> {
    Ok(Text(entity(&registry, &name, &version, &parameters).await?.schema))
}

pub(super) async fn referenced_by(
    State(registry): Shared,
    Path((name, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Answer<Vec<u32>>, Error> {
    let (name, version) = (subject::normalize(&name), VersionSpec::parse(&version)?);
    let ids = registry.read(|state| state.referrer_ids(name, version, parameters.flag("deleted"))).await?;
    Ok(Answer(parameters.page(ids, LISTED_MAX)?))
}

pub(super) async fn delete_version(
    State(registry): Shared,
    Path((name, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Answer<u32>, Error> {
    let (name, version) = (subject::normalize(&name), VersionSpec::parse(&version)?);
    let permanent = parameters.flag("permanent");
    let version = registry.write(|state| delete_one(state, name, version, permanent)).await?;
    tracing::info!(subject = name, version, permanent, "deleted a version");
    Ok(Answer(version))
}

/// The newest version with some metadata. New schemas have none here, so only what another registry wrote can match.
pub(super) async fn latest_with_metadata(
    State(registry): Shared,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Answer<SchemaEntity>, Error> {
    let name = subject::normalize(&name);
    let with_deleted = parameters.flag("deleted");
    let wanted: Vec<_> = parameters.texts("key").into_iter().zip(parameters.texts("value")).collect();
    let found = |state: &crate::machine::State| {
        let matches = |metadata: Option<&serde_json::Value>| {
            let property = |key: &str| metadata?.get("properties")?.get(key)?.as_str();
            wanted.iter().all(|(key, value)| property(key) == Some(*value))
        };
        let mut rows = state.rows(name).rev().filter(|(_, row)| with_deleted || !row.deleted);
        match rows.find(|(_, row)| matches(row.content.metadata.as_ref())) {
            Some((version, _)) => state.entity(name, VersionSpec::Number(version), true, Format::Kept),
            None if state.has_subject(name, with_deleted) => Err(Error::schema_not_found()),
            None => Err(Error::subject_not_found(name)),
        }
    };
    Ok(Answer(registry.read(found).await?))
}

async fn entity(
    registry: &Registry,
    name: &str,
    version: &str,
    parameters: &Parameters,
) -> Result<SchemaEntity, Error> {
    let (name, version) = (subject::normalize(name), VersionSpec::parse(version)?);
    let (with_deleted, format) = (parameters.flag("deleted"), parameters.format());
    registry.read(|state| state.entity(name, version, with_deleted, format)).await
}
