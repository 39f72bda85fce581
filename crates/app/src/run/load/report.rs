//! The report of rows that don't fit their stream.

use std::io::Write as _;
use std::path::Path;

use ingest::files::RejectedRow;

use crate::error::{Error, Result};

/// The report of rows that don't fit, made when there is the first.
pub(super) struct Report<'a> {
    path: &'a Path,
    is_new: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(path: &'a Path, is_new: bool) -> Self {
        Self { path, is_new }
    }

    pub(super) fn write(&mut self, rows: &[RejectedRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let failed = |error| Error::system(format!("writing {}", self.path.display()), error);
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).append(!self.is_new).truncate(self.is_new);
        let mut file = options.open(self.path).map_err(failed)?;
        self.is_new = false;
        for row in rows {
            writeln!(file, "{}", row.to_json()).map_err(failed)?;
        }
        file.sync_all().map_err(failed)
    }
}
