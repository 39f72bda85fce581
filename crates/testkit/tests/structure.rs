//! What the layout promises: arrows between crates, tidy sources, links and commands in the documentation that are real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's panic is its report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file at most: above it a file has more than one job.
const SOURCE_LINES_MAX: usize = 600;

/// Commands in the README that no test runs, and why.
const COMMANDS_NOT_RUN: &[(&str, &str)] = &[
    ("./dev demo", "runs until Ctrl-C; what it starts is tested by the app's own tests"),
    ("./dev test", "is what runs this test"),
    ("export PATH=", "the tests run the binary that cargo built for them"),
    ("examples/grocery/fetch", "./dev test runs it before the tests"),
    (
        "tillstream up examples/grocery --drain",
        "loads 1.5 million rows; the grocery scenario of the app's tests does it",
    ),
    ("tillstream up shop", "the test of the block `while-it-runs` starts it"),
    (
        "tillstream up payments --profile production",
        "needs a company's Kafka; scenarios against Apache Kafka do the same",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace is there")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that there are no findings, and shows them.
fn none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Library,
    Embedded,
    Stage,
    App,
    Development,
}

/// A row of the table of crates in `ARCHITECTURE.md`.
#[derive(Debug)]
struct Row {
    layer: Layer,
    may_depend_on: BTreeSet<String>,
}

/// The table of crates, by name.
fn documented_crates() -> BTreeMap<String, Row> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let rows = text.lines().filter(|line| line.starts_with("| [`"));
    let mut crates = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, layer, _, arrows] = cells[..] else { panic!("a row of crates has four cells: {row}") };
        let name = name.split('`').nth(1).expect("the name stands in backticks").to_owned();
        let layer = match layer {
            "library" => Layer::Library,
            "embedded system" => Layer::Embedded,
            "stage" => Layer::Stage,
            "app" => Layer::App,
            "tests" => Layer::Development,
            other => panic!("{name}: there is no layer {other:?}"),
        };
        let may_depend_on = match arrows {
            "none" | "all" => BTreeSet::new(),
            names => names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect(),
        };
        crates.insert(name, Row { layer, may_depend_on });
    }
    assert!(!crates.is_empty(), "ARCHITECTURE.md has no table of crates");
    crates
}

/// A crate of the workspace with those of ours that it depends on: when it runs or is built, and when it is tested.
#[derive(Debug, Default)]
struct Found {
    depends_on: BTreeSet<String>,
    tests_with: BTreeSet<String>,
}

/// Crates by the name of their folder.
fn workspace_crates() -> BTreeMap<String, Found> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let mut crates = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("there are packages") {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let folder = manifest.parent().and_then(Path::file_name).expect("a folder");
        let mut found = Found::default();
        for dependency in package["dependencies"].as_array().expect("a list") {
            // Dependencies with a path are ours.
            let Some(path) = dependency["path"].as_str() else { continue };
            let name = Path::new(path).file_name().expect("a folder").to_string_lossy().into_owned();
            let is_for_tests = dependency["kind"] == "dev";
            let set = if is_for_tests { &mut found.tests_with } else { &mut found.depends_on };
            set.insert(name);
        }
        crates.insert(folder.to_string_lossy().into_owned(), found);
    }
    crates
}

#[test]
fn crates_depend_only_along_the_documented_arrows() {
    let documented = documented_crates();
    let found = workspace_crates();
    let mut findings = Vec::new();
    for (name, found) in &found {
        let Some(row) = documented.get(name) else {
            findings.push(format!("{name} isn't in the table of crates in ARCHITECTURE.md"));
            continue;
        };
        for other in found.depends_on.iter().filter(|_| row.layer != Layer::App) {
            if !row.may_depend_on.contains(other) {
                findings.push(format!("{name} depends on {other}, and ARCHITECTURE.md has no such arrow"));
            }
        }
        for other in &found.depends_on {
            match documented.get(other).map(|other| other.layer) {
                Some(Layer::Stage) if row.layer != Layer::App => {
                    findings.push(format!("{name} depends on the stage {other}; only the app may"));
                }
                Some(Layer::Development) => findings.push(format!("{name} depends on {other}, which is for tests")),
                Some(Layer::App) => findings.push(format!("{name} depends on the app")),
                _ => {}
            }
        }
        for other in &found.tests_with {
            if matches!(documented.get(other).map(|other| other.layer), Some(Layer::Stage | Layer::App)) {
                findings.push(format!("the tests of {name} use {other}; a test over stages belongs to the app"));
            }
        }
    }
    for name in documented.keys().filter(|name| !found.contains_key(*name)) {
        findings.push(format!("ARCHITECTURE.md has a crate {name}, and there is none"));
    }
    none("arrows between crates", &findings);
}

