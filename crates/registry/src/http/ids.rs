//! `/schemas/...`, `/contexts`, and what tools ask to learn who answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::request::Parameters;
use super::response::{Answer, Text};
use super::subjects::LISTED_MAX;
use crate::error::Error;
use crate::machine::query::{SchemaEntity, SchemaString, SubjectVersion};
use crate::machine::subject;
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;

/// Whole schemas in one answer at most, as with the reference server.
const SCHEMAS_LISTED_MAX: usize = 1_000;

pub(super) async fn root() -> Answer<Json> {
    Answer(json!({}))
}

pub(super) async fn schemas(
    State(registry): Shared,
    parameters: Parameters,
) -> Result<Answer<Vec<SchemaEntity>>, Error> {
    let prefix = parameters.text("subjectPrefix").unwrap_or(subject::ALL_CONTEXTS);
    let latest_only = parameters.flag("latestOnly");
    let entities = registry.read(|state| state.entities(prefix, parameters.shown(), latest_only)).await?;
    Ok(Answer(parameters.page(entities, SCHEMAS_LISTED_MAX)?))
}

pub(super) async fn types() -> Answer<[&'static str; 1]> {
    Answer(["AVRO"])
}

pub(super) async fn schema(
    State(registry): Shared,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Answer<SchemaString>, Error> {
    Ok(Answer(by_id(&registry, &id, &parameters).await?))
}

pub(super) async fn text(
    State(registry): Shared,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Text, Error> {
    Ok(Text(by_id(&registry, &id, &parameters).await?.schema))
}

pub(super) async fn subjects(
    State(registry): Shared,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Answer<Vec<String>>, Error> {
    let versions = held_versions(&registry, &id, &parameters).await?;
    let names: BTreeSet<String> = versions.into_iter().map(|version| version.subject).collect();
    Ok(Answer(parameters.page(names, LISTED_MAX)?))
}

pub(super) async fn versions(
    State(registry): Shared,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Answer<Vec<SubjectVersion>>, Error> {
    let versions = held_versions(&registry, &id, &parameters).await?;
    Ok(Answer(parameters.page(versions, LISTED_MAX)?))
}

pub(super) async fn by_guid(
    State(registry): Shared,
    Path(guid): Path<String>,
    parameters: Parameters,
) -> Result<Answer<SchemaString>, Error> {
    Ok(Answer(registry.read(|state| state.schema_by_guid(&guid, parameters.format())).await?))
}

#[derive(Debug, Serialize)]
pub(super) struct ContextId {
    context: String,
    id: u32,
}

pub(super) async fn ids_of_guid(
    State(registry): Shared,
    Path(guid): Path<String>,
) -> Result<Answer<Vec<ContextId>>, Error> {
    let found = registry
        .read(|state| match state.ids_of_guid(&guid) {
            ids if ids.is_empty() => Err(Error::schema_id_not_found(&guid)),
            ids => Ok(ids),
        })
        .await?;
    Ok(Answer(found.into_iter().map(|(context, id)| ContextId { context, id }).collect()))
}

pub(super) async fn contexts(State(registry): Shared, parameters: Parameters) -> Result<Answer<Vec<String>>, Error> {
    let prefix = parameters.text("contextPrefix").unwrap_or_default();
    let names = registry.read(|state| Ok(state.context_names())).await?;
    Ok(Answer(parameters.page(names.into_iter().filter(|name| name.starts_with(prefix)), LISTED_MAX)?))
}

pub(super) async fn metadata_id() -> Answer<Json> {
    Answer(json!({ "scope": { "path": [], "clusters": { "schema-registry-cluster": "tillstream" } } }))
}

pub(super) async fn metadata_version() -> Answer<Json> {
    Answer(json!({ "version": env!("CARGO_PKG_VERSION"), "commitId": "" }))
}

async fn by_id(registry: &Registry, id: &str, parameters: &Parameters) -> Result<SchemaString, Error> {
    let (id, subject) = (number(id)?, parameters.text("subject"));
    let (format, max_id) = (parameters.format(), parameters.flag("fetchMaxId"));
    registry.read(|state| state.schema_by_id(id, subject, format, max_id)).await
}

async fn held_versions(registry: &Registry, id: &str, parameters: &Parameters) -> Result<Vec<SubjectVersion>, Error> {
    let (id, subject, deleted) = (number(id)?, parameters.text("subject"), parameters.flag("deleted"));
    registry.read(|state| state.versions_of_id(id, subject, deleted)).await
}

/// An id. What is no number is a path that is not there, as with the reference server; a number that no schema can have is unknown.
fn number(id: &str) -> Result<u32, Error> {
    let number: i32 = id.parse().map_err(|_| Error::new(404, "HTTP 404 Not Found"))?;
    u32::try_from(number).map_err(|_| Error::schema_id_not_found(number))
}
