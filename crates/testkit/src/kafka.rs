//! The run's Apache Kafka.

/// Bootstrap address of the run's Apache Kafka. Tests take topic names from [`crate::unique_name`] so that they don't meet.
pub fn bootstrap() -> String {
    crate::service_address("TILLSTREAM_TEST_KAFKA")
}
