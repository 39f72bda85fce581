//! `/config`: compatibility levels. The key is `compatibility` in requests and `compatibilityLevel` in answers to GET and DELETE.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Map, Value as Json};

use super::request::{At, Body, Parameters};
use super::response::Answer;
use crate::error::Error;
use crate::machine::settings::{delete_config, set_config};
use crate::machine::values::ConfigValue;
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;
type Answered = Result<Answer<Json>, Error>;

pub(super) async fn get(State(registry): Shared, At(at): At, parameters: Parameters) -> Answered {
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

pub(super) async fn set(State(registry): Shared, At(at): At, Body(request): Body<Map<String, Json>>) -> Answered {
    let config = registry.write(|state| set_config(state, &at, &request)).await?;
    tracing::info!(subject = at, level = config.compatibility_level, "set a compatibility level");
    Ok(answer(config, "compatibility"))
}

pub(super) async fn delete(State(registry): Shared, At(at): At) -> Answered {
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
