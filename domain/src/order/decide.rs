//! The rules of one order.

use crate::amount::{Money, Quantity};
use crate::ids::TradeId;
use crate::market::Venue;
use crate::order::state::Placed;
use crate::order::{
    Evidence, Liquidity, Order, OrderCommand, OrderEvent, OrderSide, OrderStatus, OrderTicket, RiskStage,
};
use crate::price::Price;
use crate::refusal::{Code, Refusal};
use crate::rounding::Rounding;

pub(super) fn decide(order: &Order, command: &OrderCommand) -> Result<OrderEvent, Refusal> {
    match command {
        OrderCommand::Place { order_id, ticket } => {
            refuse_second(order, ticket)?;
            Ok(OrderEvent::OrderPlaced { order_id: order_id.clone(), ticket: ticket.clone() })
        }
        OrderCommand::PassRiskStage { stage, figures } => {
            order.placed()?.comes_to(*stage)?;
            Ok(OrderEvent::RiskStagePassed { stage: *stage, figures: figures.clone() })
        }
        OrderCommand::Reject { stage, code, message, figures } => {
            order.placed()?.comes_to(*stage)?;
            Ok(OrderEvent::OrderRejected {
                stage: *stage,
                code: *code,
                message: message.clone(),
                figures: figures.clone(),
            })
        }
        OrderCommand::Accept { .. } => accept(order.placed()?, command),
        OrderCommand::Fill { trade_id, price, quantity, liquidity, evidence } => {
            order.placed()?.fill(trade_id, *price, *quantity, *liquidity, evidence.clone())
        }
        OrderCommand::Cancel => {
            order.placed()?.must_be_open()?;
            Ok(OrderEvent::OrderCanceled {})
        }
        OrderCommand::Expire { code } => {
            order.placed()?.must_be_open()?;
            Ok(OrderEvent::OrderExpired { code: *code })
        }
    }
}

/// The id of an order with a client order id follows from portfolio and client order id, so a second one comes here.
fn refuse_second(order: &Order, ticket: &OrderTicket) -> Result<(), Refusal> {
    match (order.placed(), &ticket.client_order_id) {
        (Err(_), _) => Ok(()),
        (Ok(_), Some(id)) => Err(Refusal::new(
            Code::DuplicateClientOrderId,
            format!("another order of the portfolio has the client order id {id}; choose a new one"),
        )
        .at("clientOrderId")),
        (Ok(_), None) => Err(Refusal::new(Code::AlreadyExists, "there is an order with this id already")),
    }
}

fn accept(placed: &Placed, command: &OrderCommand) -> Result<OrderEvent, Refusal> {
    let OrderCommand::Accept { hold_id, held, reserved, price_bound, maker_fee, taker_fee } = command else {
        return Err(Refusal::new(Code::Internal, "not an acceptance"));
    };
    placed.must_be_pending()?;
    if placed.passed != Some(RiskStage::Portfolio) {
        return Err(Refusal::new(Code::Internal, "the order has not passed both risk stages"));
    }
    if placed.ticket.limit_price.is_some() == price_bound.is_some() {
        return Err(Refusal::new(Code::Internal, "an order has either a limit price or a price bound"));
    }
    let needs = placed.ticket.requirements(*price_bound, *maker_fee, *taker_fee)?;
    if *held != needs.cash || *reserved != needs.quantity || hold_id.is_some() != needs.cash.is_some() {
        return Err(Refusal::new(Code::Internal, "what was set aside is not what the order needs"));
    }
    Ok(OrderEvent::OrderAccepted {
        hold_id: hold_id.clone(),
        held: *held,
        reserved: *reserved,
        price_bound: *price_bound,
        maker_fee: *maker_fee,
        taker_fee: *taker_fee,
    })
}

impl Placed {
    fn must_be_open(&self) -> Result<(), Refusal> {
        if self.is_open() {
            return Ok(());
        }
        let what = match self.status {
            OrderStatus::Pending => "not accepted yet",
            OrderStatus::Filled => "filled",
            OrderStatus::Canceled => "canceled",
            OrderStatus::Rejected => "rejected",
            _ => "expired",
        };
        Err(Refusal::new(Code::OrderNotOpen, format!("the order is {what}")))
    }

    fn must_be_pending(&self) -> Result<(), Refusal> {
        match self.status {
            OrderStatus::Pending => Ok(()),
            _ => Err(Refusal::new(Code::OrderNotOpen, "the order is through the risk stages already")),
        }
    }

