//! Where a reference table's rows are: a file, or PostgreSQL. Reading them, and telling cheaply that nothing has changed.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use arrow_array::RecordBatch;
use ingest::reference::ReferenceOptions;
use model::{Classified, Clock, Domain};
use project::settings::{EMBEDDED, process_environment};
use project::{PostgresRelation, Project, Reference, ReferenceSource};
use secrecy::ExposeSecret as _;
use store::{Relation, SourceTable};
use tokio::runtime::Handle;

use super::topic::TopicTable;
use crate::error::{Error, Result};
use crate::run::context::Context;
use crate::run::peers::with_password;

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A reference table's source, with what it held when it was last read.
#[derive(Debug)]
pub(crate) struct Source {
    reference: Reference,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File { path: PathBuf, was_read: bool, seen: Option<Stamp> },
    Postgres { table: Box<SourceTable>, runtime: Handle, fingerprint: Option<String> },
    Topic(Box<TopicTable>),
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified_us: i64,
    bytes: u64,
    inode: u64,
}

/// What a look at a source found.
#[derive(Debug)]
pub(crate) enum Look {
    /// The rows are certainly those of the last look that gave some.
    Unchanged,
    /// Somebody is writing: look again in a moment.
    Unsettled,
    /// All rows, with their keys checked. They may be the same as before.
    Rows(RecordBatch),
}

/// A file that was written so short a time ago may not be complete yet.
const SETTLED_AFTER_US: i64 = 500_000;

impl Source {
    /// The source of a project's table; nothing is read yet. `own_url` is the project's PostgreSQL, for tables that name no other.
    ///
    /// # Errors
    /// `Project` when a secret isn't there or the settings can't be used.
    pub(crate) fn new(
        project: &Project,
        reference: &Reference,
        own_url: Option<&str>,
        context: &Context,
        runtime: &Handle,
    ) -> Result<Self> {
        let kind = match &reference.source {
            ReferenceSource::File(path) => Kind::File { path: path.clone(), was_read: false, seen: None },
            ReferenceSource::Postgres { .. } => {
                let url = postgres_url(project, reference, own_url)?;
                let table = postgres_table(reference, &url, CONNECT_TIMEOUT)?;
                Kind::Postgres { table: Box::new(table), runtime: runtime.clone(), fingerprint: None }
            }
            ReferenceSource::Topic { topic, record_key } => {
                Kind::Topic(Box::new(TopicTable::new(reference, topic, *record_key, context)))
            }
        };
        Ok(Self { reference: reference.clone(), kind })
    }

    /// Reads all rows, unless they can be seen not to have changed since the last call that gave some.
    ///
    /// # Errors
    /// `Project` for rows that can't be a table, `Unavailable` and the store's for a peer that isn't there.
    pub(crate) fn look(&mut self, clock: &dyn Clock) -> Result<Look> {
        let bytes_max = usize::try_from(self.reference.memory_bytes).unwrap_or(usize::MAX);
        let name = &self.reference.name;
        match &mut self.kind {
            Kind::File { path, was_read, seen } => {
                let before = Stamp::of(path)?;
                if seen.as_ref() == Some(&before) {
                    return Ok(Look::Unchanged);
                }
                // What is there at the start is taken as it is: nothing older could be used instead.
                let age_us = clock.now_us().saturating_sub(before.modified_us);
                if *was_read && (0..SETTLED_AFTER_US).contains(&age_us) {
                    return Ok(Look::Unsettled);
                }
                let options = file_options(&self.reference);
                let table = ingest::reference::load(path, &options).map_err(|error| of_table(name, &error))?;
                if Stamp::of(path)? != before {
                    return Ok(Look::Unsettled);
                }
                *seen = Some(before);
                *was_read = true;
                Ok(Look::Rows(table.batch))
            }
            Kind::Postgres { table, runtime, fingerprint } => {
                let Some(read) = runtime.block_on(table.read_changed(fingerprint.as_deref(), bytes_max))? else {
                    return Ok(Look::Unchanged);
                };
                let checked =
                    ingest::reference::of_rows(name, read.rows, &self.reference.key, self.reference.validity.is_none());
                let checked = checked.map_err(|error| of_table(name, &error))?;
                *fingerprint = Some(read.fingerprint);
                Ok(Look::Rows(checked.batch))
            }
            Kind::Topic(table) => match table.read_changed(bytes_max)? {
                None => Ok(Look::Unchanged),
                Some(rows) => {
                    let is_unique = self.reference.validity.is_none();
                    let checked = ingest::reference::of_rows(name, rows, &self.reference.key, is_unique);
                    Ok(Look::Rows(checked.map_err(|error| of_table(name, &error))?.batch))
                }
            },
        }
    }
}

