//! Makes a result's table and view, or brings them up to date where the change only adds.

use std::collections::BTreeMap;

use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Result, server_message};
use crate::identifier::{Identifier, Literal, list};
use crate::migrate::lock_ddl;
use crate::table::Table;

/// A column that is there.
struct Found {
    name: String,
    sql_type: String,
    not_null: bool,
    comment: Option<String>,
}

/// Creates the table with indexes, view and comments, or adds columns. In the caller's transaction.
///
/// # Errors
/// `TableDiffers` when the table there has a column of another type, a column too many, or another identity.
pub(crate) async fn table(client: &impl GenericClient, table: &Table, reader_role: Option<&Identifier>) -> Result<()> {
    let doing = format!("preparing table {}", table.path());
    let failed = |error: tokio_postgres::Error| Error::postgres(&doing, &error);
    lock_ddl(client).await?;
    let found = columns(client, &table.path()).await?;
    if found.is_empty() {
        for statement in table.create() {
            client.batch_execute(&statement).await.map_err(failed)?;
        }
    } else {
        for statement in additions(client, table, &found).await? {
            client.batch_execute(&statement).await.map_err(failed)?;
        }
    }
    for statement in comments(table, "TABLE", &table.path(), &found, table_comment(client, &table.path()).await?) {
        client.batch_execute(&statement).await.map_err(failed)?;
    }
    if view_base(client, table).await?.is_none_or(|base| base == table.name.name()) {
        view(client, table, reader_role).await?;
    }
    Ok(())
}

/// Lets the view show this table. The view's dependents stay if its columns only grow, else it is made anew.
pub(crate) async fn view(client: &impl GenericClient, table: &Table, reader_role: Option<&Identifier>) -> Result<()> {
    let path = format!("bi.{}", table.view);
    let doing = format!("preparing view {path}");
    let failed = |error: tokio_postgres::Error| Error::postgres(&doing, &error);
    let found = columns(client, &path).await?;
    let wanted: BTreeMap<&str, String> = table
        .columns
        .iter()
        .map(|column| (column.name.name(), column.kind.sql()))
        .chain([("is_final", "boolean".to_owned())])
        .collect();
    let grows = found.iter().all(|column| wanted.get(column.name.as_str()) == Some(&column.sql_type));
    let is_final = Identifier::new("is_final")?;
    let all = || table.names().chain([&is_final]);
    let base = view_base(client, table).await?;
    let up_to_date = grows && found.len() == wanted.len() && base.as_deref() == Some(table.name.name());
    if !up_to_date {
        // A view's columns can't be reordered, so those that are there keep their places.
        let mut names = Vec::new();
        let grants = if grows { Vec::new() } else { grants(client, &path).await? };
        if grows {
            for column in &found {
                names.push(Identifier::new(&column.name)?);
            }
        } else {
            client.batch_execute(&format!("DROP VIEW {path}")).await.map_err(|error| match error.as_db_error() {
                Some(db) if *db.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => Error::TableDiffers {
                    table: path.clone(),
                    difference: format!("its columns change, and other objects need it: {}", server_message(db)),
                },
                _ => failed(error),
            })?;
        }
        names.extend(all().filter(|name| !grows || !found.iter().any(|column| column.name == name.name())).cloned());
        let statement = format!(
            "CREATE OR REPLACE VIEW {path} AS SELECT {} FROM {} WHERE NOT is_deleted",
            list(&names),
            table.path()
        );
        client.batch_execute(&statement).await.map_err(failed)?;
        for statement in grants {
            client.batch_execute(&statement).await.map_err(failed)?;
        }
    }
    let found = columns(client, &path).await?;
    for statement in comments(table, "VIEW", &path, &found, table_comment(client, &path).await?) {
        client.batch_execute(&statement).await.map_err(failed)?;
    }
    if let Some(role) = reader_role.filter(|_| !up_to_date) {
        let statement = format!("GRANT USAGE ON SCHEMA bi TO {role}; GRANT SELECT ON {path} TO {role}");
        client.batch_execute(&statement).await.map_err(failed)?;
    }
    Ok(())
}

/// The columns of a table or view in order; none if it doesn't exist.
async fn columns(client: &impl GenericClient, path: &str) -> Result<Vec<Found>> {
    let query = "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, col_description(attrelid, attnum) \
         FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let rows = client.query(query, &[&path]).await;
    let rows = rows.map_err(|error| Error::postgres(format!("reading the columns of {path}"), &error))?;
    Ok(rows
        .iter()
        .map(|row| Found { name: row.get(0), sql_type: row.get(1), not_null: row.get(2), comment: row.get(3) })
        .collect())
}

async fn table_comment(client: &impl GenericClient, path: &str) -> Result<Option<String>> {
    let row = client.query_one("SELECT obj_description(to_regclass($1), 'pg_class')", &[&path]).await;
    Ok(row.map_err(|error| Error::postgres(format!("reading the comment of {path}"), &error))?.get(0))
}

