//! An index of last changes, by key and by position.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

/// The position of the last change of each key, in the order of the positions, too: the keys that
/// changed after a position are found without visiting the others.
#[derive(Clone, Debug)]
pub(crate) struct ChangeIndex<K, P> {
    by_key: HashMap<K, P>,
    by_position: BTreeSet<(P, K)>,
}

impl<K, P> Default for ChangeIndex<K, P> {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            by_position: BTreeSet::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord, P: Copy + Ord> ChangeIndex<K, P> {
    /// Records a change.
    pub(crate) fn insert(&mut self, key: K, position: P) {
        if let Some(before) = self.by_key.insert(key.clone(), position) {
            self.by_position.remove(&(before, key.clone()));
        }
        self.by_position.insert((position, key));
    }

    /// The position of the last change.
    pub(crate) fn get(&self, key: &K) -> Option<&P> {
        self.by_key.get(key)
    }

    /// Forgets the earliest changes until no more than `max` are left; returns the position of the last
    /// one that is forgotten.
    pub(crate) fn forget_all_but(&mut self, max: usize) -> Option<(P, Vec<K>)> {
        let mut forgotten = Vec::new();
        let mut until = None;
        while self.by_position.len() > max {
            let (position, key) = self.by_position.pop_first()?;
            self.by_key.remove(&key);
            until = Some(position);
            forgotten.push(key);
        }
        Some((until?, forgotten))
    }

    /// Forgets a key.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(position) = self.by_key.remove(key) {
            self.by_position.remove(&(position, key.clone()));
        }
    }

    /// All keys, the one that changed longest ago first.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = &K> {
        self.by_position.iter().map(|(_, key)| key)
    }

    /// What changed after a position, the last first.
    pub(crate) fn after(&self, position: P) -> impl Iterator<Item = &K> {
        let newest_first = self.by_position.iter().rev();
        newest_first
            .take_while(move |(changed, _)| *changed > position)
            .map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_found_once_by_its_last_change() {
        let mut changes = ChangeIndex::default();
        for (key, position) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            changes.insert(key, position);
        }
        let after = |position| changes.after(position).copied().collect::<Vec<_>>();
        assert_eq!(after(0), ["c", "a", "b"]);
        assert_eq!(after(2), ["c", "a"]);
        assert_eq!(after(4), [""; 0]);
        assert_eq!(changes.get(&"a"), Some(&3));
        assert_eq!(changes.get(&"d"), None);
        assert_eq!(changes.oldest().collect::<Vec<_>>(), [&"b", &"a", &"c"]);
        changes.remove(&"a");
        assert_eq!(changes.oldest().collect::<Vec<_>>(), [&"b", &"c"]);
        assert_eq!(changes.get(&"a"), None);
    }

    #[test]
    fn the_earliest_changes_are_forgotten() {
        let mut changes = ChangeIndex::default();
        for (key, position) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            changes.insert(key, position);
        }
        assert_eq!(changes.forget_all_but(3), None);
        assert_eq!(changes.forget_all_but(1), Some((3, vec!["b", "a"])));
        assert_eq!(changes.after(0).collect::<Vec<_>>(), [&"c"]);
        assert_eq!(changes.get(&"a"), None);
    }
}
