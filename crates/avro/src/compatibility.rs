//! Whether data written with one schema can be read with another, by the rules of Avro Java's `SchemaCompatibility`, and
//! the levels and messages of Confluent's registry.
//!
//! What surprises: names compare without their namespace; aliases count on the reader's side only and in full; an enum's
//! default excuses missing symbols, a field's default doesn't; bytes and string read each other, fixed reads neither;
//! logical types don't count, so that a change of a decimal's scale passes (see `Decoder::add_writer`, which refuses it).

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use crate::schema::{Enumeration, Field, Fixed, Kind, NodeId, Record, Schema};

/// Pairs of types below one another that are compared; beyond it two schemas count as incompatible.
const COMPARE_DEPTH_MAX: usize = 512;
/// Findings that are kept; more say nothing new.
const FINDINGS_MAX: usize = 1_000;

/// How a new schema must relate to the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// Anything goes.
    None,
    /// The new schema reads data of the last one.
    Backward,
    /// The new schema reads data of all before it.
    BackwardTransitive,
    /// The last schema reads data of the new one.
    Forward,
    /// All schemas before it read data of the new one.
    ForwardTransitive,
    /// Both ways with the last one.
    Full,
    /// Both ways with all before it.
    FullTransitive,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// Confluent's name of the level.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    fn is_backward(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    fn is_forward(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no compatibility level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid compatibility level `{0}`; write NONE, BACKWARD, FORWARD, FULL, BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE or FULL_TRANSITIVE"
)]
pub struct LevelError(pub String);

impl FromStr for Level {
    type Err = LevelError;

    /// Reads a level's name, in any case as Confluent does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| LevelError(text.to_owned()))
    }
}

/// What kind of incompatibility was found. The names are those of Avro Java.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IncompatibilityKind {
    /// Two named types have different names.
    NameMismatch,
    /// Two fixed types have different sizes.
    FixedSizeMismatch,
    /// The writer's enum has symbols that the reader's has not.
    MissingEnumSymbols,
    /// The reader has a field that the writer has not, and no default for it.
    ReaderFieldMissingDefaultValue,
    /// One type can't be read as the other.
    TypeMismatch,
    /// The reader's union has no branch for a type that the writer may write.
    MissingUnionBranch,
    /// A reader's field and its aliases name several of the writer's fields; Java fails on it, which registries report.
    AmbiguousAlias,
    /// The schemas are nested too deep to be compared.
    TooDeep,
}

impl IncompatibilityKind {
    /// Avro Java's name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::AmbiguousAlias => "AMBIGUOUS_ALIAS",
            Self::TooDeep => "TOO_DEEP",
        }
    }
}

/// One reason why a schema can't read another's data. It displays as Confluent's registry writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// What kind it is.
    pub kind: IncompatibilityKind,
    /// Where in the reader's schema, as a JSON pointer.
    pub path: String,
    /// What is wrong, in Confluent's words.
    pub message: String,
    /// Avro Java's own message: the field, the symbols or the types concerned.
    pub detail: String,
    /// Which of the existing schemas it was found against (index into `check`'s list); `None` from `can_read`.
    pub existing: Option<usize>,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == IncompatibilityKind::AmbiguousAlias {
            return write!(f, "Unexpected exception during compatibility check: {}", self.detail);
        }
        let (kind, message, detail) = (self.kind.name(), &self.message, &self.detail);
        write!(f, "{{errorType:'{kind}', description:'{message}', additionalInfo:'{detail}'}}")
    }
}

/// Checks a new schema against those before it, oldest first, at a level. Levels that aren't transitive look at the last
/// one only. Like Confluent, it goes from the newest back and stops at the first schema that has findings. An empty list
/// means compatible.
pub fn check(level: Level, candidate: &Schema, existing: &[Schema]) -> Vec<Incompatibility> {
    let depth = if level.is_transitive() { existing.len() } else { 1 };
    for (index, old) in existing.iter().enumerate().rev().take(depth) {
        let mut found = Vec::new();
        if level.is_forward() {
            found.extend(compare(old, candidate, "old", "new"));
        }
        if level.is_backward() {
            found.extend(compare(candidate, old, "new", "old"));
        }
        if !found.is_empty() {
            found.iter_mut().for_each(|incompatibility| incompatibility.existing = Some(index));
            return found;
        }
    }
    Vec::new()
}

/// Whether `reader` can read all data written with `writer`; an empty list means it can.
pub fn can_read(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    compare(reader, writer, "reader", "writer")
}

/// Whether a reader's named type takes data of a writer's by name: the names without namespace are equal, or one of the
/// reader's aliases is the writer's full name.
pub(crate) fn names_match(reader: &Schema, reader_id: NodeId, writer: &Schema, writer_id: NodeId) -> bool {
    let reader = reader.node(reader_id);
    match (reader.name(), writer.node(writer_id).name()) {
        (Some(own), Some(other)) => own.simple() == other.simple() || reader.aliases().contains(other),
        _ => true,
    }
}

