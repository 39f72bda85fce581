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
//! | `arrow` | which schemas can be columns, as which types |
//! | `resolve` | compiles a writer's and the reader's schema into steps |
//! | `decode` | runs the steps: bytes to columns, with a verdict for each record |
//! | `encode` | columns to values in the wire format; re-encoding of accepted records |
//! | `derive` | the Avro schema of Arrow columns |
//! | `json` | JSON as people write it, to Avro and back |
//! | `walk`, `cursor` | bounded reading of bytes that nobody vouches for |
//! | `column`, `values` | growing columns; the meaning of single values |

mod arrow;
mod column;
pub mod compatibility;
mod cursor;
mod decode;
mod derive;
mod encode;
pub mod json;
mod put;
mod resolve;
pub mod schema;
pub mod units;
mod values;
mod walk;
pub mod wire;

pub use arrow::{ArrowMappingError, DECIMAL_DIGITS_MAX};
pub use decode::{DecodeFailure, Decoded, Decoder, DecoderError};
pub use derive::{DOC_METADATA, DeriveError, schema_for};
pub use encode::{BoundEncoder, EncodeError, Encoder, Reencoder};
pub use resolve::ResolveError;
pub use schema::{ParseError, Schema};
pub use walk::Limits;