    /// Whether `stage` is the next one.
    fn comes_to(&self, stage: RiskStage) -> Result<(), Refusal> {
        self.must_be_pending()?;
        let next = match self.passed {
            None => Some(RiskStage::Instrument),
            Some(RiskStage::Instrument) => Some(RiskStage::Portfolio),
            Some(RiskStage::Portfolio) => None,
        };
        if next == Some(stage) {
            return Ok(());
        }
        Err(Refusal::new(Code::Internal, "the risk stages are instrument and portfolio, in this order"))
    }

    fn fill(
        &self,
        trade_id: &TradeId,
        price: Price,
        quantity: Quantity,
        liquidity: Liquidity,
        evidence: Option<Evidence>,
    ) -> Result<OrderEvent, Refusal> {
        self.refuse_known_trade(trade_id)?;
        self.must_be_open()?;
        let accepted = self.accepted.as_ref().ok_or_else(|| {
            // An open order was accepted; without terms there is nothing to compute a fee from.
            Refusal::new(Code::Internal, "the order has no terms")
        })?;
        if !quantity.is_positive() || self.fillable(price, quantity, liquidity)? != quantity {
            return Err(Refusal::new(
                Code::FillOutOfBounds,
                format!(
                    "{quantity} at {price} is worse than the order allows, more than remains, or not whole lots"
                ),
            ));
        }
        let quote = self.ticket.quote;
        let notional = price.notional(quantity, quote, Rounding::Exact)?;
        let rate = accepted.fee(liquidity);
        let filled_quantity = self.filled_quantity.plus(quantity)?;
        let fees = self.accrued.with(notional, rate)?.rounded_up(quote)?;
        let fee = fees.minus(self.fees)?;
        self.filled_notional.plus(notional)?;
        Ok(OrderEvent::OrderFilled {
            trade_id: trade_id.clone(),
            price,
            quantity,
            notional,
            fee,
            liquidity,
            filled_quantity,
            done: self.is_done_with(price, quantity, notional)?,
            evidence,
        })
    }

    /// Whether a fill ends the order: nothing of its quantity is left, or what is left of its quote quantity is too little
    /// for one more lot (of a buy at its worst price, of a sale at the price of the fill, which the next cannot exceed).
    fn is_done_with(&self, price: Price, quantity: Quantity, notional: Money) -> Result<bool, Refusal> {
        let is_last = self.remaining()?.is_some_and(|remaining| remaining == quantity);
        let (Some(budget), Some(accepted)) = (self.budget(), &self.accepted) else { return Ok(is_last) };
        let at = match self.ticket.side {
            OrderSide::Buy => self.worst_price().unwrap_or(price),
            OrderSide::Sell => price,
        };
        let left = budget.with(notional, accepted.taker_fee)?;
        Ok(is_last || left.affords(at, self.ticket.lot_size, accepted.taker_fee)?.is_zero())
    }

    /// Trades of one order are numbered in their order: its own fills `<order>.f<n>` from 1 on a paper market, the trades
    /// `<symbol>.<n>` of an internal market rising.
    fn refuse_known_trade(&self, trade_id: &TradeId) -> Result<(), Refusal> {
        let misnamed = |id: &str| {
            Refusal::new(Code::MalformedInput, format!("{id} is not the id of a trade of this order"))
        };
        match self.ticket.venue {
            Venue::Paper => {
                let number = number_after(trade_id, &format!("{}.f", self.order_id))
                    .ok_or_else(|| misnamed(trade_id.as_str()))?;
                if number <= self.fill_count {
                    return Err(Refusal::new(
                        Code::DuplicateFill,
                        format!("the fill {trade_id} was applied before"),
                    ));
                }
                if number > self.fill_count + 1 {
                    return Err(Refusal::new(
                        Code::FillOutOfBounds,
                        format!("the next fill of the order is number {}", self.fill_count + 1),
                    ));
                }
            }
            Venue::Internal => {
                let stem = format!("{}.", self.ticket.symbol);
                let number = number_after(trade_id, &stem).ok_or_else(|| misnamed(trade_id.as_str()))?;
                let last = self.last_trade.as_ref().and_then(|last| number_after(last, &stem));
                if last.is_some_and(|last| number <= last) {
                    return Err(Refusal::new(
                        Code::DuplicateFill,
                        format!("the trade {trade_id} was applied before"),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn number_after(trade_id: &TradeId, stem: &str) -> Option<u64> {
    trade_id.as_str().strip_prefix(stem)?.parse().ok()
}
