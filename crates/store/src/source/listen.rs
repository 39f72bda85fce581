//! Waiting for `NOTIFY`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_postgres::Client;

use crate::connect::Connector;
use crate::error::{Error, Result};
use crate::identifier::Identifier;

/// A session that listens on a channel.
#[derive(Debug)]
pub struct Listener {
    client: Client,
    heard: Arc<Notify>,
}

impl Listener {
    /// Connects to `url` and listens on `channel`. What is sent from now on is heard.
    ///
    /// # Errors
    /// `Settings` for a URL or a channel that can't be used; `Unavailable` when there is no server.
    pub async fn open(url: &str, channel: &str, connect_timeout: Duration) -> Result<Self> {
        let channel = Identifier::new(channel)?;
        let connector = Connector::new(url, "tillstream reference", connect_timeout)?;
        let heard = Arc::new(Notify::new());
        let client = connector.listening_session("tillstream reference", heard.clone()).await?;
        let listen = format!("LISTEN {channel}");
        client.batch_execute(&listen).await.map_err(|error| Error::postgres("listening", &error))?;
        Ok(Self { client, heard })
    }

    /// Waits until something was sent since the last call, or the connection ended; several at once count as one.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Whether the connection is gone: then nothing is heard any more.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}
