//! Card payments as an acquirer would see them, with the flaws that real streams have.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use model::clock::seeded;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, LogNormal};

use super::GenerateError;
use super::fraud::{Bursts, Fraud, FraudDue, FraudKind};
use super::merchants::{CATEGORIES, COUNTRIES, CURRENCIES, MERCHANTS_SEED, merchants};
use super::sampling::{Weighted, zipf_weights};

mod columns;
mod encode;

use columns::Columns;
pub use encode::PaymentEncoder;

/// What payments to make.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentsOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// Seed of the merchants; [`MERCHANTS_SEED`] for those of the reference table.
    pub merchants_seed: u64,
    /// Number of accounts; a few pay more often than others.
    pub accounts: u32,
    /// Share of payments that are reported late, 0 to 1.
    pub late_share: f64,
    /// A late payment's event time lies at least this far before its time of sending, in microseconds. Above the stream's lateness
    /// and the other payments' disorder it is surely late, once its partition has a watermark.
    pub late_by_min_us: i64,
    /// And at most this far.
    pub late_by_max_us: i64,
    /// All other event times lie up to this far before the time of sending, in microseconds. 0 makes event time and intended time the
    /// same, as a measurement of latency wants it.
    pub disorder_max_us: i64,
    /// Share of payments that are sent again, 0 to 1.
    pub duplicate_share: f64,
    /// A payment is sent again within this time, in microseconds, if there is any so young.
    pub duplicate_within_us: i64,
    /// Share of invalid payments, 0 to 1, of each [`InvalidKind`] the same.
    pub invalid_share: f64,
    /// Bursts of fraud per minute of intended time, on average.
    pub fraud_bursts_per_min: f64,
}

impl Default for PaymentsOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            merchants_seed: MERCHANTS_SEED,
            accounts: 200_000,
            late_share: 0.002,
            late_by_min_us: 10_000_000,
            late_by_max_us: 120_000_000,
            disorder_max_us: 0,
            duplicate_share: 0.003,
            duplicate_within_us: 2_000_000,
            invalid_share: 0.001,
            fraud_bursts_per_min: 2.0,
        }
    }
}

/// How a payment is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidKind {
    /// Its amount is negative: a rule must find it.
    NegativeAmount,
    /// Its currency is `XXX`: a rule must find it.
    UnknownCurrency,
    /// Its bytes end too early. The row itself is fine; [`PaymentEncoder`] cuts it.
    TruncatedAvro,
    /// It names a schema that no registry has. The row itself is fine; [`PaymentEncoder`] changes the id.
    UnknownSchemaId,
}

const INVALID_KINDS: [InvalidKind; 4] = [
    InvalidKind::NegativeAmount,
    InvalidKind::UnknownCurrency,
    InvalidKind::TruncatedAvro,
    InvalidKind::UnknownSchemaId,
];

/// What a payment is meant to be. Rows are numbered from 0 since the generator was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// To be accepted.
    Normal,
    /// Late by so much.
    Late {
        /// Microseconds between event time and time of sending.
        by_us: i64,
    },
    /// The same payment as an earlier one, byte for byte.
    DuplicateOf {
        /// Number of the earlier row.
        row: u64,
    },
    /// Invalid.
    Invalid(InvalidKind),
}

/// Payments, one row each.
#[derive(Debug, Clone)]
pub struct PaymentBatch {
    /// The rows, in the columns of `examples/payments/schemas/transaction.avsc`.
    pub batch: RecordBatch,
    /// What each row is meant to be.
    pub marks: Vec<Mark>,
    /// The fraud that each row belongs to. Such rows are always `Normal`.
    pub frauds: Vec<Option<Fraud>>,
    /// Number of the first row since the generator was made.
    pub first_row: u64,
}

/// The Arrow schema of payments: that of `examples/payments/schemas/transaction.avsc`.
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("transaction_id"),
        text("account_id"),
        text("merchant_id"),
        Field::new("amount", DataType::Decimal128(12, 2), false),
        text("currency"),
        text("country"),
        text("channel"),
        text("status"),
        Field::new("event_time", model::infer::timestamp_type(), false),
    ]))
}

