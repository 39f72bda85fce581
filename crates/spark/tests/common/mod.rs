//! What the tests share: a session of the run's Spark, and columns of results.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;

use arrow_array::{ArrayRef, RecordBatch};
use spark::{Address, Session};

/// A session that no other test uses.
pub(crate) async fn session() -> Session {
    let address = Address::parse(&testkit::spark::url()).unwrap();
    let id = uuid::Uuid::new_v4().to_string();
    let conf = BTreeMap::from([("spark.sql.shuffle.partitions".to_owned(), "2".to_owned())]);
    Session::open(&address, &id, &conf).await.unwrap()
}

/// A column of all batches.
pub(crate) fn concat(batches: &[RecordBatch], column: usize) -> ArrayRef {
    let arrays: Vec<&dyn arrow_array::Array> = batches.iter().map(|batch| &**batch.column(column)).collect();
    arrow_select::concat::concat(&arrays).unwrap()
}
