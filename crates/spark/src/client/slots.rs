//! How many tasks a Spark runs at a time.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int32Type;
use spark_connect_proto::relation::RelType;
use spark_connect_proto::{Deduplicate, Range};

use super::Session;
use crate::error::Result;
use crate::print::relation::{project, relation};

/// Numbers that are spread over the slots: more than any Spark has.
const NUMBERS: i64 = 100_000;

impl Session {
    /// Task slots of Spark, as it is now: with dynamic allocation there may be more when they are needed. Other programs on the same Spark use
    /// them, too.
    ///
    /// Spark Connect doesn't tell `defaultParallelism`, but a range without a number of partitions has as many.
    ///
    /// # Errors
    /// When Spark isn't there.
    pub async fn task_slots(&mut self) -> Result<usize> {
        let numbers = relation(RelType::Range(Range { start: None, end: NUMBERS, step: 1, num_partitions: None }));
        let slot = project(numbers, &[("slot".to_owned(), "spark_partition_id()".to_owned())]);
        let slots = relation(RelType::Deduplicate(Box::new(Deduplicate {
            input: Some(Box::new(slot)),
            column_names: vec!["slot".to_owned()],
            all_columns_as_keys: None,
            within_watermark: None,
        })));
        let batches = self.collect(slots).await?;
        let found: BTreeSet<i32> = batches
            .iter()
            .filter_map(|batch| batch.column_by_name("slot"))
            .filter_map(|column| column.as_primitive_opt::<Int32Type>())
            .flat_map(|column| column.values().to_vec())
            .collect();
        Ok(found.len())
    }
}
