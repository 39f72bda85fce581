//! The payment generator at work: open loop, so that it keeps its schedule whatever the pipeline does.

use std::time::Duration;

use ingest::encode::EncodedRows;
use ingest::generate::{OpenLoop, PaymentEncoder, Payments, PaymentsOptions, payments};
use kafka::{OutRecord, Writer, WriterOptions, partition_of};

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::pipeline::{Pipeline, PipelineStream};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// Payments made in one step when the schedule has fallen behind.
const STEP_MAX: u64 = 10_000;
/// Pause between two looks at the schedule.
const TICK: Duration = Duration::from_millis(2);

/// Generates payments into a stream that has the columns of `examples/payments/schemas/transaction.avsc`.
#[derive(Debug)]
pub(crate) struct GenerateTask {
    pub(crate) context: Context,
    pub(crate) stream: PipelineStream,
    pub(crate) rate_per_s: u64,
    pub(crate) options: PaymentsOptions,
}

impl GenerateTask {
    /// Generates into the pipeline's first stream.
    pub(crate) fn of_pipeline(pipeline: &Pipeline, rate_per_s: u64) -> Result<Self> {
        let stream = pipeline.streams.first().ok_or_else(|| Error::Usage("the project has no stream".to_owned()))?;
        Self::new(pipeline.intake.clone(), stream.clone(), rate_per_s, PaymentsOptions::default())
    }

    pub(crate) fn new(
        context: Context,
        stream: PipelineStream,
        rate_per_s: u64,
        options: PaymentsOptions,
    ) -> Result<Self> {
        let arrow = stream.schema.arrow().map_err(|error| Error::Project(error.to_string()))?;
        let expected = payments::schema();
        let lacks = expected.fields().iter().find(|field| {
            arrow.field_with_name(field.name()).map_or(true, |found| found.data_type() != field.data_type())
        });
        if let Some(field) = lacks {
            return Err(Error::Usage(format!(
                "the generator makes card payments, and stream {} lacks their column {} ({}); examples/payments has the schema",
                stream.name,
                field.name(),
                field.data_type()
            )));
        }
        Ok(Self { context, stream, rate_per_s, options })
    }

    /// Generates for `duration`, or until the stop switch is thrown; gives the number of payments, all acknowledged.
    pub(crate) fn run(&self, duration: Option<Duration>) -> Result<u64> {
        let internal = |error: &dyn std::fmt::Display| Error::Internal(format!("generating payments: {error}"));
        let start_us = self.context.clock.now_us();
        let mut schedule = OpenLoop::new(self.rate_per_s, start_us);
        if let Some(duration) = duration {
            schedule = schedule.lasting(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
        let options = PaymentsOptions { seed: start_us.unsigned_abs(), ..self.options.clone() };
        let mut payments = Payments::new(options).map_err(|error| internal(&error))?;
        let mut encoder =
            PaymentEncoder::new(&self.stream.schema, self.stream.raw_schema_id).map_err(|error| internal(&error))?;
        let writer =
            Writer::new(&self.context.connection, &WriterOptions { linger_ms: 1, ..WriterOptions::default() })?;
        let (mut next, mut times_us) = (0_u64, Vec::new());
        let mut records = EncodedRows::default();
        while !self.context.stop.is_set() && !schedule.is_over(next) {
            let due = schedule.due(next, self.context.clock.now_us(), STEP_MAX);
            if due.is_empty() {
                self.context.stop.wait(TICK);
                continue;
            }
            next = due.end;
            times_us.clear();
            schedule.times_us(due, &mut times_us);
            let batch = payments.batch(&times_us).map_err(|error| internal(&error))?;
            records.clear();
            encoder.encode(&batch, &mut records).map_err(|error| internal(&error))?;
            self.send(&writer, &records)?;
        }
        writer.flush(FLUSH_TIMEOUT)?;
        Ok(next)
    }

    fn send(&self, writer: &Writer, records: &EncodedRows) -> Result<()> {
        for (key, value) in records.keys.iter().zip(records.values.iter()) {
            writer.send(&OutRecord {
                topic: &self.stream.topics.raw,
                partition: key.map(|key| partition_of(key, self.stream.topics.partitions)),
                key,
                value,
                ..OutRecord::default()
            })?;
        }
        writer.poll()?;
        Ok(())
    }
}
