//! Parts of snapshots that have keys which are in memory.
//!
//! A part never changes. Each key that is in one knows where, and when it changes or goes, it is crossed out there by a bit: the next snapshot has it
//! in a part of its own. So a snapshot writes what has changed, and what it takes to have few parts of which most is needed.

use std::collections::BTreeMap;

use super::run::set;

/// Where a key is in the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InPart {
    part: u32,
    at: u32,
}

#[derive(Debug)]
struct KeptPart {
    name: String,
    keys: usize,
    live: usize,
    /// A bit for each key: whether it has changed since, or is gone.
    taken: Vec<u64>,
    /// Whether it has as much as a part may have.
    is_full: bool,
}

/// The parts, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct KeptKeys {
    parts: BTreeMap<u32, KeptPart>,
    next: u32,
}

impl KeptKeys {
    /// Crosses a key out.
    pub(crate) fn cross_out(&mut self, key: InPart) {
        if let Some(part) = self.parts.get_mut(&key.part) {
            set(&mut part.taken, key.at as usize);
            part.live -= 1;
        }
    }

    /// Lets parts go before so many keys are written: those of which most is crossed out, and the small ones that don't have more than is written.
    /// Their keys are to be written too, so each is written again as often as its part at least doubles.
    fn let_go(&mut self, keys: usize) {
        let mut writing = keys;
        let mut gone = Vec::new();
        for (number, part) in self.parts.iter().rev() {
            if part.live == 0 || 2 * part.live < part.keys || (!part.is_full && part.live <= writing) {
                writing += part.live;
                gone.push(*number);
            }
        }
        gone.iter().for_each(|number| drop(self.parts.remove(number)));
    }

    /// Of all keys in memory, given with where each was last, those that are to be written: the others are in parts.
    pub(crate) fn unkept(&mut self, keys: impl Iterator<Item = (u32, Option<InPart>)> + Clone) -> Vec<u32> {
        let changed = keys.clone().filter(|(_, at)| !self.holds(*at)).count();
        self.let_go(changed);
        keys.filter(|(_, at)| !self.holds(*at)).map(|(number, _)| number).collect()
    }

    /// Whether a key is in a part.
    pub(crate) fn holds(&self, key: Option<InPart>) -> bool {
        key.is_some_and(|key| self.parts.contains_key(&key.part))
    }

    /// Adds a part; gives where its keys are, in order.
    pub(crate) fn add(&mut self, name: String, keys: usize, is_full: bool) -> impl Iterator<Item = InPart> {
        let part = self.next;
        self.next += 1;
        self.parts.insert(part, KeptPart { name, keys, live: keys, taken: vec![0; keys.div_ceil(64)], is_full });
        (0..).map(move |at| InPart { part, at })
    }

    /// Lets all parts go.
    pub(crate) fn clear(&mut self) {
        self.parts.clear();
    }

    /// Each part with the places of its keys that are crossed out, as bits.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.parts.values().map(|part| (part.name.as_str(), part.taken.clone()))
    }
}
