//! Answers of the door.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::{Appended, SinkError};

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Why a request as a whole was not served. Nothing was appended.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u32>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message, retry_after_s: None }
    }

    pub(super) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn response(&self) -> Response {
        let body = json!({ "error": { "code": self.code, "message": self.message } });
        with_retry_after(json(self.status, &body), self.retry_after_s)
    }
}

fn with_retry_after(mut response: Response, seconds: Option<u32>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Why one record was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordProblem {
    /// `invalid_json`, `invalid_value`, `refused`, `unavailable`, `unknown_outcome`. A contract.
    pub(super) code: &'static str,
    /// Where in the record, as a JSON pointer.
    pub(super) pointer: Option<String>,
    pub(super) message: String,
}

impl From<SinkError> for RecordProblem {
    fn from(error: SinkError) -> Self {
        let code = match error {
            SinkError::Unavailable { .. } => UNAVAILABLE,
            SinkError::Unknown { .. } => UNKNOWN_OUTCOME,
            SinkError::Refused { .. } => "refused",
        };
        Self { code, pointer: None, message: error.to_string() }
    }
}

const UNAVAILABLE: &str = "unavailable";
const UNKNOWN_OUTCOME: &str = "unknown_outcome";

/// What became of the records of a request, in their order.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) records: Vec<Result<Appended, RecordProblem>>,
}

impl Outcome {
    fn status(&self) -> StatusCode {
        let mut status = StatusCode::OK;
        for problem in self.records.iter().filter_map(|record| record.as_ref().err()) {
            if [UNAVAILABLE, UNKNOWN_OUTCOME].contains(&problem.code) {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            status = StatusCode::UNPROCESSABLE_ENTITY;
        }
        status
    }

    pub(super) fn response(&self, retry_after_s: u32) -> Response {
        let status = self.status();
        let records: Vec<Value> = self
            .records
            .iter()
            .map(|record| match record {
                Ok(Appended { partition, offset }) => json!({ "partition": partition, "offset": offset }),
                Err(RecordProblem { code, pointer: Some(pointer), message }) => {
                    json!({ "error": { "code": code, "pointer": pointer, "message": message } })
                }
                Err(RecordProblem { code, pointer: None, message }) => {
                    json!({ "error": { "code": code, "message": message } })
                }
            })
            .collect();
        let appended = self.records.iter().filter(|record| record.is_ok()).count();
        let body = json!({ "appended": appended, "failed": self.records.len() - appended, "records": records });
        let retry_after_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(retry_after_s);
        with_retry_after(json(status, &body), retry_after_s)
    }
}
