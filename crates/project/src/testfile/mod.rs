//! Tests of a project: `tests/*.yaml`, each a story of records that come in and of results that are expected.
//!
//! **In**: the texts of test files and the checked project. **Out**: [`TestCase`]s whose records are encoded and whose expected values have
//! the types of their columns. **Promised**: all mistakes at once, with their places, before anything runs.
//!
//! | file | does |
//! | --- | --- |
//! | `cell` | values, and when two mean the same |
//! | `read` | files, cases and steps |
//! | `records` | the records of `send` |
//! | `expected` | the rows of `expect` |
//! | `inline` | files that hold their project themselves |
//!
//! `docs/testing.md` describes the format.

mod cell;
mod expected;
mod inline;
mod read;
mod records;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use cell::Cell;
pub use inline::{InlineFile, lay_out};
pub use read::{load, load_file};

/// Where something stands in a test file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Line, from 1.
    pub line: usize,
    /// Bytes of the file's text. Of a list or a mapping it is the start alone.
    pub bytes: Range<usize>,
}

/// A file with tests.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// The file as the user would type it.
    pub path: String,
    /// Its text.
    pub text: Arc<str>,
    /// Its tests.
    pub cases: Vec<TestCase>,
}

/// One story.
#[derive(Debug, Clone)]
pub struct TestCase {
    /// What it shows.
    pub name: String,
    /// Where it begins.
    pub spot: Spot,
    /// What the wall clock shows at the start, in microseconds since 1970; without it the greatest event time that is sent.
    pub now_us: Option<i64>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it stands.
    pub spot: Spot,
    /// What it is.
    pub kind: StepKind,
}

/// What happens.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// Records come in.
    Send(Vec<SentRecord>),
    /// The pipeline is stopped in order and started again.
    Restart,
    /// The pipeline is killed, and goes on from its last saved state.
    Crash,
    /// The wall clock moves.
    Advance(Duration),
    /// Open windows are published with their present content.
    Drain,
    /// Results are compared.
    Expect(Vec<Expectation>),
}

/// A record that comes in.
#[derive(Debug, Clone)]
pub struct SentRecord {
    /// Where it stands.
    pub spot: Spot,
    /// Its stream.
    pub stream: String,
    /// The partition it goes to; without it the one that its key belongs to.
    pub partition: Option<i32>,
    /// What it holds.
    pub value: SentValue,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub enum SentValue {
    /// A row in Avro binary, without the wire format's header.
    Row {
        /// The Avro binary.
        avro: Vec<u8>,
        /// The writer's schema, if it isn't the stream's own.
        schema: Option<Arc<str>>,
    },
    /// Bytes as they are, header included, for records that no well-behaved producer sends; `None` is Kafka's null.
    Bytes(Option<Vec<u8>>),
}

/// What is expected of one table or topic.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Where its name stands.
    pub spot: Spot,
    /// What is looked at.
    pub target: Target,
    /// Whether the rows' order counts.
    pub ordered: bool,
    /// The rows, or how many.
    pub rows: ExpectedRows,
}

/// What an expectation looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The present rows of a query's result.
    Table(String),
    /// What a query has published since the last step that looked.
    Emitted(String),
    /// The accepted records of a stream so far.
    Validated(String),
    /// The rejected records of all streams so far.
    Rejected,
}

/// The rows that are expected.
#[derive(Debug, Clone)]
pub enum ExpectedRows {
    /// These, each with the columns that are named.
    Rows {
        /// Where the list begins.
        spot: Spot,
        /// The rows.
        rows: Vec<ExpectedRow>,
    },
    /// So many, whatever is in them.
    Count {
        /// Where the number stands.
        spot: Spot,
        /// How many.
        count: usize,
    },
}

/// A row that is expected.
#[derive(Debug, Clone)]
pub struct ExpectedRow {
    /// Where it begins.
    pub spot: Spot,
    /// The columns that are compared.
    pub cells: Vec<ExpectedCell>,
}

/// A value that is expected.
#[derive(Debug, Clone)]
pub struct ExpectedCell {
    /// Column.
    pub column: String,
    /// Value.
    pub value: Cell,
    /// Where the value stands.
    pub spot: Spot,
}
