//! YAML as a tree in which every key and value knows where it was written.
//!
//! Scalars stay text until the settings' schema says what they should be, so that `--set` and the environment, which
//! are always text, are read by the same rules as the file.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::source::{Origin, SourceId};

/// A value of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_origin: Origin,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn mapping(&self) -> Option<&[Entry]> {
        if let Value::Mapping(entries) = &self.value { Some(entries) } else { None }
    }

    pub(crate) fn scalar(&self) -> Option<&str> {
        if let Value::Scalar(text) = &self.value { Some(text) } else { None }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.mapping()?.iter().find(|entry| entry.key == key)
    }

    /// The node at a path of keys and (decimal) indexes.
    pub(crate) fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.value {
            Value::Mapping(_) => node.entry(step).map(|entry| &entry.node),
            Value::Sequence(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Where the value at a path stands; for a path that isn't there, its nearest ancestor's key. `None` for the root.
    pub(crate) fn place(&self, path: &[&str]) -> Option<Origin> {
        let mut found = None;
        let mut node = self;
        for step in path {
            match &node.value {
                Value::Mapping(_) => {
                    let Some(entry) = node.entry(step) else { return found };
                    node = &entry.node;
                    // A mapping is long and its start says little: its key is the better place.
                    found =
                        Some(if node.mapping().is_some() || node.is_null() { entry.key_origin } else { node.origin });
                }
                Value::Sequence(items) => {
                    let Some(item) = step.parse::<usize>().ok().and_then(|index| items.get(index)) else {
                        return found;
                    };
                    node = item;
                    found = Some(node.origin);
                }
                _ => return found,
            }
        }
        found
    }

    /// Where the last key of a path stands.
    pub(crate) fn key_place(&self, path: &[&str]) -> Option<Origin> {
        let (last, parents) = path.split_last()?;
        let found = self.find(parents).and_then(|node| node.entry(last)).map(|entry| entry.key_origin);
        found.or_else(|| self.place(path))
    }

    /// What kind of value it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// A text that isn't YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) origin: Option<Origin>,
}

/// Reads a YAML (or JSON) document. An empty one is an empty mapping.
pub(crate) fn parse(source: SourceId, text: &str) -> Result<Node, SyntaxError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let raw: Option<Spanned<Raw>> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let formatter = serde_saphyr::UserMessageFormatter;
        let origin = error.location().and_then(|location| range(source, text, location));
        let message = error.without_snippet().render_with_formatter(&formatter);
        SyntaxError { message: without_position(&message), origin }
    })?;
    let builder = Builder { source, text };
    Ok(match raw {
        Some(raw) => builder.node(raw),
        None => Node { value: Value::Mapping(Vec::new()), origin: Origin::new(source, 0, 0) },
    })
}

/// The parser ends its messages with the position, which is shown with a caret anyway.
pub(crate) fn without_position(message: &str) -> String {
    let end = [" at line ", " (line "].iter().filter_map(|mark| message.rfind(mark)).min().unwrap_or(message.len());
    message.get(..end).unwrap_or(message).trim_end_matches([':', ',', ' ']).to_owned()
}

fn range(source: SourceId, text: &str, location: Location) -> Option<Origin> {
    let span = location.span();
    let start = match span.byte_offset() {
        Some(offset) => usize::try_from(offset).ok()?.min(text.len()),
        None => offset_of(text, location.line(), location.column())?,
    };
    let length = usize::try_from(span.byte_len().unwrap_or(0)).ok()?;
    Some(Origin::new(source, start, start.saturating_add(length).min(text.len())))
}

/// Byte offset of a line and a column, both from 1, columns in characters. Errors of the scanner have no more.
pub(crate) fn offset_of(text: &str, line: u64, column: u64) -> Option<usize> {
    let (line, column) = (usize::try_from(line).ok()?.checked_sub(1)?, usize::try_from(column).ok()?.saturating_sub(1));
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    Some(before + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset))
}

