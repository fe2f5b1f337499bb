//! The compressed form in which trades are kept: columns of differences, deflated.
//!
//! Version 1: the byte 1, then deflate over varints: how many trades; the digits after the point of prices and of quantities;
//! then column by column the time (µs), pass, trade id and price as zigzag differences to the trade before, the quantity as
//! it is, and the taker's side (1 a seller). Prices and quantities are whole numbers at their digits. A trade takes five to
//! eight bytes.

use std::io::{Read, Write};

use chrono::DateTime;
use domain::ids::Symbol;
use domain::order::OrderSide;
use domain::{Asset, Decimal, Price, Quantity};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::tick_archive::tick::Tick;

const VERSION: u8 = 1;
/// More trades than this are not put into one batch, nor believed to be in one.
pub const MAX_TRADES: usize = 65_536;

/// Bytes that are not a batch of trades, or trades that do not fit one.
#[derive(Debug, thiserror::Error)]
#[error("a batch of trades is damaged or does not fit its format: {0}")]
pub struct BatchError(String);

fn error(what: impl ToString) -> BatchError {
    BatchError(what.to_string())
}

/// The bytes of at most [`MAX_TRADES`] trades of one market.
///
/// # Errors
/// [`BatchError`] when a number does not fit.
pub fn encode(ticks: &[Tick]) -> Result<Vec<u8>, BatchError> {
    if ticks.len() > MAX_TRADES {
        return Err(error("too many trades"));
    }
    let price_digits = ticks.iter().map(|t| t.price.to_decimal().scale()).max().unwrap_or(0);
    let quantity_digits = ticks.iter().map(|t| t.quantity.to_decimal().scale()).max().unwrap_or(0);
    let mut bytes = Vec::with_capacity(ticks.len() * 12 + 16);
    for number in [ticks.len() as u64, u64::from(price_digits), u64::from(quantity_digits)] {
        put(&mut bytes, number);
    }
    let mut column = |value: &dyn Fn(&Tick) -> Result<i64, BatchError>| {
        let mut before = 0i64;
        for tick in ticks {
            let value = value(tick)?;
            put(&mut bytes, zigzag(value.wrapping_sub(before)));
            before = value;
        }
        Ok::<(), BatchError>(())
    };
    column(&|t| Ok(t.at.timestamp_micros()))?;
    column(&|t| i64::try_from(t.pass).map_err(error))?;
    column(&|t| i64::try_from(t.trade_id).map_err(error))?;
    column(&|t| units(t.price.to_decimal(), price_digits))?;
    for tick in ticks {
        put(&mut bytes, units(tick.quantity.to_decimal(), quantity_digits)?.unsigned_abs());
    }
    bytes.extend(ticks.iter().map(|t| u8::from(t.taker_side == OrderSide::Sell)));

    let mut deflate = DeflateEncoder::new(vec![VERSION], Compression::best());
    deflate.write_all(&bytes).map_err(error)?;
    deflate.finish().map_err(error)
}

/// The trades of a batch of `symbol`, whose base asset is `base`.
///
/// # Errors
/// [`BatchError`] when the bytes are not a batch.
pub fn decode(symbol: &Symbol, base: Asset, bytes: &[u8]) -> Result<Vec<Tick>, BatchError> {
    let Some((&VERSION, deflated)) = bytes.split_first() else { return Err(error("unknown version")) };
    let mut plain = Vec::new();
    // At most five numbers of ten bytes and a side a trade.
    let limit = MAX_TRADES as u64 * 51 + 64;
    DeflateDecoder::new(deflated).take(limit).read_to_end(&mut plain).map_err(error)?;
    let mut rest = plain.as_slice();
    let count = usize::try_from(take(&mut rest)?).map_err(error)?;
    let price_digits = u8::try_from(take(&mut rest)?).map_err(error)?;
    let quantity_digits = u8::try_from(take(&mut rest)?).map_err(error)?;
    if count > MAX_TRADES || price_digits > 18 || quantity_digits > 18 {
        return Err(error("out of range"));
    }
    let mut column = || {
        let mut value = 0i64;
        (0..count)
            .map(|_| {
                value = value.wrapping_add(unzigzag(take(&mut rest)?));
                Ok(value)
            })
            .collect::<Result<Vec<i64>, BatchError>>()
    };
    let (times, passes, trade_ids, prices) = (column()?, column()?, column()?, column()?);
    let quantities = (0..count).map(|_| take(&mut rest)).collect::<Result<Vec<u64>, BatchError>>()?;
    if rest.len() != count {
        return Err(error("wrong length"));
    }
    (0..count)
        .map(|i| {
            let quantity = Decimal::new(i128::from(quantities[i]), quantity_digits);
            Ok(Tick {
                symbol: symbol.clone(),
                at: DateTime::from_timestamp_micros(times[i]).ok_or_else(|| error("time out of range"))?,
                pass: passes[i].unsigned_abs(),
                trade_id: trade_ids[i].unsigned_abs(),
                price: Price::from_decimal(Decimal::new(i128::from(prices[i]), price_digits))
                    .map_err(error)?,
                quantity: Quantity::from_decimal(base, quantity).map_err(error)?,
                taker_side: if rest[i] == 1 { OrderSide::Sell } else { OrderSide::Buy },
            })
        })
        .collect()
}

