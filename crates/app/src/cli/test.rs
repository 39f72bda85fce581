//! `tillstream test`: runs a project's tests without broker or PostgreSQL.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use model::{Clock as _, SystemClock};

use crate::cli::project::ProjectArgs;
use crate::cli::{Output, runtime};
use crate::error::{Error, Result};
use crate::harness::report::{self, Ran};
use crate::harness::source::{Suite, suites};
use crate::harness::{Compared, OnSpark, Options, run, update};

/// Run a project's tests (`tests/*.yaml`): no broker, no PostgreSQL, the same outcome each time.
#[derive(Debug, Args)]
#[command(
    name = "test",
    after_help = "Examples:\n  tillstream test shop\n  tillstream test shop --filter late --restart-everywhere\n  tillstream test shop/tests/late.yaml --update\n  tillstream test shop --shuffle 7 --parallelism 4 --junit report.xml\n  tillstream test shop --spark sc://localhost:15002"
)]
pub(crate) struct TestCommand {
    /// Projects, test files, or directories of files that hold their projects themselves; the current directory by default.
    #[arg(value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// Run only tests whose file or name has this text in it.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Crash and go on between any two steps, amid writes, and before and after each checkpoint.
    #[arg(long)]
    restart_everywhere: bool,
    /// Let records arrive in another order with the same verdicts; the same seed gives the same order.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,
    /// Cut each batch into so many pieces; pieces of partitions alternate.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    parallelism: u64,
    /// Keep the state of queries and patterns on the disk instead of in memory, as it is past `process.state_limit`.
    #[arg(long)]
    spill: bool,
    /// Also compute each query on this Apache Spark, from the records that a test accepted, and compare the rows, with open windows as they
    /// stand at its end.
    #[arg(long, value_name = "URL")]
    spark: Option<String>,
    /// Rewrite the expected rows of tests that fail, in place.
    #[arg(long, conflicts_with_all = ["restart_everywhere", "shuffle", "spark"])]
    update: bool,
    /// Write the outcome as JUnit's XML too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How to write the outcome.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
    /// With JSON: add what each pipeline holds at the end of its test.
    #[arg(long)]
    contents: bool,
    #[command(flatten)]
    project: ProjectArgs,
}

impl TestCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let overrides = self.project.overrides()?;
        let here = [PathBuf::from(".")];
        let paths: &[PathBuf] = if self.paths.is_empty() { &here } else { &self.paths };
        let mut all_suites = Vec::new();
        for path in paths {
            if path.extension().is_some_and(|extension| extension == "yaml") && !path.exists() {
                return Err(Error::Usage(format!("there is no file {}", path.display())));
            }
            all_suites.extend(suites(path, &overrides)?);
        }
        let runtime = runtime()?;
        let mut spark = self.spark.as_ref().map(|url| OnSpark::open(url, runtime.handle())).transpose()?;
        let mut all = Vec::new();
        for suite in &all_suites {
            all.extend(self.run_suite(suite, spark.as_mut())?);
        }
        if let Some(spark) = spark {
            let Compared { results, rows } = spark.close()?;
            eprintln!("compared with Apache Spark: {rows} rows of {results} results");
        }
        let cases: usize = all_suites.iter().flat_map(|suite| &suite.files).map(|file| file.cases.len()).sum();
        if let (Some(filter), true, true) = (&self.filter, all.is_empty(), cases > 0) {
            return Err(Error::Usage(format!("none of the {cases} tests has `{filter}` in its file or name")));
        }
        self.show(&all, &all_suites)?;
        let failed = all.iter().any(|ran| !ran.has_passed());
        Ok(ExitCode::from(u8::from(failed && !self.update)))
    }

    fn run_suite(&self, suite: &Suite, mut spark: Option<&mut OnSpark>) -> Result<Vec<Ran>> {
        let options = Options {
            restart_everywhere: self.restart_everywhere,
            shuffle: self.shuffle,
            parallelism: usize::try_from(self.parallelism).unwrap_or(1),
            spill: self.spill,
        };
        if suite.inline.as_ref().is_some_and(|inline| inline.not_on_spark.is_some()) {
            spark = None;
        }
        let clock = SystemClock::new();
        let mut all = Vec::new();
        for file in &suite.files {
            let from = all.len();
            for case in &file.cases {
                let is_wanted =
                    |filter: &String| file.path.contains(filter.as_str()) || case.name.contains(filter.as_str());
                if !self.filter.as_ref().is_none_or(is_wanted) {
                    continue;
                }
                let start = clock.elapsed();
                let outcome = run(&suite.project, case, options, spark.as_deref_mut());
                let took = clock.elapsed().saturating_sub(start);
                all.push(Ran { file: file.path.clone(), line: case.spot.line, name: case.name.clone(), took, outcome });
            }
            if self.update {
                let failures = all.get(from..).unwrap_or_default().iter().flat_map(|ran| &ran.outcome.failures);
                let text = update::updated(file, failures);
                if text != *file.text {
                    std::fs::write(&file.path, text)
                        .map_err(|error| Error::system(format!("writing {}", file.path), error))?;
                    eprintln!("{} is updated; read the difference before you keep it", file.path);
                }
            }
        }
        Ok(all)
    }

    fn show(&self, all: &[Ran], suites: &[Suite]) -> Result<()> {
        let mut document = report::json(all, self.contents);
        if self.contents {
            document["files"] = suites.iter().filter_map(described).collect();
        }
        self.output.print(&document, || report::text(all))?;
        if all.is_empty() {
            eprintln!("there are no tests: write them as tests/*.yaml in the project, see docs/testing.md");
        }
        if let Some(path) = &self.junit {
            std::fs::write(path, report::junit(all))
                .map_err(|error| Error::system(format!("writing {}", path.display()), error))?;
        }
        Ok(())
    }
}

/// What a file that holds its project says beside its tests.
fn described(suite: &Suite) -> Option<serde_json::Value> {
    let inline = suite.inline.as_ref()?;
    let file = suite.files.first()?;
    let queries: serde_json::Map<String, serde_json::Value> =
        suite.project.queries.iter().map(|query| (query.name.clone(), query.text.as_str().into())).collect();
    let streams: serde_json::Map<String, serde_json::Value> = suite
        .project
        .streams
        .iter()
        .map(|stream| {
            let fields = stream.arrow.fields().iter();
            let columns = fields.map(|field| (field.name().clone(), field.data_type().to_string().into()));
            (stream.name.clone(), serde_json::Value::Object(columns.collect()))
        })
        .collect();
    Some(serde_json::json!({
        "file": file.path, "streams": streams, "queries": queries, "postgres": inline.postgres, "covers": inline.covers,
        "not_on_spark": inline.not_on_spark,
    }))
}
