//! Checks a tree against the settings' schema and turns it into JSON for serde: all mistakes at once, and what is right is kept.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::formats::{self, Complaint};
use crate::problem::Found;
use crate::schema::{Expected, Shape};
use crate::source::{Origin, Sources};
use crate::suggest;
use crate::tree::{Entry, Node, Value};

/// The outcome of a check.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// What was right, ready for serde. `None` if nothing was.
    pub(crate) json: Option<Json>,
    /// Paths of things that had to be left out, such as `streams.payments`: what depends on them can't be judged.
    pub(crate) left_out: BTreeSet<String>,
    /// What was wrong.
    pub(crate) found: Vec<Found>,
    /// Secrets in plain text, to be hidden.
    pub(crate) secrets: Vec<Origin>,
}

/// Checks `node`. `top` is the schema's root for hints about settings that stand in the wrong place.
pub(crate) fn check(node: &Node, shape: &Shape<'_>, top: &Shape<'_>, sources: &Sources) -> Checked {
    let mut checker = Checker { top, sources, out: Checked::default() };
    let json = checker.value(node, shape, &mut Vec::new(), None);
    checker.out.json = json;
    checker.out
}

struct Checker<'c, 's> {
    top: &'c Shape<'s>,
    sources: &'c Sources,
    out: Checked,
}

