//! Test files: the mistakes that people make in them, all at once and with their places.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's panic is its report")]

use std::path::{Path, PathBuf};

use project::testfile::{self, ExpectedRows, StepKind};
use project::{Overrides, Project, Rendering};

fn shop() -> (tempfile::TempDir, Project) {
    let directory = tempfile::tempdir().unwrap();
    project::template::write(directory.path(), "shop").unwrap();
    let project = Project::load(directory.path(), &Overrides::default()).unwrap();
    (directory, project)
}

#[test]
fn the_templates_own_tests_are_right() {
    let (_directory, project) = shop();
    let files = testfile::load(&project).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].cases.len(), 3);
    let StepKind::Expect(expectations) = &files[0].cases[0].steps[1].kind else { panic!("expect comes second") };
    let ExpectedRows::Rows { rows, .. } = &expectations[0].rows else { panic!("rows are expected") };
    assert_eq!(rows.len(), 3);
    let line = files[0].text.lines().nth(rows[1].spot.line - 1).unwrap();
    assert!(line.contains("category: food"), "{line}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testfiles");
    let text = std::fs::read_to_string(folder.join("mistakes.yaml")).unwrap();
    let (_directory, project) = shop();
    let errors = testfile::load_file(&project, "tests/mistakes.yaml", &text, &[]).unwrap_err();
    let actual = errors.render(Rendering::plain());
    let golden = folder.join("mistakes.txt");
    if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
        std::fs::write(&golden, &actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&golden).unwrap_or_default(), "TILLSTREAM_UPDATE=1 writes it anew");
}
