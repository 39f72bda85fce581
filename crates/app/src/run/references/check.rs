//! Whether tables in PostgreSQL are as the project declares them, as far as the servers can be asked.

use std::time::Duration;

use model::{Classified as _, Domain};
use project::{Project, ReferenceSource};
use tokio::runtime::Handle;

use super::source::{is_own, postgres_table, postgres_url};
use crate::error::{Error, Result};
use crate::run::peers::given_postgres_url;

/// A check doesn't wait long for a server that isn't there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks for columns and types. Gives a line for each table that couldn't be asked for, with the reason.
///
/// # Errors
/// `Project` with everything that doesn't fit.
pub(crate) fn references(project: &Project, runtime: &Handle) -> Result<Vec<String>> {
    let (mut unchecked, mut wrong) = (Vec::new(), Vec::new());
    for reference in &project.references {
        let ReferenceSource::Postgres { .. } = &reference.source else { continue };
        let name = &reference.name;
        if is_own(reference) && project.settings.connections.postgres.is_embedded() {
            unchecked.push(format!("reference table {name}: the private PostgreSQL is asked when the pipeline starts"));
            continue;
        }
        let checked = given_postgres_url(project)
            .and_then(|own| postgres_url(project, reference, own.as_deref()))
            .and_then(|url| postgres_table(reference, &url, CONNECT_TIMEOUT))
            .and_then(|table| Ok(runtime.block_on(table.check())?));
        match checked {
            Ok(()) => {}
            // A secret may well be unset where a project is checked.
            Err(error @ Error::Project(_)) => unchecked.push(format!("reference table {name}: {error}")),
            Err(error) if error.domain() == Domain::User => wrong.push(error.to_string()),
            Err(error) => unchecked.push(format!("reference table {name}: its columns weren't checked: {error}")),
        }
    }
    if wrong.is_empty() { Ok(unchecked) } else { Err(Error::Project(wrong.join("\n"))) }
}
