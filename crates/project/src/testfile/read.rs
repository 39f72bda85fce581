//! Test files: cases and steps.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cell;
use super::{Spot, Step, StepKind, TestCase, TestFile};
use crate::problem::{Found, ProjectErrors, Severity};
use crate::project::Project;
use crate::settings::Duration;
use crate::source::{Origin, SourceId, Sources, display_path};
use crate::suggest;
use crate::tree::{Entry, Node, Value, parse};

/// The folder of the tests.
pub(crate) const TESTS: &str = "tests";
const CASE_KEYS: [&str; 4] = ["name", "now", "defaults", "steps"];
const STEPS: [&str; 7] = ["send", "send_bytes", "restart", "crash", "advance", "drain", "expect"];

/// Reads the tests of a project: all files in `tests/` that end in `.yaml` or `.yml`, by name.
///
/// # Errors
/// Everything that is wrong with them, at once.
pub fn load(project: &Project) -> Result<Vec<TestFile>, ProjectErrors> {
    let mut sources = Sources::default();
    let mut found = Vec::new();
    let mut files = Vec::new();
    for file in test_files(&project.directory, &mut found) {
        let shown = display_path(&project.directory, &file);
        match std::fs::read_to_string(project.directory.join(&file)) {
            Ok(text) => {
                let mut reader = Reader::new(project, &mut sources, shown, Some(file), text);
                files.push(reader.file(&[]));
                found.append(&mut reader.found);
            }
            Err(error) => found.push(Found::error(None, format!("the test file `{shown}` can't be read: {error}"))),
        }
    }
    finish(files, found, &sources)
}

/// Reads one file of tests. `path` is what is shown of it; `further_keys` may stand beside those of a case.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load_file(project: &Project, path: &str, text: &str, further_keys: &[&str]) -> Result<TestFile, ProjectErrors> {
    let mut sources = Sources::default();
    let mut reader = Reader::new(project, &mut sources, path.to_owned(), Some(PathBuf::from(path)), text.to_owned());
    let file = reader.file(further_keys);
    let found = reader.found;
    finish(file, found, &sources)
}

fn finish<T>(read: T, found: Vec<Found>, sources: &Sources) -> Result<T, ProjectErrors> {
    let failed = found.iter().any(|found| found.severity == Severity::Error);
    if failed { Err(ProjectErrors::new(found, sources)) } else { Ok(read) }
}

/// Paths relative to the project, sorted.
fn test_files(directory: &Path, found: &mut Vec<Found>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory.join(TESTS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let shown = display_path(directory, Path::new(TESTS));
            found.push(Found::error(None, format!("the folder `{shown}` can't be read: {error}")));
            return Vec::new();
        }
    };
    let paths = entries.flatten().map(|entry| Path::new(TESTS).join(entry.file_name()));
    let is_test = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml"))
    };
    let mut files: Vec<PathBuf> = paths.filter(is_test).collect();
    files.sort();
    files
}

/// Reads one file.
pub(super) struct Reader<'p> {
    pub(super) project: &'p Project,
    pub(super) found: Vec<Found>,
    path: String,
    text: Arc<str>,
    source: SourceId,
}

impl<'p> Reader<'p> {
    fn new(project: &'p Project, sources: &mut Sources, path: String, file: Option<PathBuf>, text: String) -> Self {
        let source = sources.add(path.clone(), file, text.clone());
        Self { project, found: Vec::new(), path, text: text.into(), source }
    }

    fn file(&mut self, further_keys: &[&str]) -> TestFile {
        let tree = match parse(self.source, &self.text) {
            Ok(tree) => tree,
            Err(error) => {
                self.found.push(Found::error(error.origin, error.message));
                return TestFile { path: self.path.clone(), text: self.text.clone(), cases: Vec::new() };
            }
        };
        let cases = match &tree.value {
            Value::Sequence(items) => items.iter().filter_map(|item| self.case(item, &[])).collect(),
            _ => self.case(&tree, further_keys).into_iter().collect(),
        };
        TestFile { path: self.path.clone(), text: self.text.clone(), cases }
    }

