//! The book of an outside market as its feed lets us see it: price and quantity of every level, exact.
//!
//! It follows the exchange's documented procedure (Binance Spot, "How to manage a local order book correctly"): updates
//! that come before the snapshot are kept; of these, those the snapshot already contains are dropped; the first one left must
//! bridge it; then each begins where the one before ended. A gap is an error, and the book waits for the next snapshot.

use std::collections::BTreeMap;

use domain::order::OrderSide;
use domain::{Price, Quantity};

use crate::feed::{BookSnapshot, DepthUpdate, Level};

/// Updates kept while waiting for a snapshot; ten a second come, and a snapshot within one.
const MAX_WAITING: usize = 1_024;

/// Why the book is not known any more: it waits for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("updates are missing: expected one that holds {expected}, got {first} to {last}")]
pub struct UpdateGap {
    /// The update that had to come.
    pub expected: u64,
    /// The first that came.
    pub first: u64,
    /// The last of the same message.
    pub last: u64,
}

/// What a message did to the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookChange {
    /// Nothing yet: it waits for a snapshot, or knew the message already.
    None,
    /// The levels that the message names.
    Levels,
    /// Everything.
    Whole,
}

/// Bids and asks of an outside market.
#[derive(Clone, Debug, Default)]
pub struct ObservedBook {
    bids: BTreeMap<Price, Quantity>,
    asks: BTreeMap<Price, Quantity>,
    /// The last update it contains; none while it waits for a snapshot.
    last_update_id: Option<u64>,
    /// Whether an update has followed the snapshot.
    bridged: bool,
    waiting: Vec<DepthUpdate>,
}

impl ObservedBook {
    /// A book that waits for its snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything and waits for a snapshot: a pass has started.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether it is known.
    pub fn is_ready(&self) -> bool {
        self.last_update_id.is_some()
    }

    /// The last update it contains.
    pub fn last_update_id(&self) -> Option<u64> {
        self.last_update_id
    }

    /// Starts from the snapshot and brings in the updates that had come before it.
    ///
    /// # Errors
    /// [`UpdateGap`], and the book waits again.
    pub fn start_from(&mut self, snapshot: &BookSnapshot) -> Result<BookChange, UpdateGap> {
        let waiting = std::mem::take(&mut self.waiting);
        let side = |levels: &[Level]| {
            levels.iter().filter(|l| l.quantity.is_positive()).map(|l| (l.price, l.quantity)).collect()
        };
        *self = Self {
            bids: side(&snapshot.bids),
            asks: side(&snapshot.asks),
            last_update_id: Some(snapshot.last_update_id),
            ..Self::default()
        };
        for update in &waiting {
            self.update(update)?;
        }
        Ok(BookChange::Whole)
    }