fn compare(reader: &Schema, writer: &Schema, reader_word: &str, writer_word: &str) -> Vec<Incompatibility> {
    let mut comparison = Comparison { reader, writer, memory: HashMap::new(), depth: 0 };
    let findings = match comparison.pair(&[], reader.root(), writer.root()) {
        Ok(findings) => findings,
        // Java throws here, and nothing else that was found counts.
        Err(exception) => vec![exception],
    };
    findings.into_iter().map(|finding| finding.describe(reader_word, writer_word)).collect()
}

#[derive(Debug, Clone)]
struct Finding {
    kind: IncompatibilityKind,
    path: String,
    detail: String,
}

impl Finding {
    fn new(kind: IncompatibilityKind, location: &[String], detail: String) -> Self {
        let steps: Vec<_> = location.iter().map(|step| step.replace('~', "~0").replace('/', "~1")).collect();
        Self { kind, path: format!("/{}", steps.join("/")), detail }
    }

    fn describe(self, reader: &str, writer: &str) -> Incompatibility {
        let Self { kind, path, detail } = self;
        let message = match kind {
            IncompatibilityKind::FixedSizeMismatch => format!(
                "The size of FIXED type field at path '{path}' in the {reader} schema does not match with the {writer} schema"
            ),
            IncompatibilityKind::TypeMismatch => format!(
                "The type (path '{path}') of a field in the {reader} schema does not match with the {writer} schema"
            ),
            IncompatibilityKind::NameMismatch => format!("The name of the schema has changed (path '{path}')"),
            IncompatibilityKind::MissingEnumSymbols => format!(
                "The {reader} schema is missing enum symbols '{detail}' at path '{path}' in the {writer} schema"
            ),
            IncompatibilityKind::MissingUnionBranch => format!(
                "The {reader} schema is missing a type inside a union field at path '{path}' in the {writer} schema"
            ),
            IncompatibilityKind::ReaderFieldMissingDefaultValue => format!(
                "The field '{detail}' at path '{path}' in the {reader} schema has no default value and is missing in the {writer} schema"
            ),
            IncompatibilityKind::AmbiguousAlias | IncompatibilityKind::TooDeep => detail.clone(),
        };
        Incompatibility { kind, path, message, detail, existing: None }
    }
}

type Findings = Result<Vec<Finding>, Finding>;

struct Comparison<'a> {
    reader: &'a Schema,
    writer: &'a Schema,
    /// What was found for a pair of types; `None` while it is being compared, which counts as nothing found.
    memory: HashMap<(NodeId, NodeId), Option<Vec<Finding>>>,
    depth: usize,
}