    fn case(&mut self, node: &Node, further_keys: &[&str]) -> Option<TestCase> {
        let Some(entries) = node.mapping() else {
            self.error(node.origin, format!("a test has a `name` and `steps`, and this is {}", node.kind()));
            return None;
        };
        let known: Vec<&str> = CASE_KEYS.iter().chain(further_keys).copied().collect();
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let help = suggest::help(&entry.key, known.iter().copied(), "a test has");
            self.found.push(Found::error(entry.key_origin, format!("a test has no `{}`", entry.key)).maybe_help(help));
        }
        let name = match node.entry("name").map(|entry| (entry, entry.node.scalar())) {
            Some((_, Some(name))) => name.to_owned(),
            Some((entry, None)) => {
                self.error(entry.node.origin, "a test's `name` is a text".to_owned());
                return None;
            }
            None => {
                let help = "add `name:` with what the test shows";
                self.found.push(Found::error(node.origin, "the test has no `name`").help(help));
                String::new()
            }
        };
        let now_us = node.entry("now").and_then(|entry| {
            let read = entry.node.scalar().and_then(cell::timestamp);
            if read.is_none() {
                self.error(entry.node.origin, "`now` is a time, such as 2026-01-01T00:00:00Z".to_owned());
            }
            read
        });
        let defaults = node.entry("defaults").map(|entry| entry.node.clone());
        self.check_defaults(defaults.as_ref());
        let mut steps = Vec::new();
        match node.entry("steps").map(|entry| (entry, &entry.node.value)) {
            Some((_, Value::Sequence(items))) => {
                for item in items {
                    if let Some(kind) = self.step(item, defaults.as_ref()) {
                        steps.push(Step { spot: self.spot(item.origin), kind });
                    }
                }
            }
            Some((entry, _)) => self.error(entry.key_origin, "`steps` is a list".to_owned()),
            None => {
                let help = "add `steps:` with a list of `send`, `expect` and so on";
                self.found.push(Found::error(node.origin, "the test has no `steps`").help(help));
            }
        }
        Some(TestCase { name, spot: self.spot(node.origin), now_us, steps })
    }

    fn step(&mut self, node: &Node, defaults: Option<&Node>) -> Option<StepKind> {
        let (key, origin, argument) = match &node.value {
            Value::Scalar(word) => (word.as_str(), node.origin, None),
            Value::Mapping(entries) => match entries.as_slice() {
                [Entry { key, key_origin, node }] => (key.as_str(), *key_origin, Some(node)),
                _ => {
                    let help = "begin each step with `- `";
                    self.found.push(Found::error(node.origin, "a step is one thing that happens").help(help));
                    return None;
                }
            },
            _ => {
                self.error(
                    node.origin,
                    format!("a step is one of {}, and this is {}", suggest::list(&STEPS), node.kind()),
                );
                return None;
            }
        };
        match (key, argument.filter(|argument| !argument.is_null())) {
            ("restart", None) => Some(StepKind::Restart),
            ("crash", None) => Some(StepKind::Crash),
            ("drain", None) => Some(StepKind::Drain),
            ("restart" | "crash" | "drain", Some(argument)) => {
                self.error(argument.origin, format!("`{key}` stands alone"));
                None
            }
            ("send", Some(argument)) => Some(StepKind::Send(self.send(argument, defaults))),
            ("send_bytes", Some(argument)) => Some(StepKind::Send(self.send_bytes(argument))),
            ("advance", Some(argument)) => self.advance(argument),
            ("expect", Some(argument)) => Some(StepKind::Expect(self.expectations(argument))),
            (known, None) if STEPS.contains(&known) => {
                self.error(origin, format!("`{known}` of what?"));
                None
            }
            (unknown, _) => {
                let help = suggest::help(unknown, STEPS, "steps are");
                self.found.push(Found::error(origin, format!("there is no step `{unknown}`")).maybe_help(help));
                None
            }
        }
    }

    fn advance(&mut self, node: &Node) -> Option<StepKind> {
        let text = node.scalar().unwrap_or_default();
        match text.parse::<Duration>() {
            Ok(duration) => Some(StepKind::Advance(duration.0)),
            Err(message) => {
                let help = "write a whole number with ms, s, min, h or d, such as `30s`";
                self.found.push(Found::error(node.origin, message).help(help));
                None
            }
        }
    }

    pub(super) fn error(&mut self, origin: Origin, message: String) {
        self.found.push(Found::error(origin, message));
    }

    pub(super) fn spot(&self, origin: Origin) -> Spot {
        let before = self.text.get(..origin.start).unwrap_or_default();
        Spot { line: before.matches('\n').count() + 1, bytes: origin.start..origin.end }
    }
}
