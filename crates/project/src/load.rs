//! From the directory to the plan: every step adds what it finds wrong and goes on with the rest.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::check::check;
use crate::merge::{Overrides, merged};
use crate::problem::{Found, ProjectErrors, Severity};
use crate::project::{EffectiveSetting, Project};
use crate::schema::Shape;
use crate::settings::{Settings, json_schema};
use crate::source::{Origin, Sources, display_path};
use crate::tree::{Node, parse};

/// The file that makes a directory a project.
pub const PROJECT_FILE: &str = "tillstream.yaml";

/// What the steps share.
pub(crate) struct Loader {
    pub(crate) directory: PathBuf,
    pub(crate) sources: Sources,
    /// The settings as written, with everything laid over them.
    pub(crate) tree: Node,
    pub(crate) settings: Settings,
    /// Index in the file of each of `settings.inputs`.
    pub(crate) input_indexes: Vec<usize>,
    /// Paths of settings that were wrong, such as `streams.payments`.
    pub(crate) left_out: BTreeSet<String>,
    /// Names of streams and reference tables that couldn't be judged: what mentions them isn't judged either.
    pub(crate) unknown_tables: BTreeSet<String>,
    pub(crate) found: Vec<Found>,
}

pub(crate) fn load(directory: &Path, overrides: &Overrides) -> Result<Project, ProjectErrors> {
    let mut loader = Loader::read(directory, overrides)?;
    loader.check_connections();
    let streams = loader.streams();
    let references = loader.references();
    let queries = loader.queries(&streams, &references);
    let (inputs, missing) = loader.inputs(&streams);
    if streams.is_empty() && loader.tree.entry("streams").is_none_or(|entry| entry.node.is_null()) {
        let help = "add one under `streams`, with its schema, key and event_time";
        loader.found.push(Found::warning(None, "the project has no stream, so nothing can come in").help(help));
    }
    let failed = loader.found.iter().any(|found| found.severity == Severity::Error);
    let mut problems = loader.found.clone();
    problems.extend(missing.iter().cloned());
    let problems = ProjectErrors::new(problems, &loader.sources);
    if failed {
        return Err(problems);
    }
    let as_errors = missing.into_iter().map(|found| Found { severity: Severity::Error, ..found }).collect();
    let missing_inputs = ProjectErrors::new(as_errors, &loader.sources);
    let data_dir = loader.directory.join(&loader.settings.data_dir);
    Ok(Project {
        name: loader.settings.name.clone(),
        engine: loader.settings.engine,
        effective: loader.effective(),
        streams,
        references,
        queries,
        inputs,
        data_dir,
        warnings: problems,
        missing_inputs,
        directory: loader.directory,
        settings: loader.settings,
    })
}

impl Loader {
    /// Reads the file, lays the overrides over it and checks each setting by itself.
    fn read(directory: &Path, overrides: &Overrides) -> Result<Self, ProjectErrors> {
        let mut sources = Sources::default();
        let text = match std::fs::read_to_string(directory.join(PROJECT_FILE)) {
            Ok(text) => text,
            Err(error) => return Err(ProjectErrors::new(vec![unreadable_project(directory, &error)], &sources)),
        };
        let file = sources.add_file(directory, Path::new(PROJECT_FILE), text.clone());
        let tree = match parse(file, &text) {
            Ok(tree) => tree,
            Err(error) => {
                let help = if error.message.contains("duplicate") {
                    "keep one of them"
                } else {
                    "the file must be YAML: two spaces per level, no tabs, texts with `: ` or ` #` in quotes"
                };
                let found = Found::error(error.origin, error.message).help(help);
                return Err(ProjectErrors::new(vec![found], &sources));
            }
        };
        let schema = json_schema();
        let shape = Shape::root(&schema);
        let mut found = Vec::new();
        let profiles = check_profiles(&tree, &shape, &sources);
        let merged = merged(&tree, overrides, &shape, &mut sources, &mut found);
        let mut checked = check(&merged, &shape, &shape, &sources);
        for secret in checked.secrets.drain(..).chain(profiles.secrets) {
            sources.mask(secret);
        }
        found.extend(checked.found);
        found.extend(profiles.found);
        let mut json = checked.json.unwrap_or_else(|| serde_json::json!({ "name": "unnamed" }));
        let input_indexes = take_out_nulls(&mut json);
        let settings = serde_json::from_value(json).map_err(|error| {
            // The schema and the types are one definition, so this is a mistake of ours: say what is known.
            found.push(Found::error(Origin::new(file, 0, 0), format!("the settings can't be read: {error}")));
            ProjectErrors::new(std::mem::take(&mut found), &sources)
        })?;
        Ok(Self {
            directory: directory.to_path_buf(),
            sources,
            tree: merged,
            settings,
            input_indexes,
            left_out: checked.left_out,
            unknown_tables: BTreeSet::new(),
            found,
        })
    }

