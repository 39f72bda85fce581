//! `/mode`: what may be done with a subject.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::request::{Body, Parameters};
use super::response::Answer;
use crate::error::Error;
use crate::machine::settings::{Mode, delete_mode, place, set_mode};
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;
type Answered = Result<Answer<Json>, Error>;

#[derive(Debug, Deserialize)]
pub(super) struct ModeRequest {
    mode: Option<String>,
}

pub(super) async fn global(state: Shared, parameters: Parameters) -> Answered {
    get(state, None, &parameters).await
}

pub(super) async fn of_subject(state: Shared, Path(subject): Path<String>, parameters: Parameters) -> Answered {
    get(state, place(Some(&subject)), &parameters).await
}

pub(super) async fn set_global(state: Shared, parameters: Parameters, Body(request): Body<ModeRequest>) -> Answered {
    put(state, None, &parameters, &request).await
}

pub(super) async fn set(
    state: Shared,
    Path(subject): Path<String>,
    parameters: Parameters,
    Body(request): Body<ModeRequest>,
) -> Answered {
    put(state, place(Some(&subject)), &parameters, &request).await
}

pub(super) async fn delete_global(state: Shared) -> Answered {
    remove(state, None).await
}

pub(super) async fn delete(state: Shared, Path(subject): Path<String>) -> Answered {
    remove(state, place(Some(&subject))).await
}

async fn get(State(registry): Shared, at: Option<String>, parameters: &Parameters) -> Answered {
    let in_scope = parameters.flag("defaultToGlobal");
    let mode = registry
        .read(|state| {
            let name = at.as_deref().unwrap_or_default();
            if in_scope {
                return Ok(state.mode_in_scope(name));
            }
            state.mode(&at).ok_or_else(|| Error::no_subject_mode(name))
        })
        .await?;
    Ok(answer(mode))
}

async fn put(State(registry): Shared, at: Option<String>, parameters: &Parameters, request: &ModeRequest) -> Answered {
    let (mode, force) = (request.mode.as_deref().unwrap_or_default(), parameters.flag("force"));
    let mode = registry.write(|state| set_mode(state, &at, mode, force)).await?;
    tracing::info!(subject = at, mode = mode.name(), "set a mode");
    Ok(answer(mode))
}

async fn remove(State(registry): Shared, at: Option<String>) -> Answered {
    let mode = registry.write(|state| delete_mode(state, &at)).await?;
    tracing::info!(subject = at, "removed a mode");
    Ok(answer(mode))
}

fn answer(mode: Mode) -> Answer<Json> {
    Answer(json!({ "mode": mode.name() }))
}
