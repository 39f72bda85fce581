//! The addresses and what they answer. All are GET and change nothing.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response, Sse};
use axum::routing::get;
use axum::{Json, Router};
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::events::{CLIENTS_MAX, Events};
use crate::health::{not_ready, shares};
use crate::live::Live;
use crate::{metrics, page};

/// Nothing from other hosts, no inline script or style, no frames (<https://www.w3.org/TR/CSP3/>).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the handlers share.
#[derive(Debug, Clone)]
struct Shared {
    live: Live,
    events: Arc<Events>,
}

/// The dashboard's routes, to be served alone or merged into another router. It sets no fallback.
pub fn router(live: Live) -> Router {
    let events = Arc::new(Events::new(live.clone()));
    routes(live, events)
}

/// The same with event streams that the caller can end.
pub(crate) fn routes(live: Live, events: Arc<Events>) -> Router {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let mut router = Router::new()
        .route("/", get(|headers: HeaderMap| async move { page::file("index.html", &headers) }))
        .route("/app.js", get(|headers: HeaderMap| async move { page::file("app.js", &headers) }))
        .route("/app.css", get(|headers: HeaderMap| async move { page::file("app.css", &headers) }))
        .route("/favicon.svg", get(|headers: HeaderMap| async move { page::plain("favicon.svg", &headers) }))
        .route("/plain", get(|| async { Redirect::permanent("/plain/") }))
        .route("/plain/", get(|headers: HeaderMap| async move { page::plain("index.html", &headers) }))
        .route(
            "/plain/{file}",
            get(|Path(file): Path<String>, headers: HeaderMap| async move { page::plain(&file, &headers) }),
        )
        .route("/api/live", get(live_document))
        .route("/api/history", get(history))
        .route("/api/events", get(event_stream))
        .route("/metrics", get(metrics_text))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/version", get(version))
        .with_state(Shared { live, events });
    for (name, value) in headers {
        router = router.layer(SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value)));
    }
    // What has no caching of its own must not be kept: it is old the moment it arrives.
    let no_store = HeaderValue::from_static("no-store");
    router.layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, no_store)).layer(CompressionLayer::new())
}

async fn live_document(State(shared): State<Shared>) -> impl IntoResponse {
    Json(shared.live.snapshot())
}

async fn history(State(shared): State<Shared>) -> impl IntoResponse {
    Json(shared.live.history())
}

async fn event_stream(State(shared): State<Shared>) -> Response {
    match shared.events.open() {
        // Proxies must pass each event on at once.
        Some(stream) => ([("x-accel-buffering", "no")], Sse::new(stream)).into_response(),
        None => {
            let text = format!("{CLIENTS_MAX} event streams are open already: close one, or poll /api/live\n");
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], text).into_response()
        }
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    match metrics::text(&shared.live) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}

async fn readiness(State(shared): State<Shared>) -> Response {
    let (missing, shares) = shared.live.read(|state| (not_ready(state), shares(state)));
    let answer = |word: &str| [vec![word.to_owned()], missing.clone(), shares].concat().join("\n") + "\n";
    if missing.is_empty() {
        return answer("ready").into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, answer("not ready")).into_response()
}

async fn version() -> impl IntoResponse {
    Json(serde_json::json!({ "name": "tillstream", "version": env!("CARGO_PKG_VERSION") }))
}
