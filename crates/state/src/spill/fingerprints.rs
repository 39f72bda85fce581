//! A filter over sorted hashes: 16 bits of each hash, found by its leading bits.
//!
//! A bloom filter of this size answers as well, but hashes are sorted already, so that this one is made in one pass without further
//! memory, can't fail, and is looked up in ascending order from neighbouring cache lines.

/// Hashes that share a bucket, on average. With it, one in 2^16 / 8 hashes that aren't in the run is taken for one that may be.
const BUCKET_HASHES: usize = 8;

/// Says of most hashes that they aren't among those it was made of. 2.5 bytes for each of them.
#[derive(Debug, Clone)]
pub struct Fingerprints {
    /// Where each bucket's fingerprints start, and where the last one's end.
    starts: Vec<u32>,
    prints: Vec<u16>,
}

impl Fingerprints {
    /// Of ascending hashes; `None` if there are too many for this.
    pub fn of(hashes: &[u64]) -> Option<Self> {
        u32::try_from(hashes.len()).ok()?;
        let buckets = (hashes.len() / BUCKET_HASHES).max(1);
        let mut starts = Vec::with_capacity(buckets + 1);
        let mut prints = Vec::with_capacity(hashes.len());
        for &hash in hashes {
            while starts.len() <= bucket(hash, buckets) {
                starts.push(prints.len() as u32);
            }
            prints.push(print(hash));
        }
        starts.resize(buckets + 1, prints.len() as u32);
        Some(Self { starts, prints })
    }

    /// False if the hash isn't in the run.
    pub fn may_contain(&self, hash: u64) -> bool {
        let bucket = bucket(hash, self.starts.len() - 1);
        let (Some(&start), Some(&end)) = (self.starts.get(bucket), self.starts.get(bucket + 1)) else { return true };
        self.prints.get(start as usize..end as usize).is_none_or(|prints| prints.contains(&print(hash)))
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u32>() + self.prints.capacity() * size_of::<u16>()
    }
}

/// Buckets divide the range of hashes evenly and keep their order.
fn bucket(hash: u64, buckets: usize) -> usize {
    ((u128::from(hash) * buckets as u128) >> 64) as usize
}

fn print(hash: u64) -> u16 {
    hash as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash as good as the hasher's.
    fn mixed(number: u64) -> u64 {
        let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn every_hash_is_found_and_few_others_are() {
        for count in [0_u64, 1, 7, 8, 9, 100, 50_000] {
            let mut hashes: Vec<u64> = (0..count).map(mixed).chain([0, u64::MAX]).collect();
            hashes.sort_unstable();
            let filter = Fingerprints::of(&hashes).unwrap();
            assert!(hashes.iter().all(|&hash| filter.may_contain(hash)));
            let wrong = (count..count + 100_000).map(mixed).filter(|&hash| filter.may_contain(hash)).count();
            assert!(wrong < 100, "{wrong} of 100,000 foreign hashes pass a filter of {count}");
        }
    }

    #[test]
    fn hashes_that_crowd_together_are_found_too() {
        let hashes: Vec<u64> = (0..10_000).collect();
        let filter = Fingerprints::of(&hashes).unwrap();
        assert!(hashes.iter().all(|&hash| filter.may_contain(hash)));
        assert!(!filter.may_contain(20_000));
    }
}
