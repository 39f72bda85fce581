//! `tillstream registry`: the embedded schema registry alone.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use registry::{KafkaStorage, Options, Server, Storage};

use crate::cli::signals::asked_to_stop;
use crate::cli::{Output, runtime};
use crate::error::{Error, Result};

/// Run the embedded schema registry alone.
#[derive(Debug, Args)]
#[command(
    name = "registry",
    after_help = "Examples:\n  tillstream registry --listen 127.0.0.1:8081 --kafka localhost:9092\n  tillstream registry --memory"
)]
pub(crate) struct RegistryCommand {
    /// Address and port of the API; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Keep the schemas in the topic `_schemas` of this cluster.
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "memory", conflicts_with = "memory")]
    kafka: Option<String>,
    /// Copies of the topic `_schemas`.
    #[arg(long, default_value_t = 1)]
    replication: u16,
    /// Keep the schemas in memory; they are gone when the process ends.
    #[arg(long)]
    memory: bool,
    /// How to write the address.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl RegistryCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let storage = match self.kafka {
            Some(brokers) => {
                Storage::Kafka(KafkaStorage { replication: self.replication, ..KafkaStorage::new(brokers) })
            }
            None => Storage::Memory,
        };
        let unavailable = |error: registry::ServerError| Error::Unavailable(error.to_string());
        let runtime = runtime()?;
        let server = runtime.block_on(Server::bind(Options::new(self.listen, storage))).map_err(unavailable)?;
        let stop = asked_to_stop(runtime.handle());
        let url = server.url();
        self.output.print(&serde_json::json!({ "url": url }), || url.clone())?;
        runtime.block_on(server.run(stop)).map_err(unavailable)?;
        Ok(ExitCode::SUCCESS)
    }
}
