//! A broker of its own, for trying clients on it: `cargo run -p broker --example serve -- 127.0.0.1:9092 /tmp/data [os|every-batch|MS]`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example")]

use broker::{Broker, FlushPolicy, Options};

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let data_dir = arguments.next().expect("a data directory as the second argument");
    let mut options = Options::new(listen.parse().expect("HOST:PORT as the first argument"), data_dir);
    options.flush = match arguments.next().as_deref() {
        None | Some("os") => FlushPolicy::Os,
        Some("every-batch") => FlushPolicy::EveryBatch,
        Some(interval_ms) => FlushPolicy::Interval(interval_ms.parse().expect("milliseconds as the third argument")),
    };
    let broker = Broker::bind(options).await.expect("the broker starts");
    println!("listening on {}", broker.address());
    let interrupted = async { tokio::signal::ctrl_c().await.expect("signals can be waited for") };
    broker.run(interrupted).await.expect("the broker stops");
}
