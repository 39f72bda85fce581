//! Avro schemas as an immutable tree with names resolved.
//!
//! The parser is as strict as Avro Java's for new schemas (names, duplicate fields, union rules, defaults that fit their
//! type) and the printer gives the text of Java's `Schema.toString()`, which registries store and compare. Rules:
//! <https://avro.apache.org/docs/1.12.0/specification/>.

mod comments;
mod defaults;
mod parse;
mod print;
#[cfg(test)]
mod tests;

pub(crate) use defaults::latin1;
pub(crate) use parse::is_name;

use std::sync::Arc;

use model::{Classified, Domain, Retry};
use serde_json::Value;

/// Largest text of a schema in bytes.
pub const SCHEMA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A parsed schema. Cloning shares it; two schemas are equal when their canonical texts are.
#[derive(Clone)]
pub struct Schema(Arc<Tree>);

struct Tree {
    text: Box<str>,
    canonical: Box<str>,
    nodes: Vec<Node>,
    root: NodeId,
}

/// A node of a schema's tree. Valid only with the schema (or a clone of it) that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The node's place among the schema's nodes, counted from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One type of a schema. References to a named type share its node.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its logical type; `None` also when the one given is unknown or invalid, which Avro ignores.
    pub logical: Option<Logical>,
    /// Properties that Avro doesn't define, in the order given (`logicalType` is among them).
    pub properties: Vec<(String, Value)>,
    /// Levels of types below it, itself included; one that contains itself counts its first round.
    pub(crate) height: usize,
    /// Whether the type came with a reference and is printed as a name only.
    pub(crate) is_external: bool,
}

/// The kinds of types.
#[derive(Debug, Clone)]
pub enum Kind {
    /// No value.
    Null,
    /// True or false.
    Boolean,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// 32 bits, IEEE 754.
    Float,
    /// 64 bits, IEEE 754.
    Double,
    /// Any bytes.
    Bytes,
    /// UTF-8 text.
    String,
    /// Named fields in order.
    Record(Record),
    /// One of a list of names.
    Enum(Enumeration),
    /// A fixed number of bytes.
    Fixed(Fixed),
    /// A list of items of one type.
    Array(NodeId),
    /// Text keys with values of one type.
    Map(NodeId),
    /// One of several types.
    Union(Vec<NodeId>),
}

/// Name and namespace of a named type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    full: Box<str>,
    simple_at: usize,
}

/// A record's parts.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its name.
    pub name: Name,
    /// Other names it goes by when reading.
    pub aliases: Vec<Name>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Its fields in order.
    pub fields: Vec<Field>,
    /// Whether it was declared as `error`, which only its printing shows.
    pub is_error: bool,
}

/// A field of a record.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Other names it goes by when reading.
    pub aliases: Vec<String>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Its type.
    pub node: NodeId,
    /// Its default in Avro's JSON encoding; null as a default is `Some(Value::Null)`.
    pub default: Option<Value>,
    /// `order`, when it isn't `ascending`.
    pub order: Option<&'static str>,
    /// Properties that Avro doesn't define, in the order given.
    pub properties: Vec<(String, Value)>,
}

/// An enumeration's parts.
#[derive(Debug, Clone)]
pub struct Enumeration {
    /// Its name.
    pub name: Name,
    /// Other names it goes by when reading.
    pub aliases: Vec<Name>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Its symbols in order.
    pub symbols: Vec<String>,
    /// The symbol that a reader takes for one it doesn't know.
    pub default: Option<String>,
}

/// A fixed type's parts.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Its name.
    pub name: Name,
    /// Other names it goes by when reading.
    pub aliases: Vec<Name>,
    /// Its documentation.
    pub doc: Option<String>,
    /// Its length in bytes.
    pub size: usize,
}

/// Logical types that are valid where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Logical {
    /// Unscaled two's complement integer, big-endian, on bytes or fixed.
    Decimal {
        /// Digits in all.
        precision: u32,
        /// Digits after the point.
        scale: u32,
    },
    /// On string, or fixed of 16 bytes.
    Uuid,
    /// Days since 1970-01-01, on int.
    Date,
    /// Milliseconds since midnight, on int.
    TimeMillis,
    /// Microseconds since midnight, on long.
    TimeMicros,
    /// Milliseconds since 1970 UTC, on long.
    TimestampMillis,
    /// Microseconds since 1970 UTC, on long.
    TimestampMicros,
    /// Nanoseconds since 1970 UTC, on long.
    TimestampNanos,
    /// Milliseconds since 1970 without a zone, on long.
    LocalTimestampMillis,
    /// Microseconds since 1970 without a zone, on long.
    LocalTimestampMicros,
    /// Nanoseconds since 1970 without a zone, on long.
    LocalTimestampNanos,
    /// Months, days and milliseconds, on fixed of 12 bytes.
    Duration,
}

