//! Avro without record values: bytes of records in, Arrow columns out, and back.
//!
//! **In**: texts of schemas, values in Confluent's wire format, Arrow batches, JSON from people. **Out**: Arrow batches of the
//! records that are fine, a reason with its place for each that isn't, and values in the wire format.
//!
//! **Promised**: no input makes it panic, recurse or allocate beyond a bound set by the record's own size and the
//! schema; a bad record doesn't disturb the others of its batch; nothing is guessed, truncated or rounded.
//!
//! | file | does |
//! | --- | --- |
//! | `schema` | parses schemas strictly, prints them as Avro does |
//! | `compatibility` | which schema reads which, by the rules of Avro Java and the levels of Confluent |
//! | `wire` | the header before a record |

pub mod compatibility;
pub mod schema;
pub mod wire;

pub use schema::{ParseError, Schema};
