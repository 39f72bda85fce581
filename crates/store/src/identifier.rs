//! Names of tables and columns in SQL text. Names can't be bound as parameters, so this is the one way in which they get there.

use std::fmt;

use crate::error::{Error, Result};

/// Longest name in bytes; PostgreSQL cuts longer ones without an error (NAMEDATALEN - 1).
pub const IDENTIFIER_BYTES_MAX: usize = 63;

/// A name that may stand in SQL text. `Display` prints it quoted.
///
/// It is neither empty nor longer than PostgreSQL keeps, and holds no control character; anything else (spaces, quotes, keywords,
/// other scripts) is allowed and made harmless by quoting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier(String);

impl Identifier {
    /// Checks a name.
    ///
    /// # Errors
    /// `Specification` when the name is empty, too long or holds a control character.
    pub fn new(name: &str) -> Result<Self> {
        let reason = if name.is_empty() {
            "a name can't be empty".to_owned()
        } else if name.len() > IDENTIFIER_BYTES_MAX {
            format!(
                "the name has {} bytes, PostgreSQL keeps only {IDENTIFIER_BYTES_MAX}: choose a shorter one",
                name.len()
            )
        } else if name.chars().any(char::is_control) {
            "the name holds a control character".to_owned()
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(Error::Specification { table: name.escape_debug().to_string(), message: reason })
    }

    /// The name itself, unquoted: to be bound as a value, never to be put into SQL.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name with a suffix, cut so that it stays within the limit. Names that only differ past the cut get different results.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Self {
        let room = IDENTIFIER_BYTES_MAX.saturating_sub(suffix.len());
        if self.0.len() <= room {
            return Self(format!("{}{suffix}", self.0));
        }
        let hash = format!("{:08x}", crc(self.0.as_bytes()));
        let mut end = room.saturating_sub(hash.len());
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        Self(format!("{}{hash}{suffix}", self.0.get(..end).unwrap_or_default()))
    }
}

/// 32-bit FNV-1a: only to keep cut names apart.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for (index, part) in self.0.split('"').enumerate() {
            if index > 0 {
                f.write_str("\"\"")?;
            }
            f.write_str(part)?;
        }
        f.write_str("\"")
    }
}

/// A text literal for statements that take no parameters (`COMMENT ON`). NUL, which PostgreSQL can't hold, becomes U+FFFD.
pub(crate) struct Literal<'a>(pub(crate) &'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With E'', backslashes mean the same whatever standard_conforming_strings says.
        f.write_str("E'")?;
        for character in self.0.chars() {
            match character {
                '\'' => f.write_str("''")?,
                '\\' => f.write_str("\\\\")?,
                '\0' => f.write_str("\u{fffd}")?,
                other => write!(f, "{other}")?,
            }
        }
        f.write_str("'")
    }
}

/// Names, quoted and separated by commas.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a Identifier>) -> String {
    names.into_iter().map(Identifier::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a quoted identifier as PostgreSQL's scanner does; `None` if the text isn't exactly one.
    fn scan(text: &str) -> Option<String> {
        let mut inner = text.strip_prefix('"')?.chars();
        let mut name = String::new();
        loop {
            match inner.next()? {
                '"' => match inner.next() {
                    None => return Some(name),
                    Some('"') => name.push('"'),
                    Some(_) => return None,
                },
                other => name.push(other),
            }
        }
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_always_one_token(name in "\\PC{1,70}") {
            if let Ok(identifier) = Identifier::new(&name) {
                prop_assert_eq!(scan(&identifier.to_string()), Some(name));
            }
        }

        #[test]
        fn suffixes_stay_within_the_limit(name in "\\PC{1,63}") {
            if let Ok(identifier) = Identifier::new(&name) {
                prop_assert!(identifier.with_suffix("__identity").name().len() <= IDENTIFIER_BYTES_MAX);
            }
        }
    }

    #[test]
    fn what_postgresql_would_cut_or_refuse_is_refused() {
        assert!(Identifier::new("").is_err());
        assert!(Identifier::new("a\0b").is_err());
        assert!(Identifier::new(&"x".repeat(64)).is_err());
        assert_eq!(Identifier::new("x\"; drop table y --").unwrap().to_string(), "\"x\"\"; drop table y --\"");
        assert_eq!(Literal("it's \\ \0").to_string(), "E'it''s \\\\ \u{fffd}'");
        let long = |end: &str| Identifier::new(&format!("{}{end}", "x".repeat(60))).unwrap().with_suffix("__time");
        assert_ne!(long("a"), long("b"));
    }
}
