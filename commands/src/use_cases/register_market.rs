//! Open a market.

use domain::market::{Instrument, Market, MarketCommand};
use domain::{Money, Price, Quantity, Rate, Refusal};

use crate::request::{Answer, RegisterMarket};
use crate::unit::{Halt, Unit};

pub(super) fn run(command: &RegisterMarket, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let instrument = instrument(command)?;
    unit.execute::<Market>(command.symbol.as_str(), &MarketCommand::Register { instrument })?;
    Ok(Answer { symbol: Some(command.symbol.clone()), ..Answer::default() })
}

/// Gives the numbers their assets; whether they go together is the market's to decide.
fn instrument(command: &RegisterMarket) -> Result<Instrument, Refusal> {
    let (base, quote) = (command.base, command.quote);
    Ok(Instrument {
        symbol: command.symbol.clone(),
        base,
        quote,
        venue: command.venue,
        tick_size: Price::from_decimal(command.tick_size).map_err(|r| r.at("tickSize"))?,
        lot_size: Quantity::positive(base, command.lot_size).map_err(|r| r.at("lotSize"))?,
        min_quantity: Quantity::positive(base, command.min_quantity).map_err(|r| r.at("minQuantity"))?,
        max_quantity: Quantity::positive(base, command.max_quantity).map_err(|r| r.at("maxQuantity"))?,
        min_notional: Money::from_decimal(quote, command.min_notional).map_err(|r| r.at("minNotional"))?,
        maker_fee: Rate::from_basis_points(command.maker_fee_bps).map_err(|r| r.at("makerFeeBps"))?,
        taker_fee: Rate::from_basis_points(command.taker_fee_bps).map_err(|r| r.at("takerFeeBps"))?,
        price_band: command.price_band.map(Rate::from_fraction).transpose().map_err(|r| r.at("priceBand"))?,
    })
}
