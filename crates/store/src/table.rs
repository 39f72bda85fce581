//! A result's table as it should be: names, types, identity, and the SQL that makes it and merges into it.

use std::collections::{BTreeMap, BTreeSet};

use arrow_schema::SchemaRef;

use crate::column::ColumnType;
use crate::error::{Error, Result};
use crate::identifier::{Identifier, list};

/// Columns that each result table has after the result's own.
pub(crate) const VERSION_COLUMNS: &str = "generation, folded_rows, is_final, is_deleted";

/// Names that a result's column can't have: ours and PostgreSQL's system columns.
const RESERVED: [&str; 11] = [
    "generation",
    "folded_rows",
    "is_final",
    "is_deleted",
    "updated_at",
    "tableoid",
    "xmin",
    "cmin",
    "xmax",
    "cmax",
    "ctid",
];

/// What a result needs of PostgreSQL.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Table in the schema `results`: the query's name, with `__g2` and so on for later generations.
    pub name: String,
    /// View in the schema `bi`: the query's name.
    pub view: String,
    /// Generation of the query.
    pub generation: u32,
    /// The result's columns.
    pub schema: SchemaRef,
    /// Columns that say which row it is; at least one.
    pub identity: Vec<String>,
    /// The column that queries over a range of time use.
    pub time_column: Option<String>,
    /// What the table holds, for people and BI tools.
    pub comment: Option<String>,
    /// The same for columns.
    pub column_comments: BTreeMap<String, String>,
}

/// A column of a result table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: Identifier,
    pub(crate) kind: ColumnType,
    /// Only identity columns can be NOT NULL: a delete of a row that never was has no other values.
    pub(crate) not_null: bool,
    pub(crate) comment: Option<String>,
}

/// A checked [`TableSpec`].
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: Identifier,
    pub(crate) view: Identifier,
    pub(crate) generation: u32,
    pub(crate) columns: Vec<Column>,
    pub(crate) identity: Vec<Identifier>,
    pub(crate) time_column: Option<Identifier>,
    pub(crate) comment: Option<String>,
}

impl Table {
    pub(crate) fn new(spec: &TableSpec) -> Result<Self> {
        let wrong = |message: String| Error::Specification { table: spec.name.clone(), message };
        let mut seen = BTreeSet::new();
        let mut columns = Vec::with_capacity(spec.schema.fields().len());
        for field in spec.schema.fields() {
            let name = Identifier::new(field.name())?;
            if RESERVED.contains(&name.name()) {
                return Err(wrong(format!("the column name {name} is taken: give the column another name with AS")));
            }
            if !seen.insert(name.clone()) {
                return Err(wrong(format!("two columns are named {name}: give one another name with AS")));
            }
            let kind = ColumnType::from_arrow(field.data_type())
                .map_err(|message| wrong(format!("column {name}: {message}")))?;
            let not_null = !field.is_nullable() && spec.identity.contains(field.name());
            columns.push(Column { not_null, kind, comment: spec.column_comments.get(name.name()).cloned(), name });
        }
        let known = |name: &String, what: &str| -> Result<Identifier> {
            let name = Identifier::new(name)?;
            if seen.contains(&name) {
                Ok(name)
            } else {
                Err(wrong(format!("the {what} {name} isn't among the result's columns")))
            }
        };
        let identity: Vec<_> =
            spec.identity.iter().map(|name| known(name, "identity column")).collect::<Result<_>>()?;
        if identity.is_empty() {
            return Err(wrong("it has no identity columns, so rows can't be told apart".into()));
        }
        Ok(Self {
            name: Identifier::new(&spec.name)?,
            view: Identifier::new(&spec.view)?,
            generation: spec.generation,
            time_column: spec.time_column.as_ref().map(|name| known(name, "time column")).transpose()?,
            columns,
            identity,
            comment: spec.comment.clone(),
        })
    }

    /// The table with its schema, quoted.
    pub(crate) fn path(&self) -> String {
        format!("results.{}", self.name)
    }