impl Source {
    /// Lets the next look give rows in any case.
    pub(crate) fn forget(&mut self) {
        match &mut self.kind {
            Kind::File { seen, .. } => *seen = None,
            Kind::Postgres { fingerprint, .. } => *fingerprint = None,
            Kind::Topic(table) => table.forget(),
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let read = std::fs::metadata(path).and_then(|found| Ok((found.modified()?, found)));
        let (modified, found) = read.map_err(|error| Error::system(format!("reading {}", path.display()), error))?;
        let since_1970 = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified_us = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
        Ok(Self { modified_us, bytes: found.len(), inode: found.ino() })
    }
}

/// Where a table's changes are announced.
#[derive(Debug)]
pub(crate) struct Announcements {
    pub(crate) url: String,
    pub(crate) channel: String,
}

impl Announcements {
    /// `None` if the table's source announces nothing.
    pub(crate) fn of(project: &Project, reference: &Reference, own_url: Option<&str>) -> Result<Option<Self>> {
        let ReferenceSource::Postgres { notify: Some(channel), .. } = &reference.source else { return Ok(None) };
        Ok(Some(Self { url: postgres_url(project, reference, own_url)?, channel: channel.clone() }))
    }
}

/// How a table's file is read.
pub(crate) fn file_options(reference: &Reference) -> ReferenceOptions {
    ReferenceOptions {
        schema: Some(reference.schema.clone()),
        key: reference.key.clone(),
        is_unique: reference.validity.is_none(),
        delimiter: Some(reference.delimiter),
        bytes_max: usize::try_from(reference.memory_bytes).unwrap_or(usize::MAX),
    }
}

/// Whether a table is read from the project's own PostgreSQL.
pub(crate) fn is_own(reference: &Reference) -> bool {
    match &reference.source {
        ReferenceSource::Postgres { url, .. } => url.as_ref().is_none_or(|url| url == EMBEDDED),
        ReferenceSource::File(_) | ReferenceSource::Topic { .. } => false,
    }
}

/// The server of a table, with the password in its URL.
pub(crate) fn postgres_url(project: &Project, reference: &Reference, own_url: Option<&str>) -> Result<String> {
    let ReferenceSource::Postgres { url: Some(url), password, .. } = &reference.source else {
        let missing = || Error::Internal(format!("reference table {} has no PostgreSQL", reference.name));
        return own_url.map(str::to_owned).ok_or_else(missing);
    };
    let setting = format!("reference.{}.password", reference.name);
    let resolve = |secret: &project::Secret| secret.resolve(&setting, &project.directory, &process_environment);
    let password = password.as_ref().map(resolve).transpose().map_err(|error| Error::Project(error.to_string()))?;
    let setting = format!("reference.{}.url", reference.name);
    with_password(&setting, url, password.as_ref().map(|password| password.expose_secret()))
}

/// What is read of a table in PostgreSQL.
pub(crate) fn postgres_table(reference: &Reference, url: &str, connect_timeout: Duration) -> Result<SourceTable> {
    let ReferenceSource::Postgres { relation, .. } = &reference.source else {
        return Err(Error::Internal(format!("reference table {} isn't in PostgreSQL", reference.name)));
    };
    let relation = match relation {
        PostgresRelation::Table(name) => Relation::Table(name.clone()),
        PostgresRelation::Query(text) => Relation::Query(text.clone()),
    };
    Ok(SourceTable::new(url, &reference.name, relation, reference.schema.clone(), connect_timeout)?)
}

/// An error about a table's rows, with the table's name.
pub(crate) fn of_table(name: &str, error: &(impl Classified + std::fmt::Display)) -> Error {
    let text = error.to_string();
    let text = if text.starts_with("reference table ") { text } else { format!("reference table {name}: {text}") };
    match error.domain() {
        Domain::User => Error::Project(text),
        Domain::External => Error::Unavailable(text),
        Domain::Internal => Error::Internal(text),
    }
}
