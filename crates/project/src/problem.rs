//! What can be wrong with a project, where, and how it is shown.

use std::fmt;
use std::path::PathBuf;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use model::{Classified, Domain, Retry};

use crate::source::{Origin, Sources};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The project can't run.
    Error,
    /// The project can run, but may not do what was meant.
    Warning,
}

/// A problem as it is found: places are still ranges of sources.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) origin: Option<Origin>,
}

impl Found {
    pub(crate) fn error(origin: impl Into<Option<Origin>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), help: None, origin: origin.into() }
    }

    pub(crate) fn warning(origin: impl Into<Option<Origin>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(origin, message) }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

/// A problem with its place, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where it is, unless it concerns the whole project.
    pub place: Option<Place>,
}

/// A place in a file, an argument or the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is shown before the line: the file as the user would type it, `--set`, or `environment`.
    pub name: String,
    /// The file, relative to the project directory; none for arguments and the environment.
    pub file: Option<PathBuf>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column after the end.
    pub end_column: usize,
    /// Byte range in `text`.
    bytes: (usize, usize),
    /// The whole text, with secrets masked.
    text: std::sync::Arc<str>,
}

/// How problems are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendering {
    /// Colours and line-drawing characters, for terminals.
    pub fancy: bool,
    /// Columns to wrap at.
    pub width: usize,
}

impl Rendering {
    /// ASCII without colours: for files, pipes and tests.
    pub const fn plain() -> Self {
        Self { fancy: false, width: 120 }
    }

    /// Colours and line-drawing characters for a terminal of this width.
    pub const fn terminal(width: usize) -> Self {
        Self { fancy: true, width }
    }
}

/// All problems of a project, errors and warnings, in the order of files and lines.
///
/// `Display` draws them plainly; [`ProjectErrors::render`] for terminals, [`ProjectErrors::to_json`] for programs.
#[derive(Clone, PartialEq, Eq)]
pub struct ProjectErrors {
    problems: Vec<Problem>,
}

impl ProjectErrors {
    pub(crate) fn new(mut found: Vec<Found>, sources: &Sources) -> Self {
        // The project's file first, then the others as they were read; what has no place comes before all.
        found.sort_by(|a, b| a.origin.cmp(&b.origin).then_with(|| a.message.cmp(&b.message)));
        found.dedup_by(|a, b| a.origin == b.origin && a.message == b.message);
        Self { problems: found.into_iter().map(|found| Problem::new(found, sources)).collect() }
    }

    /// The same problems of a project that was laid out in a directory and is known to the user by another name.
    pub fn shown_in(mut self, directory: &std::path::Path, name: &str) -> Self {
        let directory = directory.display().to_string();
        for problem in &mut self.problems {
            problem.message = problem.message.replace(&directory, name);
            if let Some(place) = &mut problem.place {
                place.name = place.name.replace(&directory, name);
            }
        }
        self
    }

    /// The problems.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many are errors; the rest are warnings.
    pub fn error_count(&self) -> usize {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// True if nothing was found.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Each problem with its file, line, a caret under the place, and what to do.
    pub fn render(&self, rendering: Rendering) -> String {
        let theme = if rendering.fancy { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(rendering.width)
            .with_links(false)
            .with_context_lines(1);
        let mut out = String::new();
        for problem in &self.problems {
            let mut text = String::new();
            if handler.render_report(&mut text, &Shown::new(problem)).is_err() {
                text = problem.one_line();
            }
            for line in text.trim_matches('\n').lines() {
                out.push_str(line.trim_end());
                out.push('\n');
            }
            out.push('\n');
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let errors = self.error_count();
        let warnings = self.problems.len() - errors;
        let count = |number: usize, what: &str| match number {
            0 => None,
            1 => Some(format!("1 {what}")),
            many => Some(format!("{many} {what}s")),
        };
        let parts: Vec<String> = [count(errors, "error"), count(warnings, "warning")].into_iter().flatten().collect();
        if parts.is_empty() { "no problems".into() } else { parts.join(", ") }
    }

    /// `{"version":1,"problems":[{"severity","message","help","file","name","line","column","end_line","end_column"}]}`; lines and
    /// columns count from 1, in characters.
    pub fn to_json(&self) -> serde_json::Value {
        let problems: Vec<serde_json::Value> = self.problems.iter().map(Problem::to_json).collect();
        serde_json::json!({ "version": 1, "problems": problems })
    }
}

impl fmt::Display for ProjectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Rendering::plain()).trim_end())
    }
}

impl fmt::Debug for ProjectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ProjectErrors {}

impl Classified for ProjectErrors {
    fn domain(&self) -> Domain {
        Domain::User
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Problem {
    fn new(found: Found, sources: &Sources) -> Self {
        let place = found.origin.and_then(|origin| {
            let source = sources.get(origin.source)?;
            let (line, column) = source.line_column(origin.start);
            let (end_line, end_column) = source.line_column(origin.end);
            Some(Place {
                name: source.name.clone(),
                file: source.file.clone(),
                line,
                column,
                end_line,
                end_column,
                bytes: (origin.start, origin.end),
                text: source.shown().into(),
            })
        });
        Self { severity: found.severity, message: found.message, help: found.help, place }
    }

    /// `file:line:column: message`, for logs.
    pub fn one_line(&self) -> String {
        match &self.place {
            Some(place) => format!("{}:{}:{}: {}", place.name, place.line, place.column, self.message),
            None => self.message.clone(),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = self.place.as_ref();
        serde_json::json!({
            "severity": severity,
            "message": self.message,
            "help": self.help,
            "file": place.and_then(|place| place.file.as_ref()).map(|file| file.display().to_string()),
            "name": place.map(|place| &place.name),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "end_line": place.map(|place| place.end_line),
            "end_column": place.map(|place| place.end_column),
        })
    }
}

/// A problem in miette's shape.
struct Shown<'p> {
    problem: &'p Problem,
    source: Option<NamedSource<String>>,
}

impl<'p> Shown<'p> {
    fn new(problem: &'p Problem) -> Self {
        let source = problem.place.as_ref().map(|place| NamedSource::new(&place.name, place.text.to_string()));
        Self { problem, source }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.problem.place.as_ref()?;
        let (start, end) = place.bytes;
        let start = start.min(place.text.len());
        // A caret needs a character to stand under.
        let length = end.min(place.text.len()).saturating_sub(start);
        let label = LabeledSpan::new_primary_with_span(None, (start, length));
        Some(Box::new(std::iter::once(label)))
    }
}
