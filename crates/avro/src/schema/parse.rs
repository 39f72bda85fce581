//! From text to tree.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::limits::NESTING_DEPTH_MAX;
use serde_json::{Map, Number, Value};

use super::{
    Enumeration, Field, Fixed, Kind, Logical, Name, Node, NodeId, ParseError, Record, SCHEMA_BYTES_MAX, Schema, Tree,
    comments, defaults, print,
};

/// Attributes of a type that Avro defines; all others are properties.
const RESERVED: [&str; 10] =
    ["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
/// Attributes of a field that Avro defines.
const FIELD_RESERVED: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];
/// Largest fixed: what Java's int holds.
const FIXED_BYTES_MAX: u64 = i32::MAX as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    Strict,
    Lenient,
}

pub(super) fn parse(text: &str, references: &[Schema], strictness: Strictness) -> Result<Schema, ParseError> {
    if text.len() > SCHEMA_BYTES_MAX {
        let message = format!("the schema has {} bytes, more than {SCHEMA_BYTES_MAX}", text.len());
        return Err(ParseError { path: "$".to_owned(), message });
    }
    let json: Value = serde_json::from_str(&comments::blank(text)).map_err(|error| ParseError {
        path: format!("line {} column {}", error.line(), error.column()),
        message: format!("it is not JSON: {error}"),
    })?;
    let mut parser = Parser::new(strictness);
    for reference in references {
        parser.import(reference)?;
    }
    let (root, _) = parser.node(&json, "", 1)?;
    if strictness == Strictness::Strict {
        parser.check_defaults()?;
    }
    let canonical = print::print(&parser.nodes, root).into();
    Ok(Schema(Arc::new(Tree { text: text.into(), canonical, nodes: parser.nodes, root })))
}

/// A step on the way to where the parser is, for messages.
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

struct Named {
    node: NodeId,
    /// Levels below and including the type; `None` while it is being parsed, that is for a reference to itself.
    height: Option<usize>,
}

