//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): the JSON document four times a second.
//!
//! The number of streams is capped, all share one sampling, and a reader that is slow gets fewer events, never a queue of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::sse::Event;
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::live::Live;

/// Event streams that may be open at a time.
pub(crate) const CLIENTS_MAX: usize = 32;
/// Time between two events.
const PERIOD: Duration = Duration::from_millis(250);
/// Readers whose turns lie closer together than this get the same sample.
const SHARED: Duration = Duration::from_millis(200);
/// What a browser waits before it comes again after a break.
const RETRY: Duration = Duration::from_secs(1);

/// Makes event streams.
#[derive(Debug)]
pub(crate) struct Events {
    live: Live,
    places: Arc<Semaphore>,
    /// The last sample as JSON, its number and when it was taken.
    sample: Mutex<Option<Sample>>,
    closing: watch::Sender<bool>,
}

#[derive(Debug, Clone)]
struct Sample {
    number: u64,
    taken: Instant,
    json: Arc<str>,
}

/// What an open stream holds.
struct Open {
    events: Arc<Events>,
    ticks: Interval,
    closing: watch::Receiver<bool>,
    first: bool,
    _place: OwnedSemaphorePermit,
}

impl Events {
    pub(crate) fn new(live: Live) -> Self {
        Self {
            live,
            places: Arc::new(Semaphore::new(CLIENTS_MAX)),
            sample: Mutex::default(),
            closing: watch::Sender::new(false),
        }
    }

    /// Ends all streams, and those that are opened later.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// A stream of events which ends when `close` is called; None if too many are open.
    pub(crate) fn open(self: &Arc<Self>) -> Option<impl Stream<Item = Result<Event, axum::Error>> + use<>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closing = self.closing.subscribe();
        let open = Open { events: Arc::clone(self), ticks, closing, first: true, _place: place };
        Some(unfold(open, |mut open| async move {
            tokio::select! {
                biased;
                _ = open.closing.wait_for(|closing| *closing) => return None,
                _ = open.ticks.tick() => {}
            }
            let sample = open.events.sample();
            let mut event = Event::default().id(sample.number.to_string()).data(&*sample.json);
            if std::mem::take(&mut open.first) {
                event = event.retry(RETRY);
            }
            Some((Ok(event), open))
        }))
    }

    /// The shared sample, taken anew if it is too old.
    fn sample(&self) -> Sample {
        let mut shared = self.sample.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match &*shared {
            Some(sample) if now < sample.taken + SHARED => sample.clone(),
            last => {
                let number = last.as_ref().map_or(1, |last| last.number + 1);
                let json = serde_json::to_string(&self.live.snapshot()).unwrap_or_default();
                let sample = Sample { number, taken: now, json: json.into() };
                *shared = Some(sample.clone());
                sample
            }
        }
    }
}
