//! What a feed says, and how Binance Spot writes it.
//!
//! Source of the shapes: Binance Spot API, "Diff. Depth Stream", "Individual Symbol Book Ticker Streams", "Trade Streams"
//! and the REST order book, wrapped as combined streams (`{"stream": …, "data": …}`).

use domain::order::OrderSide;
use domain::{Asset, Price, Quantity};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::feed::MarketData;

/// A price and the quantity there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Above zero.
    pub price: Price,
    /// In the base asset; zero in an update: the level is gone.
    pub quantity: Quantity,
}

/// The book as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookSnapshot {
    /// The last update that it contains.
    pub last_update_id: u64,
    /// Best first.
    pub bids: Vec<Level>,
    /// Best first.
    pub asks: Vec<Level>,
}

/// Levels that have changed, with their new quantities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DepthUpdate {
    /// The first update in it: one more than the last of the update before.
    pub first_update_id: u64,
    /// The last update in it.
    pub last_update_id: u64,
    /// Changed bids.
    pub bids: Vec<Level>,
    /// Changed asks.
    pub asks: Vec<Level>,
}

/// The best bid and ask after an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BookTicker {
    /// The update.
    pub update_id: u64,
    /// Best bid; none when there are no bids.
    pub bid: Option<Level>,
    /// Best ask; none when there are no asks.
    pub ask: Option<Level>,
}

/// A trade on the outside market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarketTrade {
    /// Unique within a pass, growing by one.
    pub trade_id: u64,
    /// Its price.
    pub price: Price,
    /// In the base asset.
    pub quantity: Quantity,
    /// Which side came to trade.
    pub taker_side: OrderSide,
}

/// How a market is written by the exchange.
#[derive(Clone, Debug)]
pub struct WireFormat {
    /// The exchange's symbol, for example `BTCUSDT`.
    pub symbol: String,
    /// What quantities are of.
    pub base: Asset,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<u64>,
    #[serde(borrow)]
    bids: Option<Vec<(&'a str, &'a str)>>,
    #[serde(borrow)]
    asks: Option<Vec<(&'a str, &'a str)>>,
}

#[derive(Deserialize)]
struct WireDepth<'a> {
    s: &'a str,
    #[serde(rename = "U")]
    first: u64,
    #[serde(rename = "u")]
    last: u64,
    #[serde(borrow)]
    b: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    a: Vec<(&'a str, &'a str)>,
}

#[derive(Deserialize)]
struct WireTicker<'a> {
    s: &'a str,
    u: u64,
    b: &'a str,
    #[serde(rename = "B")]
    bid_quantity: &'a str,
    a: &'a str,
    #[serde(rename = "A")]
    ask_quantity: &'a str,
}

#[derive(Deserialize)]
struct WireTrade<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    /// Whether the buyer was the maker.
    m: bool,
}