const CHANNELS: [&str; 4] = ["chip", "contactless", "online", "atm"];
const CHIP: u8 = 0;
const CONTACTLESS: u8 = 1;
const ONLINE: u8 = 2;
const STATUSES: [&str; 3] = ["approved", "declined", "reversed"];
const APPROVED: u8 = 0;
const DECLINED: u8 = 1;
const UNKNOWN_CURRENCY: u8 = 3;
const CURRENCY_TEXTS: [&str; 4] = [CURRENCIES[0], CURRENCIES[1], CURRENCIES[2], "XXX"];

/// Payments abroad, of all.
const ABROAD_SHARE: f64 = 0.08;
/// How fast payments fall from the most to the least busy merchant of a category.
const MERCHANT_SKEW: f64 = 0.9;
/// How uneven accounts are: 1 is even. At 1.2, one of 200,000 accounts pays ten times as often as the average one.
const ACCOUNT_SKEW: f64 = 1.2;
const AMOUNT_MAX_CENTS: f64 = 5_000_000.0;
const RECENT_ROWS: usize = 256;

/// One payment, before it becomes text.
#[derive(Debug, Clone, Copy)]
struct Payment {
    intended_us: i64,
    row: u64,
    account: u32,
    merchant: u16,
    amount_cents: i64,
    currency: u8,
    country: u8,
    channel: u8,
    status: u8,
    event_time_us: i64,
}

/// A seeded generator of card payments.
#[derive(Debug)]
pub struct Payments {
    options: PaymentsOptions,
    schema: SchemaRef,
    random: ChaCha8Rng,
    rows: u64,
    countries: Weighted,
    categories: Weighted,
    statuses: Weighted,
    shops: Shops,
    amounts: Vec<LogNormal<f64>>,
    channels: Vec<Weighted>,
    bursts: Bursts,
    recent: VecDeque<Payment>,
    /// Below the first a payment is a duplicate, below the second late, below the third invalid.
    thresholds: [f64; 3],
}

/// Where payments are made.
#[derive(Debug)]
struct Shops {
    ids: Vec<String>,
    /// For each country and category, the merchants there and how often each is chosen.
    by_kind: Vec<(Vec<u16>, Weighted)>,
}

impl Shops {
    fn new(seed: u64) -> Self {
        let all = merchants(seed);
        let by_kind = COUNTRIES
            .iter()
            .flat_map(|country| CATEGORIES.iter().map(move |category| (country.code, category.name)))
            .map(|kind| {
                let there: Vec<u16> = (0_u16..)
                    .zip(&all)
                    .filter(|(_, merchant)| (merchant.country, merchant.category) == kind)
                    .map(|(index, _)| index)
                    .collect();
                let weights = zipf_weights(there.len(), MERCHANT_SKEW);
                (there, Weighted::new(&weights))
            })
            .collect();
        Self { ids: all.into_iter().map(|merchant| merchant.id).collect(), by_kind }
    }

    fn pick(&self, country: usize, category: usize, random: &mut ChaCha8Rng) -> u16 {
        self.by_kind
            .get(country * CATEGORIES.len() + category)
            .and_then(|(there, choice)| there.get(choice.sample(random)).copied())
            .unwrap_or(0)
    }
}

impl Payments {
    /// A generator.
    ///
    /// # Errors
    /// When an option is out of its range.
    pub fn new(options: PaymentsOptions) -> Result<Self, GenerateError> {
        check(&options)?;
        let amounts = CATEGORIES
            .iter()
            .map(|category| LogNormal::new(category.median.ln(), category.spread))
            .collect::<Result<_, _>>()
            .map_err(|error| GenerateError::Internal { what: error.to_string() })?;
        let late = options.duplicate_share + options.late_share;
        Ok(Self {
            schema: schema(),
            random: seeded(options.seed),
            rows: 0,
            countries: Weighted::new(&COUNTRIES.map(|country| country.share)),
            categories: Weighted::new(&CATEGORIES.map(|category| category.payments)),
            statuses: Weighted::new(&[95.5, 4.0, 0.5]),
            shops: Shops::new(options.merchants_seed),
            amounts,
            channels: CATEGORIES.iter().map(|category| Weighted::new(&category.channels)).collect(),
            bursts: Bursts::new(options.fraud_bursts_per_min),
            recent: VecDeque::with_capacity(RECENT_ROWS),
            thresholds: [options.duplicate_share, late, late + options.invalid_share],
            options,
        })
    }