#[test]
fn the_documented_arrows_keep_the_layers() {
    let documented = documented_crates();
    let mut findings = Vec::new();
    for (name, row) in &documented {
        for other in &row.may_depend_on {
            let allowed = match documented.get(other).map(|other| other.layer) {
                Some(Layer::Library) => true,
                Some(Layer::Embedded) => row.layer == Layer::Development,
                _ => false,
            };
            if !allowed {
                findings.push(format!("{name} -> {other}"));
            }
        }
    }
    none("arrows that no layer allows (stages and libraries depend on libraries alone)", &findings);
}

/// All files below a folder with one of the endings.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "node_modules" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The sources of all crates, without tests and examples.
fn sources() -> Vec<PathBuf> {
    let crates = std::fs::read_dir(root().join("crates")).expect("there are crates");
    let folders = crates.map(|entry| entry.expect("an entry").path().join("src"));
    folders.flat_map(|folder| files(&folder, &["rs"])).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn sources_are_short_and_finished() {
    let unfinished: Vec<String> = ["todo", "unimplemented", "dbg"].iter().map(|name| format!("{name}!(")).collect();
    let mut findings = Vec::new();
    for path in sources() {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > SOURCE_LINES_MAX {
            findings.push(format!("{} has {lines} lines, more than {SOURCE_LINES_MAX}", shown(&path)));
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(name) = unfinished.iter().find(|name| code.contains(name.as_str())) {
                findings.push(format!("{}:{} has {name})", shown(&path), number + 1));
            }
        }
        let is_root = path.parent().is_some_and(|folder| folder.ends_with("src"))
            && path.file_name().is_some_and(|name| name == "lib.rs" || name == "main.rs");
        if is_root && !text.starts_with("//!") {
            findings.push(format!("{} doesn't begin with what the crate is for (//!)", shown(&path)));
        }
    }
    none("sources", &findings);
}

/// The documentation that people read.
fn documents() -> Vec<PathBuf> {
    let mut found = files(&root().join("docs"), &["md"]);
    found.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)));
    found
}

/// Targets of the Markdown links of a text, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        let mut rest = if is_code { "" } else { line };
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, after)) = after.split_once(')') else { break };
            found.push(target.to_owned());
            rest = after;
        }
    }
    found
}

#[test]
fn links_lead_to_files_that_are_there() {
    let mut findings = Vec::new();
    let mut count = 0;
    for document in documents() {
        let folder = document.parent().expect("a folder");
        for target in links(&read(&document)) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            count += 1;
            if !folder.join(path).exists() {
                findings.push(format!("{} links to {target}", shown(&document)));
            }
        }
    }
    none("links to nothing", &findings);
    assert!(count > 20, "only {count} links were found: the test reads them wrongly");
}

/// The shell blocks of a document: the name in the comment `<!-- test: NAME -->` above it, if there is one, and the commands.
fn shell_blocks(text: &str) -> Vec<(Option<String>, Vec<String>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    let mut name = None;
    while let Some(line) = lines.next() {
        if let Some(rest) = line.trim().strip_prefix("<!-- test: ") {
            name = Some(rest.trim_end_matches("-->").trim().to_owned());
        } else if line.trim() == "```sh" {
            let commands = lines.by_ref().take_while(|line| line.trim() != "```").map(str::to_owned).collect();
            found.push((name.take(), commands));
        } else if !line.trim().is_empty() {
            name = None;
        }
    }
    found
}

#[test]
fn every_command_of_the_readme_is_run_by_a_test_or_excused() {
    let tests = read(&root().join("crates/app/tests/readme.rs"));
    let mut findings = Vec::new();
    let mut excused = BTreeSet::new();
    let blocks = shell_blocks(&read(&root().join("README.md")));
    assert!(blocks.len() > 3, "only {} shell blocks were found", blocks.len());
    for (name, commands) in blocks {
        if let Some(name) = name {
            if !tests.contains(&format!("{name:?}")) {
                findings.push(format!("crates/app/tests/readme.rs doesn't run the block {name}"));
            }
            continue;
        }
        for command in commands.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match COMMANDS_NOT_RUN.iter().find(|(start, _)| command.starts_with(start)) {
                Some((start, _)) => {
                    excused.insert(*start);
                }
                None => findings.push(format!("no test runs `{command}`, and COMMANDS_NOT_RUN doesn't say why")),
            }
        }
    }
    let unused = COMMANDS_NOT_RUN.iter().filter(|(start, _)| !excused.contains(start));
    findings
        .extend(unused.map(|(start, _)| format!("COMMANDS_NOT_RUN excuses `{start}`, which the README doesn't have")));
    none("commands of the README", &findings);
}
