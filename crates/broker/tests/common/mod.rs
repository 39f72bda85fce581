//! A broker for a test, in the test's process or in one of its own.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests; not each file uses all")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use broker::{Broker, FlushPolicy, Metrics, Options};
use tokio::sync::oneshot;

/// A broker in this process, stopped when dropped.
pub struct TestBroker {
    pub address: SocketAddr,
    pub metrics: Arc<Metrics>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestBroker {
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(Options::new(([127, 0, 0, 1], 0).into(), data_dir))
    }

    pub fn start_with(options: Options) -> Self {
        // What the broker says is shown when a test fails. Another test of the same process may have set this up already.
        let _set_up = tracing_subscriber::fmt().with_test_writer().try_init();
        let (stop, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let broker = Broker::bind(options).await.unwrap();
                started.send((broker.address(), broker.metrics())).unwrap();
                broker.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        let (address, metrics) = start.recv().expect("the broker starts");
        Self { address, metrics, stop: Some(stop), thread: Some(thread) }
    }

    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    /// Stops it properly.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the broker stops without an error");
        }
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.end();
    }
}

const CHILD_DIR: &str = "BROKER_TEST_CHILD_DIR";
const CHILD_FLUSH: &str = "BROKER_TEST_CHILD_FLUSH";
const CHILD_LISTEN: &str = "BROKER_TEST_CHILD_LISTEN";
const CHILD_ARGUMENTS: [&str; 3] = ["--exact", "child_broker", "--nocapture"];
const READY: &str = "broker listens on ";

/// A broker in a process of its own: this test's program, run again for the test `child_broker`, which calls [`run_as_child`].
pub struct ChildBroker {
    child: Child,
    pub bootstrap: String,
}

impl ChildBroker {
    pub fn start(data_dir: &Path, listen: &str, flush: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Self::spawn(command.args(CHILD_ARGUMENTS), data_dir, listen, flush)
    }

    /// One that can't write files beyond so many KiB.
    pub fn start_with_file_limit(data_dir: &Path, kib: u32) -> Self {
        let mut command = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -S -f {kib}; exec \"$0\" \"$@\"");
        command.arg("-c").arg(script).arg(std::env::current_exe().unwrap()).args(CHILD_ARGUMENTS);
        Self::spawn(&mut command, data_dir, "127.0.0.1:0", "os")
    }

    fn spawn(command: &mut Command, data_dir: &Path, listen: &str, flush: &str) -> Self {
        command.env(CHILD_DIR, data_dir).env(CHILD_FLUSH, flush).env(CHILD_LISTEN, listen);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let bootstrap = loop {
            let line = lines.next().expect("the child says where it listens").unwrap();
            if let Some((_, address)) = line.split_once(READY) {
                break address.to_owned();
            }
        };
        Self { child, bootstrap }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ChildBroker {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Is the broker of a [`ChildBroker`], if this process was started as one.
pub fn run_as_child() {
    let Ok(data_dir) = std::env::var(CHILD_DIR) else { return };
    let listen = std::env::var(CHILD_LISTEN).unwrap();
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut options = Options::new(listen.parse().unwrap(), data_dir);
    options.segment_bytes = 4 * 1024 * 1024;
    options.flush = match std::env::var(CHILD_FLUSH).unwrap().as_str() {
        "os" => FlushPolicy::Os,
        "every-batch" => FlushPolicy::EveryBatch,
        other => panic!("{other}"),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let broker = Broker::bind(options).await.unwrap();
        println!("{READY}{}", broker.address());
        broker.run(std::future::pending()).await.unwrap();
    });
}
