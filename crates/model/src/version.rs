//! Which version of a result wins.

use serde::{Deserialize, Serialize};

/// The version of a result row. The store applies only a greater one, so a replay never takes a row back.
///
/// Order: generation, then the accepted rows folded in, then finality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Generation of the query; a change of its SQL, reader schema, key or partition count starts the next one.
    pub generation: u32,
    /// Accepted rows folded into the result; 1 for a row-by-row result.
    pub rows: u64,
    /// Whether the watermark has passed the result, so that it can't change any more.
    pub is_final: bool,
}

impl Version {
    /// The header's text, `generation:rows:final` with final as 0 or 1.
    pub fn to_header(self) -> String {
        format!("{}:{}:{}", self.generation, self.rows, u8::from(self.is_final))
    }

    /// Reads the header's text.
    pub fn from_header(bytes: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split(':');
        let generation = parts.next()?.parse().ok()?;
        let rows = parts.next()?.parse().ok()?;
        let is_final = match parts.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        if parts.next().is_some() { None } else { Some(Self { generation, rows, is_final }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn header_round_trip(generation: u32, rows: u64, is_final: bool) {
            let version = Version { generation, rows, is_final };
            prop_assert_eq!(Version::from_header(version.to_header().as_bytes()), Some(version));
        }
    }

    #[test]
    fn more_rows_win_and_a_new_generation_wins_over_all() {
        let version = |generation, rows, is_final| Version { generation, rows, is_final };
        assert!(version(1, 5, false) < version(1, 5, true));
        assert!(version(1, 5, true) < version(1, 6, false));
        assert!(version(1, 9, true) < version(2, 1, false));
        assert_eq!(Version::from_header(b"1:2"), None);
        assert_eq!(Version::from_header(b"1:2:3"), None);
    }
}
