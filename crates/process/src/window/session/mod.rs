//! Sessions: rows of a key that follow one another within a gap.
//!
//! A session starts with its first row, and its results are told apart by that start. A row that comes late within the lateness may begin
//! a session earlier or join two: then starts under which results were published are no longer one, and are deleted. Such a delete has as
//! many rows in its version as the session that swallowed the start, which is more than any session ever had that began there: all of
//! those lacked the row before it.
//!
//! After a restart rows come again, perhaps in another order between partitions, and starts that were published past the snapshot may
//! never be one again. So during a replay the times of all rows are noted; once all are there, each that isn't a start is deleted.

mod batch;
mod emit;
mod fold;
mod snapshot;
mod spill;
mod table;

pub(crate) use fold::SessionAggregation;
