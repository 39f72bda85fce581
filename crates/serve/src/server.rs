//! The HTTP server: bound first, so that the caller knows the address, then run until it is told to stop.

use std::future::{Future, IntoFuture as _};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::Error;
use crate::events::Events;
use crate::live::Live;
use crate::routes::routes;

/// How long requests that are under way may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// A bound server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address; port 0 is any free port.
    ///
    /// # Errors
    /// `PortTaken` if another program listens there, `Bind` if the address is not of this machine or not allowed.
    pub async fn bind(listen: SocketAddr) -> Result<Self, Error> {
        let failed = |source: std::io::Error| match source.kind() {
            ErrorKind::AddrInUse => Error::PortTaken { address: listen },
            _ => Error::Bind { address: listen, source },
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address that it listens on, with the port that it got.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests with what `live` has, until `shutdown` is done; then event streams end, and other requests have two seconds to.
    ///
    /// # Errors
    /// `Run` if the system no longer lets it accept connections.
    pub async fn run(self, live: Live, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Self { listener, address } = self;
        let events = Arc::new(Events::new(live.clone()));
        let stop = watch::Sender::new(false);
        let mut stopping = stop.subscribe();
        let stopped = async move {
            // An error means that the sender is gone, which is a stop as well.
            drop(stopping.wait_for(|stop| *stop).await);
        };
        let serving = axum::serve(listener, routes(live, Arc::clone(&events))).with_graceful_shutdown(stopped);
        let mut serving = pin!(serving.into_future());
        let failed = |source| Error::Run { address, source };
        tokio::select! {
            ended = &mut serving => return ended.map_err(failed),
            () = shutdown => {}
        }
        events.close();
        stop.send_replace(true);
        match tokio::time::timeout(DRAIN, serving).await {
            Ok(ended) => ended.map_err(failed),
            // A reader that takes no bytes must not hold the process up.
            Err(_) => Ok(()),
        }
    }
}

/// Serves the dashboard of `live` on `listen` until `shutdown` is done.
///
/// # Errors
/// As `Server::bind` and `Server::run`.
pub async fn serve(listen: SocketAddr, live: Live, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    Server::bind(listen).await?.run(live, shutdown).await
}
