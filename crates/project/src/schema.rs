//! Reading the settings' own JSON schema: the file is checked against what the types say, so there is one definition.

use serde_json::{Map, Value};

/// A place in the schema.
#[derive(Clone)]
pub(crate) struct Shape<'s> {
    root: &'s Value,
    at: &'s Value,
}

/// What a place expects.
pub(crate) enum Expected<'s> {
    /// A mapping with fixed keys, or with free keys.
    Object,
    /// A list of items.
    Array(Shape<'s>),
    /// One of some words, with what each means.
    Words(Vec<(&'s str, Option<&'s str>)>),
    /// A text, with its format.
    Text(Option<&'s str>),
    /// A whole number within limits.
    Integer(Option<i64>, Option<i64>),
    /// `true` or `false`.
    Boolean,
    /// One text, or a list of texts.
    TextOrList,
}

impl<'s> Shape<'s> {
    pub(crate) fn root(schema: &'s Value) -> Self {
        Self { root: schema, at: schema }.resolved()
    }

    fn with(&self, at: &'s Value) -> Self {
        Self { root: self.root, at }.resolved()
    }

    /// Follows references and leaves `null` out of alternatives.
    fn resolved(self) -> Self {
        if let Some(reference) = self.at.get("$ref").and_then(Value::as_str) {
            let pointer = reference.trim_start_matches('#');
            return match self.root.pointer(pointer) {
                Some(at) => Self { root: self.root, at }.resolved(),
                None => self,
            };
        }
        if let Some(alternatives) = self.at.get("anyOf").and_then(Value::as_array) {
            let real: Vec<&'s Value> =
                alternatives.iter().filter(|one| one.get("type") != Some(&Value::from("null"))).collect();
            if let [one] = real.as_slice() {
                return Self { root: self.root, at: one }.resolved();
            }
        }
        self
    }

    fn properties(&self) -> Option<&'s Map<String, Value>> {
        self.at.get("properties")?.as_object()
    }

    /// The keys that a mapping may have, when they are fixed.
    pub(crate) fn keys(&self) -> Vec<&'s str> {
        self.properties().map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// The keys that a mapping must have.
    pub(crate) fn required(&self) -> Vec<&'s str> {
        let required = self.at.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        required.iter().filter_map(Value::as_str).collect()
    }

    /// What stands under a key.
    pub(crate) fn child(&self, key: &str) -> Option<Self> {
        match self.properties().and_then(|properties| properties.get(key)) {
            Some(at) => Some(self.with(at)),
            None => self.at.get("additionalProperties").filter(|any| any.is_object()).map(|at| self.with(at)),
        }
    }

    /// The first sentence about a key.
    pub(crate) fn about(&self, key: &str) -> Option<String> {
        let property = self.properties()?.get(key)?;
        let text = property.get("description").or_else(|| self.child(key)?.at.get("description"))?.as_str()?;
        let end = text.find(". ").map_or(text.len(), |end| end + 1);
        Some(text.get(..end).unwrap_or(text).trim_end_matches('.').replace('\n', " "))
    }

    /// True for a mapping whose keys are identifiers.
    pub(crate) fn has_identifier_keys(&self) -> bool {
        self.at.pointer("/propertyNames/format").and_then(Value::as_str) == Some("identifier")
    }

    /// True for a mapping whose keys may have dots in them.
    pub(crate) fn has_dotted_keys(&self) -> bool {
        self.at.get("x-dotted-keys").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn expected(&self) -> Expected<'s> {
        if let Some(words) = self.words() {
            return Expected::Words(words);
        }
        if self.at.get("anyOf").is_some() {
            return Expected::TextOrList;
        }
        match self.type_name() {
            Some("object") => Expected::Object,
            Some("array") => {
                let items = self.at.get("items").map(|items| self.with(items));
                Expected::Array(items.unwrap_or_else(|| self.clone()))
            }
            Some("integer") => {
                let limit = |key: &str| self.at.get(key).and_then(Value::as_i64);
                Expected::Integer(limit("minimum"), limit("maximum"))
            }
            Some("boolean") => Expected::Boolean,
            _ => Expected::Text(self.at.get("format").and_then(Value::as_str)),
        }
    }

    fn type_name(&self) -> Option<&'s str> {
        match self.at.get("type")? {
            Value::String(name) => Some(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            _ => None,
        }
    }

    fn words(&self) -> Option<Vec<(&'s str, Option<&'s str>)>> {
        if let Some(words) = self.at.get("enum").and_then(Value::as_array) {
            return Some(words.iter().filter_map(Value::as_str).map(|word| (word, None)).collect());
        }
        let alternatives = self.at.get("oneOf")?.as_array()?;
        let word = |one: &'s Value| Some((one.get("const")?.as_str()?, one.get("description").and_then(Value::as_str)));
        alternatives.iter().map(word).collect()
    }

    /// Paths of all settings whose last key is `key`, as a user writes them. Names of streams and the like are `<name>`.
    pub(crate) fn paths_to(&self, key: &str) -> Vec<String> {
        let mut out = Vec::new();
        self.collect_paths(key, "", 0, &mut out);
        out
    }

    fn collect_paths(&self, key: &str, prefix: &str, depth: usize, out: &mut Vec<String>) {
        if depth > 6 {
            return;
        }
        for name in self.keys() {
            if name == "profiles" {
                continue;
            }
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            if name == key {
                out.push(path.clone());
            }
            let Some(child) = self.child(name) else { continue };
            child.collect_paths(key, &path, depth + 1, out);
            if child.has_identifier_keys()
                && let Some(value) = child.child("<name>")
            {
                value.collect_paths(key, &format!("{path}.<name>"), depth + 1, out);
            }
        }
    }
}

/// Gives profiles their content: the settings themselves with nothing required, without profiles, and with null allowed.
pub(crate) fn with_profiles(mut schema: Value) -> Value {
    let Some(root) = schema.as_object().cloned() else { return schema };
    let definitions = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut partial = Map::new();
    for (name, definition) in &definitions {
        if name != "Profile" {
            partial.insert(format!("Partial{name}"), as_partial(definition));
        }
    }
    let mut profile = as_partial(&Value::Object(root));
    if let Some(profile) = profile.as_object_mut() {
        for key in ["$defs", "$schema", "title"] {
            profile.remove(key);
        }
        profile.insert("description".into(), "Settings that are laid over the others.".into());
        if let Some(properties) = profile.get_mut("properties").and_then(Value::as_object_mut) {
            properties.remove("profiles");
        }
    }
    partial.insert("Profile".into(), profile);
    if let Some(definitions) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        definitions.extend(partial);
    }
    schema
}

/// The same shape with nothing required.
fn as_partial(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut out = Map::new();
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("required", Value::Array(_)) | ("default", _) => {}
                    ("$ref", Value::String(reference)) => {
                        out.insert(key.clone(), reference.replace("#/$defs/", "#/$defs/Partial").into());
                    }
                    ("type", Value::String(name)) if name != "null" => {
                        out.insert(key.clone(), serde_json::json!([name, "null"]));
                    }
                    _ => {
                        out.insert(key.clone(), as_partial(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => Value::Array(items.iter().map(as_partial).collect()),
        other => other.clone(),
    }
}
