//! `/compatibility`: would this schema be accepted?

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;

use super::request::{Body, Parameters};
use super::response::Answer;
use crate::error::Error;
use crate::machine::query::VersionSpec;
use crate::machine::{Request, compatibility, prepare, subject};
use crate::registry::Registry;

type Shared = State<Arc<Registry>>;

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    is_compatible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<String>>,
}

/// The very check that registering makes.
pub(super) async fn with_all(
    State(registry): Shared,
    Path(name): Path<String>,
    parameters: Parameters,
    Body(request): Body<Request>,
) -> Result<Answer<Verdict>, Error> {
    check(&registry, &name, None, &parameters, &request).await
}

/// Against one version. `latest` of a subject that is not there is nothing, which everything goes with; a number that is not there is 40402.
pub(super) async fn with_version(
    State(registry): Shared,
    Path((name, version)): Path<(String, String)>,
    parameters: Parameters,
    Body(request): Body<Request>,
) -> Result<Answer<Verdict>, Error> {
    let version = VersionSpec::parse(&version)?;
    check(&registry, &name, Some(version), &parameters, &request).await
}

async fn check(
    registry: &Registry,
    name: &str,
    version: Option<VersionSpec>,
    parameters: &Parameters,
    request: &Request,
) -> Result<Answer<Verdict>, Error> {
    let (name, verbose) = (subject::normalize(name), parameters.flag("verbose"));
    let checked = registry
        .read(|state| {
            let earlier: Vec<_> = match version {
                None => state.live_rows(name).collect(),
                Some(VersionSpec::Latest) => state.live_rows(name).next_back().into_iter().collect(),
                Some(VersionSpec::Number(number)) => {
                    let row = state.row(name, number).filter(|row| !row.deleted);
                    vec![(number, row.ok_or_else(|| Error::version_not_found(number))?)]
                }
            };
            let candidate = prepare(state, request)?;
            compatibility::messages(state, state.level_in_scope(name), &candidate.schema, &earlier)
        })
        .await;
    let messages = match checked {
        Ok(messages) => messages,
        Err(error) if verbose && error.code() == 42201 => vec![error.message().to_owned()],
        Err(error) => return Err(error),
    };
    Ok(Answer(Verdict { is_compatible: messages.is_empty(), messages: verbose.then_some(messages) }))
}
