//! What every stage of a process shares.

use std::sync::Arc;

use kafka::{Connection, Reader};
use model::{Clock, Schemas};

use crate::run::peers::Peers;
use crate::run::status::Status;
use crate::run::stop::Stop;

/// What every stage of a process shares.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) connection: Connection,
    pub(crate) schemas: Arc<dyn Schemas>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: Arc<Status>,
    pub(crate) stop: Stop,
    /// What the broker counts, where this process runs it.
    pub(crate) broker: Option<Arc<broker::Metrics>>,
}

impl Context {
    /// A context on these peers, with a status and a stop switch of its own.
    pub(crate) fn new(peers: &Peers, clock: Arc<dyn Clock>) -> Self {
        Self {
            connection: peers.connection.clone(),
            schemas: peers.schemas.clone(),
            clock,
            status: Arc::new(Status::default()),
            stop: Stop::default(),
            broker: peers.broker.clone(),
        }
    }

    /// The same for a part that can be stopped before the rest.
    pub(crate) fn part(&self) -> Self {
        Self { stop: self.stop.part(), ..self.clone() }
    }
}

/// What a stage tells while the cluster that it reads from is away.
pub(crate) fn outage(reader: &Reader) -> Option<String> {
    reader.outage().map(|outage| format!("waiting for kafka: {outage}"))
}
