//! Configuration that a project hands to Spark's session: it reaches the session, and what belongs to the server is told to be so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test reports by panicking")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, Int32Array, RecordBatch};
use model::{Classified as _, Retry};
use spark::print::relation;
use spark::{Address, Error, Session};

async fn open(conf: &[(&str, &str)]) -> spark::Result<Session> {
    let address = Address::parse(&testkit::spark::url()).unwrap();
    let conf: BTreeMap<String, String> =
        conf.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Session::open(&address, &uuid::Uuid::new_v4().to_string(), &conf).await
}

#[tokio::test]
async fn a_sessions_configuration_reaches_it() {
    let rows: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let table = relation::local(&RecordBatch::try_from_iter([("x", rows)]).unwrap()).unwrap();
    let columns = [("twice".to_owned(), "element_at(map(x, 1, x, 2), 1)".to_owned())];
    let twice = relation::project(table, &columns);
    let mut session = open(&[]).await.unwrap();
    let error = session.collect(twice.clone()).await.unwrap_err();
    assert!(error.to_string().contains("DUPLICATED_MAP_KEY"), "{error}");
    session.close().await.unwrap();

    let mut session = open(&[("spark.sql.mapKeyDedupPolicy", "LAST_WIN")]).await.unwrap();
    let batches = session.collect(twice).await.unwrap();
    assert_eq!(common::concat(&batches, 0).as_primitive::<Int32Type>().values(), &[2]);
    session.close().await.unwrap();
}

#[tokio::test]
async fn it_is_known_how_many_tasks_run_at_a_time() {
    let mut session = open(&[]).await.unwrap();
    assert_eq!(session.task_slots().await.unwrap(), 2, "services/spark.sh starts local[2]");
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_setting_of_the_server_is_refused_with_where_it_belongs() {
    for setting in [("spark.dynamicAllocation.enabled", "true"), ("spark.sql.warehouse.dir", "/tmp/x")] {
        let error = open(&[setting]).await.expect_err("it can't be set");
        assert!(matches!(error, Error::Spark { .. }), "{error:?}");
        assert!(error.to_string().contains("start the server with it by --conf"), "{error}");
        assert_eq!(error.retry(), Retry::Never);
    }
}
