//! Two processes: one plays a market's feed to whoever observes it; one writes the observed prices down, a command a window
//! for all markets whose window has closed.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use commands::Command;
use commands::request::{ObservePrices, Outcome};
use domain::Timestamp;
use domain::ids::Symbol;
use domain::quote::ObservedWindow;
use event_store::{LogPosition, ProcessStates};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatch::Dispatcher;
use crate::error::ProcessError;
use crate::feed::playback::now;
use crate::feed::{MarketData, MarketFeed, RecordedFeed, Recording, Speed};
use crate::observed_markets::ObservedMarkets;
use crate::windows::WindowBuilder;

/// Where a feed stands.
#[derive(Serialize, Deserialize)]
struct FeedState {
    /// The last pass that it began.
    pass: u64,
}

/// Plays a recording into the observed markets, each start with a new pass.
pub(crate) async fn play(
    recording: Recording,
    speed: Speed,
    states: ProcessStates,
    markets: ObservedMarkets,
    shutdown: CancellationToken,
) -> Result<(), ProcessError> {
    let name = feed_process(&recording);
    let last_pass = match states.load(&name).await? {
        Some((_, state)) => serde_json::from_value::<FeedState>(state)?.pass,
        None => 0,
    };
    let mut feed = RecordedFeed::start(recording, last_pass + 1, speed)?;
    let symbol = feed.symbol().clone();
    while let Some(message) = shutdown.run_until_cancelled(feed.next()).await {
        let message = message?;
        if let MarketData::PassStarted(pass) = &*message.data {
            // Before anything of the pass is seen, so that no two starts ever play the same one.
            let state = serde_json::to_value(FeedState { pass: pass.number })?;
            states.save(&name, LogPosition::ZERO, &state).await?;
        }
        metrics::counter!("daybook_feed_messages_total", "symbol" => symbol.to_string()).increment(1);
        markets.publish(&symbol, message).await;
    }
    Ok(())
}

/// Name of the process that plays a recording.
pub(crate) fn feed_process(recording: &Recording) -> String {
    format!("feed:{}", recording.name)
}

/// After the end of a window, how long messages that belong into it are waited for.
const GRACE: TimeDelta = TimeDelta::milliseconds(30);
/// How long the last windows may take on the way out.
const LAST_WORDS: Duration = Duration::from_millis(700);

/// Writes the windows of all recorded markets down.
pub(crate) async fn observe_prices(
    length_ms: u32,
    observed: ObservedMarkets,
    dispatcher: Dispatcher,
    shutdown: CancellationToken,
) -> Result<(), ProcessError> {
    let started = now();
    let mut subscription = observed.subscribe();
    let length = TimeDelta::milliseconds(i64::from(length_ms));
    let mut writer = Writer { builders: BTreeMap::new(), closed: BTreeMap::new(), length, dispatcher };
    for recording in Recording::ALL {
        let (symbol, (_, quote)) = (recording.symbol(), recording.assets()?);
        let mut builder = WindowBuilder::new(symbol.clone(), quote, length_ms, started);
        if let Some(market) = subscription.markets.get(&symbol) {
            builder.go_on_in(market.pass.clone());
        }
        writer.builders.insert(symbol, builder);
    }
    loop {
        let Some(ends_at) = writer.next_end() else {
            shutdown.cancelled().await;
            return Ok(());
        };
        let wait = (ends_at + GRACE - now()).to_std().unwrap_or(Duration::ZERO);
        tokio::select! {
            () = shutdown.cancelled() => break,
            message = subscription.messages.recv() => {
                let (symbol, message) = message.ok_or(ProcessError::FellBehind)?;
                let Some(builder) = writer.builders.get_mut(&symbol) else { continue };
                match builder.observe(&message) {
                    Ok(window) => writer.keep(window),
                    Err(refusal) => tracing::warn!(%symbol, %refusal, "a message is left out of its window"),
                }
            }
            () = tokio::time::sleep(wait) => {
                writer.close_before(ends_at);
                if shutdown.run_until_cancelled(writer.write(ends_at)).await.is_none() {
                    break;
                }
            }
        }
    }
    // The open windows are told early: what comes after the next start belongs to later ones.
    let end = now() + length;
    writer.close_before(end);
    let _ = tokio::time::timeout(LAST_WORDS, writer.write(end)).await;
    Ok(())
}

struct Writer {
    builders: BTreeMap<Symbol, WindowBuilder>,
    /// Closed and not yet written, by their start.
    closed: BTreeMap<Timestamp, Vec<ObservedWindow>>,
    length: TimeDelta,
    dispatcher: Dispatcher,
}

impl Writer {
    /// The end of the oldest window that is not written. A market whose next message has come has closed its own already.
    fn next_end(&self) -> Option<Timestamp> {
        let open = self.builders.values().map(WindowBuilder::ends_at).min();
        self.closed.first_key_value().map(|(opened_at, _)| *opened_at + self.length).or(open)
    }

    fn keep(&mut self, window: Option<ObservedWindow>) {
        if let Some(window) = window {
            self.closed.entry(window.opened_at).or_default().push(window);
        }
    }

    fn close_before(&mut self, end: Timestamp) {
        let closed: Vec<ObservedWindow> =
            self.builders.values_mut().filter_map(|builder| builder.close_before(end)).collect();
        closed.into_iter().for_each(|window| self.keep(Some(window)));
    }

    /// One command for each start of windows that end at `end` or before, oldest first.
    async fn write(&mut self, end: Timestamp) {
        while let Some(entry) = self.closed.first_entry() {
            let opened_at = *entry.key();
            if opened_at + self.length > end {
                return;
            }
            let windows = entry.get().clone();
            let key = format!("prices:{}", opened_at.timestamp_millis());
            let command = Command::ObservePrices(ObservePrices { windows });
            match self.dispatcher.send(key, Uuid::nil(), command).await {
                Ok(receipt) => {
                    if let Outcome::Refused(refusal) = receipt.outcome {
                        tracing::warn!(%opened_at, %refusal, "observed prices were refused");
                    }
                }
                Err(failure) => tracing::warn!(%opened_at, %failure, "observed prices were not written"),
            }
            self.closed.remove(&opened_at);
        }
    }
}
