//! A TCP proxy before PostgreSQL that can swallow the reply to COMMIT.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub struct Proxy {
    pub port: u16,
    /// From now on, once COMMIT is sent, nothing comes back and the connection is cut.
    pub swallow_commit: Arc<AtomicBool>,
    /// From now on nothing passes in either direction, but connections stay.
    pub frozen: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (swallow_commit, frozen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flags = (Arc::clone(&swallow_commit), Arc::clone(&frozen));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::spawn(pass(client, server, flags.clone()));
            }
        });
        Self { port, swallow_commit, frozen }
    }
}

async fn pass(client: TcpStream, server: TcpStream, (swallow, frozen): (Arc<AtomicBool>, Arc<AtomicBool>)) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (committed, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (committed_up, answered_up) = (Arc::clone(&committed), Arc::clone(&answered));
    let frozen_up = Arc::clone(&frozen);
    let up = async move {
        let mut buffer = vec![0; 65_536];
        loop {
            let read = from_client.read(&mut buffer).await.unwrap_or(0);
            while frozen_up.load(Ordering::SeqCst) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let bytes = &buffer[..read];
            if swallow.load(Ordering::SeqCst) && bytes.windows(7).any(|word| word == b"COMMIT\0") {
                committed_up.store(true, Ordering::SeqCst);
            }
            if read == 0 || to_server.write_all(bytes).await.is_err() {
                return;
            }
            if committed_up.load(Ordering::SeqCst) {
                // The server has answered, so it has committed; only we know.
                answered_up.notified().await;
                return;
            }
        }
    };
    let down = async move {
        let mut buffer = vec![0; 65_536];
        loop {
            let read = from_server.read(&mut buffer).await.unwrap_or(0);
            while frozen.load(Ordering::SeqCst) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            if committed.load(Ordering::SeqCst) {
                answered.notify_one();
                return;
            }
            if read == 0 || to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(up, down);
}
