//! The process that fills the tick archive: takes every observed trade in, writes them every few seconds, deletes old ones.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ids::Symbol;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::error::ProcessError;
use crate::feed::MarketData;
use crate::feed::playback::now;
use crate::observed_markets::ObservedMarkets;
use crate::tick_archive::{Tick, TickArchive};

/// How often trades are written: the longest time whose trades a crash can take with it.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// How often old trades are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// How long the last write may take on the way out.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) async fn keep(
    archive: TickArchive,
    retention: Duration,
    observed: ObservedMarkets,
    shutdown: CancellationToken,
) -> Result<(), ProcessError> {
    let mut subscription = observed.subscribe();
    let mut passes: BTreeMap<Symbol, u64> =
        subscription.markets.into_iter().map(|(symbol, market)| (symbol, market.pass.number)).collect();
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            message = subscription.messages.recv() => {
                let (symbol, message) = message.ok_or(ProcessError::FellBehind)?;
                match &*message.data {
                    MarketData::PassStarted(pass) => {
                        passes.insert(symbol, pass.number);
                    }
                    MarketData::Trade(trade) => archive.record(Tick {
                        at: message.at,
                        pass: passes.get(&symbol).copied().unwrap_or_default(),
                        trade_id: trade.trade_id,
                        price: trade.price,
                        quantity: trade.quantity,
                        taker_side: trade.taker_side,
                        symbol,
                    }),
                    _ => {}
                }
            }
            // Fails the process only: what is not written stays in the archive's memory.
            _ = flush.tick() => archive.flush().await?,
            _ = sweep.tick() => {
                archive.sweep(retention, now()).await?;
            }
        }
    }
    match tokio::time::timeout(LAST_WORDS, archive.flush()).await {
        Ok(flushed) => Ok(flushed?),
        Err(_) => Ok(()),
    }
}
