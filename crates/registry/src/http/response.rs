//! Answers: JSON, errors in Confluent's form, the content type that the client can take.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::Error;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => Response::new(Body::from(bytes)),
            Err(error) => Error::new(500, error.to_string()).into_response(),
        }
    }
}

/// A text as the whole body: a schema, to be read as it is.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        Response::new(Body::from(self.0))
    }
}

#[derive(Serialize)]
struct ErrorMessage<'a> {
    error_code: u32,
    message: &'a str,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = ErrorMessage { error_code: self.code(), message: self.message() };
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
    }
}

pub(crate) async fn no_such_path() -> Error {
    Error::new(404, "HTTP 404 Not Found")
}

pub(crate) async fn no_such_method() -> Error {
    Error::new(405, "HTTP 405 Method Not Allowed")
}

/// Sets the content type that the client named, the newest one if it named none of ours.
pub(crate) async fn content_type(request: Request, next: Next) -> Response {
    let accepted: Vec<String> = request
        .headers()
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_ascii_lowercase)
        .collect();
    let names = |kind: &str| accepted.iter().any(|value| value.contains(kind));
    const NEWEST: &str = "application/vnd.schemaregistry.v1+json";
    let kind = [NEWEST, "application/vnd.schemaregistry+json", "application/json"].into_iter().find(|kind| names(kind));
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind.unwrap_or(NEWEST)));
    response
}
