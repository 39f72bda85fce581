//! What the sessions of the process and the patterns stage do in one way: make room where there is none, let generations take over, save.

use std::time::Duration;

use crate::error::Result;
use crate::run::context::Context;

/// Pause between two tries to give rows to a query or pattern that has no room.
const FULL_PAUSE: Duration = Duration::from_millis(200);

/// What people are told of a query or pattern that has no room.
pub(crate) fn full_words(full: &str) -> String {
    format!("{full}. Until there is room nothing more is read, and nothing is lost")
}

/// One epoch of a stage.
pub(crate) trait Turn {
    fn context(&self) -> &Context;

    /// Which query or pattern has no room for what was read.
    fn full(&self) -> Option<&str>;

    /// Tries again to give rows to those that had no room.
    fn hand_over(&mut self) -> Result<()>;

    /// Publishes what there is.
    fn emit(&mut self) -> Result<()>;

    /// Saves what was taken, once what was published is acknowledged.
    fn save(&mut self) -> Result<()>;

    /// Publishes what there is and saves, if something was taken that isn't saved and it is time for that.
    fn save_due(&mut self) -> Result<()>;

    /// Whether a generation that fills has just caught up.
    fn has_caught_up(&self) -> bool;

    /// Announces the generations that have caught up.
    fn announce(&mut self) -> Result<()>;

    /// Drops the generations that readers are no longer shown.
    fn retire(&mut self) -> Result<()>;

    /// Publishes what may make room, such as windows that are over, and tries again; then waits a moment if that didn't do.
    fn make_room(&mut self) -> Result<()> {
        self.emit()?;
        self.hand_over()?;
        if self.full().is_some() {
            self.context().stop.wait(FULL_PAUSE);
        }
        Ok(())
    }

    /// The end of a step: lets generations that have caught up take over from the ones before, and saves what is due.
    fn end_step(&mut self) -> Result<()> {
        if self.has_caught_up() {
            self.emit()?;
            // Whoever takes it over then goes on from here, and not from the beginning.
            self.save()?;
            self.announce()?;
        }
        self.retire()?;
        self.save_due()
    }
}
