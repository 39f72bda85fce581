//! The payment generator at work: open loop, so that it keeps its schedule whatever the pipeline does; or a past, all at once.

use std::ops::Range;
use std::time::Duration;

use ingest::encode::EncodedRows;
use ingest::generate::{GenerateError, OpenLoop, PaymentEncoder, Payments, PaymentsOptions, payments};
use kafka::{OutRecord, Writer, WriterOptions, partition_of};

use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::layout::PipelineStream;
use crate::run::pipeline::Pipeline;

const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);
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
    /// The same seed gives the same payments, but for their times and the ids, which hold the time.
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
        let start_us = self.context.clock.now_us();
        let mut schedule = OpenLoop::new(self.rate_per_s, start_us);
        if let Some(duration) = duration {
            schedule = schedule.lasting(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
        let mut sender = Sender::new(self, 1)?;
        let mut next = 0_u64;
        while !self.context.stop.is_set() && !schedule.is_over(next) {
            let due = schedule.due(next, self.context.clock.now_us(), STEP_MAX);
            if due.is_empty() {
                self.context.stop.wait(TICK);
                continue;
            }
            next = due.end;
            sender.send(&schedule, due)?;
        }
        sender.finish()?;
        Ok(next)
    }

    /// Generates so many payments as fast as they are taken, with the event times that they would have had at the rate until now; gives
    /// their number, all acknowledged.
    pub(crate) fn backfill(&self, payments: u64) -> Result<u64> {
        let span_us = OpenLoop::new(self.rate_per_s, 0).intended_us(payments);
        let schedule = OpenLoop::new(self.rate_per_s, self.context.clock.now_us() - span_us);
        let mut sender = Sender::new(self, 20)?;
        let mut next = 0_u64;
        while next < payments && !self.context.stop.is_set() {
            let first = next;
            next = payments.min(first + STEP_MAX);
            sender.send(&schedule, first..next)?;
        }
        sender.finish()?;
        Ok(next)
    }
}

/// Makes the payments that are due, and sends them.
struct Sender<'a> {
    stream: &'a PipelineStream,
    payments: Payments,
    encoder: PaymentEncoder,
    writer: Writer,
    times_us: Vec<i64>,
    records: EncodedRows,
}

impl<'a> Sender<'a> {
    fn new(task: &'a GenerateTask, linger_ms: u32) -> Result<Self> {
        let GenerateTask { context, stream, options, .. } = task;
        Ok(Self {
            stream,
            payments: Payments::new(options.clone()).map_err(internal)?,
            encoder: PaymentEncoder::new(&stream.schema, stream.raw_schema_id).map_err(internal)?,
            writer: Writer::new(&context.connection, &WriterOptions { linger_ms, ..WriterOptions::default() })?,
            times_us: Vec::new(),
            records: EncodedRows::default(),
        })
    }

    fn send(&mut self, schedule: &OpenLoop, due: Range<u64>) -> Result<()> {
        schedule.times_us(due, &mut self.times_us);
        let batch = self.payments.batch(&self.times_us).map_err(internal)?;
        self.records.clear();
        self.encoder.encode(&batch, &mut self.records).map_err(internal)?;
        for (key, value) in self.records.keys.iter().zip(self.records.values.iter()) {
            self.writer.send(&OutRecord {
                topic: &self.stream.topics.raw,
                partition: key.map(|key| partition_of(key, self.stream.topics.partitions)),
                key,
                value,
                ..OutRecord::default()
            })?;
        }
        self.writer.poll()?;
        Ok(())
    }

    /// Waits until everything is acknowledged.
    fn finish(&self) -> Result<()> {
        self.writer.flush(FLUSH_TIMEOUT)?;
        Ok(())
    }
}

fn internal(error: GenerateError) -> Error {
    Error::Internal(format!("generating payments: {error}"))
}
