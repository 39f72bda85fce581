//! Confluent's wire format: byte 0, the schema id in 4 bytes, big-endian, then Avro binary.

/// Length of the header in bytes.
pub const HEADER_BYTES: usize = 5;

/// Splits a value into the schema id and the Avro payload; `None` if it has no header of this format.
pub fn split(value: &[u8]) -> Option<(u32, &[u8])> {
    match value {
        [0, a, b, c, d, payload @ ..] => Some((u32::from_be_bytes([*a, *b, *c, *d]), payload)),
        _ => None,
    }
}

/// Appends the header for a schema id.
pub fn write_header(id: u32, out: &mut Vec<u8>) {
    let [a, b, c, d] = id.to_be_bytes();
    out.extend_from_slice(&[0, a, b, c, d]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut value = Vec::new();
        write_header(0x0102_0304, &mut value);
        value.extend_from_slice(b"xyz");
        assert_eq!(value, [0, 1, 2, 3, 4, b'x', b'y', b'z']);
        assert_eq!(split(&value), Some((0x0102_0304, &b"xyz"[..])));
    }

    #[test]
    fn other_values_have_none() {
        for value in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\x01abc", b"{\"a\":1}"] {
            assert_eq!(split(value), None);
        }
        assert_eq!(split(b"\0\0\0\0\x07"), Some((7, &b""[..])));
    }
}
