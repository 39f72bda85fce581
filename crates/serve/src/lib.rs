//! The dashboard, its API, health and metrics over HTTP.
//!
//! **In**: numbers about the running pipeline. The app's threads put them into a [`Live`] a few times a second, never per record.
//! **Out**: a page (`/`), one JSON document (`/api/live`), the same as server-sent events (`/api/events`), the last minutes
//! (`/api/history`), Prometheus metrics (`/metrics`), health (`/livez`, `/readyz`) and `/version`.
//!
//! Promised: nothing here knows Kafka or PostgreSQL; readers can't slow the pipeline down (updates only take a short lock, the number
//! of event streams is capped, each gets at most 4 samples a second however many records flow); memory doesn't grow with time or records;
//! the page asks no other host for anything and runs no inline script.
//!
//! | file | holds |
//! | --- | --- |
//! | `numbers` | what the app reports |
//! | `live` | the newest reports of all parts, and who may read them |
//! | `rate`, `latency`, `history` | rates, percentiles and the last minutes, made from the reports |
//! | `snapshot`, `health` | the JSON document; the sentence at the top of the page, and readiness |
//! | `metrics` | the inventory of Prometheus metrics |
//! | `page` | the files of the page: the built dashboard, else a plain one |
//! | `routes`, `events`, `server` | HTTP |

mod error;
mod events;
mod health;
mod history;
mod latency;
mod live;
mod metrics;
mod numbers;
mod page;
mod rate;
mod routes;
mod server;
mod snapshot;

pub use error::Error;
pub use health::Level;
pub use live::Live;
pub use numbers::{BatchNumbers, PartitionNumbers, QueryNumbers, ShareNumbers, StageNumbers, StreamNumbers};
pub use routes::router;
pub use server::{Server, serve};
