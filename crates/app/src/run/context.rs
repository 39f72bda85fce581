//! What every stage of a process shares.

use std::sync::Arc;

use kafka::Connection;
use model::{Clock, Schemas};

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
}
