//! Ctrl-C and SIGTERM, which mean the same.

use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::progress;
use crate::run::stop::Stop;

/// The exit code of a command that a second Ctrl-C ends at once.
const AT_ONCE: i32 = 130;

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on.
    fn new(runtime: &Handle) -> std::io::Result<Self> {
        let _entered = runtime.enter();
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Listens from now on; resolves at Ctrl-C or SIGTERM.
pub(crate) fn asked_to_stop(runtime: &Handle) -> impl Future<Output = ()> + use<> {
    let signals = Signals::new(runtime);
    async move {
        match signals {
            Ok(mut signals) => signals.next().await,
            // Without handlers the signals end the process by themselves.
            Err(_) => std::future::pending().await,
        }
    }
}

/// From now on the first Ctrl-C throws `stop`, after saying `text`, and the second ends the process at once.
pub(crate) fn stop_on_signals(runtime: &Handle, stop: Stop, text: &'static str) {
    let Ok(mut signals) = Signals::new(runtime) else { return };
    runtime.spawn(async move {
        signals.next().await;
        progress::say(text);
        stop.now();
        signals.next().await;
        std::process::exit(AT_ONCE);
    });
}
