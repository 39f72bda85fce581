//! Commands that read or write a project's topics, whether its pipeline runs or not.

use std::sync::Arc;

use model::SystemClock;
use project::Project;

use crate::cli::runtime;
use crate::cli::signals::stop_on_signals;
use crate::error::Result;
use crate::run::context::Context;
use crate::run::layout::{PipelineStream, lay_out_streams};
use crate::run::peers::Peers;

/// Does `work` on the project's peers, which are started if they are embedded and don't run. Ctrl-C throws the context's stop switch.
pub(super) fn with_context<T>(project: &Project, work: impl FnOnce(&Context) -> Result<T>) -> Result<T> {
    let runtime = runtime()?;
    Peers::with(project, runtime.handle(), |peers| {
        let context = Context::new(peers, Arc::new(SystemClock::new()));
        stop_on_signals(runtime.handle(), context.stop.clone(), "stopping; Ctrl-C again ends at once");
        work(&context)
    })
}

/// As [`with_context`], with the project's topics and schemas made.
pub(super) fn with_streams<T>(
    project: &Project,
    work: impl FnOnce(&Context, Vec<PipelineStream>) -> Result<T>,
) -> Result<T> {
    with_context(project, |context| {
        let streams = lay_out_streams(project, context)?;
        work(context, streams)
    })
}
