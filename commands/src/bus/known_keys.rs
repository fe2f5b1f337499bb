//! Which idempotency keys may be in the database: a filter in memory that spares new ones the look-up.
//!
//! A Bloom filter (Bloom 1970): it may take a new key for a known one, which costs a look-up, but never a known one for new.
//! It is made anew under every lease. Once the keys that were there then are read in, it knows all: only this leader writes
//! keys, and puts them in before anybody can rely on the batch. Pruned keys stay in it and cost a look-up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::RandomState;
use event_store::Keys;

use super::backoff::Backoff;
use super::item::KeyId;

/// 4,096 blocks of 8 KiB: 32 MiB at most, 13 bits a key for 20 million keys (about 1 in 200 is taken for known).
const BLOCKS: usize = 4_096;
const WORDS_PER_BLOCK: usize = 1_024;
const BITS_PER_KEY: u64 = 4;
/// With more than this it would spare too few look-ups to be worth reading them all.
const MOST_TO_READ: usize = 50_000_000;
/// Keys read by one query: each has its snapshot for a moment only.
const PAGE: u32 = 10_000;

/// The keys that may be known.
#[derive(Debug)]
pub(super) struct KnownKeys {
    /// Made when a key falls into them.
    blocks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    hasher: RandomState,
    /// Whether a key that is not in it is surely new.
    complete: AtomicBool,
}

impl KnownKeys {
    pub(super) fn new() -> Self {
        let blocks = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        Self { blocks, hasher: RandomState::new(), complete: AtomicBool::new(false) }
    }

    /// Whether the database may have something under the key.
    pub(super) fn may_hold(&self, key: &KeyId) -> bool {
        if !self.complete.load(Ordering::Acquire) {
            return true;
        }
        let (block, bits) = self.places(key);
        self.blocks[block].get().is_some_and(|block| {
            bits.into_iter().all(|(word, bit)| block[word].load(Ordering::Acquire) & bit != 0)
        })
    }

    /// Says that the key is in the database, or about to be.
    pub(super) fn insert(&self, key: &KeyId) {
        let (block, bits) = self.places(key);
        let block =
            self.blocks[block].get_or_init(|| (0..WORDS_PER_BLOCK).map(|_| AtomicU64::new(0)).collect());
        for (word, bit) in bits {
            block[word].fetch_or(bit, Ordering::Release);
        }
    }

    /// Reads the keys in that are in the database. Begin it under the lease, so that none can be missed.
    pub(super) async fn read_in(&self, keys: &Keys) {
        let mut backoff = Backoff::endless();
        let mut newest = (String::new(), String::new());
        let mut read = 0;
        while read <= MOST_TO_READ {
            match keys.page_after(&newest, PAGE).await {
                Ok(page) => {
                    page.iter().for_each(|(principal, key)| self.insert(&KeyId::from_parts(principal, key)));
                    read += page.len();
                    let full = page.len() >= PAGE as usize;
                    match page.into_iter().next_back() {
                        Some(last) if full => newest = last,
                        _ => {
                            self.complete.store(true, Ordering::Release);
                            tracing::debug!(read, "idempotency keys are known; new ones need no look-up");
                            return;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "idempotency keys cannot be read now, trying again");
                    backoff.wait().await;
                }
            }
        }
        tracing::info!("there are too many idempotency keys to know them all; each is looked up");
    }

    /// The block of the key, and its bits as a word of the block and a mask in it.
    fn places(&self, key: &KeyId) -> (usize, [(usize, u64); BITS_PER_KEY as usize]) {
        let hash = self.hasher.hash_one(key);
        let block = hash as usize % BLOCKS;
        // Double hashing (Kirsch and Mitzenmacher 2006) with two further parts of the same hash.
        let (first, step) = (hash >> 16 & 0xffff, hash >> 32 & 0xffff | 1);
        let bit = |n: u64| (first + n * step) as usize % (WORDS_PER_BLOCK * 64);
        (block, std::array::from_fn(|n| (bit(n as u64) / 64, 1 << (bit(n as u64) % 64))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> KeyId {
        KeyId::from_parts("alice", &format!("key-{n}"))
    }

    #[test]
    fn until_all_are_read_every_key_may_be_known() {
        assert!(KnownKeys::new().may_hold(&key(1)));
    }

    #[test]
    fn a_known_key_is_never_taken_for_new_and_a_new_one_rarely_for_known() {
        let known = KnownKeys::new();
        known.complete.store(true, Ordering::Release);
        // As full as with 300,000 keys, but only a few of the blocks.
        let in_few_blocks = |key: &KeyId| known.places(key).0 < 4;
        let mut keys = (0..).map(key).filter(in_few_blocks);
        let held: Vec<KeyId> = keys.by_ref().take(4 * 300_000 / BLOCKS).collect();
        held.iter().for_each(|key| known.insert(key));
        assert!(held.iter().all(|key| known.may_hold(key)));
        let mistaken = keys.take(200).filter(|key| known.may_hold(key)).count();
        assert!(mistaken < 5, "{mistaken} of 200 new keys were taken for known");
    }

    #[test]
    fn keys_of_two_principals_are_two_keys() {
        let known = KnownKeys::new();
        known.complete.store(true, Ordering::Release);
        known.insert(&KeyId::from_parts("alice", "rent"));
        assert!(known.may_hold(&KeyId::from_parts("alice", "rent")));
        assert!(!known.may_hold(&KeyId::from_parts("bob", "rent")));
    }
}