    /// Takes over the levels that have changed, or keeps the update until the snapshot is there.
    ///
    /// # Errors
    /// [`UpdateGap`], and the book waits for a snapshot.
    pub fn update(&mut self, update: &DepthUpdate) -> Result<BookChange, UpdateGap> {
        let Some(last) = self.last_update_id else {
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.clear();
            }
            self.waiting.push(update.clone());
            return Ok(BookChange::None);
        };
        if update.last_update_id <= last {
            return Ok(BookChange::None);
        }
        let expected = last + 1;
        let follows = if self.bridged {
            update.first_update_id == expected
        } else {
            update.first_update_id <= expected
        };
        if !follows {
            self.reset();
            return Err(UpdateGap { expected, first: update.first_update_id, last: update.last_update_id });
        }
        for (side, levels) in [(&mut self.bids, &update.bids), (&mut self.asks, &update.asks)] {
            for level in levels {
                if level.quantity.is_zero() {
                    side.remove(&level.price);
                } else {
                    side.insert(level.price, level.quantity);
                }
            }
        }
        self.last_update_id = Some(update.last_update_id);
        self.bridged = true;
        Ok(BookChange::Levels)
    }

    /// The highest bid.
    pub fn best_bid(&self) -> Option<Level> {
        self.levels(OrderSide::Buy).next()
    }

    /// The lowest ask.
    pub fn best_ask(&self) -> Option<Level> {
        self.levels(OrderSide::Sell).next()
    }

    /// The levels on which orders of this side rest, best first.
    pub fn levels(&self, side: OrderSide) -> Box<dyn Iterator<Item = Level> + '_> {
        let level = |(price, quantity): (&Price, &Quantity)| Level { price: *price, quantity: *quantity };
        match side {
            OrderSide::Buy => Box::new(self.bids.iter().rev().map(level)),
            OrderSide::Sell => Box::new(self.asks.iter().map(level)),
        }
    }

    /// The quantity that rests on this side at the price.
    pub fn quantity_at(&self, side: OrderSide, price: Price) -> Option<Quantity> {
        match side {
            OrderSide::Buy => self.bids.get(&price).copied(),
            OrderSide::Sell => self.asks.get(&price).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rstest::rstest;

    use super::*;
    use crate::feed::recording::{BTC_USDT, ETH_USDT};
    use crate::feed::{MarketData, Recording};

    fn level(price: &str, quantity: &str) -> Level {
        Level { price: price.parse().unwrap(), quantity: format!("{quantity} BTC").parse().unwrap() }
    }

    fn snapshot(last_update_id: u64) -> BookSnapshot {
        BookSnapshot { last_update_id, bids: vec![level("10", "1")], asks: vec![level("11", "1")] }
    }

    fn update(first: u64, last: u64, bid: Level) -> DepthUpdate {
        DepthUpdate { first_update_id: first, last_update_id: last, bids: vec![bid], asks: vec![] }
    }

    #[rstest]
    #[case(BTC_USDT, 564)]
    #[case(ETH_USDT, 577)]
    fn the_best_levels_equal_the_recorded_ticker_wherever_their_update_ids_meet(
        #[case] recording: Recording,
        #[case] meetings: usize,
    ) {
        let lines: Vec<MarketData> = recording.read().unwrap().map(|line| line.unwrap().1).collect();
        let tickers: HashMap<u64, _> = lines
            .iter()
            .filter_map(|data| match data {
                MarketData::Ticker(ticker) => Some((ticker.update_id, (ticker.bid, ticker.ask))),
                _ => None,
            })
            .collect();
        let mut book = ObservedBook::new();
        let mut met = 0;
        for data in &lines {
            let updated = match data {
                MarketData::Snapshot(snapshot) => {
                    book.start_from(snapshot).unwrap();
                    continue;
                }
                MarketData::Depth(update) => book.update(update).unwrap() == BookChange::Levels,
                _ => continue,
            };
            let ticker = book.last_update_id().filter(|_| updated).and_then(|id| tickers.get(&id));
            if let Some(ticker) = ticker {
                assert_eq!((book.best_bid(), book.best_ask()), *ticker);
                met += 1;
            }
        }
        assert_eq!(met, meetings);
    }

    #[test]
    fn updates_before_the_snapshot_are_kept_and_those_it_contains_are_dropped() {
        let mut book = ObservedBook::new();
        assert_eq!(book.update(&update(1, 5, level("10", "7"))).unwrap(), BookChange::None);
        assert_eq!(book.update(&update(6, 9, level("10", "8"))).unwrap(), BookChange::None);
        assert!(!book.is_ready());
        book.start_from(&snapshot(7)).unwrap();
        assert_eq!(book.last_update_id(), Some(9));
        assert_eq!(book.best_bid(), Some(level("10", "8")));
    }

    #[test]
    fn an_update_that_does_not_bridge_the_snapshot_is_a_gap() {
        let mut book = ObservedBook::new();
        book.update(&update(9, 12, level("10", "8"))).unwrap();
        assert_eq!(book.start_from(&snapshot(7)), Err(UpdateGap { expected: 8, first: 9, last: 12 }));
        assert!(!book.is_ready());
    }

    #[test]
    fn a_missing_update_is_a_gap_and_the_next_snapshot_mends_it() {
        let mut book = ObservedBook::new();
        book.start_from(&snapshot(7)).unwrap();
        book.update(&update(6, 9, level("10", "2"))).unwrap();
        assert!(book.update(&update(11, 12, level("10", "3"))).is_err());
        assert_eq!((book.is_ready(), book.best_bid()), (false, None));
        book.start_from(&snapshot(20)).unwrap();
        assert_eq!(book.best_bid(), Some(level("10", "1")));
    }

    #[test]
    fn once_bridged_an_update_may_not_overlap_the_one_before() {
        let mut book = ObservedBook::new();
        book.start_from(&snapshot(7)).unwrap();
        book.update(&update(6, 9, level("10", "2"))).unwrap();
        assert!(book.update(&update(9, 12, level("10", "3"))).is_err());
    }

    #[test]
    fn a_level_with_quantity_zero_is_gone() {
        let mut book = ObservedBook::new();
        book.start_from(&snapshot(7)).unwrap();
        book.update(&update(8, 8, level("10", "0"))).unwrap();
        assert_eq!(book.best_bid(), None);
        assert_eq!(book.best_ask(), Some(level("11", "1")));
    }
}