/// The table that the view shows; `None` if there is no view.
async fn view_base(client: &impl GenericClient, table: &Table) -> Result<Option<String>> {
    let query = "SELECT base.relname::text FROM pg_rewrite rule \
         JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = rule.oid AND d.refclassid = 'pg_class'::regclass \
         JOIN pg_class base ON base.oid = d.refobjid AND base.oid <> rule.ev_class \
         WHERE rule.ev_class = to_regclass($1) LIMIT 1";
    let path = format!("bi.{}", table.view);
    let row = client.query_opt(query, &[&path]).await;
    let row = row.map_err(|error| Error::postgres(format!("reading the definition of {path}"), &error))?;
    Ok(row.map(|row| row.get(0)))
}

/// The statements that give everybody the rights that they have on a view: making it anew takes them away.
async fn grants(client: &impl GenericClient, path: &str) -> Result<Vec<String>> {
    let query = "SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, $1::text, \
             CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, \
             CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
         FROM pg_class c, aclexplode(c.relacl) a WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner";
    let rows = client.query(query, &[&path]).await;
    let rows = rows.map_err(|error| Error::postgres(format!("reading the rights on {path}"), &error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The statements that bring an existing table up to date.
async fn additions(client: &impl GenericClient, table: &Table, found: &[Found]) -> Result<Vec<String>> {
    let differs = |difference: String| Error::TableDiffers { table: table.path(), difference };
    let advice = "change the query's name, or let it start a new generation";
    let mut statements = Vec::new();
    for column in &table.columns {
        let sql_type = column.kind.sql();
        match found.iter().find(|there| there.name == column.name.name()) {
            None if table.identity.contains(&column.name) => {
                return Err(differs(format!("its rows are told apart without column {}; {advice}", column.name)));
            }
            None => statements.push(format!("ALTER TABLE {} ADD COLUMN {} {sql_type}", table.path(), column.name)),
            Some(there) if there.sql_type != sql_type => {
                return Err(differs(format!(
                    "column {} is {}, the result has {sql_type}; {advice}",
                    column.name, there.sql_type
                )));
            }
            Some(there) if there.not_null && !column.not_null => {
                statements.push(format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", table.path(), column.name));
            }
            Some(_) => {}
        }
    }
    let ours = [
        ("generation", "integer"),
        ("folded_rows", "bigint"),
        ("is_final", "boolean"),
        ("is_deleted", "boolean"),
        ("updated_at", "timestamp with time zone"),
    ];
    for (name, sql_type) in ours {
        if !found.iter().any(|there| there.name == name && there.sql_type == sql_type) {
            return Err(differs(format!("it has no column {name} of type {sql_type}, so Tillstream didn't make it")));
        }
    }
    let known =
        |name: &str| table.names().any(|column| column.name() == name) || ours.iter().any(|(own, _)| *own == name);
    if let Some(extra) = found.iter().find(|there| !known(&there.name)) {
        return Err(differs(format!("it has the column {:?}, which the result has no more; {advice}", extra.name)));
    }
    check_identity(client, table).await?;
    Ok(statements)
}

/// Checks that a unique index over exactly the identity is there.
async fn check_identity(client: &impl GenericClient, table: &Table) -> Result<()> {
    let query = "SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int[]) AS k(number) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY 1) \
         FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indnullsnotdistinct \
             AND i.indpred IS NULL AND i.indexprs IS NULL";
    let rows = client.query(query, &[&table.path()]).await;
    let rows = rows.map_err(|error| Error::postgres(format!("reading the indexes of {}", table.path()), &error))?;
    let mut wanted: Vec<&str> = table.identity.iter().map(Identifier::name).collect();
    wanted.sort_unstable();
    let there: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut names: Vec<String> = row.get(0);
            names.sort_unstable();
            names
        })
        .collect();
    if there.iter().any(|names| *names == wanted) {
        return Ok(());
    }
    let found = there.first().map_or_else(|| "nothing".to_owned(), |names| names.join(", "));
    Err(Error::TableDiffers {
        table: table.path(),
        difference: format!(
            "its rows are told apart by {found}, the result's by {}; change the query's name, or let it start a new generation",
            wanted.join(", ")
        ),
    })
}

/// The comments that aren't there yet.
fn comments(table: &Table, kind: &str, path: &str, found: &[Found], there: Option<String>) -> Vec<String> {
    let mut statements = Vec::new();
    if let Some(comment) = table.comment.as_ref().filter(|comment| there.as_ref() != Some(comment)) {
        statements.push(format!("COMMENT ON {kind} {path} IS {}", Literal(comment)));
    }
    for column in &table.columns {
        let there =
            found.iter().find(|there| there.name == column.name.name()).and_then(|there| there.comment.as_ref());
        if let Some(comment) = column.comment.as_ref().filter(|comment| there != Some(comment)) {
            statements.push(format!("COMMENT ON COLUMN {path}.{} IS {}", column.name, Literal(comment)));
        }
    }
    statements
}