/// Why a text is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid Avro schema at {path}: {message}")]
pub struct ParseError {
    /// Where, as a JSON path (`$.fields[2].type`); for text that isn't JSON, `line 3 column 7`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Classified for ParseError {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Schema {
    /// Parses a schema, with the checks that Avro Java makes for new schemas.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::parse(text, &[], parse::Strictness::Strict)
    }

    /// Parses a schema that may name types of `references`, as a registry's schema references do.
    ///
    /// # Errors
    /// What is wrong and where; also two references that define one name differently.
    pub fn parse_with_references(text: &str, references: &[Self]) -> Result<Self, ParseError> {
        parse::parse(text, references, parse::Strictness::Strict)
    }

    /// Parses a schema that someone else has accepted already (a writer's, by its id): names may hold any characters and
    /// defaults need not fit their types, as Avro Java reads schemas that aren't new.
    ///
    /// # Errors
    /// What makes it unusable and where.
    pub fn parse_lenient(text: &str, references: &[Self]) -> Result<Self, ParseError> {
        parse::parse(text, references, parse::Strictness::Lenient)
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The schema in Avro's own printing: attributes in Avro's order, `{"type":"string"}` as `"string"`, a named type
    /// in full where it comes first and by name after that. Registries store this text.
    pub fn canonical(&self) -> &str {
        &self.0.canonical
    }

    /// The canonical text with the types of references written out, so that it stands alone.
    pub fn inlined(&self) -> String {
        print::print_inlined(&self.0.nodes, self.0.root)
    }

    /// The full name of the root type: `namespace.name` of a named one, else its kind, such as `string`.
    pub fn name(&self) -> &str {
        self.type_name(self.root())
    }

    /// The fields of the root record; none if the root is no record.
    pub fn fields(&self) -> &[Field] {
        match &self.node(self.root()).kind {
            Kind::Record(record) => &record.fields,
            _ => &[],
        }
    }

    /// The root type.
    pub fn root(&self) -> NodeId {
        self.0.root
    }

    /// The type of a node that this schema gave.
    #[allow(clippy::indexing_slicing, reason = "node ids are made by the parser of this very tree")]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.0.nodes[id.index()]
    }

    /// The number of nodes.
    pub fn node_count(&self) -> usize {
        self.0.nodes.len()
    }

    /// The full name of a node's type, or its kind.
    pub fn type_name(&self, id: NodeId) -> &str {
        let node = self.node(id);
        node.name().map_or_else(|| node.kind.word(), Name::full)
    }
}

impl Node {
    /// The name of a named type.
    pub fn name(&self) -> Option<&Name> {
        match &self.kind {
            Kind::Record(record) => Some(&record.name),
            Kind::Enum(enumeration) => Some(&enumeration.name),
            Kind::Fixed(fixed) => Some(&fixed.name),
            _ => None,
        }
    }

    /// The other names of a named type.
    pub fn aliases(&self) -> &[Name] {
        match &self.kind {
            Kind::Record(record) => &record.aliases,
            Kind::Enum(enumeration) => &enumeration.aliases,
            Kind::Fixed(fixed) => &fixed.aliases,
            _ => &[],
        }
    }

    /// A property that Avro doesn't define.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

impl Kind {
    /// Avro's word for the kind: `record`, `long`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
            Self::Record(_) => "record",
            Self::Enum(_) => "enum",
            Self::Fixed(_) => "fixed",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
        }
    }

    /// The primitive type with this word.
    pub(crate) fn primitive(word: &str) -> Option<Self> {
        Some(match word {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => return None,
        })
    }
}

impl Name {
    /// A name as Avro reads it: a dotted `name` holds its namespace, any other takes `namespace` (empty for none).
    pub(crate) fn new(name: &str, namespace: &str) -> Self {
        let (space, simple) = name.rsplit_once('.').unwrap_or((namespace, name));
        if space.is_empty() {
            Self { full: simple.into(), simple_at: 0 }
        } else {
            Self { full: format!("{space}.{simple}").into(), simple_at: space.len() + 1 }
        }
    }

    /// Namespace and name with a dot between.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The name without its namespace.
    pub fn simple(&self) -> &str {
        self.full.get(self.simple_at..).unwrap_or_default()
    }

    /// The namespace, empty if there is none.
    pub fn namespace(&self) -> &str {
        self.full.get(..self.simple_at.saturating_sub(1)).unwrap_or_default()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.canonical() == other.canonical()
    }
}

impl Eq for Schema {}

impl std::hash::Hash for Schema {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Schema({})", self.canonical())
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.canonical())
    }
}

impl std::str::FromStr for Schema {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
