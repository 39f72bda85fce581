//! `ops.generations`: which generation of a query its view shows, for people.

use tokio_postgres::GenericClient;

use crate::error::{Error, Result};
use crate::migrate::lock_ddl;
use crate::store::Store;

/// A generation that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationNote {
    /// The query's name, which is the view's.
    pub query: String,
    /// Its number.
    pub generation: u32,
    /// Table in the schema `results`.
    pub table: String,
    /// Result topic.
    pub topic: String,
    /// The query's SQL.
    pub text: String,
    /// Whether the view doesn't show it yet.
    pub is_filling: bool,
}

/// New ones are noted; one that was stopped runs again; a text that changed within the generation is noted with the time.
const NOTE: &str = "INSERT INTO ops.generations AS known (query, generation, state, table_name, topic, query_text, shown_at) \
     SELECT query, generation, CASE WHEN filling THEN 'filling' ELSE 'shown' END, table_name, topic, query_text, CASE WHEN NOT filling THEN now() END \
     FROM unnest($1::text[], $2::int[], $3::bool[], $4::text[], $5::text[], $6::text[]) \
         AS run(query, generation, filling, table_name, topic, query_text) \
     ON CONFLICT (query, generation) DO UPDATE SET query_text = excluded.query_text, \
         altered_at = CASE WHEN known.query_text = excluded.query_text THEN known.altered_at ELSE now() END, \
         state = CASE WHEN known.state = 'stopped' THEN 'shown' ELSE known.state END, \
         ended_at = CASE WHEN known.state = 'stopped' THEN NULL ELSE known.ended_at END \
     WHERE known.state = 'stopped' OR known.query_text <> excluded.query_text";

/// Those that no longer run: what was filling is abandoned; what is shown stays shown, and gets nothing more.
const END: &str = "UPDATE ops.generations SET state = CASE WHEN state = 'filling' THEN 'abandoned' ELSE 'stopped' END, ended_at = now() \
     WHERE state IN ('filling', 'shown') \
         AND NOT EXISTS (SELECT FROM unnest($1::text[], $2::int[]) AS run(query, generation) \
             WHERE run.query = generations.query AND run.generation = generations.generation)";

const RETIRE: &str = "UPDATE ops.generations SET state = 'retired', ended_at = coalesce(ended_at, now()) \
     WHERE query = $1 AND generation <> $2 AND state IN ('shown', 'stopped')";

const SHOW: &str = "UPDATE ops.generations SET state = 'shown', shown_at = now() \
     WHERE query = $1 AND generation = $2 AND state <> 'shown'";

impl Store {
    /// Brings `ops.generations` up to what runs now: all generations of all queries that keep a table.
    ///
    /// # Errors
    /// As any statement.
    pub async fn note_generations(&self, running: &[GenerationNote]) -> Result<()> {
        let failed = |error| Error::postgres("noting generations", &error);
        let mut client = self.client().await?;
        let texts = |of: fn(&GenerationNote) -> &str| running.iter().map(of).collect::<Vec<_>>();
        let queries = texts(|run| &run.query);
        let numbers: Vec<i32> = running.iter().map(|run| number(run.generation)).collect();
        let filling: Vec<bool> = running.iter().map(|run| run.is_filling).collect();
        let (tables, topics, sql) = (texts(|run| &run.table), texts(|run| &run.topic), texts(|run| &run.text));
        let transaction = client.transaction().await.map_err(failed)?;
        lock_ddl(&*transaction).await?;
        transaction.execute(NOTE, &[&queries, &numbers, &filling, &tables, &topics, &sql]).await.map_err(failed)?;
        transaction.execute(END, &[&queries, &numbers]).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }
}

/// Notes in the swap's transaction that the view shows this generation.
pub(crate) async fn shown(client: &impl GenericClient, query: &str, generation: u32) -> Result<()> {
    for statement in [RETIRE, SHOW] {
        let noted = client.execute(statement, &[&query, &number(generation)]).await;
        noted.map_err(|error| Error::postgres("noting the generation that is shown", &error))?;
    }
    Ok(())
}

fn number(generation: u32) -> i32 {
    i32::try_from(generation).unwrap_or(i32::MAX)
}
