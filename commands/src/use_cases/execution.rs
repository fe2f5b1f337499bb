//! What happens to cash and position when an order trades or ends: always in the same unit of work as the order itself.

use domain::account::{Account, AccountCommand};
use domain::ids::{OrderId, Party};
use domain::order::{Evidence, Liquidity, Order, OrderCommand, OrderEvent, OrderSide};
use domain::portfolio::{Portfolio, PortfolioCommand};
use domain::{AnyEvent, Code, Price, Quantity, Refusal};

use crate::unit::{Halt, Unit};

/// A fill on its way to an order and to both sides of its books.
pub(super) struct Fill {
    /// The trade.
    pub trade_id: domain::ids::TradeId,
    /// The trade's price.
    pub price: Price,
    /// How much traded.
    pub quantity: Quantity,
    /// Whether this order rested.
    pub liquidity: Liquidity,
    /// What a paper fill rests on.
    pub evidence: Option<Evidence>,
    /// Who is on the other side of the cash.
    pub cash_counterparty: Party,
    /// Who is on the other side of the asset.
    pub asset_counterparty: Party,
}

/// Fills the order, moves cash and asset, and frees what it no longer needs.
pub(super) fn settle(unit: &mut Unit<'_>, order_id: &OrderId, fill: Fill) -> Result<(), Halt> {
    let decided = unit.execute::<Order>(
        order_id.as_str(),
        &OrderCommand::Fill {
            trade_id: fill.trade_id.clone(),
            price: fill.price,
            quantity: fill.quantity,
            liquidity: fill.liquidity,
            evidence: fill.evidence,
        },
    )?;
    let Some(&AnyEvent::Order(OrderEvent::OrderFilled { notional, fee, .. })) =
        decided.first().map(|first| &first.event)
    else {
        return Err(defect("a fill decided no OrderFilled"));
    };
    let order = unit.read::<Order>(order_id.as_str())?;
    let order = order.placed()?;
    let ticket = &order.ticket;
    match ticket.side {
        OrderSide::Buy => {
            let hold_id = order.accepted.as_ref().and_then(|accepted| accepted.hold_id.clone());
            unit.execute::<Account>(
                ticket.account_id.as_str(),
                &AccountCommand::SettlePurchase {
                    trade_id: fill.trade_id.clone(),
                    order_id: order_id.clone(),
                    hold_id: hold_id.ok_or_else(|| defect("a buy order has no hold"))?,
                    counterparty: fill.cash_counterparty,
                    notional,
                    fee,
                    hold_remaining: order.cash_required()?,
                },
            )?;
            unit.execute::<Portfolio>(
                ticket.portfolio_id.as_str(),
                &PortfolioCommand::Increase {
                    trade_id: fill.trade_id,
                    order_id: order_id.clone(),
                    from: fill.asset_counterparty,
                    quantity: fill.quantity,
                    cost: notional.plus(fee)?,
                    committed: order.committed_notional()?,
                },
            )?;
        }
        OrderSide::Sell => {
            unit.execute::<Account>(
                ticket.account_id.as_str(),
                &AccountCommand::SettleSale {
                    trade_id: fill.trade_id.clone(),
                    order_id: order_id.clone(),
                    counterparty: fill.cash_counterparty,
                    notional,
                    fee,
                },
            )?;
            unit.execute::<Portfolio>(
                ticket.portfolio_id.as_str(),
                &PortfolioCommand::Reduce {
                    trade_id: fill.trade_id,
                    order_id: order_id.clone(),
                    to: fill.asset_counterparty,
                    quantity: fill.quantity,
                    proceeds: notional.minus(fee)?,
                },
            )?;
        }
    }
    if order.is_open() { Ok(()) } else { release(unit, order_id) }
}

/// Ends the order before it is filled, and frees all it has set aside.
pub(super) fn end(unit: &mut Unit<'_>, order_id: &OrderId, ending: &OrderCommand) -> Result<(), Halt> {
    unit.execute::<Order>(order_id.as_str(), ending)?;
    release(unit, order_id)
}

/// Frees what an ended order still has set aside; nothing if it has nothing.
fn release(unit: &mut Unit<'_>, order_id: &OrderId) -> Result<(), Halt> {
    let order = unit.read::<Order>(order_id.as_str())?;
    let order = order.placed()?;
    if let Some(hold_id) = order.accepted.as_ref().and_then(|accepted| accepted.hold_id.clone()) {
        unit.execute::<Account>(
            order.ticket.account_id.as_str(),
            &AccountCommand::ReleaseOrderHold { hold_id },
        )?;
    }
    unit.execute::<Portfolio>(
        order.ticket.portfolio_id.as_str(),
        &PortfolioCommand::ReleaseOrder { order_id: order_id.clone() },
    )?;
    Ok(())
}

pub(super) fn defect(message: &str) -> Halt {
    Halt::Refused(Refusal::new(Code::Internal, message))
}
