//! Observed prices: what a feed says, summed exactly over windows of time.
//!
//! A window starts on a whole multiple of its length in the time of the present. A window in which nothing was traded and
//! the best bid and ask stayed as they were is not told. A message that comes after its window was closed counts in the
//! next one, so sums over windows never lose a trade.

use chrono::{DateTime, TimeDelta};
use domain::ids::Symbol;
use domain::price::Rounding;
use domain::quote::{BestLevel, ObservedWindow, TradedWindow};
use domain::{Asset, Money, Price, Quantity, Refusal, Timestamp};

use crate::feed::{FeedMessage, Level, MarketData, MarketTrade, Pass};

/// The length of windows unless set otherwise, in milliseconds.
pub const DEFAULT_LENGTH_MS: u32 = 1_000;

/// Builds the windows of one market.
#[derive(Clone, Debug)]
pub struct WindowBuilder {
    symbol: Symbol,
    quote: Asset,
    length_ms: u32,
    /// Number of the open window since 1970.
    number: i64,
    pass: Pass,
    bid: Option<BestLevel>,
    ask: Option<BestLevel>,
    /// Best bid and ask of the window told last.
    told: (Option<BestLevel>, Option<BestLevel>),
    traded: Option<TradedWindow>,
}

impl WindowBuilder {
    /// Windows of `length_ms` milliseconds (at least one) of a market, none of which starts before `from`.
    pub fn new(symbol: Symbol, quote: Asset, length_ms: u32, from: Timestamp) -> Self {
        let length_ms = length_ms.max(1);
        let length = i64::from(length_ms);
        Self {
            symbol,
            quote,
            length_ms,
            number: from.timestamp_millis().div_euclid(length) + 1,
            pass: Pass { feed: "".into(), number: 0 },
            bid: None,
            ask: None,
            told: (None, None),
            traded: None,
        }
    }

    /// The feed is in this pass already.
    pub fn go_on_in(&mut self, pass: Pass) {
        self.pass = pass;
    }

    /// Counts a message, and returns the window that its time has closed, if one was open with something to tell.
    ///
    /// # Errors
    /// A [`Refusal`] when a sum is out of range or a price times its quantity does not fit the quote asset's scale; the
    /// message is left out.
    pub fn observe(&mut self, message: &FeedMessage) -> Result<Option<ObservedWindow>, Refusal> {
        let closed = self.close_before(message.at);
        match &*message.data {
            MarketData::PassStarted(pass) => self.pass = pass.clone(),
            MarketData::Ticker(ticker) => {
                self.bid = ticker.bid.map(best);
                self.ask = ticker.ask.map(best);
            }
            MarketData::Trade(trade) => self.traded = Some(self.with(trade)?),
            MarketData::Snapshot(_) | MarketData::Depth(_) => {}
        }
        Ok(closed)
    }

    /// Closes the open window if it ends at `now` or before, and returns it if there is something to tell.
    pub fn close_before(&mut self, now: Timestamp) -> Option<ObservedWindow> {
        let number = now.timestamp_millis().div_euclid(i64::from(self.length_ms));
        if number <= self.number {
            return None;
        }
        let opened_at = DateTime::from_timestamp_millis(self.number * i64::from(self.length_ms));
        self.number = number;
        let best = (self.bid.clone(), self.ask.clone());
        if self.traded.is_none() && self.told == best {
            return None;
        }
        self.told = best;
        Some(ObservedWindow {
            symbol: self.symbol.clone(),
            feed: self.pass.feed.to_string(),
            pass: self.pass.number,
            opened_at: opened_at?,
            length_ms: self.length_ms,
            bid: self.bid.clone(),
            ask: self.ask.clone(),
            traded: self.traded.take(),
        })
    }

    /// When the open window ends.
    pub fn ends_at(&self) -> Timestamp {
        let end = (self.number + 1) * i64::from(self.length_ms);
        Timestamp::UNIX_EPOCH + TimeDelta::milliseconds(end)
    }

    fn with(&self, trade: &MarketTrade) -> Result<TradedWindow, Refusal> {
        let amount = trade.price.notional(trade.quantity, self.quote, Rounding::Exact)?;
        Ok(match &self.traded {
            None => first(trade.price, trade.quantity, amount),
            Some(so_far) => TradedWindow {
                open: so_far.open,
                high: so_far.high.max(trade.price),
                low: so_far.low.min(trade.price),
                close: trade.price,
                volume: so_far.volume.plus(trade.quantity)?,
                quote_volume: so_far.quote_volume.plus(amount)?,
                trade_count: so_far.trade_count.saturating_add(1),
            },
        })
    }
}