/// What the YAML library hands over, before texts and places are worked out.
enum Raw {
    Null,
    /// A number or truth value: what was written is in the source.
    Written(String),
    Text(String),
    Sequence(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value, a list or a mapping")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Written(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Written(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Written(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Written(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}

struct Builder<'t> {
    source: SourceId,
    text: &'t str,
}

impl Builder<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let mut origin = self.origin(raw.defined);
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Text(text) => Value::Scalar(text),
            Raw::Written(value) => {
                let written = self.text.get(origin.start..origin.end).unwrap_or_default().trim();
                Value::Scalar(if written.is_empty() { value } else { written.to_owned() })
            }
            Raw::Sequence(items) => Value::Sequence(items.into_iter().map(|item| self.node(item)).collect()),
            Raw::Mapping(entries) => {
                Value::Mapping(entries.into_iter().map(|(key, node)| self.entry(key, node)).collect())
            }
        };
        // Collections report their first character; their first child says more, and a caret under one bracket is fine.
        if let Value::Mapping(entries) = &value
            && let Some(first) = entries.first()
            && origin.end <= origin.start + 1
        {
            origin = Origin::new(self.source, origin.start, first.key_origin.end.max(origin.end));
        }
        Node { value, origin }
    }

    fn entry(&self, key: Spanned<String>, node: Spanned<Raw>) -> Entry {
        Entry { key_origin: self.origin(key.defined), key: key.value, node: self.node(node) }
    }

    fn origin(&self, location: Location) -> Origin {
        let origin = range(self.source, self.text, location).unwrap_or(Origin::new(self.source, 0, 0));
        let written = self.text.get(origin.start..origin.end).unwrap_or_default();
        // Plain scalars may include trailing white space.
        Origin::new(self.source, origin.start, origin.start + written.trim_end().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(text: &str, path: &[&str]) -> String {
        let node = parse(0, text).unwrap();
        let origin = node.place(path).unwrap();
        text[origin.start..origin.end].to_owned()
    }

    #[test]
    fn values_and_keys_know_their_places() {
        let text = "name: päyments # c\nstreams:\n  a: { key: \"x y\", n: 007, t: true, z: ~ }\nlist: [1, two]\nmulti: |\n  one\n  two\n";
        assert_eq!(slice(text, &["name"]), "päyments");
        assert_eq!(slice(text, &["streams"]), "streams");
        assert_eq!(slice(text, &["streams", "a"]), "a");
        assert_eq!(slice(text, &["streams", "a", "key"]), "\"x y\"");
        assert_eq!(slice(text, &["streams", "a", "n"]), "007");
        assert_eq!(slice(text, &["streams", "a", "z"]), "z");
        assert_eq!(slice(text, &["streams", "a", "missing"]), "a");
        assert_eq!(slice(text, &["list", "1"]), "two");
        let node = parse(0, text).unwrap();
        assert_eq!(node.find(&["streams", "a", "n"]).unwrap().scalar(), Some("007"));
        assert_eq!(node.find(&["streams", "a", "key"]).unwrap().scalar(), Some("x y"));
        assert_eq!(node.find(&["multi"]).unwrap().scalar(), Some("one\ntwo\n"));
        assert!(node.find(&["streams", "a", "z"]).unwrap().is_null());
    }

    #[test]
    fn anchors_point_to_their_definition() {
        let text = "a: &x { k: v1 }\nb: *x\nc:\n  <<: *x\n  d: 1\n";
        assert_eq!(slice(text, &["b", "k"]), "v1");
        assert_eq!(slice(text, &["c", "k"]), "v1");
    }

    #[test]
    fn syntax_errors_have_a_place() {
        for text in ["a: [1, 2\nb: 3\n", "a: 1\na: 2\n", "a: 'x\n", "a:\n\tb: 1\n", "a: *nope\n"] {
            let error = parse(0, text).unwrap_err();
            assert!(error.origin.is_some(), "{text:?} {error:?}");
            assert!(!error.message.contains("line"), "{error:?}");
        }
        assert!(parse(0, "").unwrap().mapping().unwrap().is_empty());
        assert!(parse(0, "# only a comment\n").unwrap().mapping().unwrap().is_empty());
    }
}
