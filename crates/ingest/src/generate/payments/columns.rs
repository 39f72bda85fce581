//! Payments as Arrow columns.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{Decimal128Type, TimestampMicrosecondType};
use arrow_array::{ArrayRef, PrimitiveArray};

use super::{CHANNELS, COUNTRIES, CURRENCY_TEXTS, Payment, STATUSES};
use crate::generate::GenerateError;

/// The columns of a batch while it is made.
pub(super) struct Columns {
    transaction_ids: StringBuilder,
    account_ids: StringBuilder,
    merchant_ids: StringBuilder,
    amounts: Vec<i128>,
    currencies: StringBuilder,
    countries: StringBuilder,
    channels: StringBuilder,
    statuses: StringBuilder,
    event_times: Vec<i64>,
    buffer: String,
}

impl Columns {
    pub(super) fn with_capacity(rows: usize) -> Self {
        let text = |bytes: usize| StringBuilder::with_capacity(rows, rows * bytes);
        Self {
            transaction_ids: text(28),
            account_ids: text(7),
            merchant_ids: text(5),
            amounts: Vec::with_capacity(rows),
            currencies: text(3),
            countries: text(2),
            channels: text(11),
            statuses: text(8),
            event_times: Vec::with_capacity(rows),
            buffer: String::with_capacity(32),
        }
    }

    pub(super) fn push(&mut self, payment: &Payment, seed: u64, merchant_ids: &[String]) {
        let code = |codes: &[&'static str], index: u8| codes.get(usize::from(index)).copied().unwrap_or_default();
        self.buffer.clear();
        push_hex(&mut self.buffer, payment.intended_us.cast_unsigned(), 14);
        self.buffer.push('-');
        push_hex(&mut self.buffer, seed, 4);
        push_hex(&mut self.buffer, payment.row, 7);
        self.transaction_ids.append_value(&self.buffer);
        self.buffer.clear();
        self.buffer.push('a');
        push_decimal(&mut self.buffer, payment.account, 6);
        self.account_ids.append_value(&self.buffer);
        self.merchant_ids.append_value(merchant_ids.get(usize::from(payment.merchant)).map_or("m0000", String::as_str));
        self.amounts.push(i128::from(payment.amount_cents));
        self.currencies.append_value(code(&CURRENCY_TEXTS, payment.currency));
        self.countries.append_value(COUNTRIES.get(usize::from(payment.country)).map_or("", |country| country.code));
        self.channels.append_value(code(&CHANNELS, payment.channel));
        self.statuses.append_value(code(&STATUSES, payment.status));
        self.event_times.push(payment.event_time_us);
    }

    pub(super) fn finish(mut self) -> Result<Vec<ArrayRef>, GenerateError> {
        let amounts = PrimitiveArray::<Decimal128Type>::from(self.amounts).with_precision_and_scale(12, 2)?;
        let times = PrimitiveArray::<TimestampMicrosecondType>::from(self.event_times).with_timezone("UTC");
        Ok(vec![
            Arc::new(self.transaction_ids.finish()),
            Arc::new(self.account_ids.finish()),
            Arc::new(self.merchant_ids.finish()),
            Arc::new(amounts),
            Arc::new(self.currencies.finish()),
            Arc::new(self.countries.finish()),
            Arc::new(self.channels.finish()),
            Arc::new(self.statuses.finish()),
            Arc::new(times),
        ])
    }
}

/// The lowest `digits` hexadecimal digits of `number`; formatting by hand, since this is done for every row.
pub(super) fn push_hex(text: &mut String, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = u32::try_from((number >> (4 * place)) & 0xf).unwrap_or(0);
        text.push(char::from_digit(digit, 16).unwrap_or('0'));
    }
}

/// `number` with at least `digits` digits.
pub(super) fn push_decimal(text: &mut String, number: u32, digits: usize) {
    let mut bytes = [b'0'; 10];
    let (mut rest, mut start) = (number, bytes.len());
    for (place, byte) in bytes.iter_mut().enumerate().rev() {
        *byte = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        start = place;
        if rest == 0 {
            break;
        }
    }
    let start = start.min(bytes.len().saturating_sub(digits));
    text.extend(bytes.iter().skip(start).map(|byte| char::from(*byte)));
}
