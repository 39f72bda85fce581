//! Queries on Apache Spark instead of the local engine, over Spark Connect.
//!
//! **In**: checked queries ([`sql::Query`]), where their topics are and which schema ids they hold, reference tables as Arrow batches.
//! **Out**: relations of Spark Connect that read the validated topic and write the result topic, and a client that runs them.
//! **Promised**: nothing of the user's text reaches Spark, only what is printed from the typed plan; rows, keys and versions are those
//! of the local engine ([records](../../../docs/records.md)); a record with a schema id that isn't known stops the query.
//!
//! | file | does |
//! | --- | --- |
//! | `options` | addresses and settings |
//! | `error` | Spark's error classes, explained |
//! | `client/` | a session over gRPC: relations to Arrow batches, commands |
//! | `progress` | what Spark reports of a micro-batch |
//! | `print/` | a query as relations: source, joins, windows, sink |

pub mod client;
pub mod error;
pub mod options;
pub mod print;
pub mod progress;

pub use client::Session;
pub use error::{Error, Result};
pub use options::Address;
pub use progress::Progress;
