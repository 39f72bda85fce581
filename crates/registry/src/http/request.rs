//! Reading requests: parameters, bodies, and the content types that are taken.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::machine::query::{Format, Shown};
use crate::machine::settings::place;

/// The parameters after the `?`. Unknown ones are ignored.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        query
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error| Error::new(400, format!("the query can't be read: {error}")))
    }
}

impl Parameters {
    /// The value of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn texts(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a switch is on. Python's clients write `True`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
    }

    /// Which versions are to be shown.
    pub(crate) fn shown(&self) -> Shown {
        match (self.flag("deletedOnly"), self.flag("deleted")) {
            (true, _) => Shown::DeletedOnly,
            (false, true) => Shown::WithDeleted,
            (false, false) => Shown::Live,
        }
    }

    /// How texts are to be served. Formats of other schema types mean nothing here.
    pub(crate) fn format(&self) -> Format {
        if self.text("format") == Some("resolved") { Format::Resolved } else { Format::Kept }
    }

    /// The part of a list that `offset` and `limit` ask for; at most `max` items, also without a limit.
    pub(crate) fn page<T>(&self, items: impl IntoIterator<Item = T>, max: usize) -> Result<Vec<T>, Error> {
        let offset = usize::try_from(self.number("offset")?.unwrap_or(0)).unwrap_or(0);
        let limit = self.number("limit")?.filter(|limit| *limit > 0).and_then(|limit| usize::try_from(limit).ok());
        Ok(items.into_iter().skip(offset).take(limit.unwrap_or(max).min(max)).collect())
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        match self.text(name).map(str::trim).filter(|text| !text.is_empty()) {
            None => Ok(None),
            // As the reference server does with what is no number.
            Some(text) => text.parse().map(Some).map_err(|_| Error::new(404, "HTTP 404 Not Found")),
        }
    }
}

/// The place of settings that the path names: a subject, or everything where it names none.
#[derive(Debug)]
pub(crate) struct At(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let subject = Option::<Path<String>>::from_request_parts(parts, state).await;
        let subject = subject.map_err(|rejection| Error::new(400, rejection.body_text()))?;
        Ok(Self(place(subject.as_ref().map(|Path(subject)| subject.as_str()))))
    }
}

/// A JSON body of one of the content types that registries take.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let kind =
            request.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default().to_ascii_lowercase());
        if kind.is_some_and(|kind| !is_taken(&kind)) {
            // Also keeps web pages from sending forms here without asking.
            return Err(Error::new(
                415,
                "HTTP 415 Unsupported Media Type: send Content-Type application/vnd.schemaregistry.v1+json or application/json",
            ));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status().as_u16() == 413 {
                Error::new(413, "HTTP 413 Request Entity Too Large")
            } else {
                Error::new(400, rejection.body_text())
            }
        })?;
        if bytes.is_empty() {
            return Err(Error::new(422, "the request has no body; send JSON"));
        }
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Error::new(400, format!("the body can't be read: {error}")))
    }
}

fn is_taken(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    [
        "application/vnd.schemaregistry.v1+json",
        "application/vnd.schemaregistry+json",
        "application/json",
        "application/octet-stream",
    ]
    .contains(&kind)
}
