//! The server: a listening socket with the API behind it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Classified, Domain, Retry};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::http;
use crate::options::Options;
use crate::registry::Registry;
use crate::store::StorageError;

/// Why a server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can't be listened on.
    #[error(
        "the registry can't listen on {address}: {source}; is another program there, or is the address not this machine's?"
    )]
    Listen {
        /// Address as it was asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The storage can't be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Accepting connections failed.
    #[error("the registry stopped taking connections: {0}")]
    Serve(#[source] std::io::Error),
}

impl Classified for ServerError {
    fn domain(&self) -> Domain {
        match self {
            Self::Listen { .. } => Domain::User,
            Self::Storage(error) => error.domain(),
            Self::Serve(_) => Domain::External,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Listen { .. } => Retry::Never,
            Self::Storage(error) => error.retry(),
            Self::Serve(_) => Retry::Backoff,
        }
    }
}

/// A registry that listens and has replayed its storage.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    registry: Arc<Registry>,
    request_bytes_max: usize,
    drain_timeout: Duration,
}

impl Server {
    /// Takes the address, then opens the storage. Requests are answered from `run` on.
    ///
    /// # Errors
    /// When the address is taken, or the storage can't be reached in time or is not fit.
    pub async fn bind(options: Options) -> Result<Self, ServerError> {
        let taken = |source| ServerError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let registry = Arc::new(Registry::open(&options).await?);
        let Options { request_bytes_max, drain_timeout, .. } = options;
        Ok(Self { listener, address, registry, request_bytes_max, drain_timeout })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The registry behind the API, for health checks and for use within the process.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Answers requests until `shutdown` ends, then lets those under way finish for a while.
    ///
    /// # Errors
    /// When no more connections can be taken.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let router = http::router(Arc::clone(&self.registry), self.request_bytes_max);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(self.listener, router).with_graceful_shutdown(async {
            // A sender that is gone means the same.
            drop(stopped.await);
        });
        let mut serving = std::pin::pin!(serving.into_future());
        let outcome = tokio::select! {
            outcome = &mut serving => outcome,
            () = shutdown => {
                drop(stop);
                // Clients keep idle connections open; they are not waited for longer than this.
                tokio::time::timeout(self.drain_timeout, serving).await.unwrap_or(Ok(()))
            }
        };
        self.registry.close().await;
        outcome.map_err(ServerError::Serve)
    }
}
