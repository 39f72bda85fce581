//! The files of the page, built into the binary: the dashboard of `web/dist` if it was built before the binary, else a plain page.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use rust_embed::{Embed, EmbeddedFile};

/// The dashboard. Empty (but for .gitkeep) when Node was not there to build it.
#[derive(Embed)]
#[folder = "../../web/dist"]
struct Built;

/// The page that needs no building. It is always there, under `/plain/`.
#[derive(Embed)]
#[folder = "plain"]
struct Plain;

/// A file of the page to show at `/`.
pub(crate) fn file(name: &str, request: &HeaderMap) -> Response {
    // The build writes index.html last, so that with it there all files are.
    let found = if Built::get("index.html").is_some() { Built::get(name) } else { Plain::get(name) };
    respond(name, found, request)
}

/// A file of the plain page.
pub(crate) fn plain(name: &str, request: &HeaderMap) -> Response {
    respond(name, Plain::get(name), request)
}

fn respond(name: &str, found: Option<EmbeddedFile>, request: &HeaderMap) -> Response {
    let Some(found) = found else { return (StatusCode::NOT_FOUND, "no such page\n").into_response() };
    let tag = tag(&found);
    let caching = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag.clone())];
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    // The compression may have made the tag a weak one.
    if known.is_some_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let body = match found.data {
        Cow::Borrowed(bytes) => bytes.into_response(),
        Cow::Owned(bytes) => bytes.into_response(),
    };
    (caching, [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// The start of the content's SHA-256, in quotes.
fn tag(file: &EmbeddedFile) -> String {
    let mut tag = String::from("\"");
    for byte in file.metadata.sha256_hash().iter().take(12) {
        tag.push_str(&format!("{byte:02x}"));
    }
    tag.push('"');
    tag
}
