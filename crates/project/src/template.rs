//! What `tillstream init` writes: a small shop that runs at once.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use model::{Classified, Domain, Retry};

use crate::formats;

/// The files, relative to the project directory, with their content.
const FILES: [(&str, &str); 8] = [
    ("tillstream.yaml", include_str!("../template/tillstream.yaml")),
    ("schemas/order.avsc", include_str!("../template/schemas/order.avsc")),
    ("queries/sales_per_minute.sql", include_str!("../template/queries/sales_per_minute.sql")),
    ("queries/large_orders.sql", include_str!("../template/queries/large_orders.sql")),
    ("reference/products.csv", include_str!("../template/reference/products.csv")),
    ("tests/orders.yaml", include_str!("../template/tests/orders.yaml")),
    ("data/orders.csv", include_str!("../template/data/orders.csv")),
    (".gitignore", include_str!("../template/gitignore")),
];

/// The editors' schema in a project; `tillstream.yaml` of the template names it.
pub const EDITOR_SCHEMA: &str = ".tillstream/tillstream.schema.json";

/// Why no project was written.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The directory has files already.
    #[error("`{}` isn't empty: it has `{entry}`; name a new directory, so that nothing is overwritten", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// Something in it.
        entry: String,
    },
    /// The project can't be called so.
    #[error("{message}; {help}")]
    Name {
        /// What is wrong.
        message: String,
        /// What would do.
        help: String,
    },
    /// A file can't be written.
    #[error("`{}` can't be written: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Classified for TemplateError {
    fn domain(&self) -> Domain {
        match self {
            Self::Write { .. } => Domain::External,
            _ => Domain::User,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// The project name that a directory's name suggests: `My Shop` gives `my_shop`. `None` if nothing of it would do.
pub fn name_for(directory: &Path) -> Option<String> {
    let name = directory.file_name()?.to_str()?;
    if formats::identifier(name).is_ok() { Some(name.to_owned()) } else { formats::repaired(name) }
}

/// Writes the template with the project's name into a new or empty directory; gives the files that were written, with the directory.
///
/// # Errors
/// When the directory has files (a `.git` doesn't count), the name is no identifier, or a file can't be written.
pub fn write(directory: &Path, name: &str) -> Result<Vec<PathBuf>, TemplateError> {
    formats::identifier(name).map_err(|complaint| TemplateError::Name {
        message: complaint.message,
        help: complaint.help.unwrap_or_default(),
    })?;
    refuse_files(directory)?;
    let mut written = Vec::new();
    for (file, content) in FILES {
        let content = if file == crate::PROJECT_FILE {
            content.replacen("\nname: shop\n", &format!("\nname: {name}\n"), 1)
        } else {
            content.into()
        };
        written.push(write_file(&directory.join(file), &content)?);
    }
    write_editor_schema(directory)?;
    Ok(written)
}

/// Writes the JSON schema of `tillstream.yaml` where the template's first line tells editors to look. It belongs to this version of
/// Tillstream, so commands may write it again.
///
/// # Errors
/// When the file can't be written.
pub fn write_editor_schema(directory: &Path) -> Result<PathBuf, TemplateError> {
    let schema = format!("{:#}\n", crate::settings::json_schema());
    write_file(&directory.join(EDITOR_SCHEMA), &schema)
}

fn write_file(path: &Path, content: &str) -> Result<PathBuf, TemplateError> {
    let failed = |source| TemplateError::Write { path: path.to_path_buf(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, content).map_err(failed)?;
    Ok(path.to_path_buf())
}

fn refuse_files(directory: &Path) -> Result<(), TemplateError> {
    let failed = |source| TemplateError::Write { path: directory.to_path_buf(), source };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if entry != ".git" {
            return Err(TemplateError::NotEmpty { directory: directory.to_path_buf(), entry });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_files_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mine.txt"), "x").unwrap();
        let error = write(directory.path(), "shop").unwrap_err();
        assert!(matches!(&error, TemplateError::NotEmpty { entry, .. } if entry == "mine.txt"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_come_from_directories() {
        assert_eq!(name_for(Path::new("work/shop")).as_deref(), Some("shop"));
        assert_eq!(name_for(Path::new("My Shop")).as_deref(), Some("my_shop"));
        assert_eq!(name_for(Path::new("/")), None);
        assert!(matches!(write(Path::new("nowhere"), "My Shop"), Err(TemplateError::Name { .. })));
    }
}
