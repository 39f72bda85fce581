//! `/config`: compatibility levels. The key is `compatibility` in requests and `compatibilityLevel` in answers to GET and DELETE.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Map, Value as Json};

use super::request::{Body, Parameters};
use super::response::Answer;
use crate::error::Error;
use crate::machine::settings::{delete_config, place, set_config};
use crate::machine::values::ConfigValue;
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;
type Answered = Result<Answer<Json>, Error>;

pub(super) async fn global(state: Shared, parameters: Parameters) -> Answered {
    get(state, None, &parameters).await
}

pub(super) async fn of_subject(state: Shared, Path(subject): Path<String>, parameters: Parameters) -> Answered {
    get(state, place(Some(&subject)), &parameters).await
}

pub(super) async fn set_global(state: Shared, Body(request): Body<Map<String, Json>>) -> Answered {
    put(state, None, &request).await
}

pub(super) async fn set(
    state: Shared,
    Path(subject): Path<String>,
    Body(request): Body<Map<String, Json>>,
) -> Answered {
    put(state, place(Some(&subject)), &request).await
}

pub(super) async fn delete_global(state: Shared) -> Answered {
    remove(state, None).await
}

pub(super) async fn delete(state: Shared, Path(subject): Path<String>) -> Answered {
    remove(state, place(Some(&subject))).await
}

async fn get(State(registry): Shared, at: Option<String>, parameters: &Parameters) -> Answered {
    let in_scope = parameters.flag("defaultToGlobal");
    let config = registry
        .read(|state| {
            if in_scope {
                return Ok(state.config_in_scope(&at));
            }
            state.config(&at).ok_or_else(|| Error::no_subject_config(at.as_deref().unwrap_or_default()))
        })
        .await?;
    Ok(answer(config, "compatibilityLevel"))
}

async fn put(State(registry): Shared, at: Option<String>, request: &Map<String, Json>) -> Answered {
    let config = registry.write(|state| set_config(state, &at, request)).await?;
    tracing::info!(subject = at, level = config.compatibility_level, "set a compatibility level");
    Ok(answer(config, "compatibility"))
}

async fn remove(State(registry): Shared, at: Option<String>) -> Answered {
    let config = registry.write(|state| delete_config(state, &at)).await?;
    tracing::info!(subject = at, "removed a compatibility level");
    Ok(answer(config, "compatibilityLevel"))
}

fn answer(config: ConfigValue, level_key: &str) -> Answer<Json> {
    let mut fields = config.others;
    if let Some(level) = config.compatibility_level {
        fields.insert(level_key.to_owned(), Json::String(level));
    }
    Answer(Json::Object(fields))
}
