//! Which partition a key belongs to, as Java's default partitioner decides: murmur2 of the key's bytes.
//!
//! Rule: `toPositive(murmur2(key)) % partitions`, `org.apache.kafka.clients.producer.internals.BuiltInPartitioner`; the hash is
//! `org.apache.kafka.common.utils.Utils.murmur2`.

/// The partition of a key among `partitions` of them.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let positive = murmur2(key) & 0x7fff_ffff;
    i32::try_from(positive % u32::try_from(partitions.max(1)).unwrap_or(1)).unwrap_or(0)
}

fn murmur2(data: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    // Java's hash takes lengths as 32-bit numbers; keys are far shorter.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut value = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        value ^= value >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ value.wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pairs of Apache Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn hashes_as_java_does() {
        for (key, expected) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn every_partition_is_in_range() {
        for number in 0..1_000_u32 {
            assert!((0..7).contains(&partition_of(&number.to_be_bytes(), 7)));
        }
    }
}
