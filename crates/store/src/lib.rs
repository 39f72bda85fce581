//! Results in PostgreSQL.
//!
//! **In:** batches of rows with versions, deletes, rejected records and progress, each with the topic positions that they bring the
//! store to. **Out:** tables in `results`, views in `bi`, and `ops.positions`, `ops.rejected_records`, `ops.stream_progress`.
//!
//! **Promised:**
//! - Rows and positions are written in one transaction. A crash at any moment leaves both or neither, so each row is stored exactly once.
//! - A writer owns its positions by an epoch. Once another writer has taken them, nothing that the older one sends is kept.
//! - A row is replaced only by a greater version, and a deleted row remembers its version, so a replay never takes anything back.
//! - After a lost reply to COMMIT the writer says [`Error::UnknownOutcome`]; a new writer reads the truth from its positions.
//! - Names reach SQL only through [`Identifier`], values only through parameters and COPY.
//! - A [`SourceTable`] is read in one read-only transaction, so it is of one moment.
//!
//! | file | does |
//! | --- | --- |
//! | `private_server/` | finds or downloads PostgreSQL, starts and stops a private server in the project's data directory |
//! | `connect`, `tls` | sessions and the pool, from a URL |
//! | `migrate`, `table`, `ensure` | schemas, tables, indexes, views, comments |
//! | `generations` | which generation of a query its view shows |
//! | `batch`, `dedup`, `copy`, `numeric`, `writer/` | a batch on its way: greatest versions, binary COPY into staging, merge, positions |
//! | `query` | a query's rows as text, CSV or JSON |
//! | `source/` | tables of any PostgreSQL read whole, as columns: reference data |
//! | `error`, `identifier`, `column` | what all of them use |

mod batch;
mod column;
mod connect;
mod copy;
mod dedup;
mod ensure;
mod error;
mod generations;
mod identifier;
mod migrate;
mod numeric;
pub mod private_server;
mod query;
mod source;
mod store;
mod table;
mod tls;
mod writer;

pub use batch::{Applied, PositionMove, RejectedRow, StoreBatch, Upserts};
pub use column::ColumnType;
pub use error::{Error, Result, ServerErrorKind};
pub use generations::GenerationNote;
pub use identifier::{IDENTIFIER_BYTES_MAX, Identifier};
pub use query::{ALIGNED_ROWS, Format, QueryColumn, QueryRows};
pub use source::{Listener, Relation, SourceRows, SourceTable};
pub use store::{Store, StoreOptions, StoredPosition, SynchronousCommit};
pub use table::TableSpec;
pub use writer::{PositionClaim, REJECTED_MESSAGE_BYTES_MAX, REJECTED_PAYLOAD_BYTES_MAX, Writer};

/// The channel on which each stored batch is announced (`LISTEN tillstream_results`). The payload is JSON:
/// `{"owner": …, "tables": […]}`, where `tables` is null when the list would be too long.
pub const NOTIFY_CHANNEL: &str = "tillstream_results";
