//! Bursts of fraud: what the example's patterns and velocity queries are there to find.

use rand::Rng;
use rand_distr::{Distribution as _, Exp};

/// What a fraudster does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FraudKind {
    /// Tries a stolen card with small charges online, many of them declined, and then makes one large charge.
    CardTesting,
    /// Spends with a cloned card as fast as possible.
    Velocity,
}

/// The burst that a payment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fraud {
    /// Number of the burst, counted from 0 in the order of their starts.
    pub burst: u32,
    /// What it does.
    pub kind: FraudKind,
    /// Whether this is its last payment; the large one, in card testing.
    pub last: bool,
}

/// A payment that a burst wants to be made now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FraudDue {
    pub(crate) fraud: Fraud,
    pub(crate) account: u32,
}

#[derive(Debug, Clone)]
struct Burst {
    number: u32,
    kind: FraudKind,
    account: u32,
    remaining: u32,
    due_us: i64,
}

/// The bursts under way.
#[derive(Debug, Clone)]
pub(crate) struct Bursts {
    interval: Option<Exp<f64>>,
    next_start_us: Option<i64>,
    active: Vec<Burst>,
    /// The earliest time at which anything is to be done here: on the way of every payment, so it must be one comparison.
    wake_us: i64,
    started: u32,
}

/// Bursts that may be under way at once; more would take over the stream.
const ACTIVE_MAX: usize = 1_000;

impl Bursts {
    /// Bursts that start `per_min` times a minute on average, at random times.
    pub(crate) fn new(per_min: f64) -> Self {
        let interval = (per_min > 0.0).then(|| Exp::new(per_min / 60e6).ok()).flatten();
        let wake_us = if interval.is_some() { i64::MIN } else { i64::MAX };
        Self { interval, next_start_us: None, active: Vec::new(), wake_us, started: 0 }
    }

    /// The payment that a burst makes at `now_us`, if one is due.
    pub(crate) fn due(&mut self, now_us: i64, accounts: u32, random: &mut impl Rng) -> Option<FraudDue> {
        if now_us < self.wake_us {
            return None;
        }
        self.start(now_us, accounts, random);
        let due = self.take(now_us, random);
        self.wake_us = self.active.iter().map(|burst| burst.due_us).chain(self.next_start_us).min().unwrap_or(i64::MAX);
        due
    }

    fn start(&mut self, now_us: i64, accounts: u32, random: &mut impl Rng) {
        let Some(interval) = self.interval else { return };
        let mut pause = || {
            #[allow(clippy::cast_possible_truncation, reason = "saturates, and that is meant")]
            let pause = interval.sample(random) as i64;
            pause.max(1)
        };
        let next = match self.next_start_us {
            None => now_us.saturating_add(pause()),
            Some(next) if next <= now_us => now_us.saturating_add(pause()),
            Some(_) => return,
        };
        let starts = self.next_start_us.replace(next).is_some();
        if starts && self.active.len() < ACTIVE_MAX {
            let kind = if random.random_bool(0.5) { FraudKind::CardTesting } else { FraudKind::Velocity };
            let remaining = match kind {
                FraudKind::CardTesting => random.random_range(5..=12) + 1,
                FraudKind::Velocity => random.random_range(20..=40),
            };
            let account = random.random_range(0..accounts.max(1));
            self.active.push(Burst { number: self.started, kind, account, remaining, due_us: now_us });
            self.started = self.started.wrapping_add(1);
        }
    }

    fn take(&mut self, now_us: i64, random: &mut impl Rng) -> Option<FraudDue> {
        let at = self.active.iter().position(|burst| burst.due_us <= now_us)?;
        let burst = self.active.get_mut(at)?;
        burst.remaining -= 1;
        let last = burst.remaining == 0;
        let pause_us = match burst.kind {
            FraudKind::CardTesting if burst.remaining == 1 => random.random_range(2_000_000..8_000_000),
            FraudKind::CardTesting => random.random_range(400_000..2_500_000),
            FraudKind::Velocity => random.random_range(300_000..1_500_000),
        };
        burst.due_us = now_us.saturating_add(pause_us);
        let due = FraudDue { fraud: Fraud { burst: burst.number, kind: burst.kind, last }, account: burst.account };
        if last {
            self.active.swap_remove(at);
        }
        Some(due)
    }
}
