//! The project's inputs, loaded by `up`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ingest::files::FileOptions;
use project::Project;
use project::settings::InputSettings;

use crate::cli::progress::{LoadProgress, say};
use crate::error::{Error, Result};
use crate::run::load::{Load, Loaded};
use crate::run::pipeline::Pipeline;

/// Rows of the inputs that didn't fit their streams, said for each file.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused(Arc<Mutex<Vec<String>>>);

impl Refused {
    fn add(&self, load: &Load, stream: &str, rows: u64) {
        let text = format!(
            "{rows} rows of {} don't fit the stream {stream}; they are in {} with what is wrong",
            load.file.display(),
            load.report.display()
        );
        tracing::warn!("{text}");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// An error if rows were refused.
    ///
    /// # Errors
    /// `Data`, with the files that say which.
    pub(super) fn check(&self) -> Result<()> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_empty() { Ok(()) } else { Err(Error::Data(refused.join("\n"))) }
    }
}

/// How the file of an input is read.
fn options(settings: &InputSettings) -> FileOptions {
    FileOptions {
        rename: settings.columns.clone(),
        absent_is_null: settings.absent_is_null,
        delimiter: settings.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok()),
        null_text: settings.null_text.clone(),
        ..FileOptions::default()
    }
}

/// Starts loading the project's inputs one after the other, each row once however often this is done. A load that meets an outage goes on
/// after it.
pub(super) fn start(project: &Project, pipeline: &mut Pipeline) -> Result<Refused> {
    let refused = Refused::default();
    let mut loads = VecDeque::new();
    for input in &project.inputs {
        if !input.file.exists() {
            tracing::warn!(file = %input.file.display(), "the input isn't there and is left out");
            continue;
        }
        let mut load = pipeline.load(project, &input.stream, &input.file, &input.name)?;
        load.options = options(&input.settings);
        loads.push_back((input.stream.clone(), load));
    }
    let (context, told) = (pipeline.intake.clone(), refused.clone());
    pipeline.bring_in("load", move || {
        while let Some((stream, load)) = loads.front() {
            let mut progress = LoadProgress::new(&load.file);
            let loaded = load.run(&context, |loaded| progress.update(&loaded))?;
            drop(progress);
            let Loaded { sent, already, refused, stopped_at, .. } = loaded;
            if let Some(row) = stopped_at {
                say(&format!(
                    "loading {} stopped at row {row}; the next start goes on from there",
                    load.file.display()
                ));
                return Ok(());
            }
            tracing::info!(file = %load.file.display(), sent, already, refused, "loaded");
            if refused > 0 {
                told.add(load, stream, refused);
            }
            loads.pop_front();
        }
        Ok(())
    })?;
    Ok(refused)
}
