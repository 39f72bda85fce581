//! The groups of one batch: rows with the same pane and key get the same number.

use std::ops::Range;

use hashbrown::HashTable;

use crate::error::Cause;
use crate::keys::Keys;

/// Groups of a batch, numbered in the order in which their first rows come. Reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct BatchGroups {
    index: HashTable<u32>,
    groups: Vec<Group>,
    /// Group of each row.
    pub(super) of_row: Vec<u32>,
    /// All groups, pane by pane.
    order: Vec<u32>,
    /// Each pane with its part of `order`, ascending.
    panes: Vec<(i64, Range<usize>)>,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    hash: u64,
    pane_us: i64,
    first_row: usize,
    rows: u64,
}

/// Spreads panes over the hash, so that the same key in two panes is found in two places.
fn with_pane(hash: u64, pane_us: i64) -> u64 {
    hash ^ pane_us.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}

impl BatchGroups {
    /// Numbers the groups of a batch. `weights` are the accepted rows behind each row; one if there are none.
    pub(super) fn assign(&mut self, panes: &[i64], keys: &Keys, weights: Option<&[u64]>) -> Result<(), Cause> {
        let Self { index, groups, of_row, .. } = self;
        index.clear();
        groups.clear();
        of_row.clear();
        of_row.reserve(panes.len());
        for (row, (pane, key_hash)) in panes.iter().zip(&keys.hashes).enumerate() {
            let hash = with_pane(*key_hash, *pane);
            let is_same = |group: &u32| {
                let group = &groups[*group as usize];
                group.hash == hash && group.pane_us == *pane && keys.get(group.first_row) == keys.get(row)
            };
            let rows = weights.map_or(1, |weights| weights.get(row).copied().unwrap_or(1));
            if let Some(group) = index.find(hash, is_same).copied() {
                groups[group as usize].rows += rows;
                of_row.push(group);
                continue;
            }
            let group =
                u32::try_from(groups.len()).map_err(|_| Cause::Batch("it has more than 4294967295 groups".into()))?;
            groups.push(Group { hash, pane_us: *pane, first_row: row, rows });
            index.insert_unique(hash, group, |other| groups[*other as usize].hash);
            of_row.push(group);
        }
        self.arrange();
        Ok(())
    }

    fn arrange(&mut self) {
        let Self { groups, order, panes, .. } = self;
        order.clear();
        order.extend((0..groups.len()).filter_map(|group| u32::try_from(group).ok()));
        let pane = |group: &u32| groups[*group as usize].pane_us;
        if !order.is_sorted_by_key(pane) {
            // Stable: within a pane, groups stay in the order of their first rows.
            order.sort_by_key(pane);
        }
        panes.clear();
        for (at, group) in order.iter().enumerate() {
            match panes.last_mut() {
                Some((last, range)) if *last == pane(group) => range.end = at + 1,
                _ => panes.push((pane(group), at..at + 1)),
            }
        }
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Each pane with its groups, ascending.
    pub(super) fn panes(&self) -> impl Iterator<Item = (i64, &[u32])> {
        self.panes.iter().map(|(pane, range)| (*pane, self.order.get(range.clone()).unwrap_or_default()))
    }

    /// A row that has the group's key.
    pub(super) fn first_row(&self, group: u32) -> usize {
        self.groups[group as usize].first_row
    }

    /// Accepted rows in the group.
    pub(super) fn rows(&self, group: u32) -> u64 {
        self.groups[group as usize].rows
    }

    /// Bytes held between batches.
    pub(super) fn bytes(&self) -> usize {
        self.index.allocation_size()
            + self.groups.capacity() * size_of::<Group>()
            + (self.of_row.capacity() + self.order.capacity()) * size_of::<u32>()
            + self.panes.capacity() * size_of::<(i64, Range<usize>)>()
    }
}