    /// Where the value of a setting stands; the file's start if it isn't set.
    pub(crate) fn place(&self, path: &[&str]) -> Option<Origin> {
        self.tree.place(path)
    }

    /// A path of a file in the project, as the user would type it.
    pub(crate) fn shown(&self, file: &str) -> String {
        display_path(&self.directory, Path::new(file))
    }

    /// What to do about a file that isn't there.
    pub(crate) fn missing_file_help(&self, file: &str) -> String {
        if self.directory.join("fetch").is_file() {
            return format!("run `{}`, which gets the project's data", self.shown("fetch"));
        }
        let path = self.directory.join(file);
        let parent = path.parent().unwrap_or(&self.directory);
        let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        match crate::suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{}`?", Path::new(file).with_file_name(near).display()),
            None => "paths are relative to the project directory".into(),
        }
    }

    /// Each setting with its value and where it comes from.
    fn effective(&self) -> Vec<EffectiveSetting> {
        let mut out = Vec::new();
        if let Ok(json) = serde_json::to_value(&self.settings) {
            self.flatten(&json, &mut Vec::new(), &mut out);
        }
        out
    }

    fn flatten(&self, json: &Json, path: &mut Vec<String>, out: &mut Vec<EffectiveSetting>) {
        let value = match json {
            Json::Object(object) if !object.is_empty() => {
                for (key, value) in object {
                    path.push(key.clone());
                    self.flatten(value, path, out);
                    path.pop();
                }
                return;
            }
            Json::Array(items) if items.iter().any(Json::is_object) => {
                for (index, value) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.flatten(value, path, out);
                    path.pop();
                }
                return;
            }
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        let set = self.tree.find(&steps).filter(|node| !node.is_null()).and_then(|_| self.place(&steps));
        let origin = set.and_then(|origin| {
            let source = self.sources.get(origin.source)?;
            let (line, _) = source.line_column(origin.start);
            Some(if source.file.is_some() { format!("{}:{line}", source.name) } else { source.name.clone() })
        });
        out.push(EffectiveSetting { path: path.join("."), value, origin: origin.unwrap_or_else(|| "default".into()) });
    }
}

fn unreadable_project(directory: &Path, error: &std::io::Error) -> Found {
    let shown = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    match error.kind() {
        ErrorKind::NotFound if !directory.exists() && !directory.as_os_str().is_empty() => {
            Found::error(None, format!("there is no directory `{}`", shown.display()))
                .help(format!("`tillstream init {}` makes a project there", shown.display()))
        }
        ErrorKind::NotFound => Found::error(None, format!("there is no `{PROJECT_FILE}` in `{}`", shown.display()))
            .help("name a project directory, or make one with `tillstream init DIR`"),
        ErrorKind::InvalidData => {
            Found::error(None, format!("`{}` isn't valid UTF-8", directory.join(PROJECT_FILE).display()))
                .help("save the file as UTF-8")
        }
        _ => Found::error(None, format!("`{}` can't be read: {error}", directory.join(PROJECT_FILE).display())),
    }
}

/// Checks all profiles, also those that aren't used now.
fn check_profiles(tree: &Node, shape: &Shape<'_>, sources: &Sources) -> crate::check::Checked {
    let Some(entry) = tree.entry("profiles").filter(|entry| !entry.node.is_null()) else {
        return crate::check::Checked::default();
    };
    let profiles = crate::tree::Value::Mapping(vec![entry.clone()]);
    let node = Node { value: profiles, origin: entry.node.origin };
    let mut checked = check(&node, shape, shape, sources);
    // The root lacks its name only because it was cut down to the profiles.
    checked.found.retain(|found| found.origin != Some(node.origin) || !found.message.contains("`name` is missing"));
    checked
}

/// Takes the inputs out that were wrong; gives the places in the file of those that are left.
fn take_out_nulls(json: &mut Json) -> Vec<usize> {
    let Some(Json::Array(inputs)) = json.get_mut("inputs") else { return Vec::new() };
    let kept: Vec<(usize, Json)> =
        std::mem::take(inputs).into_iter().enumerate().filter(|(_, input)| !input.is_null()).collect();
    let (indexes, values) = kept.into_iter().unzip();
    *inputs = values;
    indexes
}
