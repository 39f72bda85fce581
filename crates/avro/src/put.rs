//! Writing Avro's binary encoding.

use crate::arrow::UnionShape;
use crate::values;

/// Appends an Avro `long` (or `int`, whose encoding is the same).
#[inline]
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "zig-zag, seven bits at a time")]
pub(crate) fn long(value: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// Appends a length.
#[inline]
pub(crate) fn length(length: usize, out: &mut Vec<u8>) {
    long(i64::try_from(length).unwrap_or(i64::MAX), out);
}

/// Appends Avro `bytes` or `string`.
#[inline]
pub(crate) fn prefixed(bytes: &[u8], out: &mut Vec<u8>) {
    length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Appends the index of a union's branch for null, if there is one.
#[inline]
pub(crate) fn null(union: Option<UnionShape>, out: &mut Vec<u8>) -> bool {
    match union.and_then(|union| union.null) {
        Some(index) => {
            long(i64::from(index), out);
            true
        }
        None => false,
    }
}

/// Appends a decimal's unscaled integer, as `bytes` in its shortest form or as `fixed` of a size. False if it doesn't fit.
#[inline]
pub(crate) fn decimal(value: i128, size: Option<usize>, out: &mut Vec<u8>) -> bool {
    let (bytes, start) = values::shortest(value);
    let digits = bytes.get(start..).unwrap_or_default();
    match size {
        None => prefixed(digits, out),
        Some(size) if digits.len() > size => return false,
        Some(size) => {
            let fill = if value < 0 { 0xff } else { 0 };
            out.extend(std::iter::repeat_n(fill, size - digits.len()));
            out.extend_from_slice(digits);
        }
    }
    true
}
