//! `/mode`: what may be done with a subject.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::request::{At, Body, Parameters};
use super::response::Answer;
use crate::error::Error;
use crate::machine::settings::{Mode, delete_mode, set_mode};
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;
type Answered = Result<Answer<Json>, Error>;

#[derive(Debug, Deserialize)]
pub(super) struct ModeRequest {
    mode: Option<String>,
}

pub(super) async fn get(State(registry): Shared, At(at): At, parameters: Parameters) -> Answered {
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

pub(super) async fn set(
    State(registry): Shared,
    At(at): At,
    parameters: Parameters,
    Body(request): Body<ModeRequest>,
) -> Answered {
    let (mode, force) = (request.mode.as_deref().unwrap_or_default(), parameters.flag("force"));
    let mode = registry.write(|state| set_mode(state, &at, mode, force)).await?;
    tracing::info!(subject = at, mode = mode.name(), "set a mode");
    Ok(answer(mode))
}

pub(super) async fn delete(State(registry): Shared, At(at): At) -> Answered {
    let mode = registry.write(|state| delete_mode(state, &at)).await?;
    tracing::info!(subject = at, "removed a mode");
    Ok(answer(mode))
}

fn answer(mode: Mode) -> Answer<Json> {
    Answer(json!({ "mode": mode.name() }))
}
