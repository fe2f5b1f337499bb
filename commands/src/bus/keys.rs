//! Idempotency: which keys are under way, and what the newest ones have come to.
//!
//! Requests arrive here when their keys are surely new, or after these were looked up in the database. What was committed
//! since then is in this table, what is not yet durable as well, so twins meet in it. The unique index of the database is
//! the last guard.

use std::collections::hash_map::Entry as HashEntry;
use std::collections::{HashSet, VecDeque};

use ahash::AHashMap;
use domain::{Code, Refusal};
use event_store::LogPosition;

use super::item::{CommandHash, Item, KeyId};
use crate::request::{Failure, Outcome, Receipt, Request};

/// What a key has come to.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) hash: CommandHash,
    pub(super) outcome: Outcome,
    pub(super) log_position: Option<LogPosition>,
}

#[derive(Debug)]
enum Entry {
    /// Its first request is being decided or committed. Others with the key wait for what becomes of it.
    UnderWay(Vec<Item>),
    /// Durable.
    Remembered(Remembered),
}

/// The keys that are under way, and those committed a moment ago.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    entries: AHashMap<KeyId, Entry>,
    /// Remembered keys by the batch that committed them, oldest first.
    newest: VecDeque<(u64, KeyId)>,
    /// Units of work that wait for another one with the same key.
    waiting: usize,
    /// Trains whose keys are being looked up.
    looked_up: usize,
}

impl KeyTable {
    /// Takes a unit of work in. Gives it back if it is to be decided; its keys are under way then. Otherwise it has its
    /// answer, or waits for another one with the same key.
    pub(super) fn admit(&mut self, item: Item) -> Option<Item> {
        let mut own = HashSet::new();
        if item.asks.len() > 1 && !item.asks.iter().all(|ask| own.insert(&ask.key)) {
            item.answer_all_with(&conflict());
            return None;
        }
        let mut is_new = true;
        for ask in &item.asks {
            match self.entries.get_mut(&ask.key) {
                Some(Entry::UnderWay(waiting)) => {
                    waiting.push(item);
                    self.waiting += 1;
                    return None;
                }
                remembered => is_new &= remembered.is_none() && ask.found.is_none(),
            }
        }
        if is_new {
            for ask in &item.asks {
                self.entries.insert(ask.key.clone(), Entry::UnderWay(Vec::new()));
            }
            return Some(item);
        }
        let known = item
            .asks
            .iter()
            .map(|ask| match self.entries.get(&ask.key) {
                Some(Entry::Remembered(remembered)) => Some(Ok(remembered.clone())),
                _ => ask.found.as_ref().map(|found| read_stored(found, &ask.request)),
            })
            .collect();
        replay(item, known);
        None
    }

    /// Says what became of a key under way: `None` if it is not remembered. Gives back who waited, to be admitted again.
    pub(super) fn settle(&mut self, key: KeyId, remembered: Option<Remembered>, batch: u64) -> Vec<Item> {
        // Nobody misses it here unless a look-up is under way that may not see it, or somebody waits, be it for another key.
        let is_missed = self.looked_up > 0 || self.waiting > 0;
        let before = match remembered {
            Some(remembered) if is_missed => {
                self.newest.push_back((batch, key.clone()));
                self.entries.insert(key, Entry::Remembered(remembered))
            }
            _ => self.entries.remove(&key),
        };
        match before {
            Some(Entry::UnderWay(waiting)) => {
                self.waiting -= waiting.len();
                waiting
            }
            _ => Vec::new(),
        }
    }

    /// The keys of a train are going to be looked up.
    pub(super) fn look_up_begins(&mut self) {
        self.looked_up += 1;
    }

    /// The keys of so many trains have been looked up, and whatever was committed up to a batch was seen.
    pub(super) fn look_ups_ended(&mut self, trains: usize, seen_through: u64) {
        self.looked_up -= trains;
        self.forget_through(seen_through);
    }

    /// A batch is durable, what became of its keys is settled, and they count as known: who asks for one of them from now on
    /// has it looked up. Unless a look-up is under way that was too early to see them, they need not be remembered here.
    pub(super) fn committed(&mut self, batch: u64) {
        if self.looked_up == 0 {
            self.forget_through(batch);
        }
    }

