//! How `up` ends: what has come in is finished, unless a peer that is away keeps it from being.

use std::time::{Duration, Instant};

use model::{Classified as _, Retry};

use crate::cli::Output;
use crate::cli::progress::{DrainProgress, say, waiting};
use crate::error::{Error, Result};
use crate::run::drain::{self, Left};
use crate::run::pipeline::Pipeline;

/// How long nothing may go on before waiting is given up.
const STALL: Duration = Duration::from_secs(10);
/// What counts at most between two looks: more is a pause of this process or its machine, in which nobody else could go on either.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Takes no more records and finishes those that have come in, for at most `limit`. Says on standard error how it goes, and what was left
/// if it had to give up; that waits in Kafka, and every position is kept.
///
/// # Errors
/// Those of a thread that brought records in. Records that are left are none.
pub(super) fn wind_down(pipeline: &mut Pipeline, limit: Duration, output: Output) -> Result<()> {
    let mut patience = Patience::new(limit);
    let mut progress = DrainProgress::new("stopping");
    pipeline.close_intake()?;
    let status = pipeline.context.status.clone();
    let mut last = None;
    let ended = drain::wind_down(pipeline, &mut |left| {
        last = Some(left);
        progress.update(left);
        patience.check(left)
    });
    drop(progress);
    let left = match ended {
        Ok(()) => {
            say("stopped: all that came in is stored; windows that are still open go on at the next start");
            None
        }
        // The stage's own error follows.
        Err(Error::Interrupted(_)) => return Ok(()),
        // A query on Spark that had failed for good, which waiting can't mend.
        Err(error @ Error::Spark(_)) if error.retry() == Retry::Never => return Err(error),
        Err(error) => {
            let troubles: Vec<String> =
                status.troubles().iter().map(|(stage, trouble)| format!("\n  {stage}: {trouble}")).collect();
            say(&format!(
                "stopped before all was done: {error}{}\nNothing is lost: it waits in Kafka, and the next start goes on there.",
                troubles.concat()
            ));
            last
        }
    };
    if output == Output::Json {
        let left = left.map(|left: Left| serde_json::json!({ "stage": left.stage.name(), "records": left.records }));
        output.print(&serde_json::json!({ "event": "stopped", "left": left }), String::new)?;
    }
    Ok(())
}

/// How long a stop waits.
struct Patience {
    limit: Duration,
    started: Instant,
    last: Option<Left>,
    looked_at: Instant,
    /// For how long `last` has been what is left.
    stalled: Duration,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        let now = Instant::now();
        Self { limit, started: now, last: None, looked_at: now, stalled: Duration::ZERO }
    }

    /// Gives up when the limit is reached, or when nothing has gone on for a while.
    fn check(&mut self, left: Left) -> Result<()> {
        let since = self.looked_at.elapsed();
        self.looked_at += since;
        self.stalled = match self.last {
            Some(known) if known == left => self.stalled + since.min(LOOK_MAX),
            _ => Duration::ZERO,
        };
        self.last = Some(left);
        if self.stalled > STALL {
            return Err(self.given_up(left, &format!("nothing went on for {} s", STALL.as_secs())));
        }
        if self.started.elapsed() > self.limit {
            return Err(self.given_up(left, &format!("the limit of {} s is reached", self.limit.as_secs())));
        }
        Ok(())
    }

    fn given_up(&self, left: Left, why: &str) -> Error {
        Error::Unavailable(format!("{}, and {why}", waiting(left)))
    }
}
