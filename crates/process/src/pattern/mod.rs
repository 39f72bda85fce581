//! Patterns: `MATCH_RECOGNIZE` over the rows of one partition.
//!
//! Rows wait until the watermark has passed them, and are then matched in the order of their event times and offsets, key by key. A match is
//! published as soon as no row that may still come can change it.
//!
//! | file | does |
//! | --- | --- |
//! | `operator` | one pattern over one partition: what it holds, its doors |
//! | `intake` | rows of a batch in, held until the watermark passes them |
//! | `advance` | what the watermark passes is matched, what nobody needs any more is let go |
//! | `step` | a row for the attempts of many keys at once |
//! | `store` | the rows that are held, column by column |
//! | `table` | the keys by number and by their bytes |
//! | `key` | rows and attempts of one key; what comes next, where matching goes on |
//! | `attempt` | the runs from one first row, in the order of preference |
//! | `values` | what conditions and measures read of other rows of the match |
//! | `matches` | matches as result rows |
//! | `limits` | the caps, and the record of what was given up |
//! | `snapshot` | state out and in |
//! | `piece` | some keys with their rows, as snapshots have them |
//! | `spill` | keys on the disk, and back |

mod advance;
mod attempt;
mod intake;
mod key;
mod limits;
mod matches;
mod operator;
mod piece;
mod snapshot;
mod spill;
mod step;
mod store;
mod table;
mod values;

pub use limits::{LimitEvent, LimitReason, PatternOptions};
pub use operator::PatternOperator;

use sql::{End, MatchValueKind, Pattern, RowValue, VariableSet};

/// The variables that conditions look back at in a way that the variables of earlier rows decide: two runs that agree on them can't be
/// told apart by a condition.
fn observed(pattern: &Pattern) -> VariableSet {
    let mut observed = 0;
    for (number, variable) in pattern.variables.iter().enumerate() {
        let read = variable.condition.iter().flat_map(|condition| condition.columns());
        for value in read.filter_map(|name| pattern.tested.iter().find(|value| value.name == *name)) {
            let universe = pattern.universe();
            observed |= match &value.kind {
                MatchValueKind::MatchNumber => 0,
                MatchValueKind::Row(_, RowValue::Classifier) => universe,
                MatchValueKind::Row(place, _) if place.of == universe => 0,
                // The row being tested is the last one.
                MatchValueKind::Row(place, _)
                    if place.of >> number & 1 == 1 && place.end == End::Last && place.skip == 0 =>
                {
                    0
                }
                MatchValueKind::Row(place, _) => place.of,
                MatchValueKind::Aggregate(set, _) if *set == universe => 0,
                MatchValueKind::Aggregate(set, _) => *set,
            };
        }
    }
    observed
}
