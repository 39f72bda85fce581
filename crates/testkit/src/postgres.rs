//! The run's PostgreSQL, and a database per test.

use tokio_postgres::{NoTls, SimpleQueryMessage};

/// URL of a database that the run's server always has, for making others.
pub fn admin_url() -> String {
    crate::service_address("TILLSTREAM_TEST_POSTGRES")
}

/// A database of its own for one test, dropped at the end.
#[derive(Debug)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    /// Makes an empty database.
    pub fn create() -> Self {
        let name = crate::unique_name("test");
        in_session(&admin_url(), &format!("CREATE DATABASE {name}")).expect("the database is made");
        let admin = admin_url();
        let (server, _) = admin.rsplit_once('/').expect("a URL that ends in a database name");
        Self { url: format!("{server}/{name}"), name }
    }

    /// Runs statements in one session, and gives the first column of the rows that they return, as text.
    pub fn first_column(&self, statements: &str) -> Vec<String> {
        in_session(&self.url, statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"))
    }

    /// Its URL, `postgres://user@host:port/name`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // One that stays, since a session of it doesn't end in time, costs the run's server some disk and nothing else.
        drop(in_session(&admin_url(), &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)));
    }
}

/// Runs statements from a thread with a runtime of its own, so that tests with and without a runtime can call it.
fn in_session(url: &str, statements: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (url, statements) = (url.to_owned(), statements.to_owned());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.expect("PostgreSQL answers");
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(&statements).await?;
            let first = |message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            };
            let rows = messages.into_iter().filter_map(first).collect();
            drop(client);
            connection.await.expect("the connection ends").expect("the connection ends well");
            Ok(rows)
        })
    };
    std::thread::spawn(work).join().expect("the statements run")
}
