//! Drawing from a weighted choice in constant time.

use rand::Rng;

/// Walker's alias method (Vose 1991): an index with the probability of its weight, by one random number.
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    /// For each slot, the chance out of 2^32 that it keeps its own index.
    keep: Vec<u64>,
    other: Vec<u32>,
}

const FULL: f64 = 4_294_967_296.0;

impl Weighted {
    /// A choice among `weights`, all of them finite, none negative, one positive. Without any it always gives 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "chances lie between 0 and 2^32")]
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^32 weights")]
    pub(crate) fn new(weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let mut chances: Vec<f64> = weights.iter().map(|weight| weight / total * weights.len() as f64).collect();
        let mut keep = vec![FULL as u64; weights.len().max(1)];
        let mut other: Vec<u32> = (0..weights.len().max(1)).map(|index| index as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..chances.len()).partition(|index| chances.get(*index).is_some_and(|chance| *chance < 1.0));
        while let (Some(little), Some(much)) = (small.pop(), large.last().copied()) {
            let (Some(chance), Some(slot), Some(alias)) =
                (chances.get(little).copied(), keep.get_mut(little), other.get_mut(little))
            else {
                break;
            };
            *slot = (chance * FULL) as u64;
            *alias = much as u32;
            if let Some(rest) = chances.get_mut(much) {
                *rest -= 1.0 - chance;
                if *rest < 1.0 {
                    large.pop();
                    small.push(much);
                }
            }
        }
        Self { keep, other }
    }

    pub(crate) fn sample(&self, random: &mut impl Rng) -> usize {
        let bits: u64 = random.random();
        let slot = ((bits >> 32) * self.keep.len() as u64) >> 32;
        let slot = usize::try_from(slot).unwrap_or(0);
        let kept = self.keep.get(slot).is_none_or(|keep| bits & 0xffff_ffff < *keep);
        if kept { slot } else { self.other.get(slot).map_or(slot, |other| *other as usize) }
    }
}

/// Weights of a Zipf distribution: the share of rank `r` is 1 / r^`exponent`.
#[allow(clippy::cast_precision_loss, reason = "ranks are small")]
pub(crate) fn zipf_weights(ranks: usize, exponent: f64) -> Vec<f64> {
    (1..=ranks).map(|rank| (rank as f64).powf(-exponent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_weights() {
        let weights = [5.0, 0.0, 3.0, 2.0, 10.0];
        let choice = Weighted::new(&weights);
        let mut random = model::clock::seeded(1);
        let mut counts = [0_u32; 5];
        for _ in 0..200_000 {
            counts[choice.sample(&mut random)] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let expected = weight / 20.0 * 200_000.0;
            assert!((f64::from(*count) - expected).abs() <= 4.0 * expected.sqrt(), "{counts:?}");
        }
        assert_eq!(Weighted::new(&[]).sample(&mut random), 0);
    }
}