impl WireFormat {
    /// The message that a line of JSON says.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(&self, json: &str) -> Result<MarketData, String> {
        let envelope: Envelope<'_> = from_json(json)?;
        if let (Some(stream), Some(data)) = (envelope.stream, envelope.data) {
            return self.parse_stream(stream, data.get());
        }
        match (envelope.last_update_id, envelope.bids, envelope.asks) {
            (Some(last_update_id), Some(bids), Some(asks)) => Ok(MarketData::Snapshot(BookSnapshot {
                last_update_id,
                bids: self.levels(&bids)?,
                asks: self.levels(&asks)?,
            })),
            _ => Err("neither a stream message nor a snapshot of the book".to_owned()),
        }
    }

    fn parse_stream(&self, stream: &str, data: &str) -> Result<MarketData, String> {
        let Some((_, channel)) = stream.split_once('@') else {
            return Err(format!("the stream {stream:?} names no channel"));
        };
        match channel {
            "depth@100ms" | "depth" => {
                let depth: WireDepth<'_> = from_json(data)?;
                self.check_symbol(depth.s)?;
                if depth.first > depth.last {
                    return Err(format!("the update {} ends before it begins ({})", depth.first, depth.last));
                }
                Ok(MarketData::Depth(DepthUpdate {
                    first_update_id: depth.first,
                    last_update_id: depth.last,
                    bids: self.levels(&depth.b)?,
                    asks: self.levels(&depth.a)?,
                }))
            }
            "bookTicker" => {
                let ticker: WireTicker<'_> = from_json(data)?;
                self.check_symbol(ticker.s)?;
                Ok(MarketData::Ticker(BookTicker {
                    update_id: ticker.u,
                    bid: self.best(ticker.b, ticker.bid_quantity)?,
                    ask: self.best(ticker.a, ticker.ask_quantity)?,
                }))
            }
            "trade" => {
                let trade: WireTrade<'_> = from_json(data)?;
                self.check_symbol(trade.s)?;
                let level = self.level(trade.p, trade.q)?;
                if !level.quantity.is_positive() {
                    return Err("a trade must have a quantity above zero".to_owned());
                }
                Ok(MarketData::Trade(MarketTrade {
                    trade_id: trade.t,
                    price: level.price,
                    quantity: level.quantity,
                    taker_side: if trade.m { OrderSide::Sell } else { OrderSide::Buy },
                }))
            }
            other => Err(format!("the channel {other:?} is not known")),
        }
    }

    fn check_symbol(&self, symbol: &str) -> Result<(), String> {
        if symbol == self.symbol {
            return Ok(());
        }
        Err(format!("the message is about {symbol:?}, not {:?}", self.symbol))
    }

    fn levels(&self, pairs: &[(&str, &str)]) -> Result<Vec<Level>, String> {
        pairs.iter().map(|(price, quantity)| self.level(price, quantity)).collect()
    }

    fn level(&self, price: &str, quantity: &str) -> Result<Level, String> {
        let number = quantity.parse().map_err(|refusal| format!("quantity {quantity:?}: {refusal}"))?;
        let quantity = Quantity::from_decimal(self.base, number)
            .map_err(|refusal| format!("quantity {quantity:?}: {refusal}"))?;
        if quantity.is_negative() {
            return Err(format!("the quantity {quantity} is negative"));
        }
        let price = price.parse().map_err(|refusal| format!("price {price:?}: {refusal}"))?;
        Ok(Level { price, quantity })
    }

    /// An empty side is written as a quantity of zero.
    fn best(&self, price: &str, quantity: &str) -> Result<Option<Level>, String> {
        if quantity.bytes().all(|b| matches!(b, b'0' | b'.')) {
            return Ok(None);
        }
        self.level(price, quantity).map(Some)
    }
}

fn from_json<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn format() -> WireFormat {
        WireFormat { symbol: "BTCUSDT".to_owned(), base: "BTC".parse().unwrap() }
    }

    #[test]
    fn a_trade_whose_buyer_was_the_maker_was_taken_by_a_seller() {
        let json = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000","T":1,"m":true,"M":true}}"#;
        let MarketData::Trade(trade) = format().parse(json).unwrap() else { panic!("not a trade") };
        assert_eq!(trade.taker_side, OrderSide::Sell);
        assert_eq!(
            (trade.price.to_string(), trade.quantity.to_string()),
            ("61837.63".into(), "0.02000000 BTC".into())
        );
    }

    #[test]
    fn an_empty_side_of_a_book_ticker_has_no_best_level() {
        let json = r#"{"stream":"btcusdt@bookTicker","data":{"u":9,"s":"BTCUSDT","b":"0.00000000","B":"0.00000000","a":"1.00","A":"2.0"}}"#;
        let MarketData::Ticker(ticker) = format().parse(json).unwrap() else { panic!("not a ticker") };
        assert_eq!(ticker.bid, None);
        assert!(ticker.ask.is_some());
    }

    #[rstest]
    #[case::cut_short(r#"{"stream":"btcusdt@trade","data":{"e""#, "EOF")]
    #[case::nothing_known("{}", "neither a stream message nor a snapshot")]
    #[case::unknown_channel(r#"{"stream":"btcusdt@kline","data":{}}"#, "channel \"kline\"")]
    #[case::other_symbol(
        r#"{"stream":"btcusdt@trade","data":{"s":"ETHUSDT","t":1,"p":"1","q":"1","m":true}}"#,
        "not \"BTCUSDT\""
    )]
    #[case::number_instead_of_text(
        r#"{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":1.5,"q":"1","m":true}}"#,
        "invalid type"
    )]
    #[case::price_of_zero(
        r#"{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"0","q":"1","m":true}}"#,
        "price \"0\""
    )]
    #[case::negative_quantity(
        r#"{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"1","q":"-1","m":true}}"#,
        "negative"
    )]
    #[case::too_many_digits(
        r#"{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"1","q":"0.000000001","m":true}}"#,
        "TOO_MANY_DECIMALS"
    )]
    #[case::backward_update(
        r#"{"stream":"btcusdt@depth@100ms","data":{"s":"BTCUSDT","U":5,"u":4,"b":[],"a":[]}}"#,
        "ends before it begins"
    )]
    fn what_is_malformed_is_refused_with_its_reason(#[case] json: &str, #[case] reason: &str) {
        let error = format().parse(json).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
