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
    /// Listens from now on; needs a runtime.
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Resolves at Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_stop() {
    match Signals::new() {
        Ok(mut signals) => signals.next().await,
        // Without handlers the signals end the process by themselves.
        Err(_) => std::future::pending().await,
    }
}

/// From now on the first Ctrl-C throws `stop`, after saying `text`, and the second ends the process at once.
pub(crate) fn stop_on_signals(runtime: &Handle, stop: Stop, text: &'static str) {
    runtime.spawn(async move {
        let Ok(mut signals) = Signals::new() else { return };
        signals.next().await;
        progress::say(text);
        stop.now();
        signals.next().await;
        std::process::exit(AT_ONCE);
    });
}
