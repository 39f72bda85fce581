//! Vectors of state grow by a part of themselves where they are large: doubling would keep half of the memory for groups that may never come.

/// Below it vectors double as they grow.
const DOUBLES_BELOW: usize = 16 * 1024;
/// Above it they grow by one in so many.
const PART: usize = 8;

/// What one further byte of state costs at most, in halves: the room that vectors keep free, and the old one while the new one is filled.
pub(crate) const SLACK_HALVES: usize = 3;

/// Makes room for more elements.
#[inline]
pub(crate) fn reserve<T>(vector: &mut Vec<T>, additional: usize) {
    let needed = vector.len() + additional;
    if needed > vector.capacity() && needed > DOUBLES_BELOW {
        vector.reserve_exact(additional.max(vector.capacity() / PART));
    }
}

/// As `Vec::resize`.
pub(crate) fn resize<T: Clone>(vector: &mut Vec<T>, len: usize, value: T) {
    reserve(vector, len.saturating_sub(vector.len()));
    vector.resize(len, value);
}

#[cfg(test)]
mod tests {
    #[test]
    fn large_vectors_keep_little_room_free_and_still_grow_rarely() {
        let (mut vector, mut grown) = (Vec::new(), 0);
        for number in 0..1_000_000_u32 {
            let before = vector.capacity();
            super::reserve(&mut vector, 1);
            vector.push(number);
            grown += usize::from(vector.capacity() != before);
        }
        assert!(vector.capacity() <= 1_125_000, "{}", vector.capacity());
        assert!(grown < 60, "{grown}");
    }
}