fn units(number: Decimal, digits: u8) -> Result<i64, BatchError> {
    i64::try_from(number.units_at(digits).map_err(error)?).map_err(error)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(rest: &mut &[u8]) -> Result<u64, BatchError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, more)) = rest.split_first() else { return Err(error("cut short")) };
        *rest = more;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(error("a number is too long"))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::feed::recording::BTC_USDT;
    use crate::feed::{MarketData, PassPlayback, Speed};

    fn base() -> Asset {
        "BTC".parse().unwrap()
    }

    fn symbol() -> Symbol {
        Symbol::new("BTC-USDT")
    }

    fn ticks_of_a_pass() -> Vec<Tick> {
        PassPlayback::new(&BTC_USDT, 4, "2030-01-01T00:00:00Z".parse().unwrap(), Speed::REAL)
            .unwrap()
            .map(Result::unwrap)
            .filter_map(|message| match &*message.data {
                MarketData::Trade(trade) => Some(Tick {
                    symbol: symbol(),
                    at: message.at,
                    pass: 4,
                    trade_id: trade.trade_id,
                    price: trade.price,
                    quantity: trade.quantity,
                    taker_side: trade.taker_side,
                }),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn recorded_trades_come_back_as_they_were_in_a_few_bytes_each() {
        let ticks = ticks_of_a_pass();
        let mut size = 0;
        for batch in ticks.chunks(280) {
            let bytes = encode(batch).unwrap();
            size += bytes.len();
            assert_eq!(decode(&symbol(), base(), &bytes).unwrap(), batch);
        }
        assert!(size / ticks.len() < 8, "{size} bytes for {} trades", ticks.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
        #[test]
        fn any_trades_come_back_as_they_were(
            rows in prop::collection::vec(
                (0i64..4_000_000_000_000_000, 0u64..1_000, 0u64..u64::MAX / 4, 1i128..10i128.pow(15), 1i128..10i128.pow(15), any::<bool>()),
                0..40,
            ),
        ) {
            let ticks: Vec<Tick> = rows
                .into_iter()
                .map(|(at, pass, trade_id, price, quantity, sell)| Tick {
                    symbol: symbol(),
                    at: DateTime::from_timestamp_micros(at).unwrap(),
                    pass,
                    trade_id,
                    price: Price::from_decimal(Decimal::new(price, 6)).unwrap(),
                    quantity: Quantity::from_units(base(), quantity).unwrap(),
                    taker_side: if sell { OrderSide::Sell } else { OrderSide::Buy },
                })
                .collect();
            prop_assert_eq!(decode(&symbol(), base(), &encode(&ticks).unwrap()).unwrap(), ticks);
        }

        #[test]
        fn damaged_bytes_are_an_error_and_never_a_crash(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&ticks_of_a_pass()[..20]).unwrap());
            let mut damaged = WHOLE.clone();
            for (i, byte) in bytes.iter().enumerate() {
                let place = i * 7 % damaged.len();
                damaged[place] ^= byte;
            }
            let _ = decode(&symbol(), base(), &damaged);
            let _ = decode(&symbol(), base(), &bytes);
        }
    }
}
