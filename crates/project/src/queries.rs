//! Queries and patterns: one file each, its name theirs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::formats;
use crate::load::Loader;
use crate::pattern_limits;
use crate::problem::Found;
use crate::project::{Reference, Stream};
use crate::settings::Engine;
use crate::source::{Origin, display_path};

/// The folder of the queries.
pub(crate) const QUERIES: &str = "queries";
/// The folder of the patterns.
const PATTERNS: &str = "patterns";

/// What stands in a folder's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Query,
    Pattern,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Pattern => "pattern",
        }
    }
}

/// Names that mean something else in tests and tables.
const RESERVED: [&str; 6] = ["rejected", "validated", "emitted", "progress", "schemas", pattern_limits::NAME];

impl Loader {
    /// The queries and patterns that are right, by name.
    pub(crate) fn queries(&mut self, streams: &[Stream], references: &[Reference]) -> Vec<Arc<sql::Query>> {
        self.check_table_names();
        let catalog = catalog(streams, references);
        let queries = self.sql_files(QUERIES);
        let patterns = self.sql_files(PATTERNS);
        let kinds =
            queries.iter().map(|file| (Kind::Query, file)).chain(patterns.iter().map(|file| (Kind::Pattern, file)));
        let mut found: Vec<Arc<sql::Query>> = Vec::new();
        for (kind, (name, file)) in kinds {
            let is_taken = kind == Kind::Pattern && queries.iter().any(|(query, _)| query == name);
            found.extend(self.query(kind, name, file, is_taken, &catalog).map(Arc::new));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Streams and reference tables share the names in FROM.
    fn check_table_names(&mut self) {
        let references = self.settings.reference.clone();
        for (name, _) in references.iter().filter(|(name, _)| self.settings.streams.get(name).is_some()) {
            let place = self.tree.key_place(&["reference", name]);
            let message = format!("`{name}` is a stream and a reference table, and SQL could mean either");
            self.found.push(Found::error(place, message).help("give one of them another name"));
        }
    }

    /// Names and files (relative to the project), sorted.
    fn sql_files(&mut self, folder: &str) -> Vec<(String, PathBuf)> {
        let directory = self.directory.join(folder);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let message = format!("the folder `{}` can't be read: {error}", self.shown(folder));
                self.found.push(Found::error(None, message));
                return Vec::new();
            }
        };
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let file = entry.file_name();
            let Some(name) = file.to_str() else { continue };
            if let Some(query) = name.strip_suffix(".sql").filter(|query| !query.starts_with('.')) {
                files.push((query.to_owned(), Path::new(folder).join(name)));
            }
        }
        files.sort();
        files
    }

    fn query(
        &mut self,
        kind: Kind,
        name: &str,
        file: &Path,
        is_taken: bool,
        catalog: &sql::Catalog,
    ) -> Option<sql::Query> {
        let text = match std::fs::read_to_string(self.directory.join(file)) {
            Ok(text) => text,
            Err(error) => {
                let why = match error.kind() {
                    std::io::ErrorKind::InvalidData => "isn't valid UTF-8".to_owned(),
                    _ => format!("can't be read: {error}"),
                };
                self.found.push(Found::error(
                    None,
                    format!("the {} `{}` {why}", kind.name(), display_path(&self.directory, file)),
                ));
                return None;
            }
        };
        let source = self.sources.add_file(&self.directory, file, text.clone());
        let start = Origin::new(source, 0, 0);
        let named = self.check_query_name(kind, name, is_taken, start);
        if text.len() > model::limits::SQL_BYTES_MAX {
            let message = format!(
                "the {} has {} bytes, and {} are allowed",
                kind.name(),
                text.len(),
                model::limits::SQL_BYTES_MAX
            );
            self.found.push(Found::error(start, message));
            return None;
        }
        // What is wrong with its tables was said already.
        if words(&text).any(|word| self.unknown_tables.contains(&word.to_ascii_lowercase())) {
            return None;
        }
        let place =
            |span: std::ops::Range<usize>| Origin::new(source, span.start.min(text.len()), span.end.min(text.len()));
        let compiled = match kind {
            Kind::Query => sql::compile(name, &text, catalog),
            Kind::Pattern => sql::compile_pattern(name, &text, catalog),
        };
        match compiled {
            Ok(query) => {
                for warning in &query.warnings {
                    let found = Found::warning(place(warning.span.clone()), warning.message.clone());
                    self.found.push(found.maybe_help(warning.help.clone()));
                }
                let refused = self.refused_by_spark(&query);
                let right = named && refused.is_empty();
                self.found.extend(refused.into_iter().map(|diagnostic| {
                    Found::error(place(diagnostic.span), diagnostic.message).maybe_help(diagnostic.help)
                }));
                right.then_some(query)
            }
            Err(diagnostics) => {
                for diagnostic in diagnostics {
                    let found = Found::error(place(diagnostic.span), diagnostic.message);
                    self.found.push(found.maybe_help(diagnostic.help));
                }
                None
            }
        }
    }

    /// What keeps a query from running on Apache Spark, for a project that runs there.
    fn refused_by_spark(&self, query: &sql::Query) -> Vec<sql::Diagnostic> {
        if self.settings.engine == Engine::Spark { sql::spark::refusals(query) } else { Vec::new() }
    }

    /// The name becomes a topic, a table and a view.
    fn check_query_name(&mut self, kind: Kind, name: &str, is_taken: bool, start: Origin) -> bool {
        let kind = kind.name();
        if let Err(complaint) = formats::identifier(name) {
            let message = format!("the file's name is the {kind}'s, and {}", complaint.message);
            let help = complaint.help.map(|help| format!("rename the file: {help}"));
            self.found.push(Found::error(start, message).maybe_help(help));
            return false;
        }
        let is_stream = self.tree.find(&["streams", name]).is_some();
        let is_reference = self.tree.find(&["reference", name]).is_some();
        let taken = match (is_stream, is_reference) {
            (true, _) => "a stream has this name",
            (_, true) => "a reference table has this name",
            _ if is_taken => "a query has this name",
            _ if RESERVED.contains(&name) => "Tillstream uses this name itself",
            _ => return true,
        };
        let message = format!("the {kind} can't be called `{name}`: {taken}");
        self.found
            .push(Found::error(start, message).help("rename the file: its name is also the result's topic and table"));
        false
    }
}

/// What queries may read.
pub(crate) fn catalog(streams: &[Stream], references: &[Reference]) -> sql::Catalog {
    let mut catalog = sql::Catalog::default();
    for stream in streams {
        let table = sql::StreamTable {
            schema: stream.arrow.clone(),
            event_time: stream.event_time.clone(),
            key: stream.key.clone(),
        };
        catalog.streams.insert(stream.name.clone(), table);
    }
    for reference in references {
        let table = sql::ReferenceTable {
            schema: reference.schema.clone(),
            key: reference.key.clone(),
            has_validity: reference.validity.is_some(),
        };
        catalog.references.insert(reference.name.clone(), table);
    }
    catalog
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}
