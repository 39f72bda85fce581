//! Wiring: which stage reads and writes which topic, who starts and stops first, what is waited for.
//!
//! | file | does |
//! | --- | --- |
//! | `peers` | starts the embedded systems, or connects to the given ones |
//! | `pipeline` | a project on its peers: a thread for each stage |
//! | `layout` | topics and schemas of streams and results |
//! | `schema_change` | whether a stream's schema can follow the one before |
//! | `stages` | each stage as the settings have it |
//! | `generations` | which generations of each query run, and which one is shown |
//! | `validate`, `process`, `patterns`, `store` | the stages' loops |
//! | `spark/` | the process stage on Apache Spark |
//! | `references` | reference tables: where their rows are |
//! | `load`, `generate`, `door` | records in |
//! | `live`, `latency` | numbers for the dashboard and metrics |
//! | `audit` | proof that nothing is lost and nothing is there twice |
//! | `directory_lock` | one `up` per data directory, or any number of `run` |
//! | `drain` | the order in which all is brought to its end |
//! | `decode`, `read_range` | reading what a stage of ours wrote |
//! | `show` | any record as people read it |
//! | `sink` | where records go: Kafka, or a test's log |
//! | `parts` | what snapshots are made of besides their own bytes |
//! | `positions`, `progress` | positions held against their topics; what a start needs of a progress topic |
//! | `sharing` | which partitions of a stage are this process's |
//! | `statistics` | what state has needed at most |
//! | `turn` | what the sessions of the process and the patterns stage do in one way |
//! | `status`, `supervise`, `stop`, `context` | what threads share, how they end |

pub(crate) mod audit;
pub(crate) mod context;
pub(crate) mod decode;
pub(crate) mod directory_lock;
pub(crate) mod door;
pub(crate) mod drain;
pub(crate) mod generate;
pub(crate) mod generations;
pub(crate) mod latency;
pub(crate) mod layout;
pub(crate) mod live;
pub(crate) mod load;
pub(crate) mod parts;
pub(crate) mod patterns;
pub(crate) mod peers;
pub(crate) mod pipeline;
pub(crate) mod positions;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod read_range;
pub(crate) mod references;
pub(crate) mod reject;
pub(crate) mod results;
pub(crate) mod schema_change;
pub(crate) mod sharing;
pub(crate) mod show;
pub(crate) mod sink;
pub(crate) mod spark;
pub(crate) mod stages;
pub(crate) mod statistics;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod supervise;
pub(crate) mod topics;
mod turn;
pub(crate) mod validate;
