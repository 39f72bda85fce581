//! Keys of the records of `_schemas`.
//!
//! Compaction compares bytes, so a key has exactly one spelling: compact JSON with the properties in the order that Confluent's registry
//! writes. Any order is read.

use serde::{Deserialize, Serialize};

/// What a record of the topic is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A version of a subject.
    Schema {
        /// Subject.
        subject: String,
        /// Version, from 1.
        version: u32,
    },
    /// Settings of a subject, or the global ones.
    Config {
        /// Subject; `None` is global.
        subject: Option<String>,
    },
    /// Mode of a subject, or the global one.
    Mode {
        /// Subject; `None` is global.
        subject: Option<String>,
    },
    /// Soft deletion of all versions of a subject up to one.
    DeleteSubject {
        /// Subject.
        subject: String,
    },
    /// Caches of a subject are to be cleared, before an import.
    ClearSubject {
        /// Subject; `None` is all.
        subject: Option<String>,
    },
    /// A context exists.
    Context {
        /// Tenant; always `default`.
        tenant: String,
        /// Name, such as `.lab`.
        context: String,
    },
    /// Says nothing; written to find the end of the log.
    Noop,
    /// A kind that this registry does not know; it is left alone.
    Unknown(String),
}

/// Why the key of a record could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the JSON of a key.
    #[error("not a key of a schema registry: {0}")]
    Malformed(String),
    /// Written by a registry with a newer format.
    #[error("key of kind {kind} has format {magic}, and at most {max} is understood")]
    TooNew {
        /// Kind of the key.
        kind: String,
        /// Its format number.
        magic: u32,
        /// The newest one that is understood.
        max: u32,
    },
}

#[derive(Deserialize)]
struct AnyKey {
    keytype: String,
    subject: Option<String>,
    version: Option<u32>,
    magic: Option<u32>,
    tenant: Option<String>,
    context: Option<String>,
}

#[derive(Serialize)]
struct WrittenKey<'a> {
    keytype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    magic: u32,
}

impl Key {
    /// Reads the key of a record, with its properties in any order.
    ///
    /// # Errors
    /// `Malformed` when it is not such a key, `TooNew` when its format is not understood.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let key: AnyKey = serde_json::from_slice(bytes).map_err(|error| KeyError::Malformed(error.to_string()))?;
        let (magic, max) = (key.magic.unwrap_or(0), if key.keytype == "SCHEMA" { 1 } else { 0 });
        let known =
            ["SCHEMA", "CONFIG", "MODE", "DELETE_SUBJECT", "CLEAR_SUBJECT", "CONTEXT"].contains(&key.keytype.as_str());
        if known && magic > max {
            return Err(KeyError::TooNew { kind: key.keytype, magic, max });
        }
        let named = |subject: Option<String>| {
            subject.ok_or_else(|| KeyError::Malformed(format!("a key of kind {} without a subject", key.keytype)))
        };
        Ok(match key.keytype.as_str() {
            "SCHEMA" => Self::Schema {
                subject: named(key.subject)?,
                version: key.version.ok_or_else(|| KeyError::Malformed("a SCHEMA key without a version".to_owned()))?,
            },
            "CONFIG" => Self::Config { subject: key.subject },
            "MODE" => Self::Mode { subject: key.subject },
            "DELETE_SUBJECT" => Self::DeleteSubject { subject: named(key.subject)? },
            "CLEAR_SUBJECT" => Self::ClearSubject { subject: key.subject },
            "CONTEXT" => Self::Context {
                tenant: key.tenant.unwrap_or_else(|| "default".to_owned()),
                context: key.context.unwrap_or_default(),
            },
            "NOOP" => Self::Noop,
            _ => Self::Unknown(key.keytype),
        })
    }

    /// The exact bytes of the key, `None` for a kind that is not ours to write.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let key =
            |keytype, magic| WrittenKey { keytype, tenant: None, subject: None, context: None, version: None, magic };
        let written = match self {
            Self::Schema { subject, version } => {
                WrittenKey { subject: Some(subject), version: Some(*version), ..key("SCHEMA", 1) }
            }
            Self::Config { subject } => WrittenKey { subject: subject.as_deref(), ..key("CONFIG", 0) },
            Self::Mode { subject } => WrittenKey { subject: subject.as_deref(), ..key("MODE", 0) },
            Self::DeleteSubject { subject } => WrittenKey { subject: Some(subject), ..key("DELETE_SUBJECT", 0) },
            Self::ClearSubject { subject } => WrittenKey { subject: subject.as_deref(), ..key("CLEAR_SUBJECT", 0) },
            Self::Context { tenant, context } => {
                WrittenKey { tenant: Some(tenant), context: Some(context), ..key("CONTEXT", 0) }
            }
            Self::Noop => key("NOOP", 0),
            Self::Unknown(_) => return None,
        };
        serde_json::to_vec(&written).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(key: &Key) -> String {
        String::from_utf8(key.to_bytes().unwrap()).unwrap()
    }

    #[test]
    fn the_bytes_are_those_of_the_reference_registry() {
        let subject = "payments-value".to_owned();
        let pairs = [
            (
                Key::Schema { subject: subject.clone(), version: 1 },
                r#"{"keytype":"SCHEMA","subject":"payments-value","version":1,"magic":1}"#,
            ),
            (
                Key::Config { subject: Some(subject.clone()) },
                r#"{"keytype":"CONFIG","subject":"payments-value","magic":0}"#,
            ),
            (Key::Config { subject: None }, r#"{"keytype":"CONFIG","magic":0}"#),
            (
                Key::Mode { subject: Some(subject.clone()) },
                r#"{"keytype":"MODE","subject":"payments-value","magic":0}"#,
            ),
            (
                Key::DeleteSubject { subject: subject.clone() },
                r#"{"keytype":"DELETE_SUBJECT","subject":"payments-value","magic":0}"#,
            ),
            (
                Key::ClearSubject { subject: Some(subject) },
                r#"{"keytype":"CLEAR_SUBJECT","subject":"payments-value","magic":0}"#,
            ),
            (
                Key::Context { tenant: "default".to_owned(), context: ".c".to_owned() },
                r#"{"keytype":"CONTEXT","tenant":"default","context":".c","magic":0}"#,
            ),
            (Key::Noop, r#"{"keytype":"NOOP","magic":0}"#),
        ];
        for (key, bytes) in pairs {
            assert_eq!(spelled(&key), bytes);
            assert_eq!(Key::parse(bytes.as_bytes()).unwrap(), key);
        }
    }

    #[test]
    fn other_spellings_are_read() {
        assert_eq!(
            Key::parse(br#"{"magic":0,"version":3,"subject":"s","keytype":"SCHEMA"}"#).unwrap(),
            Key::Schema { subject: "s".to_owned(), version: 3 }
        );
        assert_eq!(
            Key::parse(br#"{"subject":null,"magic":0,"keytype":"CONFIG"}"#).unwrap(),
            Key::Config { subject: None }
        );
        assert_eq!(Key::parse(br#"{"keytype":"ASSOC","guid":"x"}"#).unwrap(), Key::Unknown("ASSOC".to_owned()));
    }

    #[test]
    fn newer_formats_and_garbage_are_errors() {
        assert!(matches!(
            Key::parse(br#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":2}"#),
            Err(KeyError::TooNew { .. })
        ));
        assert!(matches!(Key::parse(b"\x00\x01"), Err(KeyError::Malformed(_))));
        assert!(matches!(Key::parse(br#"{"keytype":"SCHEMA","subject":"s"}"#), Err(KeyError::Malformed(_))));
    }
}
