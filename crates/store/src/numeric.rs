//! PostgreSQL's binary form of `numeric` from Arrow's 128-bit decimals, exactly and without an allocation.
//!
//! `numeric_send` in PostgreSQL's `numeric.c`: number of digits, weight of the first one, sign, digits after the point to show, then the
//! digits to base 10,000, without leading and trailing zeros.

use bytes::{BufMut as _, BytesMut};

/// Digits to base 10,000 that 38 decimal digits can fill, with the last one padded.
const GROUPS_MAX: usize = 12;

/// Appends `unscaled` × 10^-`scale`. `scale` is at most 38.
pub(crate) fn put(out: &mut BytesMut, unscaled: i128, scale: u8) {
    let mut groups = [0_u16; GROUPS_MAX];
    let count = split(unscaled.unsigned_abs(), scale, &mut groups);
    let first = groups.iter().take(count).position(|group| *group != 0).unwrap_or(count);
    let digits = groups.get(first..count).unwrap_or_default();
    let fraction_groups = usize::from(scale).div_ceil(4);
    let weight = if digits.is_empty() { 0 } else { small(count) - small(fraction_groups) - 1 };
    out.put_i16(small(digits.len()));
    out.put_i16(weight);
    out.put_u16(if unscaled < 0 { 0x4000 } else { 0 });
    out.put_u16(u16::from(scale));
    for digit in digits.iter().rev() {
        out.put_u16(*digit);
    }
}

/// Splits a number into digits to base 10,000, least first, aligned to its decimal point; returns how many there are up to the greatest
/// that isn't zero.
fn split(mut rest: u128, scale: u8, groups: &mut [u16; GROUPS_MAX]) -> usize {
    /// Four digits to base 10,000, so that most of the division is done in 64 bits.
    const CHUNK: u128 = 10_000_000_000_000_000;
    if rest == 0 {
        return 0;
    }
    let mut slots = groups.iter_mut();
    let mut used = 0;
    let mut push = |group: u64| {
        if let Some(slot) = slots.next() {
            *slot = u16::try_from(group).unwrap_or_default();
            used += 1;
        }
    };
    let partial = u32::from(scale % 4);
    if partial != 0 {
        let divisor = 10_u128.pow(partial);
        push(u64::try_from(rest % divisor).unwrap_or_default() * 10_u64.pow(4 - partial));
        rest /= divisor;
    }
    while rest > u128::from(u64::MAX) {
        let mut low = u64::try_from(rest % CHUNK).unwrap_or_default();
        rest /= CHUNK;
        for _ in 0..4 {
            push(low % 10_000);
            low /= 10_000;
        }
    }
    let mut low = u64::try_from(rest).unwrap_or_default();
    while low != 0 {
        push(low % 10_000);
        low /= 10_000;
    }
    used
}

/// Reads PostgreSQL's binary form as the unscaled number of a `numeric(precision, scale)`.
///
/// # Errors
/// A sentence when the value isn't a number, or the type can't hold it exactly.
pub(crate) fn read(mut bytes: &[u8], precision: u8, scale: u8) -> Result<i128, String> {
    const SIGN_MINUS: i16 = 0x4000;
    let mut take = || -> Result<i16, String> {
        let (first, rest) = bytes.split_first_chunk().ok_or("a number is cut off")?;
        bytes = rest;
        Ok(i16::from_be_bytes(*first))
    };
    let (count, weight, sign, _shown_scale) = (take()?, take()?, take()?, take()?);
    if sign != 0 && sign != SIGN_MINUS {
        return Err("NaN and infinite numbers have no counterpart".into());
    }
    let too_large = || format!("a number doesn't fit decimal({precision},{scale})");
    let mut unscaled: i128 = 0;
    for index in 0..count {
        let digit = i128::from(take()?);
        // The digit stands for digit × 10,000^(weight - index), and the number is kept × 10^scale.
        let power = (i32::from(weight) - i32::from(index)) * 4 + i32::from(scale);
        let part = if power >= 0 {
            10_i128
                .checked_pow(power.unsigned_abs())
                .and_then(|factor| digit.checked_mul(factor))
                .ok_or_else(too_large)?
        } else {
            let divisor = 10_i128.checked_pow(power.unsigned_abs());
            match divisor.map(|divisor| (digit / divisor, digit % divisor)) {
                Some((part, 0)) => part,
                _ if digit == 0 => 0,
                _ => return Err(format!("a number has more than the {scale} decimal places declared")),
            }
        };
        unscaled = unscaled.checked_add(part).ok_or_else(too_large)?;
    }
    let end = 10_i128.checked_pow(precision.into()).ok_or_else(too_large)?;
    if unscaled >= end {
        return Err(too_large());
    }
    Ok(if sign == SIGN_MINUS { -unscaled } else { unscaled })
}