    /// The Arrow schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// One payment for each intended time of sending, in microseconds since 1970, in order. Ids hold the intended time, so that a later
    /// run with the same seed doesn't repeat those of an earlier one.
    ///
    /// # Errors
    /// Never, but for a bug.
    pub fn batch(&mut self, intended_us: &[i64]) -> Result<PaymentBatch, GenerateError> {
        let first_row = self.rows;
        let mut columns = Columns::with_capacity(intended_us.len());
        let (mut marks, mut frauds) = (Vec::with_capacity(intended_us.len()), Vec::with_capacity(intended_us.len()));
        for time in intended_us {
            let (payment, mark, fraud) = self.next(*time);
            columns.push(&payment, self.options.seed, &self.shops.ids);
            marks.push(mark);
            frauds.push(fraud);
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns.finish()?)?;
        Ok(PaymentBatch { batch, marks, frauds, first_row })
    }

    fn next(&mut self, now_us: i64) -> (Payment, Mark, Option<Fraud>) {
        let row = self.rows;
        self.rows += 1;
        let draw: f64 = self.random.random();
        if let Some(due) = self.bursts.due(now_us, self.options.accounts, &mut self.random) {
            let payment = self.fraudulent(now_us, row, due);
            self.remember(payment);
            return (payment, Mark::Normal, Some(due.fraud));
        }
        let [duplicate, late, invalid] = self.thresholds;
        if draw < duplicate
            && let Some(first) = self.pick_recent(now_us)
        {
            return (first, Mark::DuplicateOf { row: first.row }, None);
        }
        let mut payment = self.ordinary(now_us, row);
        if draw < duplicate || draw >= invalid {
            self.remember(payment);
            return (payment, Mark::Normal, None);
        }
        if draw < late {
            let by_us = self.random.random_range(self.options.late_by_min_us..=self.options.late_by_max_us);
            payment.event_time_us = now_us.saturating_sub(by_us);
            return (payment, Mark::Late { by_us }, None);
        }
        let kind = INVALID_KINDS.get(self.random.random_range(0..INVALID_KINDS.len())).copied();
        let kind = kind.unwrap_or(InvalidKind::NegativeAmount);
        match kind {
            InvalidKind::NegativeAmount => payment.amount_cents = -payment.amount_cents,
            InvalidKind::UnknownCurrency => payment.currency = UNKNOWN_CURRENCY,
            InvalidKind::TruncatedAvro | InvalidKind::UnknownSchemaId => {}
        }
        (payment, Mark::Invalid(kind), None)
    }

    fn remember(&mut self, payment: Payment) {
        if self.thresholds[0] > 0.0 {
            if self.recent.len() == RECENT_ROWS {
                self.recent.pop_front();
            }
            self.recent.push_back(payment);
        }
    }

    /// A payment that was sent a short time ago, or else the last one.
    fn pick_recent(&mut self, now_us: i64) -> Option<Payment> {
        let at = self.random.random_range(0..self.recent.len().max(1));
        let young = now_us.saturating_sub(self.options.duplicate_within_us);
        self.recent.get(at).filter(|payment| payment.intended_us >= young).or_else(|| self.recent.back()).copied()
    }

    fn event_time(&mut self, now_us: i64) -> i64 {
        match self.options.disorder_max_us {
            0 => now_us,
            disorder => now_us.saturating_sub(self.random.random_range(0..=disorder)),
        }
    }

    fn ordinary(&mut self, now_us: i64, row: u64) -> Payment {
        let account = self.pick_account();
        let home = home_of(account);
        let country =
            if self.random.random_bool(ABROAD_SHARE) { self.countries.sample(&mut self.random) } else { home };
        let category = self.categories.sample(&mut self.random);
        let merchant = self.shops.pick(country, category, &mut self.random);
        let amount = self.amounts.get(category).map_or(10.0, |amounts| amounts.sample(&mut self.random));
        let channel = self.channels.get(category).map_or(0, |channels| channels.sample(&mut self.random));
        let status = self.statuses.sample(&mut self.random);
        Payment {
            intended_us: now_us,
            row,
            account,
            merchant,
            amount_cents: cents(amount * wealth_of(account)),
            currency: COUNTRIES.get(country).map_or(0, |country| country.currency),
            country: index(country),
            channel: index(channel),
            status: index(status),
            event_time_us: self.event_time(now_us),
        }
    }

