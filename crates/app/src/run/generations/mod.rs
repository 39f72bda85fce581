//! Which generations of each query run, which one its view shows, and how a new one takes over.
//!
//! A change of what a query means makes its earlier state and results those of another query. The next generation then fills a topic
//! and a table of its own from the first validated record that is there, while the one before goes on; once the new one has caught up and
//! its rows are stored, the view is swapped. The record of all that lies beside the snapshots, where every process of the pipeline reads
//! the same: `record` decides, this file keeps it.

mod record;

use std::fmt::Write as _;
use std::sync::Arc;

use project::{Project, Stream, Validity};
use state::SnapshotStore;

use crate::error::{Error, Result};
use crate::run::results::ResultTopic;

use record::{Present, Record};
pub(crate) use record::{Role, Run};

const OWNER: &str = "generations";

/// The record, shared by the stages.
#[derive(Debug, Clone)]
pub(crate) struct Generations {
    store: Arc<SnapshotStore>,
}

impl Generations {
    pub(crate) fn new(store: Arc<SnapshotStore>) -> Self {
        Self { store }
    }

    /// Brings the record up to the project's queries and gives the results to work on: one for each query, and two while a new generation
    /// fills.
    ///
    /// # Errors
    /// Those of the snapshot store, or `Internal` when the record can't be read.
    pub(crate) fn settle(&self, project: &Project, prefix: &str) -> Result<Vec<ResultTopic>> {
        let mut runs: Result<Vec<Run>> = Ok(Vec::new());
        self.update(|record| runs = settle(project, record))?;
        results(project, prefix, runs?)
    }

    /// Lets new generations be shown before they are filled, and drops those before them: where `at_once` says that both can't run.
    ///
    /// # Errors
    /// As [`Generations::settle`].
    pub(crate) fn take_over_at_once(
        &self,
        results: &mut Vec<ResultTopic>,
        at_once: impl Fn(&ResultTopic) -> bool,
    ) -> Result<()> {
        results.retain(|result| result.role != Role::Retiring || !at_once(result));
        for result in results.iter_mut().filter(|result| result.role == Role::Filling && at_once(result)) {
            self.shown(&result.query.name, result.generation)?;
            result.role = Role::Shown;
        }
        Ok(())
    }

    /// The results that readers are shown, as the record has them; none of a query that never ran, or whose text is to take over first.
    ///
    /// # Errors
    /// As [`Generations::settle`].
    pub(crate) fn shown_results(&self, project: &Project, prefix: &str) -> Result<Vec<ResultTopic>> {
        let known = self.read()?;
        let mut runs = settle(project, &mut known.clone())?;
        runs.retain(|run| known.shown_number(&run.query.name) == Some(run.number));
        results(project, prefix, runs)
    }

    /// Notes that a filling generation has caught up, and where its result topic ended then.
    ///
    /// # Errors
    /// As [`Generations::settle`].
    pub(crate) fn caught_up(&self, query: &str, number: u32, ends: &[i64]) -> Result<()> {
        self.update(|record| record.caught_up(query, number, ends))
    }

    /// Notes that readers are shown this generation from now on.
    ///
    /// # Errors
    /// As [`Generations::settle`].
    pub(crate) fn shown(&self, query: &str, number: u32) -> Result<()> {
        self.update(|record| record.shown(query, number))
    }

    /// The record as it is now.
    ///
    /// # Errors
    /// As [`Generations::settle`].
    pub(crate) fn read(&self) -> Result<Record> {
        parse(self.store.load(OWNER)?.as_ref().map(|snapshot| &*snapshot.bytes))
    }

    fn update(&self, mut change: impl FnMut(&mut Record)) -> Result<()> {
        self.store.update(OWNER, |bytes| {
            let before = parse(bytes)?;
            let mut record = before.clone();
            change(&mut record);
            if record == before {
                return Ok(None);
            }
            let bytes = serde_json::to_vec(&record).map_err(|error| Error::Internal(error.to_string()))?;
            Ok::<_, Error>(Some(bytes))
        })
    }
}

/// Settles a record with the project's queries.
fn settle(project: &Project, record: &mut Record) -> Result<Vec<Run>> {
    let mut present = Vec::new();
    for query in &project.queries {
        let streams = streams_of(project, query)?;
        present.push(Present { query: query.clone(), inputs: inputs(project, query, &streams) });
    }
    // A text of an earlier day means what it meant then only if the columns that it reads are the same.
    let compile = |name: &str, text: &str, recorded: &str| {
        let query = project.compile(name, text)?;
        let streams = streams_of(project, &query).ok()?;
        (inputs(project, &query, &streams) == recorded).then(|| Arc::new(query))
    };
    Ok(record.settle(&present, &compile))
}

fn results(project: &Project, prefix: &str, runs: Vec<Run>) -> Result<Vec<ResultTopic>> {
    let result = |run: Run| {
        let partitions = first_stream(project, &run.query)?.partitions;
        ResultTopic::of(prefix, run, partitions)
    };
    runs.into_iter().map(result).collect()
}

fn parse(bytes: Option<&[u8]>) -> Result<Record> {
    let Some(bytes) = bytes else { return Ok(Record::default()) };
    serde_json::from_slice(bytes).map_err(|error| Error::Internal(format!("the record of generations: {error}")))
}

/// What a query takes its meaning from besides its text: the columns that it reads, what puts its records into partitions, and what finds
/// the rows that it joins.
fn inputs(project: &Project, query: &sql::Query, streams: &[&Stream]) -> String {
    let mut inputs = query.inputs();
    for stream in streams {
        // Writing to a String can't fail.
        _ = write!(inputs, "; key {}; {} partitions", stream.key, stream.partitions);
    }
    for joined in query.references() {
        let Some(reference) = project.references.iter().find(|reference| reference.name == joined) else {
            continue;
        };
        let columns = |names: &[&String]| {
            let known = names.iter().filter_map(|name| reference.schema.field_with_name(name).ok());
            known.map(sql::typed_name).collect::<Vec<_>>().join(", ")
        };
        let key = columns(&reference.key.iter().collect::<Vec<_>>());
        _ = write!(inputs, "; {} by {key}", reference.name);
        if let Some(Validity { from, to }) = &reference.validity {
            let until = to.as_ref().map_or_else(|| "the next".to_owned(), |to| columns(&[to]));
            _ = write!(inputs, ", valid from {} until {until}", columns(&[from]));
        }
    }
    inputs
}

/// The streams that a query reads, in the order in which it names them.
fn streams_of<'a>(project: &'a Project, query: &sql::Query) -> Result<Vec<&'a Stream>> {
    query.streams().into_iter().map(|name| project.stream(name).ok_or_else(|| reads_nothing(query))).collect()
}

/// The first stream that a query reads, as which its result topic is laid out.
pub(crate) fn first_stream<'a>(project: &'a Project, query: &sql::Query) -> Result<&'a Stream> {
    streams_of(project, query)?.first().copied().ok_or_else(|| reads_nothing(query))
}

fn reads_nothing(query: &sql::Query) -> Error {
    Error::Internal(format!("query {} reads no stream", query.name))
}
