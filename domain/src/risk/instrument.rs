//! The first stage: what the instrument and its market allow.

use crate::market::{MarketStatus, Registered, Venue};
use crate::order::{OrderTicket, OrderType};
use crate::price::Price;
use crate::quote::Quote;
use crate::refusal::{Code, Refusal};
use crate::risk::{Sheet, Verdict, market_order_bound};
use crate::rounding::Rounding;

/// The prices an order is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MarketPrices {
    /// What limit prices are measured by.
    pub reference: Option<Price>,
    /// The best price the order can meet.
    pub opposite: Option<Price>,
}

impl MarketPrices {
    /// The prices of a market for one ticket: an internal market's from its own trades and book, a paper market's from what
    /// was observed.
    pub fn of(market: &Registered, quote: &Quote, ticket: &OrderTicket) -> Self {
        match market.instrument.venue {
            Venue::Internal => {
                Self { reference: market.reference_price(), opposite: market.book.best_opposite(ticket.side) }
            }
            Venue::Paper => {
                Self { reference: quote.reference_price(), opposite: quote.best_opposite(ticket.side) }
            }
        }
    }

    /// The worst price of a MARKET order; `None` for an order with a limit price, or when there is no price at all.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn bound(&self, market: &Registered, ticket: &OrderTicket) -> Result<Option<Price>, Refusal> {
        match (ticket.order_type, self.opposite.or(self.reference)) {
            (OrderType::Market, Some(best)) => {
                market_order_bound(ticket.side, best, market.instrument.tick_size).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// What the instrument and its market say to an order that has passed the filters.
///
/// In this order: `MARKET_HALTED`; for a MARKET order `NO_REFERENCE_PRICE` when the market has no price, then
/// `MIN_NOTIONAL` for a quantity at that price and `LOT_SIZE` for a quote quantity that comes to less than the least or more
/// than the greatest quantity at that price; for the others `PRICE_BAND` around the reference price (no reference, no band),
/// and on an internal market `WOULD_TAKE` for a LIMIT_MAKER that would trade at once. A paper venue sees the newest book
/// and judges LIMIT_MAKER itself.
///
/// # Errors
/// [`Code::AmountOutOfRange`], which refuses the command.
pub fn instrument_stage(
    market: &Registered,
    prices: &MarketPrices,
    ticket: &OrderTicket,
) -> Result<Verdict, Refusal> {
    let mut sheet = Sheet::default();
    sheet.note("status", if market.status == MarketStatus::Trading { "TRADING" } else { "HALTED" });
    if let Some(reference) = prices.reference {
        sheet.note("referencePrice", reference);
    }
    if let Some(opposite) = prices.opposite {
        sheet.note("bestOppositePrice", opposite);
    }
    if market.status == MarketStatus::Halted {
        return Ok(sheet.reject(Code::MarketHalted, "the market is halted"));
    }
    match ticket.limit_price {
        Some(limit) => limited(sheet, market, prices, ticket, limit),
        None => at_market(sheet, market, prices, ticket),
    }
}

fn at_market(
    mut sheet: Sheet,
    market: &Registered,
    prices: &MarketPrices,
    ticket: &OrderTicket,
) -> Result<Verdict, Refusal> {
    let instrument = &market.instrument;
    let Some(best) = prices.opposite.or(prices.reference) else {
        return Ok(sheet.reject(Code::NoReferencePrice, "the market has no price yet; place a LIMIT order"));
    };
    if let Some(bound) = prices.bound(market, ticket)? {
        sheet.note("priceBound", bound);
    }
    if let Some(quantity) = ticket.quantity {
        let notional = best.notional(quantity, instrument.quote, Rounding::Down)?;
        sheet.note("notional", notional);
        sheet.note("minNotional", instrument.min_notional);
        if notional.is_less_than(instrument.min_notional)? {
            let message = format!(
                "at {best} the order comes to {notional}, less than the minimum of {}",
                instrument.min_notional
            );
            return Ok(sheet.reject(Code::MinNotional, message));
        }
    }
    if let Some(budget) = ticket.quote_quantity {
        let quantity = best.affordable(budget, instrument.lot_size)?;
        sheet.note("quantity", quantity);
        let bounds = instrument.min_quantity.units()..=instrument.max_quantity.units();
        if !bounds.contains(&quantity.units()) {
            let message = format!(
                "at {best} the quote quantity comes to {quantity}, which is not from {} to {}",
                instrument.min_quantity.number(),
                instrument.max_quantity
            );
            return Ok(sheet.reject(Code::LotSize, message));
        }
    }
    Ok(sheet.pass())
}

fn limited(
    mut sheet: Sheet,
    market: &Registered,
    prices: &MarketPrices,
    ticket: &OrderTicket,
    limit: Price,
) -> Result<Verdict, Refusal> {
    sheet.note("limitPrice", limit);
    if let (Some(band), Some(reference)) = (market.instrument.price_band, prices.reference) {
        let by = i64::from(band.units());
        let (lowest, highest) = (reference.moved_by(-by)?, reference.moved_by(by)?);
        sheet.note("lowestPrice", lowest);
        sheet.note("highestPrice", highest);
        if !(lowest..=highest).contains(&limit) {
            let message = format!("the limit price must lie from {lowest} to {highest} now");
            return Ok(sheet.reject(Code::PriceBand, message));
        }
    }
    let takes = market.instrument.venue == Venue::Internal && market.book.would_take(ticket.side, limit);
    if takes && ticket.order_type == OrderType::LimitMaker {
        return Ok(sheet.reject(Code::WouldTake, "the order would trade at once and may only be a maker"));
    }
    Ok(sheet.pass())
}