fn first(price: Price, volume: Quantity, quote_volume: Money) -> TradedWindow {
    TradedWindow { open: price, high: price, low: price, close: price, volume, quote_volume, trade_count: 1 }
}

fn best(level: Level) -> BestLevel {
    BestLevel { price: level.price, quantity: level.quantity }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::sync::Arc;

    use domain::order::OrderSide;
    use flate2::read::GzDecoder;
    use rstest::rstest;

    use super::*;
    use crate::feed::recording::{BTC_USDT, ETH_USDT};
    use crate::feed::{BookTicker, PassPlayback, Recording, Speed};

    const START: &str = "2030-01-01T00:00:00.250Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn builder(recording: &Recording, length_ms: u32) -> WindowBuilder {
        let (_, quote) = recording.assets().unwrap();
        WindowBuilder::new(recording.symbol(), quote, length_ms, at("2029-12-31T00:00:00Z"))
    }

    fn windows_of_a_pass(recording: Recording, speed: &str, length_ms: u32) -> Vec<ObservedWindow> {
        let mut builder = builder(&recording, length_ms);
        let mut windows = Vec::new();
        for message in PassPlayback::new(&recording, 1, at(START), speed.parse().unwrap()).unwrap() {
            windows.extend(builder.observe(&message.unwrap()).unwrap());
        }
        windows.extend(builder.close_before(at("2031-01-01T00:00:00Z")));
        windows
    }

    /// Sums a file's trades from its text, by digits, without any of the types that windows are made with.
    fn sum_by_hand(file: &str) -> (usize, i128, i128, i128, i128) {
        let path = format!("{}/data/{file}.ndjson.gz", env!("CARGO_MANIFEST_DIR"));
        let lines = BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines();
        let digits = |text: &str, field: &str| -> i128 {
            let rest = &text[text.find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4..];
            let number = &rest[..rest.find('"').unwrap()];
            assert_eq!(number.len() - number.find('.').unwrap(), 9, "eight digits after the point");
            number.replace('.', "").parse().unwrap()
        };
        let (mut count, mut volume, mut quote_volume, mut high, mut low) = (0, 0, 0, 0, i128::MAX);
        for line in lines.map(Result::unwrap).filter(|line| line.contains("\"e\":\"trade\"")) {
            let (price, quantity) = (digits(&line, "p"), digits(&line, "q"));
            count += 1;
            volume += quantity;
            quote_volume += price * quantity;
            high = high.max(price);
            low = low.min(price);
        }
        assert_eq!(quote_volume % 10i128.pow(8), 0);
        (count, volume, quote_volume / 10i128.pow(8), high, low)
    }

    #[rstest]
    #[case(BTC_USDT, "1", 1_000, 9_757)]
    #[case(ETH_USDT, "1", 1_000, 6_106)]
    #[case(BTC_USDT, "7.3", 250, 9_757)]
    #[case(ETH_USDT, "100", 60_000, 6_106)]
    fn over_a_pass_windows_sum_to_what_the_file_says(
        #[case] recording: Recording,
        #[case] speed: &str,
        #[case] length_ms: u32,
        #[case] trades: usize,
    ) {
        let windows = windows_of_a_pass(recording, speed, length_ms);
        let traded: Vec<&TradedWindow> = windows.iter().filter_map(|w| w.traded.as_ref()).collect();
        let units = |price: Price| price.to_decimal().units_at(8).unwrap();
        let sums = (
            traded.iter().map(|t| t.trade_count as usize).sum::<usize>(),
            traded.iter().map(|t| t.volume.units()).sum::<i128>(),
            traded.iter().map(|t| t.quote_volume.units()).sum::<i128>(),
            traded.iter().map(|t| units(t.high)).max().unwrap(),
            traded.iter().map(|t| units(t.low)).min().unwrap(),
        );
        assert_eq!(sums, sum_by_hand(recording.name));
        assert_eq!(sums.0, trades);
    }

    #[rstest]
    #[case(BTC_USDT)]
    #[case(ETH_USDT)]
    fn windows_start_on_whole_multiples_one_after_the_other(#[case] recording: Recording) {
        let windows = windows_of_a_pass(recording, "1", 1_000);
        assert!(windows.iter().all(|w| w.opened_at.timestamp_subsec_micros() == 0));
        assert!(windows.windows(2).all(|pair| pair[0].opened_at < pair[1].opened_at));
        assert!((300..=348).contains(&windows.len()), "{}", windows.len());
        assert!(windows.iter().all(|w| w.traded.as_ref().is_none_or(|t| {
            t.low <= t.open && t.low <= t.close && t.open <= t.high && t.close <= t.high
        })));
    }

    #[test]
    fn the_same_pass_gives_the_same_windows() {
        assert_eq!(windows_of_a_pass(BTC_USDT, "3", 500), windows_of_a_pass(BTC_USDT, "3", 500));
    }

    fn message(time: &str, data: MarketData) -> FeedMessage {
        FeedMessage { at: at(time), data: Arc::new(data) }
    }

    fn ticker(bid: &str) -> MarketData {
        let level = |price: &str| {
            Some(Level { price: price.parse().unwrap(), quantity: "1.00000000 BTC".parse().unwrap() })
        };
        MarketData::Ticker(BookTicker { update_id: 1, bid: level(bid), ask: level("12") })
    }

    fn trade(price: &str, quantity: &str) -> MarketData {
        MarketData::Trade(MarketTrade {
            trade_id: 1,
            price: price.parse().unwrap(),
            quantity: format!("{quantity} BTC").parse().unwrap(),
            taker_side: OrderSide::Buy,
        })
    }

    #[test]
    fn a_window_in_which_nothing_changed_is_not_told() {
        let mut builder = builder(&BTC_USDT, 1_000);
        builder.observe(&message("2030-01-01T00:00:00.1Z", ticker("10"))).unwrap();
        assert!(builder.observe(&message("2030-01-01T00:00:01.1Z", ticker("10"))).unwrap().is_some());
        assert!(builder.observe(&message("2030-01-01T00:00:02.1Z", ticker("10"))).unwrap().is_none());
        assert!(builder.observe(&message("2030-01-01T00:00:03.1Z", ticker("11"))).unwrap().is_none());
        let window = builder.close_before(at("2030-01-01T00:00:04Z")).unwrap();
        assert_eq!(window.opened_at, at("2030-01-01T00:00:03Z"));
        assert_eq!(window.bid.unwrap().price, "11".parse().unwrap());
        assert_eq!(window.traded, None);
    }

    #[test]
    fn a_message_that_comes_after_its_window_was_closed_counts_in_the_next() {
        let mut builder = builder(&BTC_USDT, 1_000);
        builder.observe(&message("2030-01-01T00:00:00.5Z", trade("10", "1"))).unwrap();
        assert!(builder.close_before(at("2030-01-01T00:00:01Z")).is_some());
        builder.observe(&message("2030-01-01T00:00:00.9Z", trade("11", "2"))).unwrap();
        let window = builder.close_before(at("2030-01-01T00:00:02Z")).unwrap();
        assert_eq!(window.opened_at, at("2030-01-01T00:00:01Z"));
        assert_eq!(window.traded.unwrap().volume.number(), "2.00000000");
    }

    #[test]
    fn a_builder_never_tells_a_window_that_may_have_been_told_before_it_started() {
        let started = at("2030-01-01T00:00:05.4Z");
        let mut builder = WindowBuilder::new(BTC_USDT.symbol(), "USDT".parse().unwrap(), 1_000, started);
        builder.observe(&message("2030-01-01T00:00:05.5Z", trade("10", "1"))).unwrap();
        assert!(builder.close_before(at("2030-01-01T00:00:06.5Z")).is_none());
        let window = builder.close_before(builder.ends_at()).unwrap();
        assert_eq!(window.opened_at, at("2030-01-01T00:00:06Z"));
        assert_eq!(window.traded.unwrap().trade_count, 1);
    }

    #[test]
    fn at_real_speed_a_pass_has_a_window_nearly_every_second() {
        assert_eq!(Speed::REAL, "1".parse().unwrap());
        assert!(windows_of_a_pass(BTC_USDT, "1", DEFAULT_LENGTH_MS).len() > 300);
    }
}
