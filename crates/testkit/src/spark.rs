//! The run's Apache Spark.

/// Address of the run's Spark Connect server, `sc://host:port`. Tests take session ids of their own so that they don't meet.
pub fn url() -> String {
    crate::service_address("TILLSTREAM_TEST_SPARK")
}