impl<'s> Checker<'_, 's> {
    fn problem(&mut self, found: Found) {
        self.out.found.push(found);
    }

    /// The value as JSON, or `None` if it isn't what is expected, which has been said then.
    fn value(&mut self, node: &Node, shape: &Shape<'s>, path: &mut Vec<String>, key: Option<Origin>) -> Option<Json> {
        match shape.expected() {
            Expected::Object => self.object(node, shape, path, key),
            Expected::Array(items) => self.array(node, &items, path),
            Expected::TextOrList => match &node.value {
                Value::Sequence(items) if items.is_empty() => {
                    self.problem(Found::error(node.origin, format!("`{}` is empty", path.join("."))));
                    None
                }
                Value::Sequence(items) => items.iter().map(|item| self.text(item, None, path)).collect(),
                _ => self.text(node, None, path),
            },
            Expected::Words(words) => self.word(node, &words, path),
            Expected::Text(format) => self.text(node, format, path),
            Expected::Integer(least, greatest) => self.integer(node, least, greatest, path),
            Expected::Boolean => match self.scalar(node, "true or false", path)? {
                "true" => Some(Json::Bool(true)),
                "false" => Some(Json::Bool(false)),
                other => {
                    let message = format!("`{}` must be true or false, and is `{other}`", path.join("."));
                    self.problem(Found::error(node.origin, message));
                    None
                }
            },
        }
    }

    fn object(&mut self, node: &Node, shape: &Shape<'s>, path: &mut Vec<String>, key: Option<Origin>) -> Option<Json> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries.as_slice(),
            _ => {
                let what = if path.is_empty() { "the file".into() } else { format!("`{}`", path.join(".")) };
                let found = Found::error(node.origin, format!("{what} must be a mapping, and is {}", node.kind()));
                self.problem(found.maybe_help(settings_here(shape)));
                return None;
            }
        };
        let mut out = Map::new();
        let mut complete = true;
        for entry in entries {
            let Some(child) = shape.child(&entry.key) else {
                self.unknown_key(entry, shape, path);
                continue;
            };
            if shape.has_identifier_keys()
                && let Err(complaint) = formats::identifier(&entry.key)
            {
                self.complain(entry.key_origin, complaint);
            }
            // Nothing written is as good as not given; a required setting is missed below.
            if entry.node.is_null() {
                continue;
            }
            path.push(entry.key.clone());
            match self.value(&entry.node, &child, path, Some(entry.key_origin)) {
                Some(json) => {
                    out.insert(entry.key.clone(), json);
                }
                None => {
                    complete &= !shape.required().contains(&entry.key.as_str());
                    self.out.left_out.insert(path.join("."));
                }
            }
            path.pop();
        }
        for required in shape.required() {
            if entries.iter().all(|entry| entry.key != required || entry.node.is_null()) {
                complete = false;
                self.missing(required, shape, path, key.or(Some(node.origin)));
            }
        }
        // The root's name alone is required there, and a stand-in lets the rest be judged.
        if path.is_empty() && !complete {
            out.entry("name").or_insert_with(|| "unnamed".into());
            complete = true;
        }
        complete.then_some(Json::Object(out))
    }

    fn missing(&mut self, required: &str, shape: &Shape<'s>, path: &[String], place: Option<Origin>) {
        let message = if path.is_empty() {
            format!("the setting `{required}` is missing")
        } else {
            format!("`{}` lacks the setting `{required}`", path.join("."))
        };
        let help = shape.about(required).map(|about| format!("add `{required}`: {}", uncapitalised(&about)));
        self.problem(Found::error(place, message).maybe_help(help));
    }

    fn unknown_key(&mut self, entry: &Entry, shape: &Shape<'s>, path: &[String]) {
        let place = if path.is_empty() { String::new() } else { format!(" in `{}`", path.join(".")) };
        let elsewhere = self.top.paths_to(&entry.key);
        let elsewhere =
            (elsewhere.len() <= 3).then(|| elsewhere.iter().map(|path| spoken(path)).collect::<Vec<_>>().join(" or "));
        let help = match (suggest::nearest(&entry.key, shape.keys()), elsewhere.filter(|places| !places.is_empty())) {
            (Some(near), Some(places)) => Some(format!("did you mean `{near}` here, or {places}?")),
            (Some(near), None) => Some(format!("did you mean `{near}`?")),
            (None, Some(places)) => Some(format!("`{}` belongs elsewhere: {places}", entry.key)),
            (None, None) => settings_here(shape),
        };
        self.problem(
            Found::error(entry.key_origin, format!("unknown setting `{}`{place}", entry.key)).maybe_help(help),
        );
    }

    fn array(&mut self, node: &Node, items: &Shape<'s>, path: &mut Vec<String>) -> Option<Json> {
        let Value::Sequence(nodes) = &node.value else {
            let message = format!("`{}` must be a list, and is {}", path.join("."), node.kind());
            self.problem(Found::error(node.origin, message).help("write `[a, b]`, or one `- a` per line"));
            return None;
        };
        let mut out = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            path.push(index.to_string());
            // The first line of a mapping is the better place than all of its lines.
            let first = node.mapping().and_then(|entries| entries.first()).map(|entry| entry.key_origin);
            match self.value(node, items, path, first) {
                Some(json) => out.push(json),
                // The others keep their places.
                None => {
                    self.out.left_out.insert(path.join("."));
                    out.push(Json::Null);
                }
            }
            path.pop();
        }
        Some(Json::Array(out))
    }

    fn scalar<'n>(&mut self, node: &'n Node, expected: &str, path: &[String]) -> Option<&'n str> {
        let scalar = node.scalar();
        if scalar.is_none() {
            let message = format!("`{}` must be {expected}, and is {}", path.join("."), node.kind());
            self.problem(Found::error(node.origin, message));
        }
        scalar
    }

    fn text(&mut self, node: &Node, format: Option<&str>, path: &[String]) -> Option<Json> {
        let text = self.scalar(node, "one text", path)?;
        let Some(format) = format else { return Some(text.into()) };
        match formats::check(format, text) {
            Ok(()) => Some(text.into()),
            Err(complaint) => {
                if let Some(secret) = &complaint.secret {
                    self.out.secrets.push(self.place_of(secret, node.origin));
                }
                self.complain(node.origin, complaint);
                None
            }
        }
    }

    /// Where `part` stands in the text of a place; the whole place if it was written in another way.
    fn place_of(&self, part: &str, origin: Origin) -> Origin {
        match self.sources.slice(origin).rfind(part) {
            Some(at) => Origin::new(origin.source, origin.start + at, origin.start + at + part.len()),
            None => origin,
        }
    }

    fn complain(&mut self, origin: Origin, complaint: Complaint) {
        self.problem(Found::error(origin, complaint.message).maybe_help(complaint.help));
    }

    fn word(&mut self, node: &Node, words: &[(&str, Option<&str>)], path: &[String]) -> Option<Json> {
        let text = self.scalar(node, "one word", path)?;
        if words.iter().any(|(word, _)| *word == text) {
            return Some(text.into());
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match suggest::nearest(text, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", suggest::list(&names)),
        };
        let message = format!("`{}` can't be `{text}`", path.join("."));
        self.problem(Found::error(node.origin, message).help(help));
        None
    }

    fn integer(&mut self, node: &Node, least: Option<i64>, greatest: Option<i64>, path: &[String]) -> Option<Json> {
        let text = self.scalar(node, "a whole number", path)?;
        let name = path.join(".");
        let Ok(number) = text.parse::<i64>() else {
            self.problem(Found::error(node.origin, format!("`{name}` must be a whole number, and is `{text}`")));
            return None;
        };
        if least.is_some_and(|least| number < least) || greatest.is_some_and(|greatest| number > greatest) {
            let message = match (least, greatest) {
                (Some(least), Some(greatest)) => {
                    format!("`{name}` must be from {least} to {greatest}, and is {number}")
                }
                (Some(least), None) => format!("`{name}` must be at least {least}, and is {number}"),
                _ => format!("`{name}` is too large: {number}"),
            };
            self.problem(Found::error(node.origin, message));
            return None;
        }
        Some(number.into())
    }
}

/// The path of a setting in a sentence.
fn spoken(path: &str) -> String {
    if path.contains('.') { format!("`{path}`") } else { format!("`{path}` at the top level") }
}

fn settings_here(shape: &Shape<'_>) -> Option<String> {
    let keys = shape.keys();
    (!keys.is_empty()).then(|| format!("the settings here are {}", suggest::list(&keys)))
}

pub(crate) fn uncapitalised(text: &str) -> String {
    let mut characters = text.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}
