//! Recordings of outside markets: the ones in this binary, and how one is read.
//!
//! A recording is gzip; a line is `<receive time, Unix ns> <raw JSON>`. It is decompressed and parsed while it plays, so
//! it costs no memory worth mentioning.

use std::io::{BufRead, BufReader};

use domain::Asset;
use domain::ids::Symbol;
use flate2::read::MultiGzDecoder;

use crate::feed::message::WireFormat;
use crate::feed::{FeedError, MarketData};

/// A recording of one market.
#[derive(Clone, Copy, Debug)]
pub struct Recording {
    /// Its name, for example `binance-spot/btcusdt-20240808`: the feed that evidence and windows name.
    pub name: &'static str,
    /// The base asset.
    pub base: &'static str,
    /// The quote asset.
    pub quote: &'static str,
    bytes: &'static [u8],
}

/// Five minutes and 46 seconds of BTC-USDT on Binance Spot, 2024-08-08.
pub const BTC_USDT: Recording = Recording::new(
    "binance-spot/btcusdt-20240808",
    "BTC",
    "USDT",
    include_bytes!("../../data/binance-spot/btcusdt-20240808.ndjson.gz"),
);

/// The same time of ETH-USDT.
pub const ETH_USDT: Recording = Recording::new(
    "binance-spot/ethusdt-20240808",
    "ETH",
    "USDT",
    include_bytes!("../../data/binance-spot/ethusdt-20240808.ndjson.gz"),
);

impl Recording {
    /// Every recording in this binary.
    pub const ALL: [Recording; 2] = [BTC_USDT, ETH_USDT];

    /// A recording of `base` against `quote`; `bytes` are gzip.
    pub const fn new(
        name: &'static str,
        base: &'static str,
        quote: &'static str,
        bytes: &'static [u8],
    ) -> Self {
        Self { name, base, quote, bytes }
    }

    /// Our name of the market.
    pub fn symbol(&self) -> Symbol {
        Symbol::new(format!("{}-{}", self.base, self.quote))
    }

    /// The assets, base first.
    ///
    /// # Errors
    /// [`FeedError::MalformedLine`] at line 0 when an asset's code is not one.
    pub fn assets(&self) -> Result<(Asset, Asset), FeedError> {
        let parse = |code: &str| {
            code.parse::<Asset>().map_err(|refusal| FeedError::MalformedLine {
                file: self.name,
                line: 0,
                reason: refusal.to_string(),
            })
        };
        Ok((parse(self.base)?, parse(self.quote)?))
    }

    /// Reads it from the start.
    ///
    /// # Errors
    /// As [`Recording::assets`].
    pub fn read(&self) -> Result<RecordingReader, FeedError> {
        let (base, _) = self.assets()?;
        Ok(RecordingReader {
            file: self.name,
            format: WireFormat { symbol: format!("{}{}", self.base, self.quote), base },
            lines: BufReader::new(MultiGzDecoder::new(self.bytes)),
            text: String::new(),
            line: 0,
        })
    }
}

/// A message and when it was received, in nanoseconds since 1970.
pub type Recorded = (i64, MarketData);

/// Yields a recording's messages in their order.
#[derive(Debug)]
pub struct RecordingReader {
    file: &'static str,
    format: WireFormat,
    lines: BufReader<MultiGzDecoder<&'static [u8]>>,
    text: String,
    line: u64,
}

impl RecordingReader {
    fn parse(&self) -> Result<Recorded, String> {
        let (received, json) = self
            .text
            .trim_end_matches(['\n', '\r'])
            .split_once(' ')
            .ok_or("expected a time in nanoseconds, a space and JSON")?;
        let received = received.parse().map_err(|_| format!("{received:?} is not a time in nanoseconds"))?;
        Ok((received, self.format.parse(json)?))
    }
}

impl Iterator for RecordingReader {
    type Item = Result<Recorded, FeedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.text.clear();
        match self.lines.read_line(&mut self.text) {
            Ok(0) => return None,
            Ok(_) => self.line += 1,
            Err(source) => {
                return Some(Err(FeedError::Unreadable { file: self.file, line: self.line, source }));
            }
        }
        Some(self.parse().map_err(|reason| FeedError::MalformedLine {
            file: self.file,
            line: self.line,
            reason,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rstest::rstest;

    use super::*;

    fn recording(text: &str) -> Recording {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        Recording::new("test/btcusdt", "BTC", "USDT", gzip.finish().unwrap().leak())
    }

    const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"s":"BTCUSDT","t":1,"p":"1","q":"1","m":true}}"#;

    #[rstest]
    #[case(BTC_USDT, 3_451, 28_040, 9_757)]
    #[case(ETH_USDT, 3_434, 24_077, 6_106)]
    fn a_recording_holds_what_its_description_says(
        #[case] recording: Recording,
        #[case] depths: usize,
        #[case] tickers: usize,
        #[case] trades: usize,
    ) {
        let mut counted = (0, 0, 0, 0);
        let mut received_before = 0;
        let mut trade_ids = Vec::new();
        for line in recording.read().unwrap() {
            let (received, data) = line.unwrap();
            assert!(received >= received_before, "received times go backward");
            received_before = received;
            match data {
                MarketData::Snapshot(_) => counted.0 += 1,
                MarketData::Depth(_) => counted.1 += 1,
                MarketData::Ticker(_) => counted.2 += 1,
                MarketData::Trade(trade) => {
                    counted.3 += 1;
                    trade_ids.push(trade.trade_id);
                }
                MarketData::PassStarted(_) => unreachable!("a file does not say this"),
            }
        }
        assert_eq!(counted, (1, depths, tickers, trades));
        assert!(trade_ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "trade ids have a gap");
    }

    #[test]
    fn a_malformed_line_is_named_with_its_file_and_number() {
        let lines = recording(&format!("5 {TRADE}\nsix {TRADE}\n"));
        let results: Vec<_> = lines.read().unwrap().collect();
        assert!(results[0].is_ok());
        let error = results[1].as_ref().unwrap_err().to_string();
        assert_eq!(error, "test/btcusdt line 2: \"six\" is not a time in nanoseconds");
    }

    #[test]
    fn a_recording_that_is_cut_off_is_an_error_and_not_an_end() {
        let whole = BTC_USDT.bytes;
        let cut = Recording::new("test/cut", "BTC", "USDT", &whole[..whole.len() / 2]);
        let error = cut.read().unwrap().find_map(Result::err).expect("an error").to_string();
        assert!(error.starts_with("test/cut"), "{error}");
    }
}
