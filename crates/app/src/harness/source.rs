//! Which files hold tests, and the projects that they are about.

use std::path::{Path, PathBuf};

use project::testfile::{self, InlineFile, TestFile};
use project::{Overrides, PROJECT_FILE, Project};
use tempfile::TempDir;

use crate::error::{Error, Result};

/// Tests with the project that they are about.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) project: Project,
    pub(crate) files: Vec<TestFile>,
    /// What the one file says, if it holds its project itself.
    pub(crate) inline: Option<InlineFile>,
    /// Where an inline file's project is laid out, as long as it is needed.
    _directory: Option<TempDir>,
}

/// The suites that a path stands for: a project's directory, a directory of files that hold their projects themselves, or one file.
///
/// # Errors
/// `Findings` with all that is wrong with the project or the tests, `Usage` when there is nothing of the kind.
pub(crate) fn suites(path: &Path, overrides: &Overrides) -> Result<Vec<Suite>> {
    if path.is_file() {
        return match project_of(path) {
            Some(directory) => {
                let mut suite = of_project(&directory, overrides)?;
                let name = path.file_name();
                suite.files.retain(|file| Path::new(&file.path).file_name() == name);
                Ok(vec![suite])
            }
            None => Ok(vec![inline(path)?]),
        };
    }
    if path.join(PROJECT_FILE).is_file() || !path.is_dir() {
        return Ok(vec![of_project(path, overrides)?]);
    }
    let files = yaml_files(path)?;
    if files.is_empty() {
        // The message about a missing project says what to do.
        return Ok(vec![of_project(path, overrides)?]);
    }
    files.iter().map(|file| inline(file)).collect()
}

/// The project whose `tests/` a file is in.
fn project_of(file: &Path) -> Option<PathBuf> {
    let tests = file.parent()?;
    let named = if tests.as_os_str().is_empty() { std::env::current_dir().ok()? } else { tests.to_owned() };
    let directory = tests.parent().map_or_else(|| PathBuf::from(".."), Path::to_owned);
    let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
    (named.file_name()? == "tests" && directory.join(PROJECT_FILE).is_file()).then_some(directory)
}

fn of_project(directory: &Path, overrides: &Overrides) -> Result<Suite> {
    let project = Project::load(directory, overrides)?;
    let files = testfile::load(&project)?;
    Ok(Suite { project, files, inline: None, _directory: None })
}

/// A file that holds its project itself.
fn inline(path: &Path) -> Result<Suite> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Error::system(format!("reading {shown}"), error))?;
    let directory =
        tempfile::tempdir().map_err(|error| Error::system("making a directory for the project of a test", error))?;
    let inline = testfile::lay_out(&shown, &text, directory.path())?;
    let project = Project::load(directory.path(), &Overrides::default())
        .map_err(|errors| errors.shown_in(directory.path(), &shown))?;
    let file = testfile::load_file(&project, &shown, &text, InlineFile::KEYS)?;
    Ok(Suite { project, files: vec![file], inline: Some(inline), _directory: Some(directory) })
}

fn yaml_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| Error::system(format!("reading the directory {}", directory.display()), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
