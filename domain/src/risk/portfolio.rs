//! The second stage: what the portfolio, its cash and its limits allow.

use std::collections::BTreeMap;

use crate::account::{Account, AccountStatus};
use crate::amount::Money;
use crate::asset::Asset;
use crate::order::{OrderSide, OrderTicket, Requirements};
use crate::portfolio::{MAX_OPEN_ORDERS, OpenedPortfolio, Portfolio};
use crate::price::Price;
use crate::refusal::{Code, Refusal};
use crate::risk::{Sheet, Verdict};
use crate::rounding::Rounding;

/// What the portfolio, its cash and its limits say to an order that has passed the instrument stage.
///
/// `prices` are in the portfolio's currency. A position is valued at its price, rounded up; one without a price at hand at
/// its cost. An order is worth its notional at its worst price; a sale at the market's price where that is higher.
/// `required` comes from [`OrderTicket::requirements`].
///
/// In this order: `ACCOUNT_FROZEN` or `ACCOUNT_CLOSED`, `MAX_OPEN_ORDERS`, `MAX_ORDER_NOTIONAL`, for a buy
/// `MAX_POSITION_NOTIONAL` (the position with its open buys and this one), `MAX_EXPOSURE` (all positions with all open
/// buys and this one) and `INSUFFICIENT_FUNDS`, for a sale `INSUFFICIENT_POSITION`.
///
/// # Errors
/// [`Code::PortfolioNotFound`], [`Code::AccountNotFound`], [`Code::AmountOutOfRange`], which refuse the command.
pub fn portfolio_stage(
    portfolio: &Portfolio,
    account: &Account,
    prices: &BTreeMap<Asset, Price>,
    ticket: &OrderTicket,
    required: &Requirements,
) -> Result<Verdict, Refusal> {
    let (portfolio, account) = (portfolio.opened()?, account.opened()?);
    let limits = &portfolio.limits;
    let mut sheet = Sheet::default();
    match account.status {
        AccountStatus::Open => {}
        AccountStatus::Frozen => return Ok(sheet.reject(Code::AccountFrozen, "the cash account is frozen")),
        AccountStatus::Closed => return Ok(sheet.reject(Code::AccountClosed, "the cash account is closed")),
    }

    let open_orders = portfolio.open_order_count();
    sheet.note("openOrders", open_orders);
    let limit = limits.max_open_orders.and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.map_or(MAX_OPEN_ORDERS, |limit| limit.min(MAX_OPEN_ORDERS));
    sheet.note("maxOpenOrders", limit);
    if open_orders >= limit {
        let message = format!("{open_orders} orders are open of {limit} allowed");
        return Ok(sheet.reject(Code::MaxOpenOrders, message));
    }

    let notional = order_value(prices, ticket, required)?;
    sheet.note("orderNotional", notional);
    if let Some(limit) = limits.max_order_notional {
        sheet.note("maxOrderNotional", limit);
        if limit.is_less_than(notional)? {
            return Ok(sheet.reject(
                Code::MaxOrderNotional,
                format!("the order is worth {notional}, over the limit of {limit}"),
            ));
        }
    }

    let values = Values { portfolio, prices };
    if let (OrderSide::Buy, Some(limit)) = (ticket.side, limits.max_position_notional) {
        let after = values.of_asset(ticket.base)?.plus(notional)?;
        sheet.note("positionNotional", after);
        sheet.note("maxPositionNotional", limit);
        if limit.is_less_than(after)? {
            let message =
                format!("the position in {} would be worth {after}, over the limit of {limit}", ticket.base);
            return Ok(sheet.reject(Code::MaxPositionNotional, message));
        }
    }
    if let (OrderSide::Buy, Some(limit)) = (ticket.side, limits.max_exposure) {
        let after = values.of_everything()?.plus(notional)?;
        sheet.note("exposure", after);
        sheet.note("maxExposure", limit);
        if limit.is_less_than(after)? {
            let message =
                format!("positions and open buys would be worth {after}, over the limit of {limit}");
            return Ok(sheet.reject(Code::MaxExposure, message));
        }
    }

    if let Some(cash) = required.cash {
        let available = account.available()?;
        sheet.note("requiredCash", cash);
        sheet.note("availableCash", available);
        if available.is_less_than(cash)? {
            return Ok(
                sheet.reject(Code::InsufficientFunds, format!("{cash} is needed, {available} is available"))
            );
        }
    }
    if let Some(quantity) = required.quantity {
        let free = portfolio.free(ticket.base);
        sheet.note("requiredQuantity", quantity);
        sheet.note("freeQuantity", free);
        if free.is_less_than(quantity)? {
            return Ok(
                sheet.reject(Code::InsufficientPosition, format!("{quantity} is needed, {free} is free"))
            );
        }
    }
    Ok(sheet.pass())
}

fn order_value(
    prices: &BTreeMap<Asset, Price>,
    ticket: &OrderTicket,
    required: &Requirements,
) -> Result<Money, Refusal> {
    match (ticket.side, ticket.quantity, prices.get(&ticket.base)) {
        (OrderSide::Sell, Some(quantity), Some(price)) => {
            let at_market = price.notional(quantity, ticket.quote, Rounding::Up)?;
            Ok(if at_market.is_less_than(required.notional)? { required.notional } else { at_market })
        }
        _ => Ok(required.notional),
    }
}

/// What positions and open buy orders are worth.
struct Values<'a> {
    portfolio: &'a OpenedPortfolio,
    prices: &'a BTreeMap<Asset, Price>,
}

impl Values<'_> {
    fn of_position(&self, asset: Asset) -> Result<Money, Refusal> {
        let currency = self.portfolio.currency;
        match (self.portfolio.position(asset), self.prices.get(&asset)) {
            (Some(position), Some(price)) => price.notional(position.quantity, currency, Rounding::Up),
            (Some(position), None) => Ok(position.cost),
            (None, _) => Ok(Money::zero(currency)),
        }
    }

    fn of_asset(&self, asset: Asset) -> Result<Money, Refusal> {
        self.of_position(asset)?.plus(self.portfolio.committed_on(asset))
    }

    fn of_everything(&self) -> Result<Money, Refusal> {
        let open_buys = self.portfolio.committed_total();
        self.portfolio.positions.keys().try_fold(open_buys, |sum, asset| sum.plus(self.of_position(*asset)?))
    }
}
