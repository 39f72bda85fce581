//! The check of a new schema against those before it, with the messages of Confluent's registry.

use avro::Schema;
use avro::compatibility::{Level, check};

use super::state::{Row, State};
use crate::error::Error;

/// Longest text of an old schema that is put into a message, in characters.
const SHOWN_SCHEMA_CHARS_MAX: usize = 32 * 1024;

/// Why `candidate` does not go with the versions in `earlier` (oldest first) at `level`; empty if it does.
///
/// # Errors
/// When an earlier schema that the level looks at can't be parsed.
pub fn messages(
    state: &State,
    level: Level,
    candidate: &Schema,
    earlier: &[(u32, &Row)],
) -> Result<Vec<String>, Error> {
    // The newest is looked at first and the first that disagrees ends the search, so older ones are parsed only if need be.
    let looked_at = match level {
        Level::None => 0,
        Level::Backward | Level::Forward | Level::Full => 1,
        Level::BackwardTransitive | Level::ForwardTransitive | Level::FullTransitive => earlier.len(),
    };
    for (version, row) in earlier.iter().rev().take(looked_at) {
        if row.content.kind() != "AVRO" {
            return Ok(vec!["Incompatible because of different schema type".to_owned()]);
        }
        let old = row.content.schema(state).map_err(|reason| {
            Error::invalid_schema(format!(
                "version {version} can't be compared with, since it does not parse: {reason}"
            ))
        })?;
        let mut found: Vec<String> =
            check(level, candidate, std::slice::from_ref(old)).iter().map(ToString::to_string).collect();
        if !found.is_empty() {
            found.push(format!("{{oldSchemaVersion: {version}}}"));
            found.push(shown(&row.content.text));
            found.push(format!("{{validateFields: 'false', compatibility: '{level}'}}"));
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_SCHEMA_CHARS_MAX) {
        None => format!("{{oldSchema: '{text}'}}"),
        Some((end, _)) => format!("{{oldSchema: <truncated> '{}...'}}", text.get(..end).unwrap_or_default()),
    }
}
