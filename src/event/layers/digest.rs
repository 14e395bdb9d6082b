//! A digest of a state that can be brought up to date key by key.

use ring::digest::{Context, SHA256};
use types::{EventNid, StateKeyNid};

/// How many bytes a digest has.
const BYTES: usize = 32;

/// Tells whether two states of one room are equal: the sum, modulo 2^256, of the SHA-256 hashes of
/// all pairs of key and event. It does not depend on the order in which they are added.
///
/// The numbers that are hashed are this server's own; what others send does not choose them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest([u64; 4]);

impl Digest {
    /// The digest of a state.
    pub fn of(state: impl IntoIterator<Item = (StateKeyNid, EventNid)>) -> Self {
        let mut digest = Self::default();
        for (key, event) in state {
            digest.insert(key, event);
        }
        digest
    }

    /// Adds a key with its event.
    pub fn insert(&mut self, key: StateKeyNid, event: EventNid) {
        let mut carry = 0;
        for (sum, word) in self.0.iter_mut().zip(hash(key, event)) {
            let total = u128::from(*sum) + u128::from(word) + carry;
            *sum = total as u64;
            carry = total >> u64::BITS;
        }
    }

    /// Takes away a key with its event, which must have been added.
    pub fn remove(&mut self, key: StateKeyNid, event: EventNid) {
        let mut borrow = false;
        for (sum, word) in self.0.iter_mut().zip(hash(key, event)) {
            let (difference, under) = sum.overflowing_sub(word);
            let (difference, under_too) = difference.overflowing_sub(u64::from(borrow));
            *sum = difference;
            borrow = under || under_too;
        }
    }

    /// The digest as the database keeps it.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written; `None` for anything of another size.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        words(bytes).map(Self)
    }
}

fn hash(key: StateKeyNid, event: EventNid) -> [u64; 4] {
    let mut hasher = Context::new(&SHA256);
    hasher.update(&key.get().to_le_bytes());
    hasher.update(&event.get().to_le_bytes());
    words(hasher.finish().as_ref()).unwrap_or_default()
}

fn words(bytes: &[u8]) -> Option<[u64; 4]> {
    if bytes.len() != BYTES {
        return None;
    }
    let mut words = [0; 4];
    for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(from.try_into().ok()?);
    }
    Some(words)
}
