//! Partitions on disk: one directory each, with segment files that hold Kafka's record batches as producers sent them.

pub(crate) mod batch;
pub(crate) mod files;
pub(crate) mod flush;
pub(crate) mod partition;
pub(crate) mod read;
pub(crate) mod recovery;
pub(crate) mod segment;
pub(crate) mod times;
