//! Joins of two streams by equal keys and event times that lie within bounds of each other.
//!
//! Each side keeps its rows as long as a partner may still come: that is until the watermark, the lesser of both streams', has passed their
//! time by the bound. A pair is made when its second row comes, whichever that is, so each pair is made once, and its identity, both raw
//! positions, doesn't depend on the order in which they came.

mod join;
mod side;

pub(crate) use join::StreamJoin;
pub(crate) use side::ROW_BYTES;
