//! How far a long piece of work is: a bar on a terminal, a line now and then elsewhere. All on standard error.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};

use crate::run::drain::Left;
use crate::run::load::Loaded;
use crate::run::pipeline::Stage;

/// All bars of the process: whoever writes to standard error has them step aside.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Before the first line of work that doesn't write to a terminal, and between two.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Between two moves of a bar.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Says a line to the user.
pub(crate) fn say(text: &str) {
    BARS.suspend(|| eprintln!("{text}"));
}

/// Where the log is written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogWriter;

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        BARS.suspend(|| std::io::stderr().write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// A piece of work that is shown.
struct Shown {
    /// On a terminal.
    bar: Option<ProgressBar>,
    said_at: Instant,
}

impl Shown {
    /// `template` is indicatif's.
    fn new(template: &str, label: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
            BARS.add(ProgressBar::new_spinner().with_style(style.progress_chars("=> ")).with_prefix(label.to_owned()))
        });
        Self { bar, said_at: Instant::now() }
    }

    /// Whether it is time to show something.
    fn is_due(&mut self) -> bool {
        let is_due = self.said_at.elapsed() >= if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY };
        if is_due {
            self.said_at = Instant::now();
        }
        is_due
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The progress of a load.
pub(crate) struct LoadProgress {
    shown: Shown,
    label: String,
    /// When the first batch was sent, and its rows: what came before was looking for the place to start.
    first: Option<(Instant, u64)>,
}

impl LoadProgress {
    pub(crate) fn new(file: &Path) -> Self {
        let label = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let template = "{prefix} [{bar:20}] {percent:>3}% of {total_bytes}  {msg}";
        Self { shown: Shown::new(template, &label), label, first: None }
    }

    pub(crate) fn update(&mut self, loaded: &Loaded) {
        let (since, before) = *self.first.get_or_insert((Instant::now(), loaded.sent));
        if !self.shown.is_due() {
            return;
        }
        let text = describe(loaded, loaded.sent - before, since.elapsed().as_secs_f64());
        let (bytes, total) = loaded.bytes;
        match &self.shown.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(bytes);
                bar.set_message(text);
            }
            None => {
                let percent = (bytes * 100).checked_div(total).unwrap_or(100);
                say(&format!("{}: {percent} % of {}, {text}", self.label, HumanBytes(total)));
            }
        }
    }
}

/// `1,200 rows sent, 0 were there already, 0 refused, 61,200 rows/s`; the rate is that of `sent` rows in `seconds`.
fn describe(loaded: &Loaded, sent: u64, seconds: f64) -> String {
    let rate = if seconds > 0.0 { sent as f64 / seconds } else { 0.0 };
    format!(
        "{} rows sent, {} were there already, {} refused, {} rows/s",
        HumanCount(loaded.sent),
        HumanCount(loaded.already),
        HumanCount(loaded.refused),
        HumanCount(rate as u64)
    )
}

/// The progress of a drain.
pub(crate) struct DrainProgress {
    shown: Shown,
    label: &'static str,
}

impl DrainProgress {
    /// `label` says what is going on: `draining`, `stopping`.
    pub(crate) fn new(label: &'static str) -> Self {
        Self { shown: Shown::new("{spinner} {prefix}: {msg}", label), label }
    }

    pub(crate) fn update(&mut self, left: Left) {
        if !self.shown.is_due() {
            return;
        }
        let text = waiting(left);
        match &self.shown.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => say(&format!("{}: {text}", self.label)),
        }
    }
}

/// `1,200 records are still to be validated`.
pub(crate) fn waiting(left: Left) -> String {
    let (records, done) = match left.stage {
        Stage::Validate => ("record", "validated"),
        Stage::Process => ("validated record", "processed"),
        Stage::Patterns => ("validated record", "matched"),
        Stage::Store => ("result", "stored"),
    };
    let (plural, are) = if left.records == 1 { ("", "is") } else { ("s", "are") };
    format!("{} {records}{plural} {are} still to be {done}", HumanCount(left.records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_words() {
        let loaded = Loaded { sent: 12_500, already: 3, refused: 1, ..Loaded::default() };
        assert_eq!(describe(&loaded, 12_500, 2.0), "12,500 rows sent, 3 were there already, 1 refused, 6,250 rows/s");
        assert_eq!(waiting(Left { stage: Stage::Validate, records: 1_234 }), "1,234 records are still to be validated");
        assert_eq!(waiting(Left { stage: Stage::Store, records: 1 }), "1 result is still to be stored");
    }
}
