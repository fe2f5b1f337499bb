//! What a market demands of its own definition and of every order's fields.

use crate::amount::Quantity;
use crate::ids::Symbol;
use crate::market::state::{Instrument, Registered};
use crate::order::{OrderTicket, OrderType};
use crate::price::Price;
use crate::refusal::{Code, Refusal};
use crate::rounding::Rounding;

impl Instrument {
    /// Checks that the definition makes sense and that every notional it allows is exact: the smallest step of a price
    /// times the smallest step of a quantity must be a whole number of the quote asset's smallest units.
    ///
    /// # Errors
    /// [`Code::InvalidSymbol`], [`Code::UnknownAsset`], [`Code::AmountNotPositive`], [`Code::CurrencyMismatch`],
    /// [`Code::LotSize`], [`Code::MalformedInput`], [`Code::TickAndLotTooFine`].
    pub fn check(&self) -> Result<(), Refusal> {
        if self.base == self.quote || self.symbol != Symbol::new(format!("{}-{}", self.base, self.quote)) {
            return Err(Refusal::new(
                Code::InvalidSymbol,
                "a symbol is BASE-QUOTE with the market's two different assets, such as BTC-USDT",
            )
            .at("symbol"));
        }
        if self.base.is_fiat() {
            let message = format!("{} is a currency and cannot be the base of a market", self.base);
            return Err(Refusal::new(Code::UnknownAsset, message).at("base"));
        }
        if !self.quote.is_cash() {
            let message = format!("no account can be kept in {}, so nothing can be paid in it", self.quote);
            return Err(Refusal::new(Code::UnknownAsset, message).at("quote"));
        }
        let quantities = [
            (self.lot_size, "lotSize"),
            (self.min_quantity, "minQuantity"),
            (self.max_quantity, "maxQuantity"),
        ];
        for (quantity, field) in quantities {
            if quantity.asset() != self.base {
                let message = format!("a quantity must be in {}", self.base);
                return Err(Refusal::new(Code::CurrencyMismatch, message).at(field));
            }
            if !quantity.is_positive() {
                return Err(
                    Refusal::new(Code::AmountNotPositive, "the quantity must be above zero").at(field)
                );
            }
            if quantity.units() % self.lot_size.units() != 0 {
                return Err(
                    Refusal::new(Code::LotSize, "the quantity must be a multiple of the lot").at(field)
                );
            }
        }
        if self.max_quantity.units() < self.min_quantity.units() {
            return Err(Refusal::new(Code::LotSize, "the maximum is below the minimum").at("maxQuantity"));
        }
        if self.tick_size == Price::ZERO {
            return Err(Refusal::new(Code::AmountNotPositive, "the tick must be above zero").at("tickSize"));
        }
        if self.min_notional.asset() != self.quote {
            let message = format!("the minimum notional must be in {}", self.quote);
            return Err(Refusal::new(Code::CurrencyMismatch, message).at("minNotional"));
        }
        if self.min_notional.is_negative() {
            let message = "the minimum notional must be zero or more";
            return Err(Refusal::new(Code::AmountNotPositive, message).at("minNotional"));
        }
        let step = self.tick_size.notional(self.lot_size, self.quote, Rounding::Exact);
        step.map(|_| ()).map_err(|refusal| match refusal.code {
            Code::TickAndLotTooFine => Refusal::new(
                Code::TickAndLotTooFine,
                format!(
                    "tick {} times lot {} has more than the {} digits that {} has; make one of them coarser",
                    self.tick_size,
                    self.lot_size.number(),
                    self.quote.scale(),
                    self.quote
                ),
            )
            .at("tickSize"),
            _ => refusal.at("tickSize"),
        })
    }

    /// Checks a price against the tick.
    ///
    /// # Errors
    /// [`Code::TickSize`].
    pub fn check_price(&self, price: Price) -> Result<(), Refusal> {
        if price.is_multiple_of(self.tick_size) {
            return Ok(());
        }
        Err(Refusal::new(Code::TickSize, format!("the price must be a multiple of {}", self.tick_size))
            .at("limitPrice"))
    }

