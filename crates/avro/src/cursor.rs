//! Reading Avro's binary encoding step by step from bytes that nobody vouches for.
//!
//! A read gives `None` when the bytes are wrong and leaves the reason in `fault`: the hot path then carries no error value.
//! Encoding: <https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>.

use std::borrow::Cow;

/// Why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes aren't what the schema says.
    Malformed { offset: usize, message: Cow<'static, str> },
    /// The bytes are fine, the value isn't.
    Invalid { message: Cow<'static, str> },
}

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(crate) fault: Option<Fault>,
    /// Whether floating-point numbers may be infinite or NaN, and times be of any year.
    pub(crate) any_value: bool,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes` from `at`. Offsets in faults count from the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, fault: None, any_value: false }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Stops with malformed bytes at `offset`.
    #[cold]
    #[inline(never)]
    pub(crate) fn malformed<T>(&mut self, offset: usize, message: impl Into<Cow<'static, str>>) -> Option<T> {
        self.fault = Some(Fault::Malformed { offset, message: message.into() });
        None
    }

    /// Stops with a value that can't be used.
    #[cold]
    #[inline(never)]
    pub(crate) fn invalid<T>(&mut self, message: impl Into<Cow<'static, str>>) -> Option<T> {
        self.fault = Some(Fault::Invalid { message: message.into() });
        None
    }

    /// A number of at most `BYTES` bytes of seven bits each.
    #[inline]
    fn varint<const BYTES: usize>(&mut self) -> Option<u64> {
        let start = self.at;
        let mut value = 0_u64;
        for index in 0..BYTES {
            let Some(byte) = self.bytes.get(start + index).copied() else {
                return self.malformed(start, "the record ends inside a number");
            };
            let bits = u64::from(byte & 0x7f);
            // The last byte of a 64-bit number holds one bit, of a 32-bit number four.
            if index == BYTES - 1 && bits >> (if BYTES == 10 { 1 } else { 4 }) != 0 {
                return self.malformed(start, "a number is too large for its type");
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.at = start + index + 1;
                return Some(value);
            }
        }
        self.malformed(start, "a number has too many bytes")
    }

    /// An Avro `int`.
    #[inline]
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "zig-zag of at most 32 bits")]
    pub(crate) fn int(&mut self) -> Option<i32> {
        let zigzag = self.varint::<5>()? as u32;
        Some((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32))
    }

    /// An Avro `long`.
    #[inline]
    #[allow(clippy::cast_possible_wrap, reason = "zig-zag")]
    pub(crate) fn long(&mut self) -> Option<i64> {
        let zigzag = self.varint::<10>()?;
        Some((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Passes over a number of any width.
    #[inline]
    pub(crate) fn skip_number(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.iter().take(10).position(|byte| *byte < 0x80) {
            Some(last) => {
                self.at += last + 1;
                Some(())
            }
            None => self.malformed(self.at, "the record ends inside a number, or the number has too many bytes"),
        }
    }

    /// An Avro `boolean`.
    #[inline]
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        match self.array::<1>()? {
            [0] => Some(false),
            [1] => Some(true),
            [other] => {
                let offset = self.at - 1;
                self.malformed(offset, format!("a boolean is {other} instead of 0 or 1"))
            }
        }
    }

    /// An Avro `float`.
    #[inline]
    pub(crate) fn float(&mut self) -> Option<f32> {
        self.array().map(f32::from_le_bytes)
    }

    /// An Avro `double`.
    #[inline]
    pub(crate) fn double(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes)
    }

    #[inline]
    fn array<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            Some(chunk) => {
                self.at += SIZE;
                Some(*chunk)
            }
            None => self.malformed(self.at, "the record ends inside a value"),
        }
    }

    /// The next `size` bytes.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        match self.at.checked_add(size).and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += size;
                Some(slice)
            }
            None => self.malformed(self.at, "the record ends inside a value"),
        }
    }

    /// An Avro `bytes` or `string`: a length and that many bytes.
    #[inline]
    pub(crate) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let length = self.long()?;
        let left = self.left();
        match usize::try_from(length) {
            Ok(length) if length <= left => self.take(length),
            _ => self.malformed(start, format!("a length of {length} where {left} bytes are left")),
        }
    }

    /// The index of an enum's symbol or a union's branch, below `count`.
    #[inline]
    pub(crate) fn index(&mut self, count: usize, what: &'static str) -> Option<usize> {
        let start = self.at;
        // Unions write a long and enums an int; both fit the wider one, and the range is checked here.
        let index = self.long()?;
        match usize::try_from(index) {
            Ok(index) if index < count => Some(index),
            _ => self.malformed(start, format!("{what} {index} of {count}")),
        }
    }
}

/// Whether the text is ASCII without NUL, which needs no closer look.
#[inline]
pub(crate) fn is_plain(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = text.as_chunks::<8>();
    let mut odd = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // Below 0x80, subtracting one from a byte sets its high bit only if it was zero; a borrow needs a zero below.
        odd |= word | word.wrapping_sub(ONES);
    }
    odd & HIGH == 0 && rest.iter().all(|byte| (1..0x80).contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn long(bytes: &[u8]) -> Option<i64> {
        Cursor::new(bytes, 0).long()
    }

    #[test]
    fn numbers_have_their_limits() {
        assert_eq!(long(&[0]), Some(0));
        assert_eq!(long(&[1]), Some(-1));
        assert_eq!(long(&[0x80, 1]), Some(64));
        assert_eq!(long(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Some(i64::MAX));
        assert_eq!(long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Some(i64::MIN));
        assert_eq!(long(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
        assert_eq!(long(&[0x80; 11]), None);
        assert_eq!(long(&[0x80]), None);
        let int = |bytes: &[u8]| Cursor::new(bytes, 0).int();
        assert_eq!(int(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some(i32::MIN));
        assert_eq!(int(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(int(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]), None);
    }

    #[test]
    fn lengths_do_not_reach_past_the_end() {
        for bytes in [&[4, b'a'][..], &[1], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[]] {
            let mut cursor = Cursor::new(bytes, 0);
            assert_eq!(cursor.prefixed(), None);
            assert!(matches!(cursor.fault, Some(Fault::Malformed { offset: 0, .. })));
        }
        assert_eq!(Cursor::new(&[2, b'a'], 0).prefixed(), Some(&b"a"[..]));
        assert_eq!(Cursor::new(&[2, b'a'], 7).prefixed(), None);
    }

    proptest! {
        #[test]
        fn plain_means_ascii_without_nul(text in prop::collection::vec(prop_oneof![1..=127_u8, 0..=255_u8, Just(1), Just(0x80)], 0..40)) {
            prop_assert_eq!(is_plain(&text), text.iter().all(|byte| (1..128).contains(byte)));
        }
    }
}
