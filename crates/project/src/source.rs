//! The texts that a project is read from, and places in them.
//!
//! A file, the `--set` arguments and the environment are all sources, so that one message format with a caret serves them all.

use std::path::{Path, PathBuf};

/// Which source; an index into [`Sources`].
pub(crate) type SourceId = usize;

/// A range of bytes of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) source: SourceId,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Origin {
    pub(crate) fn new(source: SourceId, start: usize, end: usize) -> Self {
        Self { source, start, end: end.max(start) }
    }
}

/// One text with its name.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What is shown before `:line:column`; for files the path as the user gave it.
    pub(crate) name: String,
    /// The file, relative to the project directory; none for `--set` and the environment.
    pub(crate) file: Option<PathBuf>,
    /// The text itself. It may hold a secret that was written in plain text: show [`Source::shown`] only.
    text: String,
    /// Byte ranges that are secrets.
    masked: Vec<(usize, usize)>,
}

impl Source {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text with each byte of a secret replaced by `*`, so that places stay where they are.
    pub(crate) fn shown(&self) -> String {
        let mut bytes = crate::mask::mask_secrets(&self.text).into_bytes();
        for &(start, end) in &self.masked {
            for byte in bytes.iter_mut().take(end).skip(start) {
                if *byte != b'\n' {
                    *byte = b'*';
                }
            }
        }
        // Whole characters are masked, so the text stays valid; if a range cut one, the rest is replaced.
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Line and column, both from 1, columns in characters.
    pub(crate) fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// All texts of a project.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    list: Vec<Source>,
}

impl Sources {
    pub(crate) fn add(&mut self, name: String, file: Option<PathBuf>, text: String) -> SourceId {
        self.list.push(Source { name, file, text, masked: Vec::new() });
        self.list.len() - 1
    }

    pub(crate) fn add_file(&mut self, directory: &Path, file: &Path, text: String) -> SourceId {
        self.add(display_path(directory, file), Some(file.to_path_buf()), text)
    }

    pub(crate) fn get(&self, id: SourceId) -> Option<&Source> {
        self.list.get(id)
    }

    pub(crate) fn text(&self, id: SourceId) -> &str {
        self.get(id).map_or("", Source::text)
    }

    /// The text of a place.
    pub(crate) fn slice(&self, origin: Origin) -> &str {
        self.text(origin.source).get(origin.start..origin.end).unwrap_or_default()
    }

    /// Hides a place in everything that is shown.
    pub(crate) fn mask(&mut self, origin: Origin) {
        if let Some(source) = self.list.get_mut(origin.source) {
            source.masked.push((origin.start, origin.end));
        }
    }
}

/// The path of a project's file as the user would type it.
pub(crate) fn display_path(directory: &Path, file: &Path) -> String {
    if directory.as_os_str().is_empty() || directory == Path::new(".") {
        file.display().to_string()
    } else {
        directory.join(file).display().to_string()
    }
}
