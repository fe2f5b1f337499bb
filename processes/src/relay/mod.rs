//! The observed markets on nodes that do not lead: the leader passes on what its feeds say, and the others keep the same
//! books and newest trades.
//!
//! Feeds run on the leader alone, and books and the newest trades are in its memory. It sends what changes in them by
//! `NOTIFY`, some ten times a second, for as long as another node listens; to one that comes, everything first. So every
//! node answers depth and trades of outside markets from its own memory, a moment later than the leader. Nothing of it is
//! the record: what is lost is sent anew.
//!
//! - [`frame`]: what is sent, in pieces that fit into a notification.
//! - [`sender`]: the process that sends.
//! - [`receiver`]: what takes it in while another node leads.

pub(crate) mod frame;
pub(crate) mod receiver;
pub(crate) mod sender;

/// The channel.
const CHANNEL: &str = "observed_markets";
/// The name under which nodes listen.
const LISTENER: &str = "daybook observed listener";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use event_store::embedded::testing::TestDatabase;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::feed::recording::BTC_USDT;
    use crate::feed::{MarketData, PassPlayback, Speed};
    use crate::observed_markets::ObservedMarkets;
    use crate::tick_archive::{Tick, TickArchive};

    async fn soon(what: &str, is_so: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_does_not_lead_has_the_same_book_and_trades_whenever_it_comes() {
        let database = TestDatabase::create().await.unwrap();
        let symbol = BTC_USDT.symbol();
        let node = || async {
            let bases = [(BTC_USDT.symbol(), BTC_USDT.assets().unwrap().0)];
            let archive = TickArchive::open(database.app.clone(), bases).await.unwrap();
            (ObservedMarkets::new([BTC_USDT.symbol()]), archive)
        };
        let (markets, archive) = node().await;
        let stop = CancellationToken::new();
        let sending = sender::send(database.app.clone(), markets.clone(), archive.clone(), stop.clone());
        let sending = tokio::spawn(sending);

        let start = "2030-01-01T00:00:00Z".parse().unwrap();
        let mut messages = PassPlayback::new(&BTC_USDT, 5, start, Speed::REAL).unwrap().map(Result::unwrap);
        let mut others = Vec::new();
        let mut receiving = tokio::task::JoinSet::new();
        for _ in 0..3 {
            for message in messages.by_ref().take(3_000) {
                if let MarketData::Trade(trade) = &*message.data {
                    archive.record(Tick {
                        at: message.at,
                        pass: 5,
                        trade_id: trade.trade_id,
                        price: trade.price,
                        quantity: trade.quantity,
                        taker_side: trade.taker_side,
                        symbol: symbol.clone(),
                    });
                }
                markets.publish(&symbol, message).await;
            }
            let (theirs, their_archive) = node().await;
            receiving.spawn(receiver::receive(database.app.clone(), theirs.clone(), their_archive.clone()));
            others.push((theirs, their_archive));
            for (theirs, their_archive) in &others {
                soon("the same book", || {
                    let depth = theirs.depth(&symbol, 1_000);
                    depth.is_some() && depth == markets.depth(&symbol, 1_000)
                })
                .await;
                soon("the same last trade", || {
                    their_archive.newest(&symbol).last() == archive.newest(&symbol).last()
                })
                .await;
            }
        }
        // Nobody sends any more: what was known is not told as if it were so still.
        stop.cancel();
        sending.await.unwrap().unwrap();
        soon("that the book is forgotten", || others.iter().all(|(m, _)| m.depth(&symbol, 1).is_none()))
            .await;
    }
}
