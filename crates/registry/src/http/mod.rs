//! The REST API. Paths, parameters and answers are those of Confluent's registry; a slash at the end of a path makes no difference.

mod compatibility;
mod config;
mod ids;
mod mode;
mod request;
mod response;
mod subjects;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{MethodRouter, get, post};

use crate::registry::Registry;

type Api = Router<Arc<Registry>>;

/// The API over a registry.
pub(crate) fn router(registry: Arc<Registry>, request_bytes_max: usize) -> Router {
    let mut api = Router::new().route("/", get(ids::root));
    api = route(api, "/subjects", get(subjects::list));
    api = route(api, "/subjects/{subject}", post(subjects::look_up).delete(subjects::delete));
    api = route(api, "/subjects/{subject}/metadata", get(subjects::latest_with_metadata));
    api = route(api, "/subjects/{subject}/versions", get(subjects::versions).post(subjects::register));
    api = route(api, "/subjects/{subject}/versions/{version}", get(subjects::version).delete(subjects::delete_version));
    api = route(api, "/subjects/{subject}/versions/{version}/schema", get(subjects::version_text));
    api = route(api, "/subjects/{subject}/versions/{version}/referencedby", get(subjects::referenced_by));
    api = route(api, "/schemas", get(ids::schemas));
    api = route(api, "/schemas/types", get(ids::types));
    api = route(api, "/schemas/ids/{id}", get(ids::schema));
    api = route(api, "/schemas/ids/{id}/schema", get(ids::text));
    api = route(api, "/schemas/ids/{id}/subjects", get(ids::subjects));
    api = route(api, "/schemas/ids/{id}/versions", get(ids::versions));
    api = route(api, "/schemas/guids/{guid}", get(ids::by_guid));
    api = route(api, "/schemas/guids/{guid}/ids", get(ids::ids_of_guid));
    api = route(api, "/config", get(config::get).put(config::set).delete(config::delete));
    api = route(api, "/config/{subject}", get(config::get).put(config::set).delete(config::delete));
    api = route(api, "/mode", get(mode::get).put(mode::set).delete(mode::delete));
    api = route(api, "/mode/{subject}", get(mode::get).put(mode::set).delete(mode::delete));
    api = route(api, "/compatibility/subjects/{subject}/versions", post(compatibility::with_all));
    api = route(api, "/compatibility/subjects/{subject}/versions/{version}", post(compatibility::with_version));
    api = route(api, "/contexts", get(ids::contexts));
    api = route(api, "/v1/metadata/id", get(ids::metadata_id));
    api = route(api, "/v1/metadata/version", get(ids::metadata_version));
    api.fallback(response::no_such_path)
        .method_not_allowed_fallback(response::no_such_method)
        .layer(middleware::from_fn(response::content_type))
        .layer(DefaultBodyLimit::max(request_bytes_max))
        .with_state(registry)
}

fn route(api: Api, path: &str, methods: MethodRouter<Arc<Registry>>) -> Api {
    api.route(path, methods.clone()).route(&format!("{path}/"), methods)
}
