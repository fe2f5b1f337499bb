//! Takes in what the leader passes on, while this node does not lead.

use std::time::Duration;

use event_store::announcements::{Heard, Listener};
use sqlx::PgPool;

use super::frame::{Assembler, Item};
use super::{CHANNEL, LISTENER};
use crate::feed::MarketData;
use crate::observed_markets::ObservedMarkets;
use crate::tick_archive::TickArchive;

/// After so long without a sign of the leader nothing is known of the markets any more.
const SILENCE: Duration = Duration::from_secs(5);

/// Receives for ever. Dropping it in between leaves books as they are; a feed's next pass starts them anew.
pub(crate) async fn receive(pool: PgPool, observed: ObservedMarkets, archive: TickArchive) {
    let mut listener = Listener::new(&pool, CHANNEL, LISTENER);
    let mut assembler = Assembler::default();
    loop {
        let heard = tokio::time::timeout(SILENCE, listener.next()).await;
        match heard {
            Ok(Heard::Listening { .. }) => assembler = Assembler::default(),
            Ok(Heard::Said(payload)) => match assembler.take(&payload) {
                Ok(Some(items)) => take_in(items, &observed, &archive).await,
                Ok(None) => {}
                Err(error) => {
                    // Under a new connection everything is sent again.
                    tracing::warn!(%error, "the observed markets are received anew");
                    observed.forget();
                    listener = Listener::new(&pool, CHANNEL, LISTENER);
                    assembler = Assembler::default();
                }
            },
            Ok(Heard::Lost) | Err(_) => observed.forget(),
        }
    }
}

async fn take_in(items: Vec<Item>, observed: &ObservedMarkets, archive: &TickArchive) {
    for item in items {
        match item {
            Item::Trade(tick) => archive.mirror(tick),
            Item::Book(symbol, message) => {
                // What is sent anew for a node that has come does not interrupt the book of one that knows it.
                let is_known = matches!(&*message.data, MarketData::PassStarted(pass)
                    if observed.is_ready_in(&symbol, pass));
                if !is_known {
                    observed.publish(&symbol, message).await;
                }
            }
        }
    }
}
