//! The bytes around a snapshot.
//!
//! All numbers little-endian: magic (8), format (4), owner length (2) and owner, epoch (8), sequence (8), length of the content (8), length
//! of the compressed content (8), CRC-32 of all bytes before it and of the compressed content (4), then the zstd-compressed content.

use model::Epoch;

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TILLSNAP";
/// Format that this build writes, and the newest it reads.
const FORMAT: u32 = 1;
/// Fast, and enough: state is mostly counters and short keys.
const COMPRESSION_LEVEL: i32 = 1;

/// A snapshot taken out of its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
    pub(crate) content: Vec<u8>,
}

/// Wraps `content`.
pub(crate) fn seal(owner: &str, epoch: Epoch, sequence: u64, content: &[u8]) -> Result<Vec<u8>> {
    let compressed = zstd::bulk::compress(content, COMPRESSION_LEVEL)
        .map_err(|error| Error::Internal(format!("compressing a snapshot of {owner} failed: {error}")))?;
    let owner_length = u16::try_from(owner.len()).map_err(|_| Error::OwnerName { owner: owner.to_owned() })?;
    let mut out = Vec::with_capacity(64 + owner.len() + compressed.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&owner_length.to_le_bytes());
    out.extend_from_slice(owner.as_bytes());
    out.extend_from_slice(&epoch.0.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&(content.len() as u64).to_le_bytes());
    out.extend_from_slice(&(compressed.len() as u64).to_le_bytes());
    let checksum = checksum(&out, &compressed);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&compressed);
    Ok(out)
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

/// Unwraps a snapshot of `owner`, or says why it can't be used.
pub(crate) fn open(owner: &str, bytes: &[u8]) -> std::result::Result<Opened, String> {
    let mut rest = bytes;
    let mut take = |count: usize| -> std::result::Result<&[u8], String> {
        let (taken, left) =
            rest.split_at_checked(count).ok_or_else(|| format!("it is cut off: {} bytes are too few", bytes.len()))?;
        rest = left;
        Ok(taken)
    };
    if take(MAGIC.len())? != MAGIC {
        return Err("it isn't a Tillstream snapshot".into());
    }
    let format = u32::from_le_bytes(array(take(4)?)?);
    if format != FORMAT {
        return Err(format!(
            "its format is {format}, this build reads {FORMAT}; use the build that wrote it, or a newer one"
        ));
    }
    let owner_length = u16::from_le_bytes(array(take(2)?)?);
    let found_owner = String::from_utf8_lossy(take(usize::from(owner_length))?).into_owned();
    let epoch = Epoch(u64::from_le_bytes(array(take(8)?)?));
    let sequence = u64::from_le_bytes(array(take(8)?)?);
    let content_length = u64::from_le_bytes(array(take(8)?)?);
    let compressed_length = u64::from_le_bytes(array(take(8)?)?);
    let expected = u32::from_le_bytes(array(take(4)?)?);
    let head = bytes.get(..bytes.len() - rest.len() - 4).unwrap_or_default();
    if compressed_length != rest.len() as u64 {
        return Err(format!("it should hold {compressed_length} bytes of content but holds {}", rest.len()));
    }
    let found = checksum(head, rest);
    if found != expected {
        return Err(format!("its checksum is {found:08x} but should be {expected:08x}: it is damaged"));
    }
    if found_owner != owner {
        return Err(format!("it belongs to {found_owner:?}"));
    }
    // The checksum holds, so the length is what we wrote; zstd stops at it all the same.
    let length = usize::try_from(content_length).map_err(|_| "it is larger than this machine's memory".to_owned())?;
    let content = zstd::bulk::decompress(rest, length).map_err(|error| format!("it doesn't decompress: {error}"))?;
    if content.len() != length {
        return Err(format!("it should decompress to {length} bytes but gives {}", content.len()));
    }
    Ok(Opened { epoch, sequence, content })
}

fn array<const N: usize>(bytes: &[u8]) -> std::result::Result<[u8; N], String> {
    bytes.try_into().map_err(|_| "it is cut off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_opens(content: Vec<u8>, epoch: u64, sequence: u64) {
            let sealed = seal("process", Epoch(epoch), sequence, &content).unwrap();
            prop_assert_eq!(open("process", &sealed), Ok(Opened { epoch: Epoch(epoch), sequence, content }));
        }

        #[test]
        fn any_flipped_bit_and_any_cut_is_refused(content: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let sealed = seal("process", Epoch(3), 4, &content).unwrap();
            let mut flipped = sealed.clone();
            flipped[at.index(sealed.len())] ^= 1 << bit;
            prop_assert!(open("process", &flipped).is_err());
            prop_assert!(open("process", &sealed[..at.index(sealed.len())]).is_err());
        }
    }

    #[test]
    fn foreign_and_newer_snapshots_are_named() {
        let sealed = seal("process", Epoch(1), 1, b"x").unwrap();
        assert_eq!(open("validate", &sealed), Err("it belongs to \"process\"".into()));
        let mut newer = sealed;
        newer[8] = 9;
        assert!(open("process", &newer).unwrap_err().contains("its format is 9"));
    }
}
