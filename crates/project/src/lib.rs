//! The project directory: read, checked, and turned into the plan that the app runs.
//!
//! **In**: a directory with `tillstream.yaml`, `schemas/`, `queries/` and `reference/`, and what is laid over its settings (a profile,
//! the environment, `--set`). **Out**: a [`Project`] in which everything fits together, or [`ProjectErrors`]. **Promised**: all mistakes
//! are found at once, each with its file, line, column and what to do; a mistake isn't reported again as its own consequences; no
//! secret is ever shown; nothing outside the directory is asked.
//!
//! | file | does |
//! | --- | --- |
//! | `settings` | what `tillstream.yaml` may say, as types; their documentation is the editors' help |
//! | `tree`, `source`, `mask` | YAML in which each value knows its place; texts that are shown without secrets |
//! | `schema`, `check`, `formats` | the settings' own JSON schema, and the check of the tree against it |
//! | `merge` | profile, environment and `--set` laid over the file |
//! | `load` | the steps in order; then `connections`, `streams`, `references`, `queries`, `inputs` |
//! | `problem` | how mistakes are shown: with carets, or as JSON |
//! | `pattern_limits` | the record of what patterns give up |
//! | `template` | what `tillstream init` writes |
//! | `testfile` | `tests/*.yaml`: what comes in, what is expected |

mod check;
mod connections;
mod formats;
mod inputs;
mod load;
mod mask;
mod merge;
pub mod pattern_limits;
mod problem;
mod project;
mod queries;
mod references;
mod schema;
pub mod settings;
mod source;
mod streams;
mod suggest;
pub mod template;
pub mod testfile;
mod tree;
mod types;

pub use load::PROJECT_FILE;
pub use merge::{ENVIRONMENT_PREFIX, Overrides};
pub use problem::{Place, Problem, ProjectErrors, Rendering, Severity};
pub use project::{
    EffectiveSetting, Input, PostgresRelation, Project, Reference, ReferenceSource, Rule, Stream, Validity,
};
pub use settings::{Engine, Secret, SecretError, Settings};
