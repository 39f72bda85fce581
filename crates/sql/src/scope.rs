//! The names that a query can use: tables and their columns. Names are found in any case, as in Spark.

use arrow_schema::Schema;

use crate::diagnostic::{list, nearest};
use crate::typed::{Kind, Typed};

/// A column that can be named.
#[derive(Debug, Clone)]
pub(crate) struct ScopeColumn {
    pub(crate) name: String,
    /// What it stands for: a column of the row, or an expression of a query in FROM.
    pub(crate) value: Typed,
    /// Joined by USING: only its twin is found without a table's name.
    pub(crate) hidden: bool,
}

impl ScopeColumn {
    pub(crate) fn of(name: &str, value: Typed) -> Self {
        Self { name: name.to_owned(), value, hidden: false }
    }

    /// Its name in the row, if it is a column of it.
    pub(crate) fn row_name(&self) -> Option<&str> {
        match &self.value.kind {
            Kind::Column(name) => Some(name),
            _ => None,
        }
    }
}

/// A table in FROM.
#[derive(Debug, Clone)]
pub(crate) struct ScopeTable {
    pub(crate) alias: String,
    pub(crate) columns: Vec<ScopeColumn>,
}

impl ScopeTable {
    /// The stream: its columns keep their names in the row.
    pub(crate) fn stream(alias: &str, schema: &Schema) -> Self {
        Self::new(alias, schema, false, |name| name.to_owned())
    }

    /// A reference table: its columns are `prefix.column` in the row.
    pub(crate) fn reference(alias: &str, prefix: &str, schema: &Schema, nullable: bool) -> Self {
        Self::new(alias, schema, nullable, |name| format!("{prefix}.{name}"))
    }

    fn new(alias: &str, schema: &Schema, nullable: bool, row_name: impl Fn(&str) -> String) -> Self {
        let column = |field: &arrow_schema::FieldRef| {
            let (data_type, nullable) = (field.data_type().clone(), nullable || field.is_nullable());
            ScopeColumn::of(field.name(), Typed::column(&row_name(field.name()), data_type, nullable, 0..0))
        };
        Self { alias: alias.to_owned(), columns: schema.fields().iter().map(column).collect() }
    }

    /// The column with this name: in this case, or else in any.
    pub(crate) fn column(&self, name: &str) -> Option<&ScopeColumn> {
        let exact = self.columns.iter().find(|column| column.name == name);
        exact.or_else(|| self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    }
}

/// Why a name isn't found.
#[derive(Debug, Clone)]
pub(crate) struct NotFound {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// The tables in FROM, the stream first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) tables: Vec<ScopeTable>,
}

impl Scope {
    pub(crate) fn table(&self, alias: &str) -> Option<&ScopeTable> {
        self.tables.iter().find(|table| table.alias.eq_ignore_ascii_case(alias))
    }

    /// Whether some table has a column of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.column(name).is_some())
    }

    /// The column of this name, of the table with this alias if one is given.
    pub(crate) fn resolve(&self, qualifier: Option<&str>, name: &str) -> Result<&ScopeColumn, NotFound> {
        if let Some(qualifier) = qualifier {
            let table = self.table(qualifier).ok_or_else(|| self.unknown_table(qualifier))?;
            return table
                .column(name)
                .ok_or_else(|| unknown_column(std::slice::from_ref(table), Some(&table.alias), name));
        }
        let found: Vec<(&ScopeTable, &ScopeColumn)> = self
            .tables
            .iter()
            .filter_map(|table| table.column(name).map(|column| (table, column)))
            .filter(|(_, column)| !column.hidden)
            .collect();
        match found.as_slice() {
            [] => Err(unknown_column(&self.tables, None, name)),
            [(_, column)] => Ok(column),
            several => Err(NotFound {
                message: format!(
                    "`{name}` could be of {}",
                    list(several.iter().map(|(table, _)| table.alias.as_str()))
                ),
                help: format!(
                    "name the table: `{}.{name}`",
                    several.first().map_or("", |(table, _)| table.alias.as_str())
                ),
            }),
        }
    }

    fn unknown_table(&self, qualifier: &str) -> NotFound {
        let aliases = || self.tables.iter().map(|table| table.alias.as_str()).filter(|alias| !alias.is_empty());
        NotFound {
            message: format!("there is no table `{qualifier}` in FROM"),
            help: match nearest(qualifier, aliases()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if aliases().next().is_none() => {
                    "a rule names the columns of its stream without a table".to_owned()
                }
                None => format!("the tables here are {}", list(aliases())),
            },
        }
    }
}

fn unknown_column(tables: &[ScopeTable], alias: Option<&str>, name: &str) -> NotFound {
    let names = || tables.iter().flat_map(|table| table.columns.iter().map(|column| column.name.as_str()));
    NotFound {
        message: match alias {
            Some(alias) => format!("`{alias}` has no column `{name}`"),
            None => format!("there is no column `{name}`"),
        },
        help: match nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the columns are {}", list(names())),
        },
    }
}
