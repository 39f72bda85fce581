//! What the registry answers when it can't do what was asked: Confluent's error codes with their messages.

use model::{Classified, Domain, Retry};

/// An answer that is not a success. The HTTP status is the first three digits of the code.
///
/// Codes and words follow Confluent's `io.confluent.kafka.schemaregistry.rest.exceptions.Errors`, since clients and scripts match on them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct Error {
    code: u32,
    message: String,
}

impl Error {
    /// An error with a code of Confluent's list, or a plain HTTP status.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The `error_code` of the answer.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The `message` of the answer.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        let status = if self.code >= 1_000 { self.code / 100 } else { self.code };
        u16::try_from(status).unwrap_or(500)
    }

    /// Whether something was looked for and is not there. The view of a second server may lag, so such an answer is checked once more.
    pub fn is_missing(&self) -> bool {
        self.status() == 404
    }

    pub(crate) fn subject_not_found(subject: &str) -> Self {
        Self::new(40401, format!("Subject '{subject}' not found."))
    }

    pub(crate) fn version_not_found(version: impl std::fmt::Display) -> Self {
        Self::new(40402, format!("Version {version} not found."))
    }

    pub(crate) fn schema_not_found() -> Self {
        Self::new(40403, "Schema not found")
    }

    pub(crate) fn schema_id_not_found(id: impl std::fmt::Display) -> Self {
        Self::new(40403, format!("Schema {id} not found"))
    }

    pub(crate) fn subject_soft_deleted(subject: &str) -> Self {
        Self::new(40404, format!("Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"))
    }

    pub(crate) fn subject_not_soft_deleted(subject: &str) -> Self {
        Self::new(40405, format!("Subject '{subject}' was not deleted first before being permanently deleted"))
    }

    pub(crate) fn version_soft_deleted(subject: &str, version: u32) -> Self {
        Self::new(
            40406,
            format!("Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently"),
        )
    }

    pub(crate) fn version_not_soft_deleted(subject: &str, version: u32) -> Self {
        Self::new(
            40407,
            format!("Subject '{subject}' Version {version} was not deleted first before being permanently deleted"),
        )
    }

    pub(crate) fn no_subject_config(subject: &str) -> Self {
        Self::new(40408, format!("Subject '{subject}' does not have subject-level compatibility configured"))
    }

    pub(crate) fn no_subject_mode(subject: &str) -> Self {
        Self::new(40409, format!("Subject '{subject}' does not have subject-level mode configured"))
    }

    pub(crate) fn incompatible(subject: &str, messages: &[String]) -> Self {
        Self::new(
            409,
            format!(
                "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
                messages.join(", ")
            ),
        )
    }

    pub(crate) fn invalid_schema(reason: impl std::fmt::Display) -> Self {
        Self::new(42201, format!("Invalid schema: {reason}"))
    }

    pub(crate) fn invalid_version(version: &str) -> Self {
        Self::new(
            42202,
            format!(
                "The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
            ),
        )
    }

    pub(crate) fn invalid_level() -> Self {
        Self::new(
            42203,
            "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive",
        )
    }

    pub(crate) fn invalid_mode() -> Self {
        Self::new(42204, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE and IMPORT.")
    }

    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self::new(42205, message)
    }

    pub(crate) fn referenced(subject: &str, version: u32) -> Self {
        Self::new(
            42206,
            format!(
                "One or more references exist to the schema {{magic=1,keytype=SCHEMA,subject={subject},version={version}}}."
            ),
        )
    }

    pub(crate) fn invalid_subject(subject: &str) -> Self {
        Self::new(42208, format!("The specified subject '{subject}' is not a valid subject."))
    }

    pub(crate) fn too_large() -> Self {
        Self::new(42209, "Register operation failed because schema is too large")
    }

    /// The storage failed or refused.
    pub(crate) fn store(reason: impl std::fmt::Display) -> Self {
        Self::new(50001, format!("Error in the backend data store: {reason}"))
    }

    /// The storage did not answer in time; the outcome is unknown.
    pub(crate) fn timeout(reason: impl std::fmt::Display) -> Self {
        Self::new(50002, format!("Operation timed out: {reason}"))
    }
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        if self.status() >= 500 { Domain::External } else { Domain::User }
    }

    fn retry(&self) -> Retry {
        if self.status() >= 500 { Retry::Backoff } else { Retry::Never }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_first_three_digits_of_the_code() {
        assert_eq!(Error::subject_not_found("s").status(), 404);
        assert_eq!(Error::invalid_schema("x").status(), 422);
        assert_eq!(Error::incompatible("s", &[]).status(), 409);
        assert_eq!(Error::timeout("x").status(), 500);
        assert_eq!(Error::new(405, "x").status(), 405);
    }
}
