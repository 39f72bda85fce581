//! Names of subjects and of the contexts they live in.
//!
//! A subject `:.lab:payments-value` lives in the context `.lab`; a name without such a prefix lives in the default context `.`.
//! Each context has schema ids of its own.

/// The context of names without a prefix.
pub const DEFAULT_CONTEXT: &str = ".";
/// The context whose config and mode hold for every other one.
const GLOBAL_CONTEXT: &str = ".__GLOBAL";
/// Subject of the config and mode that hold everywhere.
pub const GLOBAL_SUBJECT: &str = ":.__GLOBAL:";
/// Prefix in listings that stands for all contexts.
pub const ALL_CONTEXTS: &str = ":*:";

/// Splits a subject into its context and the name inside of it.
pub fn split(subject: &str) -> (&str, &str) {
    if let Some(rest) = subject.strip_prefix(':')
        && rest.starts_with('.')
        && let Some((context, name)) = rest.split_once(':')
    {
        return (context, name);
    }
    (DEFAULT_CONTEXT, subject)
}

/// The context a subject lives in.
pub fn context(subject: &str) -> &str {
    split(subject).0
}

/// One spelling per subject: `:.:name` is `name`.
pub fn normalize(subject: &str) -> &str {
    subject.strip_prefix(":.:").unwrap_or(subject)
}

/// Whether a subject stands for a whole context (`:.lab:`).
pub fn is_context(subject: &str) -> bool {
    let (context, name) = split(subject);
    context != DEFAULT_CONTEXT && name.is_empty()
}

/// The subject that stands for a context: `.lab` gives `:.lab:`.
pub fn of_context(context: &str) -> String {
    format!(":{context}:")
}

/// Whether schemas, or with `config_or_mode` settings, may be kept under this name.
pub fn is_valid(subject: &str, config_or_mode: bool) -> bool {
    let (context, name) = split(subject);
    !subject.chars().any(char::is_control)
        && name != "__GLOBAL"
        && name != "__EMPTY"
        && (config_or_mode || (context != GLOBAL_CONTEXT && !is_context(subject)))
}

/// Whether a listing by `prefix` shows this subject: `:*:` is every context, a plain prefix is the default context.
pub fn has_prefix(subject: &str, prefix: &str) -> bool {
    match prefix.strip_prefix(ALL_CONTEXTS) {
        Some(name_prefix) => split(subject).1.starts_with(name_prefix),
        None => {
            let (wanted_context, wanted_name) = split(normalize(prefix));
            let (context, name) = split(subject);
            context == wanted_context && name.starts_with(wanted_name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_and_names() {
        assert_eq!(split("payments-value"), (".", "payments-value"));
        assert_eq!(split(":.lab:payments"), (".lab", "payments"));
        assert_eq!(split(":a:b"), (".", ":a:b"));
        assert_eq!(normalize(":.:payments"), "payments");
        assert!(is_context(":.lab:") && !is_context("x"));
    }

    #[test]
    fn prefixes() {
        assert!(has_prefix("payments", ":*:") && has_prefix(":.lab:payments", ":*:pay"));
        assert!(has_prefix("payments", "pay") && !has_prefix(":.lab:payments", "pay"));
        assert!(has_prefix(":.lab:payments", ":.lab:") && !has_prefix("payments", ":.lab:"));
        assert!(has_prefix("payments", "") && !has_prefix(":.lab:payments", ""));
    }

    #[test]
    fn names_that_are_refused() {
        assert!(is_valid("a/b c", false));
        assert!(!is_valid("a\u{7}b", false) && !is_valid("__GLOBAL", false) && !is_valid("__EMPTY", true));
        assert!(!is_valid(":.__GLOBAL:", false) && is_valid(":.__GLOBAL:", true));
    }
}
