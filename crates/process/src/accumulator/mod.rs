//! Aggregates of many groups, column by column.
//!
//! DataFusion's `GroupsAccumulator` doesn't serve here: its `evaluate` and `state` consume the groups they are asked for, and
//! `emit: changes` publishes a window's present content again and again while it goes on growing. These accumulators evaluate any groups
//! without touching them, and a window's set of them is dropped whole.
//!
//! Each batch is first folded into accumulators over the batch's own groups ([`Accumulator::update`]), which are then merged into those
//! of each window the groups lie in ([`Accumulator::merge`]): a hopping window costs groups of the batch × windows, not rows × windows. Where
//! windows share panes, they are merged into their pane alone, and panes into windows later.

mod by_order;
mod count;
mod distinct;
mod extremes;
mod lists;
mod moments;
mod quantiles;
mod sketch;
mod totals;

use std::any::Any;
use std::fmt::Debug;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use sql::{AggregateCall, AggregateFunction};
use state::{CodecError, SnapshotReader, SnapshotWriter};

use crate::error::Cause;
use crate::place::Places;

/// One aggregate call over groups numbered from 0. Groups are added by [`resize`](Self::resize); naming one beyond is a bug.
pub(crate) trait Accumulator: Debug + Send + Sync {
    /// Sets the number of groups: new ones are empty, those beyond it are dropped.
    fn resize(&mut self, groups: usize);
    /// Folds row `i` of the input into group `groups[i]`.
    fn update(&mut self, input: &Input<'_>, groups: &[u32]) -> Result<(), Cause>;
    /// Folds group `from[i]` of `other`, an accumulator of the same call, into group `into[i]`.
    fn merge(&mut self, other: &dyn Accumulator, from: &[u32], into: &[u32]) -> Result<(), Cause>;
    /// The present value of each of these groups.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, Cause>;
    /// Writes all groups.
    fn save(&self, writer: &mut SnapshotWriter) -> Result<(), CodecError>;
    /// Replaces all groups by those written, of which there must be `groups`.
    fn load(&mut self, reader: &mut SnapshotReader<'_>, groups: usize) -> Result<(), CodecError>;
    /// Bytes held.
    fn bytes(&self) -> usize;
    /// Bytes that a further group takes, without what [`heap_bytes`](Self::heap_bytes) counts.
    fn group_bytes(&self) -> usize;
    /// Bytes of values that are kept beside the groups: what a merge may add at most.
    fn heap_bytes(&self) -> usize {
        0
    }
    /// For `merge`.
    fn as_any(&self) -> &dyn Any;
}

/// What a call is folded from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    /// The argument, `None` for `count(*)`.
    pub(crate) argument: Option<&'a ArrayRef>,
    /// What `min_by` and `max_by` go by.
    pub(crate) order: Option<&'a ArrayRef>,
    /// Where the rows stand.
    pub(crate) places: &'a Places<'a>,
}

impl<'a> Input<'a> {
    /// The argument of a call that has one.
    fn required(&self) -> Result<&'a ArrayRef, Cause> {
        self.argument.ok_or_else(|| Cause::Internal("an aggregate without its argument".into()))
    }
}

/// An accumulator for a call, without groups.
pub(crate) fn accumulator(call: &AggregateCall) -> Result<Box<dyn Accumulator>, Cause> {
    let argument = || {
        let expression = call.argument.as_ref();
        expression.map(|argument| argument.data_type()).ok_or_else(|| unsupported(call, "it has no argument"))
    };
    match call.function {
        AggregateFunction::CountStar => Ok(Box::new(count::Count::default())),
        AggregateFunction::Count => {
            argument()?;
            Ok(Box::new(count::Count::default()))
        }
        AggregateFunction::Sum => {
            totals::sum(argument()?, &call.result).ok_or_else(|| unsupported(call, "type of argument"))
        }
        AggregateFunction::Avg => {
            totals::average(argument()?, &call.result).ok_or_else(|| unsupported(call, "type of argument"))
        }
        AggregateFunction::Min | AggregateFunction::Max => {
            let greatest = call.function == AggregateFunction::Max;
            extremes::extreme(argument()?, greatest).ok_or_else(|| unsupported(call, "type of argument"))
        }
        AggregateFunction::BoolAnd | AggregateFunction::BoolOr => {
            let greatest = call.function == AggregateFunction::BoolOr;
            extremes::extreme(argument()?, greatest).ok_or_else(|| unsupported(call, "type of argument"))
        }
        AggregateFunction::StddevSamp => moments::moments(argument()?, moments::Result::StddevSamp),
        AggregateFunction::StddevPop => moments::moments(argument()?, moments::Result::StddevPop),
        AggregateFunction::VarSamp => moments::moments(argument()?, moments::Result::VarSamp),
        AggregateFunction::VarPop => moments::moments(argument()?, moments::Result::VarPop),
        AggregateFunction::CountDistinct => Ok(Box::new(distinct::Distinct::new(argument()?)?)),
        AggregateFunction::ApproxCountDistinct { bits } => sketch::sketch(argument()?, bits),
        AggregateFunction::PercentileApprox { billionths, accuracy } => {
            quantiles::quantiles(argument()?, billionths, accuracy).ok_or_else(|| unsupported(call, "type of argument"))
        }
        AggregateFunction::MinBy | AggregateFunction::MaxBy => {
            let greatest = call.function == AggregateFunction::MaxBy;
            let order = call.order.as_ref().ok_or_else(|| unsupported(call, "it has no order"))?;
            Ok(Box::new(by_order::ByOrder::new(argument()?, order.data_type(), greatest)?))
        }
        AggregateFunction::CollectList { items_max } => {
            let items_max = usize::try_from(items_max).unwrap_or(usize::MAX);
            Ok(Box::new(lists::Lists::new(argument()?, items_max)?))
        }
    }
}

fn unsupported(call: &AggregateCall, reason: &str) -> Cause {
    let argument = call.argument.as_ref().map_or("no argument".to_owned(), |argument| argument.data_type().to_string());
    Cause::Plan(format!("{} of {argument} to {}: {reason}", call.function.name(), call.result))
}

/// `other` as the accumulator it is to be merged into.
fn same<T: 'static>(other: &dyn Accumulator) -> Result<&T, Cause> {
    other.as_any().downcast_ref().ok_or_else(|| Cause::Internal("accumulators of two calls were mixed up".into()))
}

fn mismatch(expected: &DataType, found: &DataType) -> Cause {
    Cause::Internal(format!("an aggregate over {expected} was given {found}"))
}

/// Checks that as many groups were read as there are keys.
fn check_groups(found: usize, expected: usize) -> Result<(), CodecError> {
    if found == expected {
        return Ok(());
    }
    Err(CodecError::Invalid {
        what: "aggregate",
        reason: format!("it has {found} groups where {expected} are expected"),
    })
}

#[cfg(test)]
mod tests;
