//! `tillstream broker`: the embedded broker alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use broker::{Broker, FlushPolicy, Options};
use clap::Args;

use crate::cli::signals::asked_to_stop;
use crate::cli::{Output, runtime};
use crate::error::{Error, Result};

/// Run the embedded Kafka broker alone.
#[derive(Debug, Args)]
#[command(
    name = "broker",
    after_help = "Example:\n  tillstream broker --listen 127.0.0.1:9092 --data /var/lib/tillstream/broker"
)]
pub(crate) struct BrokerCommand {
    /// Address and port for Kafka clients; port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
    /// The address that clients are told to use, when it isn't the one they reached.
    #[arg(long, value_name = "HOST:PORT")]
    advertised: Option<String>,
    /// Directory of the data.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Flush each batch to the disk before it is acknowledged.
    #[arg(long)]
    flush_each: bool,
    /// Make a topic when a client asks for one that isn't there.
    #[arg(long)]
    auto_create_topics: bool,
    /// How to write the address.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl BrokerCommand {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut options = Options::new(self.listen, self.data);
        options.advertised = self.advertised;
        options.auto_create_topics = self.auto_create_topics;
        if self.flush_each {
            options.flush = FlushPolicy::EveryBatch;
        }
        let unavailable = |error: broker::Error| Error::Unavailable(error.to_string());
        let runtime = runtime()?;
        let broker = runtime.block_on(Broker::bind(options)).map_err(unavailable)?;
        let stop = asked_to_stop(runtime.handle());
        let address = broker.address().to_string();
        self.output.print(&serde_json::json!({ "address": address }), || address.clone())?;
        runtime.block_on(broker.run(stop)).map_err(unavailable)?;
        Ok(ExitCode::SUCCESS)
    }
}