    /// Forgets what was committed up to a batch: every look-up still to arrive has begun after it.
    fn forget_through(&mut self, batch: u64) {
        while let Some((committed, _)) = self.newest.front()
            && *committed <= batch
            && let Some((_, key)) = self.newest.pop_front()
        {
            if let HashEntry::Occupied(entry) = self.entries.entry(key)
                && matches!(entry.get(), Entry::Remembered(_))
            {
                entry.remove();
            }
        }
    }
}

impl Item {
    fn answer_all_with(self, refusal: &Refusal) {
        let receipt =
            Receipt { outcome: Outcome::Refused(refusal.clone()), log_position: None, replayed: false };
        let answers = vec![Ok(receipt); self.asks.len()];
        self.answer(answers);
    }
}

/// Answers a unit of work of which at least one key is known.
fn replay(item: Item, known: Vec<Option<Result<Remembered, Failure>>>) {
    if known.iter().any(|known| matches!(known, Some(Err(_)))) {
        return item.fail(&Failure::Internal);
    }
    let known: Vec<Option<Remembered>> = known.into_iter().map(|known| known.and_then(Result::ok)).collect();
    let same = item
        .asks
        .iter()
        .zip(&known)
        .all(|(ask, known)| known.as_ref().is_none_or(|known| known.hash == ask.hash));
    // A linked set that was refused is remembered by its refused requests alone.
    let refused_set = known.iter().flatten().all(|known| matches!(known.outcome, Outcome::Refused(_)));
    if !same || (!refused_set && known.iter().any(Option::is_none)) {
        return item.answer_all_with(&conflict());
    }
    metrics::counter!("daybook_bus_replays_total").increment(known.len() as u64);
    let answers = known.into_iter().map(|known| {
        Ok(match known {
            Some(known) => {
                Receipt { outcome: known.outcome, log_position: known.log_position, replayed: true }
            }
            None => {
                Receipt { outcome: Outcome::Refused(linked_failed()), log_position: None, replayed: true }
            }
        })
    });
    item.answer(answers);
}

fn read_stored(stored: &event_store::StoredOutcome, request: &Request) -> Result<Remembered, Failure> {
    match serde_json::from_str(&stored.outcome) {
        Ok(outcome) => {
            Ok(Remembered { hash: stored.command_hash, outcome, log_position: stored.log_position })
        }
        Err(error) => {
            tracing::error!(correlation_id = %request.correlation_id, %error, "the outcome stored under an idempotency key cannot be read");
            Err(Failure::Internal)
        }
    }
}

fn conflict() -> Refusal {
    Refusal::new(
        Code::IdempotencyConflict,
        "the idempotency key was used before with another command; use a new key for a new command",
    )
}

pub(super) fn linked_failed() -> Refusal {
    Refusal::new(
        Code::LinkedFailed,
        "another command of the same atomic set was refused, so this one was not done either",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Answer;

    fn settle_only(table: &mut KeyTable, key: &str, batch: u64) {
        let outcome = Outcome::Accepted(Answer::default());
        let remembered = Remembered { hash: [0; 32], outcome, log_position: None };
        table.settle(KeyId::from_parts("alice", key), Some(remembered), batch);
    }

    fn settle(table: &mut KeyTable, key: &str, batch: u64) {
        settle_only(table, key, batch);
        table.committed(batch);
    }

    #[test]
    fn a_committed_key_is_remembered_for_whoever_waits_until_its_batch_is_settled() {
        let mut table = KeyTable::default();
        settle_only(&mut table, "nobody waits", 1);
        assert!(table.entries.is_empty());

        table.waiting = 1;
        settle_only(&mut table, "somebody waits", 2);
        assert_eq!(table.entries.len(), 1, "a set that waits for another key may need this one, too");
        table.committed(2);
        assert!(table.entries.is_empty() && table.newest.is_empty());
    }

    #[test]
    fn a_committed_key_is_remembered_while_a_look_up_may_have_missed_it() {
        let mut table = KeyTable::default();
        settle(&mut table, "before", 1);
        assert!(table.entries.is_empty(), "nobody can have missed it");

        table.look_up_begins();
        table.look_up_begins();
        settle(&mut table, "meanwhile", 2);
        table.look_ups_ended(1, 1);
        settle(&mut table, "later", 3);
        assert_eq!(table.entries.len(), 2, "one look-up is still under way");

        table.look_ups_ended(1, 2);
        assert_eq!(table.entries.len(), 1, "it has seen the second batch and not the third");
        settle(&mut table, "at last", 4);
        assert!(table.entries.is_empty() && table.newest.is_empty());
    }
}