impl Comparison<'_> {
    fn pair(&mut self, location: &[String], reader: NodeId, writer: NodeId) -> Findings {
        if let Some(known) = self.memory.get(&(reader, writer)) {
            return Ok(known.clone().unwrap_or_default());
        }
        if self.depth >= COMPARE_DEPTH_MAX {
            let detail =
                format!("the schemas are nested too deep to be compared (more than {COMPARE_DEPTH_MAX} levels)");
            return Ok(vec![Finding::new(IncompatibilityKind::TooDeep, location, detail)]);
        }
        self.memory.insert((reader, writer), None);
        self.depth += 1;
        let mut findings = self.types(location, reader, writer)?;
        self.depth -= 1;
        findings.truncate(FINDINGS_MAX);
        self.memory.insert((reader, writer), Some(findings.clone()));
        Ok(findings)
    }

    fn types(&mut self, location: &[String], reader: NodeId, writer: NodeId) -> Findings {
        let (reader_schema, writer_schema) = (self.reader, self.writer);
        let (reader_kind, writer_kind) = (&reader_schema.node(reader).kind, &writer_schema.node(writer).kind);
        match (reader_kind, writer_kind) {
            (Kind::Array(own), Kind::Array(other)) => self.pair(&join(location, &["items"]), *own, *other),
            (Kind::Map(own), Kind::Map(other)) => self.pair(&join(location, &["values"]), *own, *other),
            (Kind::Fixed(own), Kind::Fixed(other)) => {
                let mut findings = self.names(location, reader, writer);
                findings.extend(sizes(location, own, other));
                Ok(findings)
            }
            (Kind::Enum(own), Kind::Enum(other)) => {
                let mut findings = self.names(location, reader, writer);
                findings.extend(symbols(location, own, other));
                Ok(findings)
            }
            (Kind::Record(own), Kind::Record(other)) => {
                let mut findings = self.names(location, reader, writer);
                findings.extend(self.fields(location, own, other, writer)?);
                Ok(findings)
            }
            (Kind::Union(_), Kind::Union(branches)) => {
                let mut findings = Vec::new();
                for (index, branch) in branches.iter().enumerate() {
                    if !self.pair(&[], reader, *branch)?.is_empty() {
                        findings.push(missing_branch(&join(location, &[&index.to_string()]), self.kind_of(*branch)));
                    }
                }
                Ok(findings)
            }
            (_, Kind::Union(branches)) => {
                let mut findings = Vec::new();
                for (index, branch) in branches.iter().enumerate() {
                    findings.extend(self.pair(&join(location, &[&index.to_string()]), reader, *branch)?);
                }
                Ok(findings)
            }
            (Kind::Union(branches), other) => {
                for branch in branches {
                    if self.pair(&[], *branch, writer)?.is_empty() {
                        return Ok(Vec::new());
                    }
                }
                Ok(vec![missing_branch(location, other.word())])
            }
            (own, other) if promotes(own, other) => Ok(Vec::new()),
            (own, other) => {
                let detail = format!(
                    "reader type: {} not compatible with writer type: {}",
                    own.word().to_uppercase(),
                    other.word().to_uppercase()
                );
                Ok(vec![Finding::new(IncompatibilityKind::TypeMismatch, location, detail)])
            }
        }
    }

    fn fields(&mut self, location: &[String], own: &Record, other: &Record, writer: NodeId) -> Findings {
        let mut findings = Vec::new();
        for (index, field) in own.fields.iter().enumerate() {
            let here = join(location, &["fields", &index.to_string()]);
            let same = match writer_fields(field, other).as_slice() {
                [] => None,
                [one] => Some(*one),
                _ => {
                    let detail = format!(
                        "Reader record field {} matches multiple fields in writer record schema {}",
                        field.name,
                        other.name.full()
                    );
                    return Err(Finding::new(IncompatibilityKind::AmbiguousAlias, &here, detail));
                }
            };
            match same {
                Some(same) => findings.extend(self.pair(&join(&here, &["type"]), field.node, same.node)?),
                None if field.default.is_some() => {}
                None => match &self.reader.node(field.node).kind {
                    // Java compares the enum with the writer's whole record here, which never fits; kept for its message.
                    Kind::Enum(enumeration) if enumeration.default.is_some() => {
                        findings.extend(self.pair(&join(&here, &["type"]), field.node, writer)?);
                    }
                    _ => findings.push(Finding::new(
                        IncompatibilityKind::ReaderFieldMissingDefaultValue,
                        &here,
                        field.name.clone(),
                    )),
                },
            }
        }
        Ok(findings)
    }

    fn names(&self, location: &[String], reader: NodeId, writer: NodeId) -> Vec<Finding> {
        if names_match(self.reader, reader, self.writer, writer) {
            return Vec::new();
        }
        let detail = format!("expected: {}", self.writer.type_name(writer));
        vec![Finding::new(IncompatibilityKind::NameMismatch, &join(location, &["name"]), detail)]
    }

    fn kind_of(&self, writer: NodeId) -> &'static str {
        self.writer.node(writer).kind.word()
    }
}

/// The writer's fields that a reader's field names, by its own name and its aliases.
pub(crate) fn writer_fields<'a>(field: &Field, writer: &'a Record) -> Vec<&'a Field> {
    let names = std::iter::once(&field.name).chain(&field.aliases);
    names.filter_map(|name| writer.fields.iter().find(|other| other.name == *name)).collect()
}

/// Whether a value of a primitive writer type is read as another or the same primitive type.
fn promotes(reader: &Kind, writer: &Kind) -> bool {
    match (reader, writer) {
        (Kind::Long, Kind::Int)
        | (Kind::Float, Kind::Int | Kind::Long)
        | (Kind::Double, Kind::Int | Kind::Long | Kind::Float)
        | (Kind::Bytes, Kind::String)
        | (Kind::String, Kind::Bytes) => true,
        (own, other) => own.word() == other.word(),
    }
}

fn sizes(location: &[String], own: &Fixed, other: &Fixed) -> Option<Finding> {
    (own.size != other.size).then(|| {
        let detail = format!("expected: {}, found: {}", other.size, own.size);
        Finding::new(IncompatibilityKind::FixedSizeMismatch, &join(location, &["size"]), detail)
    })
}

fn symbols(location: &[String], own: &Enumeration, other: &Enumeration) -> Option<Finding> {
    let known: BTreeSet<_> = own.symbols.iter().collect();
    let missing: BTreeSet<_> =
        other.symbols.iter().filter(|symbol| !known.contains(symbol)).map(String::as_str).collect();
    if missing.is_empty() || own.default.is_some() {
        return None;
    }
    let detail = format!("[{}]", missing.into_iter().collect::<Vec<_>>().join(", "));
    Some(Finding::new(IncompatibilityKind::MissingEnumSymbols, &join(location, &["symbols"]), detail))
}

fn missing_branch(location: &[String], word: &str) -> Finding {
    let detail = format!("reader union lacking writer type: {}", word.to_uppercase());
    Finding::new(IncompatibilityKind::MissingUnionBranch, location, detail)
}

fn join(location: &[String], steps: &[&str]) -> Vec<String> {
    location.iter().cloned().chain(steps.iter().map(|step| (*step).to_owned())).collect()
}

#[cfg(test)]
mod tests;
