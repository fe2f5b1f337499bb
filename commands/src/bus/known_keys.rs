//! Which idempotency keys may be in the database: a filter in memory that spares new ones the look-up.
//!
//! A Bloom filter (Bloom 1970): it may take a new key for a known one, which costs a look-up, but never a known one for new.
//! All bits of a key are in one cache line (Putze, Sanders and Singler 2007): to look at one waits for memory once.
//! It is made anew under every lease. Once the keys that were there then are read in, it knows all: only this leader writes
//! keys, and puts them in before anybody can rely on the batch. Pruned keys stay in it and cost a look-up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use event_store::Keys;

use super::backoff::Backoff;
use super::item::KeyId;

/// 4,096 blocks of 8 KiB: 32 MiB at most, 13 bits a key for 20 million keys (about 1 in 300 is taken for known).
const BLOCKS: usize = 4_096;
const LINES_PER_BLOCK: usize = 128;
/// What its line and five places in it take of a hash of 64 bits.
const BITS_PER_KEY: usize = 5;
/// With more than this it would spare too few look-ups to be worth reading them all.
const MOST_TO_READ: usize = 50_000_000;
/// Keys read by one query: each has its snapshot for a moment only.
const PAGE: u32 = 10_000;

/// The bits of some keys: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; 8]);

/// The keys that may be known.
#[derive(Debug)]
pub(super) struct KnownKeys {
    /// Made when a key falls into them.
    blocks: Box<[OnceLock<Box<[Line]>>]>,
    /// Whether a key that is not in it is surely new.
    complete: AtomicBool,
}

impl KnownKeys {
    pub(super) fn new() -> Self {
        let blocks = (0..BLOCKS).map(|_| OnceLock::new()).collect();
        Self { blocks, complete: AtomicBool::new(false) }
    }

    /// Whether the database may have something under the key.
    pub(super) fn may_hold(&self, key: &KeyId) -> bool {
        if !self.complete.load(Ordering::Acquire) {
            return true;
        }
        let Places { block, line, bits } = Places::of(key);
        self.blocks[block].get().is_some_and(|lines| {
            let Line(words) = &lines[line];
            bits.into_iter().all(|(word, bit)| words[word].load(Ordering::Acquire) & bit != 0)
        })
    }

    /// Says that the key is in the database, or about to be.
    pub(super) fn insert(&self, key: &KeyId) {
        let Places { block, line, bits } = Places::of(key);
        let lines =
            self.blocks[block].get_or_init(|| (0..LINES_PER_BLOCK).map(|_| Line::default()).collect());
        let Line(words) = &lines[line];
        for (word, bit) in bits {
            words[word].fetch_or(bit, Ordering::Release);
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
}

/// Where a key's bits are.
struct Places {
    block: usize,
    line: usize,
    /// Each as a word of the line and a mask in it.
    bits: [(usize, u64); BITS_PER_KEY],
}

impl Places {
    fn of(key: &KeyId) -> Self {
        let mut hash = key.hash_bits() as usize;
        let mut take = |choices: usize| {
            let choice = hash % choices;
            hash /= choices;
            choice
        };
        let (block, line) = (take(BLOCKS), take(LINES_PER_BLOCK));
        Self { block, line, bits: std::array::from_fn(|_| (take(8), 1 << take(64))) }
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
        let in_few_blocks = |key: &KeyId| Places::of(key).block < 4;
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
