//! The header of a record batch, format v2, and the checks on a batch that a producer sent.
//!
//! Format: <https://kafka.apache.org/documentation/#recordbatch>. The records behind the header stay as they are, compressed or not.

/// Bytes of a batch before its records.
pub(crate) const HEADER_LEN: usize = 61;
/// Bytes before the part that the length field counts.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
/// Where the bytes begin that the checksum covers.
const CRC_FROM: usize = 21;
/// No producer id: the producer isn't idempotent.
pub(crate) const NO_PRODUCER: i64 = -1;

const ATTRIBUTE_CODEC: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 0b1000;
const ATTRIBUTE_TRANSACTIONAL: i16 = 0b1_0000;
const ATTRIBUTE_CONTROL: i16 = 0b10_0000;

/// The fields of a batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    /// Bytes of the whole batch.
    pub(crate) size: usize,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; `None` if there are too few, or the length is too small to be one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let length = usize::try_from(i32_at(header, 8)).ok()?;
        let size = length.checked_add(LENGTH_OVERHEAD).filter(|size| *size >= HEADER_LEN)?;
        Some(Self {
            base_offset: i64_at(header, 0),
            size,
            magic: i8::from_be_bytes([header[16]]),
            crc: u32::from_be_bytes([header[17], header[18], header[19], header[20]]),
            attributes: i16_at(header, 21),
            last_offset_delta: i32_at(header, 23),
            base_timestamp: i64_at(header, 27),
            max_timestamp: i64_at(header, 35),
            producer_id: i64_at(header, 43),
            producer_epoch: i16_at(header, 51),
            base_sequence: i32_at(header, 53),
            record_count: i32_at(header, 57),
        })
    }

    /// Offset of the last record.
    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Offset after the last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record; it wraps after `i32::MAX`.
    pub(crate) fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Number of the compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub(crate) fn codec(&self) -> i16 {
        self.attributes & ATTRIBUTE_CODEC
    }

    /// Whether the time of all records is `max_timestamp`.
    pub(crate) fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }
}

/// `sequence + by` in Kafka's way: after `i32::MAX` comes 0.
pub(crate) fn add_sequence(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    let wrapped = if sum > i64::from(i32::MAX) { sum - i64::from(i32::MAX) - 1 } else { sum };
    i32::try_from(wrapped).unwrap_or(0)
}

/// Why a batch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchFault {
    #[error("the record batch is cut off or its length is wrong")]
    Length,
    #[error("a produce request must hold one record batch per partition")]
    Several,
    #[error("message format v{0} is too old; record batches of format v2 are needed (Kafka 0.11 and later clients)")]
    OldFormat(i8),
    #[error("the checksum of the record batch doesn't match its bytes")]
    Checksum,
    #[error("the record batch says {records} records and a last offset of {last_offset_delta}")]
    Count { records: i32, last_offset_delta: i32 },
    #[error("the record batch has {size} bytes; max.message.bytes of the topic is {limit}")]
    TooLarge { size: usize, limit: usize },
    #[error("compression codec {0} is unknown")]
    Codec(i16),
    #[error("clients can't write control batches")]
    Control,
    #[error("transactions aren't supported by this broker")]
    Transactional,
    #[error("the record batch has producer id {producer_id}, epoch {epoch} and sequence {sequence}")]
    Producer { producer_id: i64, epoch: i16, sequence: i32 },
}

/// Checks what a producer sent for one partition: one batch of format v2, whole, and true to its checksum.
pub(crate) fn check_incoming(bytes: &[u8], size_max: usize) -> Result<BatchHeader, BatchFault> {
    // The format's number stands at the same place in all formats.
    let magic = bytes.get(16).map(|byte| i8::from_be_bytes([*byte])).ok_or(BatchFault::Length)?;
    if magic < 2 {
        return Err(BatchFault::OldFormat(magic));
    }
    let header = BatchHeader::parse(bytes).ok_or(BatchFault::Length)?;
    if header.size > bytes.len() || magic != 2 {
        return Err(BatchFault::Length);
    }
    if header.size < bytes.len() {
        return Err(BatchFault::Several);
    }
    if header.size > size_max {
        return Err(BatchFault::TooLarge { size: header.size, limit: size_max });
    }
    if !checksum_holds(bytes, &header) {
        return Err(BatchFault::Checksum);
    }
    if header.record_count <= 0 || header.last_offset_delta.checked_add(1) != Some(header.record_count) {
        return Err(BatchFault::Count { records: header.record_count, last_offset_delta: header.last_offset_delta });
    }
    if header.codec() > 4 {
        return Err(BatchFault::Codec(header.codec()));
    }
    if header.attributes & ATTRIBUTE_CONTROL != 0 {
        return Err(BatchFault::Control);
    }
    if header.attributes & ATTRIBUTE_TRANSACTIONAL != 0 {
        return Err(BatchFault::Transactional);
    }
    let idempotent = header.producer_id != NO_PRODUCER;
    if idempotent && (header.producer_id < 0 || header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(BatchFault::Producer {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            sequence: header.base_sequence,
        });
    }
    Ok(header)
}

