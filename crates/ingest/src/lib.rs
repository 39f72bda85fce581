//! The doors: where transactions come in.
//!
//! **In**: CSV, JSON lines and Parquet files; JSON over HTTP; nothing at all, for the generator. **Out**: Arrow batches with the row
//! number of each row, and Kafka records (key text, Avro in the wire format) ready to be appended to `<stream>.raw`. Kafka itself is not
//! here: the app carries records to it, and gives the HTTP door a [`http::RecordSink`].
//!
//! **Promised**: each row of a file and each record of a request either becomes a record or is told with its reason; values are taken
//! exactly or refused, never rounded or guessed; one value has one key text, whichever door it comes through; memory is bounded by a
//! batch or by the door's limits; the generator gives the same rows for the same seed and times.
//!
//! | file | does |
//! | --- | --- |
//! | `files` | reads files, from any row on |
//! | `http` | `POST /v1/streams/{name}/records` |
//! | `generate` | makes payments, or records of any stream, on an open-loop schedule |
//! | `reference` | loads reference tables from files; checks their keys |
//! | `compacted` | a compacted topic as a reference table |
//! | `encode`, `key` | rows as Kafka records; the text of a key |
//! | `coerce` | values of files and JSON, brought to a stream's types |

mod coerce;
pub mod compacted;
pub mod encode;
pub mod files;
pub mod generate;
pub mod http;
pub mod key;
pub mod reference;