    /// Whether the result has one row per accepted record, which never gets another version within a generation.
    pub(crate) fn is_row_by_row(&self) -> bool {
        self.identity.iter().map(Identifier::name).eq(["source_partition", "source_offset"])
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Identifier> {
        self.columns.iter().map(|column| &column.name)
    }

    /// The statements that make the table and its indexes.
    pub(crate) fn create(&self) -> Vec<String> {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                format!("{} {}{}", column.name, column.kind.sql(), if column.not_null { " NOT NULL" } else { "" })
            })
            .collect();
        // Room in each page lets a new version of a row stay in it without touching the indexes.
        let storage = if self.is_row_by_row() {
            "autovacuum_vacuum_insert_scale_factor = 0.1"
        } else {
            "fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05"
        };
        let mut statements = vec![
            format!(
                "CREATE TABLE {} ({}, generation integer NOT NULL, folded_rows bigint NOT NULL, is_final boolean NOT NULL, \
                 is_deleted boolean NOT NULL, updated_at timestamptz NOT NULL DEFAULT now()) WITH ({storage})",
                self.path(),
                columns.join(", ")
            ),
            format!(
                "CREATE UNIQUE INDEX {} ON {} ({}) NULLS NOT DISTINCT",
                self.name.with_suffix("__identity"),
                self.path(),
                list(&self.identity)
            ),
        ];
        statements.extend(self.time_index());
        statements
    }

    /// The index for ranges of time, unless the identity's own index serves.
    fn time_index(&self) -> Option<String> {
        let column = self.time_column.as_ref()?;
        if self.identity.first() == Some(column) {
            return None;
        }
        // Rows of single records arrive nearly in the order of their time: a block range index costs next to nothing there.
        let method = if self.is_row_by_row() {
            format!("brin ({column}) WITH (autosummarize = on, pages_per_range = 32)")
        } else {
            format!("btree ({column})")
        };
        Some(format!("CREATE INDEX {} ON {} USING {method}", self.name.with_suffix("__time"), self.path()))
    }

    /// `INSERT … SELECT` from the staging table. With `newer_wins`, rows with a greater version replace what is there.
    pub(crate) fn merge(&self, staging: &Identifier, newer_wins: bool) -> String {
        let names = list(self.names());
        let action = if newer_wins {
            let set: Vec<String> = self
                .names()
                .filter(|name| !self.identity.contains(name))
                .map(|name| format!("{name} = excluded.{name}"))
                .chain(
                    ["generation", "folded_rows", "is_final", "is_deleted", "updated_at"]
                        .map(|name| format!("{name} = excluded.{name}")),
                )
                .collect();
            format!(
                "UPDATE SET {} WHERE (t.generation, t.folded_rows, t.is_final) < (excluded.generation, excluded.folded_rows, excluded.is_final)",
                set.join(", ")
            )
        } else {
            "NOTHING".to_owned()
        };
        format!(
            "INSERT INTO {} AS t ({names}, {VERSION_COLUMNS}) SELECT {names}, {VERSION_COLUMNS} FROM pg_temp.{staging} \
             ON CONFLICT ({}) DO {action}",
            self.path(),
            list(&self.identity)
        )
    }

    /// The staging table of a session.
    pub(crate) fn create_staging(&self, staging: &Identifier) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| format!("{} {}", column.name, column.kind.sql())).collect();
        format!(
            "CREATE TEMPORARY TABLE {staging} ({}, generation integer, folded_rows bigint, is_final boolean, is_deleted boolean) \
             ON COMMIT DELETE ROWS",
            columns.join(", ")
        )
    }

    /// The COPY into the staging table, or straight into the table.
    pub(crate) fn copy_into(&self, target: &str) -> String {
        format!("COPY {target} ({}, {VERSION_COLUMNS}) FROM STDIN (FORMAT binary)", list(self.names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field, Schema};
    use std::sync::Arc;

    fn spec(columns: &[(&str, DataType)], identity: &[&str]) -> TableSpec {
        let fields: Vec<Field> = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect();
        TableSpec {
            name: "t".into(),
            view: "t".into(),
            generation: 1,
            schema: Arc::new(Schema::new(fields)),
            identity: identity.iter().map(|name| (*name).to_owned()).collect(),
            time_column: None,
            comment: None,
            column_comments: BTreeMap::new(),
        }
    }

    #[test]
    fn a_specification_that_cannot_be_a_table_is_refused() {
        let cases = [
            spec(&[("a", DataType::Int64)], &[]),
            spec(&[("a", DataType::Int64)], &["b"]),
            spec(&[("a", DataType::Int64), ("a", DataType::Int64)], &["a"]),
            spec(&[("a", DataType::Int64), ("is_final", DataType::Boolean)], &["a"]),
            spec(&[("a", DataType::Int64), ("xmin", DataType::Int64)], &["a"]),
            spec(&[("a", DataType::UInt64)], &["a"]),
        ];
        for case in cases {
            let error = Table::new(&case).unwrap_err();
            assert!(matches!(error, Error::Specification { .. }), "{error}");
        }
    }

    #[test]
    fn names_reach_sql_only_quoted() {
        let hostile = "x\" int); DROP TABLE y; --";
        let table = Table::new(&spec(&[(hostile, DataType::Int64)], &[hostile])).unwrap();
        let staging = Identifier::new("s").unwrap();
        for sql in table.create().into_iter().chain([table.merge(&staging, true), table.create_staging(&staging)]) {
            assert!(sql.contains("\"x\"\" int); DROP TABLE y; --\""), "{sql}");
            assert!(!sql.replace("\"x\"\" int); DROP TABLE y; --\"", "").contains("DROP"), "{sql}");
        }
    }
}