    /// Checks a quantity against lot, minimum and maximum.
    ///
    /// # Errors
    /// [`Code::AmountNotPositive`], [`Code::LotSize`].
    pub fn check_quantity(&self, quantity: Quantity) -> Result<(), Refusal> {
        if !quantity.is_positive() {
            return Err(
                Refusal::new(Code::AmountNotPositive, "the quantity must be above zero").at("quantity")
            );
        }
        let lots = quantity.units() % self.lot_size.units() == 0;
        let bounds = self.min_quantity.units()..=self.max_quantity.units();
        if lots && bounds.contains(&quantity.units()) {
            return Ok(());
        }
        let message = format!(
            "the quantity must be a multiple of {} from {} to {}",
            self.lot_size.number(),
            self.min_quantity.number(),
            self.max_quantity
        );
        Err(Refusal::new(Code::LotSize, message).at("quantity"))
    }
}

impl Registered {
    /// Checks that an order's fields go together and keep to the market's filters. What depends on the market's price is
    /// judged by the instrument stage of risk.
    ///
    /// # Errors
    /// [`Code::InvalidOrder`], [`Code::TickSize`], [`Code::LotSize`], [`Code::MinNotional`],
    /// [`Code::AmountNotPositive`], [`Code::AmountOutOfRange`].
    pub fn check_filters(&self, ticket: &OrderTicket) -> Result<(), Refusal> {
        let instrument = &self.instrument;
        check_fields(ticket)?;
        let is_of_market = ticket.symbol == instrument.symbol
            && ticket.base == instrument.base
            && ticket.quote == instrument.quote
            && ticket.venue == instrument.venue
            && ticket.lot_size == instrument.lot_size;
        if !is_of_market {
            return Err(Refusal::new(Code::InvalidOrder, "the order was written for another market"));
        }
        if let Some(price) = ticket.limit_price {
            instrument.check_price(price)?;
        }
        if let Some(quantity) = ticket.quantity {
            instrument.check_quantity(quantity)?;
        }
        let (notional, field) = match (ticket.quantity, ticket.limit_price, ticket.quote_quantity) {
            (Some(quantity), Some(price), _) => {
                (price.notional(quantity, instrument.quote, Rounding::Exact)?, "quantity")
            }
            (None, _, Some(budget)) => (budget, "quoteQuantity"),
            // A MARKET order by quantity has no price yet.
            _ => return Ok(()),
        };
        if notional.is_less_than(instrument.min_notional)? {
            let message = format!("the order's notional must be at least {}", instrument.min_notional);
            return Err(Refusal::new(Code::MinNotional, message).at(field));
        }
        Ok(())
    }
}

fn check_fields(ticket: &OrderTicket) -> Result<(), Refusal> {
    let wrong = |field: &str, message: &str| Err(Refusal::new(Code::InvalidOrder, message).at(field));
    let time_in_force = ticket.order_type.time_in_force(ticket.time_in_force);
    match ticket.order_type {
        OrderType::Limit | OrderType::LimitMaker => {
            if ticket.quote_quantity.is_some() {
                return wrong("quoteQuantity", "only a MARKET order may give a quote quantity");
            }
            if ticket.quantity.is_none() {
                return wrong("quantity", "a LIMIT or LIMIT_MAKER order needs a quantity");
            }
            if ticket.limit_price.is_none() {
                return wrong("limitPrice", "a LIMIT or LIMIT_MAKER order needs a limit price");
            }
        }
        OrderType::Market => {
            if ticket.limit_price.is_some() {
                return wrong("limitPrice", "a MARKET order has no limit price");
            }
            if ticket.quantity.is_some() == ticket.quote_quantity.is_some() {
                return wrong("quantity", "a MARKET order needs either a quantity or a quote quantity");
            }
        }
    }
    if ticket.time_in_force != time_in_force {
        return wrong("timeInForce", "a MARKET order is IOC and a LIMIT_MAKER order GTC");
    }
    if ticket.quantity.is_some_and(|quantity| quantity.asset() != ticket.base) {
        return wrong("quantity", "the quantity is in the market's base asset");
    }
    if let Some(budget) = ticket.quote_quantity {
        if budget.asset() != ticket.quote {
            return wrong("quoteQuantity", "the quote quantity is in the market's quote asset");
        }
        if !budget.is_positive() {
            let message = "the quote quantity must be above zero";
            return Err(Refusal::new(Code::AmountNotPositive, message).at("quoteQuantity"));
        }
    }
    Ok(())
}
