//! Feeds: where observed market data comes from.
//!
//! A [`MarketFeed`] yields the messages of one outside market in their order, each at its time in the present. Today the
//! only one is a [`RecordedFeed`](playback::RecordedFeed), which plays a recording pass after pass; a live connection has
//! the same shape: it announces a pass (number 0), then a snapshot, then updates.
//!
//! - [`message`]: what a feed says, and how the exchange writes it.
//! - [`recording`]: the recordings in this binary, read line by line.
//! - [`playback`]: a recording moved to the present.

pub mod message;
pub mod playback;
pub mod recording;

use std::sync::Arc;

use domain::Timestamp;
use domain::ids::Symbol;
use serde::{Deserialize, Serialize};

pub use message::{BookSnapshot, BookTicker, DepthUpdate, Level, MarketTrade};
pub use playback::{PassPlayback, RecordedFeed, Speed};
pub use recording::{Recording, RecordingReader};

/// A message of a feed, at its time in the present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedMessage {
    /// When it came; never before the message that came before it.
    pub at: Timestamp,
    /// What it says. Shared, because several processes read it.
    pub data: Arc<MarketData>,
}

/// What a feed says about its market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MarketData {
    /// A recording begins again, or a live feed has connected: what was known of the book is void.
    PassStarted(Pass),
    /// The whole book, to start from.
    Snapshot(BookSnapshot),
    /// Levels that have changed.
    Depth(DepthUpdate),
    /// The best bid and ask.
    Ticker(BookTicker),
    /// A trade.
    Trade(MarketTrade),
}

/// Which playing of which feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// The feed, for example `binance-spot/btcusdt-20240808`.
    pub feed: Arc<str>,
    /// Which time the recording is playing, from 1; 0 on a live feed. Trade ids are unique within it.
    pub number: u64,
}

/// The messages of one outside market.
#[async_trait::async_trait]
pub trait MarketFeed: Send {
    /// Our name of the market.
    fn symbol(&self) -> &Symbol;

    /// The next message, when its time has come. Dropping the future loses no message.
    ///
    /// # Errors
    /// [`FeedError`]; the feed has to be opened anew.
    async fn next(&mut self) -> Result<FeedMessage, FeedError>;
}

/// Why a feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A line is not what the format says.
    #[error("{file} line {line}: {reason}")]
    MalformedLine {
        /// Name of the recording.
        file: &'static str,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The recording cannot be decompressed.
    #[error("{file} cannot be read after line {line}: {source}")]
    Unreadable {
        /// Name of the recording.
        file: &'static str,
        /// The last line that could be read.
        line: u64,
        /// What decompression said.
        source: std::io::Error,
    },
    /// The recording has no line.
    #[error("{file} is empty")]
    Empty {
        /// Name of the recording.
        file: &'static str,
    },
}
