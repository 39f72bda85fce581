//! Profiles, environment variables and `--set` laid over the file, each value with where it came from.

use std::collections::BTreeMap;

use crate::problem::Found;
use crate::schema::Shape;
use crate::source::{Origin, SourceId, Sources};
use crate::suggest;
use crate::tree::{Entry, Node, Value, parse};

/// Starts the environment variables that are settings: `TILLSTREAM__CONNECTIONS__KAFKA__BROKERS`.
pub const ENVIRONMENT_PREFIX: &str = "TILLSTREAM__";

/// Settings that don't come from the file. Later ones win: profile, environment, `sets`.
#[derive(Clone, Default)]
pub struct Overrides {
    /// The profile of the file to lay over its other settings.
    pub profile: Option<String>,
    /// Paths and values of `--set a.b=c`, in their order. A value in `[…]` or `{…}` is read as YAML.
    pub sets: Vec<(String, String)>,
    /// Environment variables. Only those that start with `TILLSTREAM__` count.
    pub environment: BTreeMap<String, String>,
}

impl std::fmt::Debug for Overrides {
    /// Without values: someone may try to set a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sets: Vec<&str> = self.sets.iter().map(|(path, _)| path.as_str()).collect();
        let environment: Vec<&str> = self.environment.keys().map(String::as_str).collect();
        f.debug_struct("Overrides")
            .field("profile", &self.profile)
            .field("sets", &sets)
            .field("environment", &environment)
            .finish()
    }
}

/// The file with everything laid over it; `profiles` is left out.
pub(crate) fn merged(
    file: &Node,
    overrides: &Overrides,
    schema: &Shape<'_>,
    sources: &mut Sources,
    found: &mut Vec<Found>,
) -> Node {
    let mut root = file.clone();
    if let Value::Mapping(entries) = &mut root.value {
        entries.retain(|entry| entry.key != "profiles");
    }
    if let Some(profile) = &overrides.profile {
        match file.find(&["profiles", profile]) {
            Some(layer) if !layer.is_null() => lay_over(&mut root, layer.clone()),
            Some(_) => {}
            None => found.push(no_such_profile(file, profile, sources)),
        }
    }
    let environment = overrides.environment.iter().filter_map(|(name, value)| {
        let path = name.strip_prefix(ENVIRONMENT_PREFIX)?;
        Some(Given {
            written: name,
            lead: ENVIRONMENT_PREFIX.len(),
            path: path.to_ascii_lowercase(),
            separator: "__",
            value,
        })
    });
    let environment: Vec<Given<'_>> = environment.collect();
    let sets = overrides.sets.iter();
    let sets: Vec<Given<'_>> =
        sets.map(|(path, value)| Given { written: path, lead: 0, path: path.clone(), separator: ".", value }).collect();
    for (name, layer) in [("environment", environment), ("--set", sets)] {
        if layer.is_empty() {
            continue;
        }
        let text: String = layer.iter().map(|given| format!("{}={}\n", given.written, given.value)).collect();
        let source = sources.add(name.into(), None, text);
        let mut at = 0;
        for given in layer {
            match given.node(source, at, schema) {
                Ok(node) => match no_such_name(&root, &node, schema) {
                    Some(problem) => found.push(problem),
                    None => lay_over(&mut root, node),
                },
                Err(problem) => found.push(problem),
            }
            at += given.written.len() + 1 + given.value.len() + 1;
        }
    }
    root
}

/// A single setting can't make a new stream or the like: its name was misspelt.
fn no_such_name(root: &Node, layer: &Node, schema: &Shape<'_>) -> Option<Found> {
    let (mut base, mut layer, mut shape) = (root, layer, schema.clone());
    let mut path = String::new();
    loop {
        let [entry] = layer.mapping()? else { return None };
        let child = shape.child(&entry.key)?;
        path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let Some(next) = base.entry(&entry.key) else {
            let part_only = child.required().iter().any(|required| entry.node.entry(required).is_none());
            if !shape.has_identifier_keys() || !part_only || entry.node.mapping().is_none() {
                return None;
            }
            let names = base.mapping().unwrap_or_default().iter().map(|entry| entry.key.as_str());
            let help = suggest::help(&entry.key, names, "there are");
            return Some(Found::error(entry.key_origin, format!("there is no `{path}`")).maybe_help(help));
        };
        base = &next.node;
        layer = &entry.node;
        shape = child;
    }
}

