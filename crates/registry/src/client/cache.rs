//! A map that forgets its oldest entries.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// At most so many entries; a new one drives out the oldest.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
    entries_max: usize,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), entries_max: entries_max.max(1) }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.entries.len() > self.entries_max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.order.retain(|key| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_it_may() {
        let mut cache = Cache::new(2);
        for key in 0..5 {
            cache.insert(key, key * 10);
            cache.insert(key, key * 10);
        }
        assert_eq!((cache.get(&2), cache.get(&3), cache.get(&4)), (None, Some(&30), Some(&40)));
        cache.retain(|key| *key != 3);
        cache.insert(5, 50);
        assert_eq!((cache.get(&3), cache.get(&4), cache.get(&5)), (None, Some(&40), Some(&50)));
    }
}
