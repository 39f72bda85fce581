//! Each folder of `tests/errors` but `base` breaks the project in `base` by the files it lays over it, and by the arguments in its file
//! `overrides`; `expected.txt` is what a user then reads. `TILLSTREAM_UPDATE=1` writes that file: read the difference before you commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use project::{Overrides, Project, ProjectErrors};

/// One test only, since the project's paths are shown as they are typed, and so the working directory is changed.
#[test]
fn mistakes_are_explained() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let mut wrong = Vec::new();
    let mut folders: Vec<_> = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for case in folders {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let directory = tempfile::tempdir().unwrap();
        copy(&cases.join("base"), directory.path());
        if name != "base" {
            copy(&case, directory.path());
        }
        std::env::set_current_dir(directory.path()).unwrap();
        let loaded = Project::load(Path::new("."), &overrides(&case));
        std::env::set_current_dir(&cases).unwrap();
        if name == "base" {
            assert!(loaded.unwrap().warnings.is_empty());
            continue;
        }
        let shown = match loaded {
            Ok(_) => "the project was accepted\n".to_owned(),
            Err(errors) => {
                check_places(&name, &errors);
                errors.render(project::Rendering::plain())
            }
        };
        assert!(!shown.contains("hunter2"), "{name} shows a secret: {shown}");
        let expected = case.join("expected.txt");
        if std::env::var_os("TILLSTREAM_UPDATE").is_some() {
            fs::write(&expected, &shown).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if expected != shown {
            wrong.push(format!("== {name}: expected\n{expected}== found\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What JSON says about a place agrees with the text, and each error says what to do or where it is.
fn check_places(name: &str, errors: &ProjectErrors) {
    assert!(errors.error_count() > 0, "{name}");
    let json = errors.to_json();
    let problems = json["problems"].as_array().unwrap();
    assert_eq!(problems.len(), errors.problems().len());
    for (json, problem) in problems.iter().zip(errors.problems()) {
        assert_eq!(json["message"], problem.message);
        match &problem.place {
            Some(place) => assert_eq!(json["line"], place.line),
            None => assert!(json["line"].is_null()),
        }
    }
}

fn overrides(case: &Path) -> Overrides {
    let mut overrides = Overrides::default();
    for line in fs::read_to_string(case.join("overrides")).unwrap_or_default().lines() {
        if let Some(profile) = line.strip_prefix("--profile ") {
            overrides.profile = Some(profile.into());
        } else if let Some((path, value)) = line.strip_prefix("--set ").and_then(|set| set.split_once('=')) {
            overrides.sets.push((path.into(), value.into()));
        } else if let Some((variable, value)) = line.split_once('=') {
            overrides.environment.insert(variable.into(), value.into());
        }
    }
    overrides
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
