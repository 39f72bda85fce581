//! The forms of a request's body, and its division into records.

use std::fmt;

use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserializer as _;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::respond::Problem;

/// How records stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// An object, or an array of objects.
    Json,
    /// An object per line.
    Lines,
}

impl BodyForm {
    /// The form that the content type names.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let stated = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Ok(Self::Lines)
            }
            _ => {
                let found =
                    if essence.is_empty() { "it has no content type".into() } else { format!("it is {essence}") };
                Err(Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "content_type",
                    format!(
                        "{found}; send application/json (an object or an array) or application/x-ndjson (an object per line), \
                         with curl: -H 'content-type: application/json'"
                    ),
                ))
            }
        }
    }
}

/// Divides a body into the texts of its records, which may still be flawed JSON where each stands on a line of its own.
pub(super) fn split(form: BodyForm, body: &[u8], records_max: usize) -> Result<Vec<&str>, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|error| bad(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match form {
        BodyForm::Json => split_json(text, records_max),
        BodyForm::Lines => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let records: Vec<&str> = lines.take(records_max.saturating_add(1)).collect();
            if records.len() > records_max { Err(too_many(records_max)) } else { Ok(records) }
        }
    }
}

fn split_json(text: &str, records_max: usize) -> Result<Vec<&str>, Problem> {
    let not_json = |error: serde_json::Error| bad(format!("the body is not JSON: {error}"));
    match text.trim_start().as_bytes().first() {
        Some(b'{') => Ok(vec![serde_json::from_str::<&RawValue>(text).map_err(not_json)?.get()]),
        Some(b'[') => {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            let mut overflow = false;
            let elements = Elements { records_max, overflow: &mut overflow };
            let read = deserializer.deserialize_seq(elements).and_then(|records| deserializer.end().map(|()| records));
            read.map_err(|error| if overflow { too_many(records_max) } else { not_json(error) })
        }
        None => Err(bad("the body is empty".into())),
        Some(_) => Err(bad("the body is neither a JSON object nor an array of objects".into())),
    }
}

fn bad(message: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", message)
}

fn too_many(records_max: usize) -> Problem {
    let message = format!("the body holds more than {records_max} records; send fewer at once");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_records", message)
}

/// Takes the elements of an array as texts, up to a number.
struct Elements<'a> {
    records_max: usize,
    overflow: &'a mut bool,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(raw) = sequence.next_element::<&'de RawValue>()? {
            if records.len() == self.records_max {
                *self.overflow = true;
                return Err(A::Error::custom("too many records"));
            }
            records.push(raw.get());
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(form: BodyForm, body: &str) -> Result<Vec<&str>, u16> {
        split(form, body.as_bytes(), 3).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn bodies_are_divided_into_records() {
        assert_eq!(parts(BodyForm::Json, " {\"a\": 1} "), Ok(vec!["{\"a\": 1}"]));
        assert_eq!(parts(BodyForm::Json, "\n[{}, 2 ,[3]]"), Ok(vec!["{}", "2", "[3]"]));
        assert_eq!(parts(BodyForm::Json, "[]"), Ok(vec![]));
        assert_eq!(parts(BodyForm::Lines, "{}\r\n\n broken\n"), Ok(vec!["{}", " broken"]));
        for broken in ["", "{}{}", "[{}", "[{}]x", "7", "{\"a\":}", "\"text\""] {
            assert_eq!(parts(BodyForm::Json, broken), Err(400), "{broken}");
        }
        assert_eq!(parts(BodyForm::Json, "[1,2,3,4]"), Err(413));
        assert_eq!(parts(BodyForm::Lines, "1\n2\n3\n4"), Err(413));
        assert_eq!(split(BodyForm::Json, b"\xff", 3).unwrap_err().status().as_u16(), 400);
    }
}