/// Whether the checksum of the batch at the start of `bytes`, whose header is `header`, matches. The base offset and the leader epoch
/// aren't covered by it, so that a broker can set them.
pub(crate) fn checksum_holds(bytes: &[u8], header: &BatchHeader) -> bool {
    bytes.get(CRC_FROM..header.size).is_some_and(|covered| crc32c::crc32c(covered) == header.crc)
}

/// A copy of the batch's header with the fields set that a broker sets.
pub(crate) fn stamped(bytes: &[u8], base_offset: i64, append_time_ms: Option<i64>) -> Option<[u8; HEADER_LEN]> {
    let mut header: [u8; HEADER_LEN] = *bytes.first_chunk()?;
    header[0..8].copy_from_slice(&base_offset.to_be_bytes());
    header[12..16].copy_from_slice(&crate::LEADER_EPOCH.to_be_bytes());
    if let Some(now_ms) = append_time_ms {
        let attributes = i16_at(&header, 21) | ATTRIBUTE_LOG_APPEND_TIME;
        header[21..23].copy_from_slice(&attributes.to_be_bytes());
        header[35..43].copy_from_slice(&now_ms.to_be_bytes());
        let covered = crc32c::crc32c(header.get(CRC_FROM..)?);
        let crc = crc32c::crc32c_append(covered, bytes.get(HEADER_LEN..)?);
        header[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    Some(header)
}

fn i64_at(header: &[u8; HEADER_LEN], at: usize) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    i64::from_be_bytes(bytes)
}

fn i32_at(header: &[u8; HEADER_LEN], at: usize) -> i32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    i32::from_be_bytes(bytes)
}

fn i16_at(header: &[u8; HEADER_LEN], at: usize) -> i16 {
    i16::from_be_bytes([header[at], header[at + 1]])
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Who writes a batch that a test builds.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Producer {
        pub(crate) id: i64,
        pub(crate) epoch: i16,
        pub(crate) sequence: i32,
    }

    /// A batch of `records` records with `payload` as their bytes (which aren't records: nothing looks into them).
    pub(crate) fn batch(records: i32, timestamp: i64, payload: &[u8], producer: Option<Producer>) -> Vec<u8> {
        let producer = producer.unwrap_or(Producer { id: -1, epoch: -1, sequence: -1 });
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend_from_slice(payload);
        let length = i32::try_from(bytes.len() - LENGTH_OVERHEAD).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes[27..35].copy_from_slice(&timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&producer.id.to_be_bytes());
        bytes[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&producer.sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&records.to_be_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Sets the checksum right after a change.
    pub(crate) fn seal(bytes: &mut [u8]) {
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{batch, seal};
    use super::*;

    #[test]
    fn a_good_batch_passes() {
        let bytes = batch(3, 5, b"abc", None);
        let header = check_incoming(&bytes, 1_000).unwrap();
        assert_eq!((header.record_count, header.last_offset(), header.size), (3, 2, bytes.len()));
    }

    #[test]
    fn each_fault_is_named() {
        let good = batch(3, 5, b"abc", None);
        let fault = |bytes: &[u8]| check_incoming(bytes, 1_000).unwrap_err();
        assert_eq!(fault(&good[..10]), BatchFault::Length);
        assert_eq!(fault(&good[..good.len() - 1]), BatchFault::Length);
        assert_eq!(fault(&[good.clone(), good.clone()].concat()), BatchFault::Several);
        assert_eq!(check_incoming(&good, 20).unwrap_err(), BatchFault::TooLarge { size: good.len(), limit: 20 });

        let change = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            seal(&mut bytes);
            fault(&bytes)
        };
        assert_eq!(change(16, 1), BatchFault::OldFormat(1));
        assert_eq!(change(60, 4), BatchFault::Count { records: 4, last_offset_delta: 2 });
        assert_eq!(change(22, 7), BatchFault::Codec(7));
        assert_eq!(change(22, 0x20), BatchFault::Control);
        assert_eq!(change(22, 0x10), BatchFault::Transactional);

        let mut flipped = good.clone();
        flipped[62] ^= 1;
        assert_eq!(fault(&flipped), BatchFault::Checksum);
    }

    #[test]
    fn a_stamped_header_keeps_the_checksum_true() {
        let mut bytes = batch(2, 5, b"payload", None);
        let header = stamped(&bytes, 77, Some(1_234)).unwrap();
        bytes[..HEADER_LEN].copy_from_slice(&header);
        let parsed = BatchHeader::parse(&bytes).unwrap();
        assert!(checksum_holds(&bytes, &parsed));
        assert_eq!((parsed.base_offset, parsed.max_timestamp, parsed.is_log_append_time()), (77, 1_234, true));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(add_sequence(4, 3), 7);
    }
}
