//! The process that passes the observed markets on to nodes that listen; without any it does nothing.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::Symbol;
use event_store::announcements::{announce_all, listeners};
use sqlx::PgPool;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::frame::{Item, pieces};
use super::{CHANNEL, LISTENER};
use crate::error::ProcessError;
use crate::feed::playback::now;
use crate::feed::{BookSnapshot, FeedMessage, Level, MarketData};
use crate::observed_markets::{ObservedMarket, ObservedMarkets, Subscription};
use crate::tick_archive::{Tick, TickArchive};

/// How often it is sent what has happened: how much later than the leader the others know it.
const SEND_EVERY: Duration = Duration::from_millis(50);
/// How often is looked who listens.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So often something is sent while nothing happens, so that silence means that nobody sends.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Sends until `shutdown`.
pub(crate) async fn send(
    pool: PgPool,
    observed: ObservedMarkets,
    archive: TickArchive,
    shutdown: CancellationToken,
) -> Result<(), ProcessError> {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let mut flush = tokio::time::interval(SEND_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Vec<i32> = Vec::new();
    let mut sending: Option<Sending> = None;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = look.tick() => {
                let now = listeners(&mut *pool.acquire().await?, LISTENER, 0).await?;
                if now == known {
                    continue;
                }
                sending = None;
                if !now.is_empty() {
                    // Everything again: who has come knows nothing yet.
                    let (started, everything) = Sending::start(&observed, &archive);
                    sending.insert(started).send(&pool, &everything).await?;
                }
                known = now;
            }
            _ = flush.tick(), if sending.is_some() => {
                let Some(sending) = &mut sending else { continue };
                let items = sending.take()?;
                if !items.is_empty() || sending.last.elapsed() >= SIGN_OF_LIFE {
                    sending.send(&pool, &items).await?;
                }
            }
        }
    }
}

/// What is being sent.
struct Sending {
    sender: String,
    number: u64,
    subscription: Subscription,
    trades: Vec<broadcast::Receiver<Arc<Tick>>>,
    last: Instant,
}

impl Sending {
    /// Begins, and with what: everything.
    fn start(observed: &ObservedMarkets, archive: &TickArchive) -> (Self, Vec<Item>) {
        let subscription = observed.subscribe();
        let mut everything = Vec::new();
        let mut trades = Vec::new();
        for (symbol, market) in &subscription.markets {
            everything.extend(whole(symbol, market));
            // Subscribed before the newest are taken: one in between comes twice, none is missed.
            trades.extend(archive.subscribe(symbol));
            everything.extend(archive.newest(symbol).into_iter().map(Item::Trade));
        }
        let sender = Uuid::now_v7().simple().to_string();
        let started = Self { sender, number: 0, subscription, trades, last: Instant::now() };
        (started, everything)
    }

    /// What has happened since it was asked last.
    fn take(&mut self) -> Result<Vec<Item>, ProcessError> {
        let mut items = Vec::new();
        loop {
            match self.subscription.messages.try_recv() {
                Ok((symbol, message)) => match &*message.data {
                    MarketData::PassStarted(_) | MarketData::Snapshot(_) | MarketData::Depth(_) => {
                        items.push(Item::Book(symbol, message));
                    }
                    // The archive says which trades it took in.
                    MarketData::Ticker(_) | MarketData::Trade(_) => {}
                },
                Err(tokio::sync::mpsc::error::TryRecvError::Empty) => break,
                Err(tokio::sync::mpsc::error::TryRecvError::Disconnected) => {
                    return Err(ProcessError::FellBehind);
                }
            }
        }
        for trades in &mut self.trades {
            loop {
                match trades.try_recv() {
                    Ok(tick) => items.push(Item::Trade((*tick).clone())),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => return Err(ProcessError::FellBehind),
                    Err(_) => break,
                }
            }
        }
        Ok(items)
    }

    /// Sends a frame. After a failure one has to start anew.
    async fn send(&mut self, pool: &PgPool, items: &[Item]) -> Result<(), ProcessError> {
        let pieces =
            pieces(&self.sender, self.number, items).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        announce_all(&mut *pool.acquire().await?, CHANNEL, &pieces).await?;
        self.number += 1;
        self.last = Instant::now();
        Ok(())
    }
}

/// A market's pass and book as messages from which a book can start.
fn whole(symbol: &Symbol, market: &ObservedMarket) -> Vec<Item> {
    use domain::order::OrderSide::{Buy, Sell};
    let message = |data| {
        let message = FeedMessage { at: now(), data: Arc::new(data) };
        Item::Book(symbol.clone(), message)
    };
    let mut items = vec![message(MarketData::PassStarted(market.pass.clone()))];
    if let Some(last_update_id) = market.book.last_update_id() {
        let side = |side| market.book.levels(side).collect::<Vec<Level>>();
        items.push(message(MarketData::Snapshot(BookSnapshot {
            last_update_id,
            bids: side(Buy),
            asks: side(Sell),
        })));
    }
    items
}
