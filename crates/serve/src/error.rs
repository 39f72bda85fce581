//! What can go wrong while serving.

use std::net::SocketAddr;

use model::{Classified, Domain, Retry};

/// An error of the HTTP server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program has the port.
    #[error("port {} on {} is taken by another program: stop it, or give the dashboard another address", .address.port(), .address.ip())]
    PortTaken {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server stopped by itself.
    #[error("the dashboard's server on {address} stopped: {source}")]
    Run {
        /// The address it listened on.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Classified for Error {
    fn domain(&self) -> Domain {
        match self {
            Self::PortTaken { .. } | Self::Bind { .. } => Domain::User,
            Self::Run { .. } => Domain::External,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::PortTaken { .. } | Self::Run { .. } => Retry::Backoff,
            Self::Bind { .. } => Retry::Never,
        }
    }
}