struct Parser<'a> {
    strictness: Strictness,
    nodes: Vec<Node>,
    names: HashMap<String, Named>,
    path: Vec<Step<'a>>,
    /// Type and default of each field that has one, with its path: checked when all types are complete.
    defaults: Vec<(NodeId, Value, String)>,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(strictness: Strictness) -> Self {
        Self { strictness, nodes: Vec::new(), names: HashMap::new(), path: Vec::new(), defaults: Vec::new() }
    }

    /// Takes in the named types of another schema.
    fn import(&mut self, reference: &Schema) -> Parsed<()> {
        let shift = self.nodes.len();
        let moved = |id: NodeId| NodeId(u32::try_from(id.index() + shift).unwrap_or(u32::MAX));
        for (index, node) in reference.0.nodes.iter().enumerate() {
            let mut node = node.clone();
            match &mut node.kind {
                Kind::Record(record) => record.fields.iter_mut().for_each(|field| field.node = moved(field.node)),
                Kind::Array(inner) | Kind::Map(inner) => *inner = moved(*inner),
                Kind::Union(branches) => branches.iter_mut().for_each(|branch| *branch = moved(*branch)),
                _ => {}
            }
            let id = NodeId(u32::try_from(index + shift).unwrap_or(u32::MAX));
            if let Some(name) = node.name() {
                let full = name.full().to_owned();
                let height = Some(node.height);
                if let Some(other) = self.names.get(&full) {
                    // Two references may share a type, as long as they agree about it.
                    let agree =
                        self.nodes.get(other.node.index()).is_some_and(|other| other.kind.word() == node.kind.word());
                    if !agree {
                        return self.fail(format!("two references define the type `{full}` differently"));
                    }
                } else {
                    self.names.insert(full, Named { node: id, height });
                }
                node.is_external = true;
            }
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Parses a type; gives its node and its height in levels.
    fn node(&mut self, json: &'a Value, namespace: &str, depth: usize) -> Parsed<(NodeId, usize)> {
        if depth > NESTING_DEPTH_MAX {
            return self.fail(format!("types are nested deeper than {NESTING_DEPTH_MAX} levels"));
        }
        let (id, height) = match json {
            Value::String(word) => self.named(word, namespace)?,
            Value::Array(branches) => self.union(branches, namespace, depth)?,
            Value::Object(attributes) => self.object(attributes, namespace, depth)?,
            other => return self.fail(format!("expected a type, found {other}")),
        };
        if depth + height - 1 > NESTING_DEPTH_MAX {
            return self.fail(format!("types are nested deeper than {NESTING_DEPTH_MAX} levels"));
        }
        Ok((id, height))
    }

    /// A type given by its word or name.
    fn named(&mut self, word: &str, namespace: &str) -> Parsed<(NodeId, usize)> {
        if let Some(kind) = Kind::primitive(word) {
            return Ok((self.push(kind, Vec::new(), 1), 1));
        }
        let name = Name::new(word, namespace);
        let found = self.names.get(name.full()).or_else(|| self.names.get(word));
        match found {
            Some(named) => Ok((named.node, named.height.unwrap_or(1))),
            None => self.fail(self.unknown(word)),
        }
    }

    fn unknown(&self, word: &str) -> String {
        const WORDS: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
        let known = WORDS.into_iter().chain(self.names.keys().map(String::as_str));
        let best = known.map(|known| (strsim::jaro_winkler(known, word), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            Some((likeness, known)) if likeness > 0.8 => format!("unknown type `{word}`; did you mean `{known}`?"),
            _ => format!("unknown type `{word}`; a named type must be defined before it is used"),
        }
    }

    fn union(&mut self, branches: &'a [Value], namespace: &str, depth: usize) -> Parsed<(NodeId, usize)> {
        let mut ids = Vec::with_capacity(branches.len());
        let mut seen = HashSet::new();
        let mut tallest = 0;
        for (index, branch) in branches.iter().enumerate() {
            self.path.push(Step::Index(index));
            let (id, height) = self.node(branch, namespace, depth + 1)?;
            tallest = tallest.max(height);
            let (word, full) = match self.nodes.get(id.index()) {
                Some(node) => (node.kind.word(), node.name().map_or(node.kind.word(), Name::full)),
                None => ("", ""),
            };
            if word == "union" {
                return self.fail("a union directly inside a union is not allowed".to_owned());
            }
            let full = full.to_owned();
            if seen.contains(&full) {
                return self.fail(format!("the union has two branches of type `{full}`; a union holds each type once"));
            }
            seen.insert(full);
            ids.push(id);
            self.path.pop();
        }
        Ok((self.push(Kind::Union(ids), Vec::new(), tallest + 1), tallest + 1))
    }

    fn object(&mut self, attributes: &'a Map<String, Value>, namespace: &str, depth: usize) -> Parsed<(NodeId, usize)> {
        let word = match attributes.get("type") {
            Some(Value::String(word)) => word.as_str(),
            Some(other) => {
                self.path.push(Step::Key("type"));
                return self
                    .fail(format!("`type` must be a word here, found {other}; write the type without the braces"));
            }
            None => return self.fail("`type` is missing".to_owned()),
        };
        match word {
            "record" | "error" => self.record(attributes, namespace, depth, word == "error"),
            "enum" => Ok((self.enumeration(attributes, namespace)?, 1)),
            "fixed" => Ok((self.fixed(attributes, namespace)?, 1)),
            "array" | "map" => {
                let key = if word == "array" { "items" } else { "values" };
                let Some(inner) = attributes.get(key) else {
                    return self.fail(format!("`{key}` of the {word} is missing"));
                };
                self.path.push(Step::Key(key));
                let (inner, height) = self.node(inner, namespace, depth + 1)?;
                self.path.pop();
                let kind = if word == "array" { Kind::Array(inner) } else { Kind::Map(inner) };
                Ok((self.push(kind, properties(attributes, &RESERVED), height + 1), height + 1))
            }
            primitive => match Kind::primitive(primitive) {
                Some(kind) => Ok((self.push(kind, properties(attributes, &RESERVED), 1), 1)),
                None => self.named(primitive, namespace),
            },
        }
    }

    fn record(
        &mut self,
        attributes: &'a Map<String, Value>,
        namespace: &str,
        depth: usize,
        is_error: bool,
    ) -> Parsed<(NodeId, usize)> {
        let (name, aliases, doc) = self.naming(attributes, namespace)?;
        let Some(Value::Array(list)) = attributes.get("fields") else {
            return self.fail(format!("`fields` of the record `{}` must be a list", name.full()));
        };
        let space = name.namespace().to_owned();
        let full = name.full().to_owned();
        let record = Record { name, aliases, doc, fields: Vec::new(), is_error };
        let id = self.define(Kind::Record(record), properties(attributes, &RESERVED))?;
        self.path.push(Step::Key("fields"));
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        let mut seen = HashSet::with_capacity(list.len());
        let mut tallest = 0;
        for (index, json) in list.iter().enumerate() {
            self.path.push(Step::Index(index));
            let (field, height) = self.field(json, &space, depth)?;
            if !seen.insert(field.name.clone()) {
                return self.fail(format!("the record `{full}` has two fields named `{}`", field.name));
            }
            tallest = tallest.max(height);
            fields.push(field);
            self.path.pop();
        }
        self.path.pop();
        if let Some(Node { kind: Kind::Record(record), height, .. }) = self.nodes.get_mut(id.index()) {
            record.fields = fields;
            *height = tallest + 1;
        }
        if let Some(named) = self.names.get_mut(&full) {
            named.height = Some(tallest + 1);
        }
        Ok((id, tallest + 1))
    }

    fn field(&mut self, json: &'a Value, namespace: &str, depth: usize) -> Parsed<(Field, usize)> {
        let Value::Object(attributes) = json else { return self.fail(format!("expected a field, found {json}")) };
        let name = self.required_text(attributes, "name")?.to_owned();
        self.check_name(&name)?;
        let Some(inner) = attributes.get("type") else {
            return self.fail(format!("`type` of the field `{name}` is missing"));
        };
        self.path.push(Step::Key("type"));
        let (node, height) = self.node(inner, namespace, depth + 1)?;
        self.path.pop();
        let order = match self.optional_text(attributes, "order")?.map(str::to_ascii_lowercase).as_deref() {
            None | Some("ascending") => None,
            Some("descending") => Some("descending"),
            Some("ignore") => Some("ignore"),
            Some(other) => {
                return self.fail(format!("`order` must be ascending, descending or ignore, found `{other}`"));
            }
        };
        let default = attributes.get("default").map(|default| self.numeric(node, default));
        if let Some(default) = &default {
            self.defaults.push((node, default.clone(), self.at() + ".default"));
        }
        let doc = self.optional_text(attributes, "doc")?.map(str::to_owned);
        let aliases = self.texts(attributes, "aliases")?;
        let properties = properties(attributes, &FIELD_RESERVED);
        Ok((Field { name, aliases, doc, node, default, order, properties }, height))
    }

    /// A default; text for a float or double becomes the number it spells, as in Java.
    fn numeric(&self, id: NodeId, default: &Value) -> Value {
        let is_float = self.nodes.get(id.index()).is_some_and(|node| matches!(node.kind, Kind::Float | Kind::Double));
        match default {
            Value::String(text) if is_float => {
                text.parse().ok().and_then(Number::from_f64).map_or_else(|| default.clone(), Value::Number)
            }
            other => other.clone(),
        }
    }

    fn enumeration(&mut self, attributes: &'a Map<String, Value>, namespace: &str) -> Parsed<NodeId> {
        let (name, aliases, doc) = self.naming(attributes, namespace)?;
        if !matches!(attributes.get("symbols"), Some(Value::Array(_))) {
            return self.fail(format!("`symbols` of the enum `{}` must be a list", name.full()));
        }
        let symbols = self.texts(attributes, "symbols")?;
        let mut seen = HashSet::with_capacity(symbols.len());
        for symbol in &symbols {
            self.check_name(symbol)?;
            if !seen.insert(symbol.as_str()) {
                return self.fail(format!("the enum `{}` has the symbol `{symbol}` twice", name.full()));
            }
        }
        let default = self.optional_text(attributes, "default")?.map(str::to_owned);
        if let Some(default) = &default
            && !seen.contains(default.as_str())
        {
            return self.fail(format!("the default `{default}` of the enum `{}` is none of its symbols", name.full()));
        }
        let properties = properties(attributes, &RESERVED).into_iter().filter(|(key, _)| key != "default").collect();
        self.define(Kind::Enum(Enumeration { name, aliases, doc, symbols, default }), properties)
    }

    fn fixed(&mut self, attributes: &'a Map<String, Value>, namespace: &str) -> Parsed<NodeId> {
        let (name, aliases, doc) = self.naming(attributes, namespace)?;
        let size = attributes.get("size").and_then(Value::as_u64).filter(|size| *size <= FIXED_BYTES_MAX);
        let Some(size) = size.and_then(|size| usize::try_from(size).ok()) else {
            return self.fail(format!("`size` of the fixed `{}` must be a number of bytes", name.full()));
        };
        self.define(Kind::Fixed(Fixed { name, aliases, doc, size }), properties(attributes, &RESERVED))
    }

    fn naming(
        &mut self,
        attributes: &'a Map<String, Value>,
        namespace: &str,
    ) -> Parsed<(Name, Vec<Name>, Option<String>)> {
        let given = self.required_text(attributes, "name")?;
        let space = self.optional_text(attributes, "namespace")?.unwrap_or(namespace);
        let name = Name::new(given, space);
        self.check_name(name.simple())?;
        let doc = self.optional_text(attributes, "doc")?.map(str::to_owned);
        let aliases = self.texts(attributes, "aliases")?;
        let aliases = aliases.iter().map(|alias| Name::new(alias, name.namespace())).collect();
        Ok((name, aliases, doc))
    }

    fn define(&mut self, kind: Kind, properties: Vec<(String, Value)>) -> Parsed<NodeId> {
        let is_record = matches!(kind, Kind::Record(_));
        let id = self.push(kind, properties, 1);
        let full =
            self.nodes.get(id.index()).and_then(Node::name).map(|name| name.full().to_owned()).unwrap_or_default();
        if Kind::primitive(&full).is_some() {
            return self.fail(format!("a type can't be named `{full}`, which is one of Avro's own"));
        }
        if self.names.contains_key(&full) {
            return self.fail(format!("the type `{full}` is defined twice; name it where it is used again"));
        }
        self.names.insert(full, Named { node: id, height: (!is_record).then_some(1) });
        Ok(id)
    }

    fn push(&mut self, kind: Kind, properties: Vec<(String, Value)>, height: usize) -> NodeId {
        // At most one node for each byte of the text, which SCHEMA_BYTES_MAX holds below u32.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let logical = logical(&kind, &properties);
        self.nodes.push(Node { kind, logical, properties, height, is_external: false });
        id
    }

    fn check_defaults(&self) -> Parsed<()> {
        let mut steps = defaults::STEPS_MAX;
        for (id, default, path) in &self.defaults {
            defaults::check(&self.nodes, *id, default, &mut steps)
                .map_err(|message| ParseError { path: path.clone(), message })?;
        }
        Ok(())
    }

    fn check_name(&self, name: &str) -> Parsed<()> {
        if is_name(name) || self.strictness == Strictness::Lenient && !name.is_empty() {
            return Ok(());
        }
        self.fail(format!("`{name}` is no valid name: letters, digits and _ are allowed, and no digit first"))
    }

    fn required_text(&mut self, attributes: &'a Map<String, Value>, key: &'static str) -> Parsed<&'a str> {
        match self.optional_text(attributes, key)? {
            Some(text) => Ok(text),
            None => self.fail(format!("`{key}` is missing")),
        }
    }

    fn optional_text(&mut self, attributes: &'a Map<String, Value>, key: &'static str) -> Parsed<Option<&'a str>> {
        match attributes.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                self.path.push(Step::Key(key));
                self.fail(format!("expected text, found {other}"))
            }
        }
    }

    fn texts(&mut self, attributes: &'a Map<String, Value>, key: &'static str) -> Parsed<Vec<String>> {
        let list = match attributes.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.path.push(Step::Key(key));
                return self.fail(format!("expected a list of texts, found {other}"));
            }
        };
        let texts: Option<Vec<_>> = list.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        match texts {
            Some(texts) => Ok(texts),
            None => {
                self.path.push(Step::Key(key));
                self.fail("expected a list of texts".to_owned())
            }
        }
    }

    fn at(&self) -> String {
        let mut path = "$".to_owned();
        for step in &self.path {
            match step {
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }

    fn fail<T>(&self, message: String) -> Parsed<T> {
        Err(ParseError { path: self.at(), message })
    }
}

/// Whether Avro allows the name: `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|other| other.is_ascii_alphanumeric() || other == '_')
}

