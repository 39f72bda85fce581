//! Hopping windows that share panes: a row is folded once, however many windows it is in.
//!
//! The state has a table per pane, as long as the slide, in place of one per window; what is kept of a pane, moved to the disk and saved is what is
//! kept of a tumbling window of that length. A window's result is put together from its panes when it is published. With `emit: final` that
//! is when the watermark has passed its end: nothing of its panes changes any more then. A drain puts open windows together on the side.
//!
//! | file | does |
//! | --- | --- |
//! | `table` | aggregates of numbered groups, and results that are to be published |
//! | `combiner` | one window after the other from panes, at a cost that doesn't grow with the panes of a window |
//! | `walk` | the windows of a stretch of time, as many groups at a time as are published together |
//! | `sweep` | all groups in parts, by their hashes: what is on the disk, and drains |
//! | `shown` | what a drain has published and HAVING may refuse later |
//! | `emit` | what is published next |

mod combiner;
mod emit;
mod shown;
mod sweep;
mod table;
mod walk;

use sql::{AggregateCall, AggregateFunction, Emit, Query, Window};
use state::{SnapshotReader, SnapshotWriter};

use super::plan::Plan;
use crate::error::Cause;
use shown::Shown;
use sweep::Sweep;
use walk::Walk;

/// Windows per row from which on sharing pays.
const WINDOWS_PER_ROW_MIN: i64 = 4;

/// Whether the windows of a query are put together from panes.
///
/// They aren't with `emit: changes`: each window that a changed pane is in is published anyway, and which ones stand has to be known of each. Nor with aggregates whose
/// state grows with the rows: each merge costs more then, the more there is, while a window of its own only takes in what is new.
pub fn shares_panes(query: &Query) -> bool {
    let Some(aggregate) = query.aggregate.as_ref().filter(|_| query.inner.is_none()) else { return false };
    let Some(Window::Fixed(window)) = &aggregate.window else { return false };
    query.options.emit == Emit::Final
        && window.size_us / window.slide_us.max(1) >= WINDOWS_PER_ROW_MIN
        && aggregate.calls.iter().all(has_constant_size)
}

/// Whether the state of a group stays as large as it is, whatever is folded in.
fn has_constant_size(call: &AggregateCall) -> bool {
    match call.function {
        AggregateFunction::CountStar
        | AggregateFunction::Count
        | AggregateFunction::Sum
        | AggregateFunction::Min
        | AggregateFunction::Max
        | AggregateFunction::Avg
        | AggregateFunction::BoolAnd
        | AggregateFunction::BoolOr
        | AggregateFunction::StddevSamp
        | AggregateFunction::StddevPop
        | AggregateFunction::VarSamp
        | AggregateFunction::VarPop
        | AggregateFunction::ApproxCountDistinct { .. }
        | AggregateFunction::MinBy
        | AggregateFunction::MaxBy => true,
        AggregateFunction::CountDistinct
        | AggregateFunction::PercentileApprox { .. }
        | AggregateFunction::CollectList { .. } => false,
    }
}

/// What there is beside the panes.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// Windows that start before it have been published as final.
    next_start_us: Option<i64>,
    /// What a drain has published of open windows.
    shown: Shown,
    /// Closed windows, put together one after the other. It is made of the panes anew whenever it isn't there.
    walk: Option<Walk>,
    /// Whether `walk` goes on with what is being published.
    is_walking: bool,
    /// What is being published in parts.
    sweep: Option<Sweep>,
    /// Bytes that panes and `walk` may take together.
    pub(super) bytes_max: usize,
    /// Whether panes may be on the disk.
    pub(super) may_be_on_disk: bool,
}

impl Sharing {
    /// Whether an emission has begun of which more is to come.
    pub(super) fn is_amid_emission(&self) -> bool {
        self.sweep.is_some() || self.is_walking
    }

    /// Lets go of what drains have published of windows that have been published as final since.
    fn forget_published(&mut self) {
        if let Some(start_us) = self.next_start_us {
            self.shown.drop_before(start_us);
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let (walk, sweep) = (self.walk.as_ref().map_or(0, Walk::bytes), self.sweep.as_ref().map_or(0, Sweep::bytes));
        self.shown.bytes() + walk + sweep
    }

    pub(super) fn save(&self, plan: &Plan, writer: &mut SnapshotWriter) -> Result<(), Cause> {
        writer.optional_i64(self.next_start_us);
        self.shown.save(plan, writer)
    }

    pub(super) fn load(plan: &Plan, reader: &mut SnapshotReader<'_>) -> Result<Self, Cause> {
        let next_start_us = reader.optional_i64()?;
        let shown = Shown::load(plan, reader)?;
        Ok(Self { next_start_us, shown, may_be_on_disk: true, ..Self::default() })
    }
}
