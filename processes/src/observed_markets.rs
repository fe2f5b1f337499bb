//! The outside markets as they are observed now: their books, and everything their feeds say for whoever wants it.
//!
//! Feeds publish here; processes subscribe and get each market's book as it is at that moment and then every message, so one
//! that starts later, or again, need not wait for the next snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ids::Symbol;
use domain::order::OrderSide;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::feed::{FeedMessage, Level, MarketData, Pass};
use crate::observed_book::ObservedBook;

/// Messages a subscriber may lag behind: more than a minute of two busy markets. Beyond it the feed waits for it,
const SUBSCRIBER_LAG: usize = 16_384;
/// but no longer than this: then the subscription ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// Levels of each side that a reader gets at most.
pub const MAX_LEVELS: usize = 1_000;

/// Both sides of a book, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Depth {
    /// Highest first.
    pub bids: Vec<Level>,
    /// Lowest first.
    pub asks: Vec<Level>,
}

/// A market at one moment.
#[derive(Clone, Debug)]
pub struct ObservedMarket {
    /// Which playing of which feed.
    pub pass: Pass,
    /// Its book; not known until the feed has sent a snapshot.
    pub book: ObservedBook,
}

/// A subscription: the markets as they were at its start, and all messages since.
#[derive(Debug)]
pub struct Subscription {
    /// Where the messages go on from.
    pub markets: BTreeMap<Symbol, ObservedMarket>,
    /// Ends when the subscriber has fallen behind.
    pub messages: mpsc::Receiver<(Symbol, FeedMessage)>,
}

/// All observed markets. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct ObservedMarkets(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    markets: BTreeMap<Symbol, ObservedMarket>,
    subscribers: Vec<mpsc::Sender<(Symbol, FeedMessage)>>,
}

impl ObservedMarkets {
    /// These markets, of none of which anything is known.
    pub fn new(symbols: impl IntoIterator<Item = Symbol>) -> Self {
        let unknown =
            || ObservedMarket { pass: Pass { feed: "".into(), number: 0 }, book: ObservedBook::new() };
        let markets = symbols.into_iter().map(|symbol| (symbol, unknown())).collect();
        Self(Arc::new(Mutex::new(Inner { markets, subscribers: Vec::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A message is taken in whole or the book waits for its snapshot: a panic in between does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a message of a market's feed and passes it on. It waits a moment for a subscriber that has fallen behind, so
    /// that a recording can be played as fast as it is taken in.
    pub async fn publish(&self, symbol: &Symbol, message: FeedMessage) {
        for subscriber in self.take_in(symbol, &message) {
            if subscriber.send_timeout((symbol.clone(), message.clone()), PATIENCE).await.is_err() {
                self.lock().subscribers.retain(|other| !other.same_channel(&subscriber));
            }
        }
    }

    /// Takes in a message and passes it on to those who have room for it; returns those who have not.
    fn take_in(&self, symbol: &Symbol, message: &FeedMessage) -> Vec<mpsc::Sender<(Symbol, FeedMessage)>> {
        let mut inner = self.lock();
        let Some(market) = inner.markets.get_mut(symbol) else { return Vec::new() };
        let followed = match &*message.data {
            MarketData::PassStarted(pass) => {
                market.pass = pass.clone();
                market.book.reset();
                Ok(())
            }
            MarketData::Snapshot(snapshot) => market.book.start_from(snapshot).map(|_| ()),
            MarketData::Depth(update) => market.book.update(update).map(|_| ()),
            MarketData::Ticker(_) | MarketData::Trade(_) => Ok(()),
        };
        if let Err(gap) = followed {
            metrics::counter!("daybook_feed_gaps_total", "symbol" => symbol.to_string()).increment(1);
            tracing::warn!(%symbol, %gap, "the observed book waits for the next snapshot");
        }
        let mut full = Vec::new();
        inner.subscribers.retain(|subscriber| match subscriber.try_send((symbol.clone(), message.clone())) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                full.push(subscriber.clone());
                true
            }
            Err(TrySendError::Closed(_)) => false,
        });
        full
    }

    /// Forgets every book: none is known until the next snapshot.
    pub(crate) fn forget(&self) {
        self.lock().markets.values_mut().for_each(|market| market.book.reset());
    }

    /// Whether the market's book is known, in this pass.
    pub(crate) fn is_ready_in(&self, symbol: &Symbol, pass: &Pass) -> bool {
        self.lock().markets.get(symbol).is_some_and(|market| market.pass == *pass && market.book.is_ready())
    }

    /// Every market as it is now and every message from now on.
    pub fn subscribe(&self) -> Subscription {
        let (sender, messages) = mpsc::channel(SUBSCRIBER_LAG);
        let mut inner = self.lock();
        inner.subscribers.push(sender);
        Subscription { markets: inner.markets.clone(), messages }
    }

    /// At most `levels` (and [`MAX_LEVELS`]) levels of each side; `None` if the market is not observed or its book is not
    /// known at the moment.
    pub fn depth(&self, symbol: &Symbol, levels: usize) -> Option<Depth> {
        let inner = self.lock();
        let book = &inner.markets.get(symbol)?.book;
        let side = |side| book.levels(side).take(levels.min(MAX_LEVELS)).collect();
        book.is_ready().then(|| Depth { bids: side(OrderSide::Buy), asks: side(OrderSide::Sell) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::recording::BTC_USDT;
    use crate::feed::{PassPlayback, Speed};

    #[tokio::test]
    async fn a_later_subscriber_goes_on_from_the_book_as_it_was_then() {
        let symbol = BTC_USDT.symbol();
        let markets = ObservedMarkets::new([symbol.clone()]);
        let start = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut messages = PassPlayback::new(&BTC_USDT, 5, start, Speed::REAL).unwrap().map(Result::unwrap);
        assert_eq!(markets.depth(&symbol, 5), None);
        for message in messages.by_ref().take(2_000) {
            markets.publish(&symbol, message).await;
        }

        let mut subscription = markets.subscribe();
        let mut ours = subscription.markets.remove(&symbol).unwrap();
        assert_eq!(ours.pass.number, 5);
        for message in messages.take(5_000) {
            markets.publish(&symbol, message).await;
        }
        while let Ok((_, message)) = subscription.messages.try_recv() {
            if let MarketData::Depth(update) = &*message.data {
                ours.book.update(update).unwrap();
            }
        }
        let depth = markets.depth(&symbol, 20).unwrap();
        assert_eq!((depth.bids.len(), depth.asks.len()), (20, 20));
        assert_eq!(depth.bids, ours.book.levels(OrderSide::Buy).take(20).collect::<Vec<_>>());
        assert!(depth.bids.windows(2).all(|pair| pair[0].price > pair[1].price));
        assert!(depth.asks.windows(2).all(|pair| pair[0].price < pair[1].price));
    }

    #[tokio::test]
    async fn a_subscriber_that_falls_behind_is_let_go_and_the_others_are_not_held_up() {
        let symbol = BTC_USDT.symbol();
        let markets = ObservedMarkets::new([symbol.clone()]);
        let mut slow = markets.subscribe();
        let start = "2030-01-01T00:00:00Z".parse().unwrap();
        let messages = PassPlayback::new(&BTC_USDT, 1, start, Speed::REAL).unwrap().map(Result::unwrap);
        for message in messages.take(SUBSCRIBER_LAG + 1) {
            markets.publish(&symbol, message).await;
        }
        for _ in 0..SUBSCRIBER_LAG {
            slow.messages.try_recv().unwrap();
        }
        assert_eq!(slow.messages.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(markets.depth(&symbol, 1).is_some());
    }
}