fn properties(attributes: &Map<String, Value>, reserved: &[&str]) -> Vec<(String, Value)> {
    let own = attributes.iter().filter(|(key, _)| !reserved.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The logical type, if it is known and valid here; Avro ignores any other.
fn logical(kind: &Kind, properties: &[(String, Value)]) -> Option<Logical> {
    let property = |name: &str| properties.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let number = |name: &str| property(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    let word = property("logicalType")?.as_str()?;
    Some(match (word, kind) {
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = number("precision").filter(|precision| *precision > 0)?;
            let scale = if property("scale").is_some() { number("scale")? } else { 0 };
            let digits_max = match kind {
                Kind::Fixed(fixed) => fixed_digits(fixed.size),
                _ => u32::MAX,
            };
            if scale > precision || precision > digits_max {
                return None;
            }
            Logical::Decimal { precision, scale }
        }
        ("uuid", Kind::String) => Logical::Uuid,
        ("uuid", Kind::Fixed(fixed)) if fixed.size == 16 => Logical::Uuid,
        ("date", Kind::Int) => Logical::Date,
        ("time-millis", Kind::Int) => Logical::TimeMillis,
        ("time-micros", Kind::Long) => Logical::TimeMicros,
        ("timestamp-millis", Kind::Long) => Logical::TimestampMillis,
        ("timestamp-micros", Kind::Long) => Logical::TimestampMicros,
        ("timestamp-nanos", Kind::Long) => Logical::TimestampNanos,
        ("local-timestamp-millis", Kind::Long) => Logical::LocalTimestampMillis,
        ("local-timestamp-micros", Kind::Long) => Logical::LocalTimestampMicros,
        ("local-timestamp-nanos", Kind::Long) => Logical::LocalTimestampNanos,
        ("duration", Kind::Fixed(fixed)) if fixed.size == 12 => Logical::Duration,
        _ => return None,
    })
}

/// Decimal digits that a fixed of this size surely holds: floor(log10(2^(8 size - 1) - 1)).
fn fixed_digits(size: usize) -> u32 {
    if size == 0 {
        return 0;
    }
    let bits = u32::try_from(size).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let digits = (f64::from(bits) * std::f64::consts::LOG10_2).floor() as u32;
    digits
}
