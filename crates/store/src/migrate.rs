//! The schemas and tables that don't depend on queries, made and changed by numbered steps.

use tokio_postgres::{Client, GenericClient};

use crate::error::{Error, Result};

/// Key of the advisory lock under which anything of ours is created or altered.
const DDL_LOCK: i64 = 0x7469_6c6c_7374_726d;

/// Oldest server that has what we use: NULLS NOT DISTINCT came with 15.
const SERVER_VERSION_MIN: i32 = 150_000;

struct Step {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// Never change a step that was released: add one.
const STEPS: &[Step] = &[POSITIONS, GENERATIONS];

const POSITIONS: Step = Step {
    version: 1,
    name: "positions, rejected records, progress",
    sql: "
        CREATE SEQUENCE ops.epochs;
        COMMENT ON SEQUENCE ops.epochs IS 'Numbers that fence: a writer with a smaller one than the position rows have is refused';

        CREATE TABLE ops.positions (
            owner text NOT NULL,
            topic text NOT NULL,
            topic_id text NOT NULL,
            partition integer NOT NULL,
            next_offset bigint NOT NULL,
            epoch bigint NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (owner, topic, partition)
        ) WITH (fillfactor = 50);
        COMMENT ON TABLE ops.positions IS 'Up to where each topic partition is stored; written in the same transaction as the rows';

        CREATE TABLE ops.rejected_records (
            stream text NOT NULL,
            raw_partition integer NOT NULL,
            raw_offset bigint NOT NULL,
            reason text NOT NULL,
            rule text,
            message text NOT NULL,
            first_offset bigint,
            raw_key bytea,
            raw_value bytea,
            raw_value_bytes bigint,
            raw_timestamp timestamptz,
            rejected_at timestamptz NOT NULL,
            PRIMARY KEY (stream, raw_partition, raw_offset)
        );
        CREATE INDEX rejected_records_time ON ops.rejected_records USING brin (rejected_at) WITH (autosummarize = on);
        COMMENT ON TABLE ops.rejected_records IS 'Records that validation rejected, with the reason; the topic has their full content';

        CREATE TABLE ops.stream_progress (
            stream text NOT NULL,
            partition integer NOT NULL,
            raw_offset bigint NOT NULL,
            validated_offset bigint NOT NULL,
            rejected_offset bigint NOT NULL,
            watermark timestamptz,
            idle boolean NOT NULL,
            validated bigint NOT NULL,
            rejected jsonb NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (stream, partition)
        ) WITH (fillfactor = 50);
        COMMENT ON TABLE ops.stream_progress IS 'How far validation is in each raw partition';
    ",
};

const GENERATIONS: Step = Step {
    version: 2,
    name: "generations",
    sql: "
        CREATE TABLE ops.generations (
            query text NOT NULL,
            generation integer NOT NULL,
            state text NOT NULL CHECK (state IN ('filling', 'shown', 'retired', 'abandoned', 'stopped')),
            table_name text NOT NULL,
            topic text NOT NULL,
            query_text text NOT NULL,
            started_at timestamptz NOT NULL DEFAULT now(),
            altered_at timestamptz,
            shown_at timestamptz,
            ended_at timestamptz,
            PRIMARY KEY (query, generation)
        );
        COMMENT ON TABLE ops.generations IS
            'Generations of each query: which one its view in bi shows and since when, and which tables and topics are no longer used';
        COMMENT ON COLUMN ops.generations.state IS
            'filling: not shown yet; shown: the view shows it; retired: shown before; abandoned: never shown; stopped: shown, but gets nothing more: its query is in the project no more, or can''t run as it was';
        COMMENT ON COLUMN ops.generations.table_name IS 'Its table in the schema results';
        COMMENT ON COLUMN ops.generations.query_text IS 'The SQL as it was last read';
        COMMENT ON COLUMN ops.generations.altered_at IS 'When its text was last changed in a way that needs no new generation';
        COMMENT ON COLUMN ops.generations.shown_at IS 'Since when the view shows it';
        COMMENT ON COLUMN ops.generations.ended_at IS 'Since when its table and topic get nothing more';
    ",
};

/// Takes the lock that all DDL of ours is done under, until the transaction ends.
pub(crate) async fn lock_ddl(client: &impl GenericClient) -> Result<()> {
    let locked = client.execute("SELECT pg_advisory_xact_lock($1)", &[&DDL_LOCK]).await;
    locked.map_err(|error| Error::postgres("waiting for another session's migration", &error))?;
    Ok(())
}

/// Refuses servers that are too old.
pub(crate) async fn check_version(client: &impl GenericClient) -> Result<()> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int, current_setting('server_version')", &[])
        .await
        .map_err(|error| Error::postgres("asking for the server's version", &error))?;
    let (number, text): (i32, String) = (row.get(0), row.get(1));
    if number < SERVER_VERSION_MIN {
        return Err(Error::Settings { message: format!("the server is PostgreSQL {text}; 15 or newer is needed") });
    }
    Ok(())
}

/// Brings the database to the newest step. Without a step to do it needs no right but to read.
pub(crate) async fn migrate(client: &mut Client) -> Result<()> {
    let newest = STEPS.last().map_or(0, |step| step.version);
    if version(client).await? == newest {
        return Ok(());
    }
    let doing = |error| Error::postgres("migrating the database", &error);
    let transaction = client.transaction().await.map_err(doing)?;
    lock_ddl(&transaction).await?;
    let found = version(&transaction).await?;
    if found > newest {
        return Err(Error::Settings {
            message: format!(
                "the database was migrated to step {found} by a newer Tillstream; this one knows {newest}"
            ),
        });
    }
    for schema in ["results", "bi", "ops"] {
        // CREATE SCHEMA IF NOT EXISTS asks for the right to create even where nothing is to be created.
        let exists =
            transaction.query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&schema]).await.map_err(doing)?;
        if exists.is_none() {
            transaction.batch_execute(&format!("CREATE SCHEMA {schema}")).await.map_err(doing)?;
        }
    }
    let table = "CREATE TABLE IF NOT EXISTS ops.migrations (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";
    transaction.batch_execute(table).await.map_err(doing)?;
    for step in STEPS.iter().filter(|step| step.version > found) {
        transaction.batch_execute(step.sql).await.map_err(doing)?;
        let note = "INSERT INTO ops.migrations (version, name) VALUES ($1, $2)";
        transaction.execute(note, &[&step.version, &step.name]).await.map_err(doing)?;
        tracing::info!(version = step.version, name = step.name, "migrated the database");
    }
    transaction.commit().await.map_err(doing)
}

/// The last step that was done; 0 in a new database.
async fn version(client: &impl GenericClient) -> Result<i32> {
    let doing = |error| Error::postgres("reading the database's migrations", &error);
    let exists = client.query_one("SELECT to_regclass('ops.migrations') IS NOT NULL", &[]).await.map_err(doing)?;
    if !exists.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client.query_one("SELECT coalesce(max(version), 0) FROM ops.migrations", &[]).await.map_err(doing)?;
    Ok(row.get(0))
}