fn small(number: usize) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf as _;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(unscaled in -(10_i128.pow(38) - 1)..10_i128.pow(38), shift in 0_u32..38, scale in 0_u8..=38, more in 0_u8..=38) {
            let unscaled = unscaled / 10_i128.pow(shift);
            let mut out = BytesMut::new();
            put(&mut out, unscaled, scale);
            prop_assert_eq!(super::read(&out, 38, scale), Ok(unscaled));
            // Read with more places: the same number, or an error if it doesn't fit.
            let wider = scale.saturating_add(more).min(38);
            let expected = unscaled.checked_mul(10_i128.pow(u32::from(wider - scale))).filter(|value| value.abs() < 10_i128.pow(38));
            prop_assert_eq!(super::read(&out, 38, wider).ok(), expected);
        }
    }

    #[test]
    fn what_a_column_cannot_hold_exactly_is_refused() {
        let mut out = BytesMut::new();
        put(&mut out, 12_345, 3);
        assert_eq!(super::read(&out, 5, 3), Ok(12_345));
        assert!(super::read(&out, 4, 3).unwrap_err().contains("decimal(4,3)"));
        assert!(super::read(&out, 9, 2).unwrap_err().contains("2 decimal places"));
        assert!(super::read(&[0, 0, 0, 0, 0xc0, 0, 0, 0], 9, 2).unwrap_err().contains("NaN"));
        assert!(super::read(&[0, 9], 9, 2).is_err());
    }

    /// Reads the binary form back as decimal text, by the definition: the sum of digit × 10,000^(weight - index).
    fn read(mut bytes: &[u8]) -> String {
        let count = bytes.get_i16();
        let weight = bytes.get_i16();
        let sign = bytes.get_u16();
        let scale = usize::from(bytes.get_u16());
        let digits: Vec<u16> = (0..count).map(|_| bytes.get_u16()).collect();
        assert!(!bytes.has_remaining());
        assert!(digits.first() != Some(&0) && digits.last() != Some(&0), "PostgreSQL strips zeros: {digits:?}");
        assert!(digits.iter().all(|digit| *digit < 10_000));
        let at =
            |group: i16| usize::try_from(weight - group).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0);
        let integer: String = (0..=weight.max(0)).rev().map(|group| format!("{:04}", at(group))).collect();
        let fraction: String =
            (1..=i16::try_from(scale.div_ceil(4)).unwrap()).map(|group| format!("{:04}", at(-group))).collect();
        let integer = integer.trim_start_matches('0');
        let integer = if integer.is_empty() { "0" } else { integer };
        assert!(fraction[scale..].bytes().all(|digit| digit == b'0'), "no digits below the scale");
        let sign = if sign == 0x4000 { "-" } else { "" };
        if scale == 0 { format!("{sign}{integer}") } else { format!("{sign}{integer}.{}", &fraction[..scale]) }
    }

    fn decimal_text(unscaled: i128, scale: usize) -> String {
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (integer, fraction) = digits.split_at(digits.len() - scale);
        let sign = if unscaled < 0 { "-" } else { "" };
        if scale == 0 { format!("{sign}{integer}") } else { format!("{sign}{integer}.{fraction}") }
    }

    proptest! {
        #[test]
        fn reads_back_as_the_same_number(unscaled in -(10_i128.pow(38) - 1)..10_i128.pow(38), shift in 0_u32..38, scale in 0_u8..=38) {
            let unscaled = unscaled / 10_i128.pow(shift);
            let mut out = BytesMut::new();
            put(&mut out, unscaled, scale);
            prop_assert_eq!(read(&out), decimal_text(unscaled, usize::from(scale)));
        }
    }

    #[test]
    fn edges() {
        for (unscaled, scale) in [
            (0, 0),
            (0, 2),
            (1, 38),
            (-1, 38),
            (10_i128.pow(38) - 1, 0),
            (10_i128.pow(38) - 1, 38),
            (10_000, 0),
            (-12_345, 3),
            (100, 2),
        ] {
            let mut out = BytesMut::new();
            put(&mut out, unscaled, scale);
            assert_eq!(read(&out), decimal_text(unscaled, usize::from(scale)));
        }
    }
}
