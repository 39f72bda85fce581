//! Joins of two streams by equal keys and event times that lie within bounds of each other.
//!
//! Each side keeps its rows as long as a partner may still come: that is until the watermark, the lesser of both streams', has passed their
//! time by the bound. A pair is made when its second row comes, whichever that is, so each pair is made once, and its identity, both raw
//! positions, doesn't depend on the order in which they came.
//!
//! Keys whose rows don't fit into memory go to the disk with all their rows, and come back when a row of theirs comes, or when the watermark
//! passes one of theirs.

mod join;
mod kept;
mod side;
mod snapshot;
mod spill;

pub(crate) use join::StreamJoin;
pub(crate) use side::ROW_BYTES;