    fn fraudulent(&mut self, now_us: i64, row: u64, due: FraudDue) -> Payment {
        let country = self.countries.sample(&mut self.random);
        let random = &mut self.random;
        let (category, amount, channel, status) = match (due.fraud.kind, due.fraud.last) {
            (FraudKind::CardTesting, false) => {
                let status = if random.random_bool(0.6) { DECLINED } else { APPROVED };
                ("digital", random.random_range(0.5..2.0), ONLINE, status)
            }
            (FraudKind::CardTesting, true) => ("electronics", random.random_range(400.0..2_500.0), ONLINE, APPROVED),
            (FraudKind::Velocity, _) => {
                let channel = if random.random_bool(0.7) { CONTACTLESS } else { CHIP };
                ("fashion", random.random_range(20.0..120.0), channel, APPROVED)
            }
        };
        let category = CATEGORIES.iter().position(|known| known.name == category).unwrap_or(0);
        let merchant = self.shops.pick(country, category, random);
        Payment {
            intended_us: now_us,
            row,
            account: due.account,
            merchant,
            amount_cents: cents(amount),
            currency: COUNTRIES.get(country).map_or(0, |country| country.currency),
            country: index(country),
            channel,
            status,
            event_time_us: self.event_time(now_us),
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of accounts")]
    fn pick_account(&mut self) -> u32 {
        let draw: f64 = self.random.random();
        let account = (draw.powf(ACCOUNT_SKEW) * f64::from(self.options.accounts)) as u32;
        account.min(self.options.accounts - 1)
    }
}

fn check(options: &PaymentsOptions) -> Result<(), GenerateError> {
    let refuse = |option, value: String, reason| Err(GenerateError::Option { option, value, reason });
    let shares = [
        ("late_share", options.late_share),
        ("duplicate_share", options.duplicate_share),
        ("invalid_share", options.invalid_share),
        ("the sum of all shares", options.late_share + options.duplicate_share + options.invalid_share),
    ];
    for (option, share) in shares {
        if !(0.0..=1.0).contains(&share) {
            return refuse(option, share.to_string(), "a share lies between 0 and 1");
        }
    }
    if options.accounts == 0 {
        return refuse("accounts", "0".into(), "at least one account is needed");
    }
    if options.late_by_min_us < 0 || options.late_by_max_us < options.late_by_min_us {
        let range = format!("{} to {} microseconds", options.late_by_min_us, options.late_by_max_us);
        return refuse("late_by", range, "the least must not be negative, nor above the most");
    }
    if options.disorder_max_us < 0 || options.duplicate_within_us < 0 {
        return refuse("disorder_max_us or duplicate_within_us", "below 0".into(), "a duration is not negative");
    }
    if !options.fraud_bursts_per_min.is_finite() || options.fraud_bursts_per_min < 0.0 {
        let rate = options.fraud_bursts_per_min.to_string();
        return refuse("fraud_bursts_per_min", rate, "a rate is a number that is not negative");
    }
    Ok(())
}

/// A number that is always the same for an account (the finaliser of SplitMix64).
fn account_hash(account: u32) -> u64 {
    let mut hash = u64::from(account).wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The account's home country.
fn home_of(account: u32) -> usize {
    const SHARES_TOTAL: u64 = 100;
    let mut point = account_hash(account) % SHARES_TOTAL;
    for (index, country) in COUNTRIES.iter().enumerate() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shares are whole per cents")]
        let share = country.share as u64;
        if point < share {
            return index;
        }
        point -= share;
    }
    0
}

/// By how much the account's amounts differ from the median: a half to nearly two.
#[allow(clippy::cast_precision_loss, reason = "16 bits")]
fn wealth_of(account: u32) -> f64 {
    0.5 * 3.8_f64.powf((account_hash(account) >> 48) as f64 / 65_536.0)
}

#[allow(clippy::cast_possible_truncation, reason = "clamped")]
fn cents(amount: f64) -> i64 {
    (amount * 100.0).round().clamp(1.0, AMOUNT_MAX_CENTS) as i64
}

fn index(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(0)
}

#[cfg(test)]
mod tests;
