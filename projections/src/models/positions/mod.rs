//! Positions: what a portfolio holds of each asset, what that has cost and what sales have brought.

use std::sync::Arc;

use domain::ids::{OrderId, PortfolioId};
use domain::portfolio::PortfolioEvent;
use domain::{AnyEvent, Asset, Money, Quantity};

use crate::changes::Changed;
use crate::fold::{Command, Fact, FoldError, Projection, add, row, row_set};

row! {
    /// A holding of one asset. Quantities in its smallest unit, costs in the currency's.
    PositionRow in "positions"
    key { portfolio_id: PortfolioId, asset: Asset }
    currency: Asset,
    quantity: i128,
    reserved: i128,
    cost: i128,
    realized_pnl: i128,
}

row! {
    /// What an open sell order has set aside: a fill says only what is left.
    ReservationRow in "position_reservations"
    key { order_id: OrderId }
    reserved: i128,
}

row_set!(PositionRows { positions: PositionRow, reservations: ReservationRow });

/// The projection.
pub(crate) struct Positions;

impl Projection for Positions {
    const NAME: &'static str = "positions";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = "";
    type Rows = PositionRows;

    fn touches(command: &Command, rows: &mut PositionRows) {
        for fact in &command.facts {
            let AnyEvent::Portfolio(event) = &fact.event else { continue };
            let (asset, order_id) = match event {
                PortfolioEvent::AssetDeposited { quantity, .. }
                | PortfolioEvent::AssetWithdrawn { quantity, .. }
                | PortfolioEvent::PositionIncreased { quantity, .. } => (quantity.asset(), None),
                PortfolioEvent::QuantityReserved { order_id, quantity }
                | PortfolioEvent::ReservationReleased { order_id, quantity }
                | PortfolioEvent::PositionReduced { order_id, quantity, .. } => {
                    (quantity.asset(), Some(order_id))
                }
                _ => continue,
            };
            let portfolio_id = PortfolioId::new(Arc::clone(&fact.stream));
            rows.positions.want((portfolio_id, asset));
            if let Some(order_id) = order_id {
                rows.reservations.want((order_id.clone(),));
            }
        }
    }

    fn fold(command: &Command, rows: &mut PositionRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            if let AnyEvent::Portfolio(event) = &fact.event {
                apply(fact, event, rows)?;
            }
        }
        Ok(())
    }

    fn announce(rows: &PositionRows, changed: &mut Vec<Changed>) {
        changed.extend(rows.positions.changed_keys().map(|(id, _)| Changed::Portfolio(id.clone())));
    }
}

fn apply(fact: &Fact, event: &PortfolioEvent, rows: &mut PositionRows) -> Result<(), FoldError> {
    let portfolio_id = PortfolioId::new(Arc::clone(&fact.stream));
    match event {
        PortfolioEvent::AssetDeposited { quantity, cost, .. }
        | PortfolioEvent::PositionIncreased { quantity, cost, .. } => {
            let position = position(rows, portfolio_id, quantity, cost);
            add(&mut position.quantity, quantity.units())?;
            add(&mut position.cost, cost.units())?;
        }
        PortfolioEvent::AssetWithdrawn { quantity, cost_removed, .. } => {
            let position = rows.positions.change(&(portfolio_id, quantity.asset()))?;
            add(&mut position.quantity, -quantity.units())?;
            add(&mut position.cost, -cost_removed.units())?;
        }
        PortfolioEvent::PositionReduced {
            order_id, quantity, cost_removed, realized_pnl, reserved, ..
        } => {
            let key = (order_id.clone(),);
            let reservation = rows.reservations.change(&key)?;
            let freed = reservation.reserved - reserved.units();
            reservation.reserved = reserved.units();
            if reserved.is_zero() {
                rows.reservations.remove(&key);
            }
            let position = rows.positions.change(&(portfolio_id, quantity.asset()))?;
            add(&mut position.quantity, -quantity.units())?;
            add(&mut position.reserved, -freed)?;
            add(&mut position.cost, -cost_removed.units())?;
            add(&mut position.realized_pnl, realized_pnl.units())?;
        }
        PortfolioEvent::QuantityReserved { order_id, quantity } => {
            let position = rows.positions.change(&(portfolio_id, quantity.asset()))?;
            add(&mut position.reserved, quantity.units())?;
            rows.reservations.put(ReservationRow { order_id: order_id.clone(), reserved: quantity.units() });
        }
        PortfolioEvent::ReservationReleased { order_id, quantity } => {
            rows.reservations.remove(&(order_id.clone(),));
            let position = rows.positions.change(&(portfolio_id, quantity.asset()))?;
            add(&mut position.reserved, -quantity.units())?;
        }
        PortfolioEvent::PortfolioOpened { .. }
        | PortfolioEvent::RiskLimitsSet { .. }
        | PortfolioEvent::BuyCommitted { .. }
        | PortfolioEvent::CommitmentReleased { .. } => {}
    }
    Ok(())
}

/// The position, made when this is its first event.
fn position<'a>(
    rows: &'a mut PositionRows,
    portfolio_id: PortfolioId,
    quantity: &Quantity,
    cost: &Money,
) -> &'a mut PositionRow {
    let (asset, currency) = (quantity.asset(), cost.asset());
    rows.positions.change_or((portfolio_id.clone(), asset), || PositionRow {
        portfolio_id,
        asset,
        currency,
        quantity: 0,
        reserved: 0,
        cost: 0,
        realized_pnl: 0,
    })
}