fn no_such_profile(file: &Node, profile: &str, sources: &mut Sources) -> Found {
    let source = sources.add("--profile".into(), None, format!("--profile {profile}\n"));
    let start = "--profile ".len();
    let names = file.find(&["profiles"]).and_then(Node::mapping).unwrap_or_default();
    let names: Vec<&str> = names.iter().map(|entry| entry.key.as_str()).collect();
    let help = suggest::help(profile, names.iter().copied(), "the project's profiles")
        .unwrap_or_else(|| "the project has no `profiles`".into());
    Found::error(Origin::new(source, start, start + profile.len()), format!("there is no profile `{profile}`"))
        .help(help)
}

/// One setting from outside the file.
struct Given<'g> {
    /// The variable or path as written.
    written: &'g str,
    /// Bytes of `written` before the path.
    lead: usize,
    path: String,
    separator: &'static str,
    value: &'g str,
}

impl Given<'_> {
    /// The setting as a tree of one branch. `at` is where it starts in its source.
    fn node(&self, source: SourceId, at: usize, schema: &Shape<'_>) -> Result<Node, Found> {
        let path_origin = Origin::new(source, at, at + self.written.len());
        let steps = self.steps(schema);
        if steps.iter().any(|(step, _)| step.is_empty()) {
            let message = format!("`{}` is no path of a setting", self.written);
            let help = "write the names from the top down, such as connections.kafka.brokers".to_owned();
            return Err(Found::error(path_origin, message).help(help));
        }
        let start = at + self.written.len() + 1;
        let value_origin = Origin::new(source, start, start + self.value.len());
        let mut node = self.value_node(source, value_origin, start)?;
        for (key, offset) in steps.into_iter().rev() {
            let start = at + self.lead + offset;
            let key_origin = Origin::new(source, start, start + key.len());
            node = Node { origin: value_origin, value: Value::Mapping(vec![Entry { key, key_origin, node }]) };
        }
        Ok(node)
    }

    fn value_node(&self, source: SourceId, origin: Origin, start: usize) -> Result<Node, Found> {
        if self.value.starts_with(['[', '{']) {
            let mut node = parse(source, self.value)
                .map_err(|error| Found::error(origin, format!("the value isn't valid YAML: {}", error.message)))?;
            shift(&mut node, start);
            return Ok(node);
        }
        let value = if self.value.is_empty() || self.value == "null" {
            Value::Null
        } else {
            Value::Scalar(self.value.to_owned())
        };
        Ok(Node { value, origin })
    }

    /// The keys of the path with their offsets. Keys of free maps may have separators in them, as librdkafka's properties do.
    fn steps(&self, schema: &Shape<'_>) -> Vec<(String, usize)> {
        let mut steps = Vec::new();
        let mut shape = Some(schema.clone());
        let mut rest = self.path.as_str();
        let mut offset = 0;
        loop {
            let whole = shape.as_ref().is_some_and(Shape::has_dotted_keys);
            let split = if whole { None } else { rest.split_once(self.separator) };
            let Some((step, after)) = split else {
                steps.push((rest.to_owned(), offset));
                return steps;
            };
            steps.push((step.to_owned(), offset));
            shape = shape.and_then(|shape| shape.child(step));
            offset += step.len() + self.separator.len();
            rest = after;
        }
    }
}

fn shift(node: &mut Node, by: usize) {
    node.origin = Origin::new(node.origin.source, node.origin.start + by, node.origin.end + by);
    match &mut node.value {
        Value::Sequence(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Value::Mapping(entries) => {
            for entry in entries {
                let key = entry.key_origin;
                entry.key_origin = Origin::new(key.source, key.start + by, key.end + by);
                shift(&mut entry.node, by);
            }
        }
        Value::Null | Value::Scalar(_) => {}
    }
}

/// Mappings are merged, everything else is replaced.
fn lay_over(base: &mut Node, layer: Node) {
    match (&mut base.value, layer.value) {
        (Value::Mapping(below), Value::Mapping(above)) => {
            for entry in above {
                match below.iter_mut().find(|other| other.key == entry.key) {
                    Some(other) => {
                        // A value that was replaced is now written where the layer has it.
                        if entry.node.mapping().is_none() || other.node.mapping().is_none() {
                            other.key_origin = entry.key_origin;
                        }
                        lay_over(&mut other.node, entry.node);
                    }
                    None => below.push(entry),
                }
            }
        }
        (_, value) => *base = Node { value, origin: layer.origin },
    }
}
