//! Portfolios: whose they are, what pays for them, and their limits.

use std::sync::Arc;

use domain::ids::{AccountId, PortfolioId};
use domain::portfolio::PortfolioEvent;
use domain::{AnyEvent, Asset, Money};

use crate::changes::Changed;
use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// A portfolio, with limits in smallest units of its currency.
    PortfolioRow in "portfolios"
    key { portfolio_id: PortfolioId }
    owner: String,
    name: String,
    cash_account_id: AccountId,
    currency: Asset,
    max_order_notional: Option<i128>,
    max_position_notional: Option<i128>,
    max_exposure: Option<i128>,
    max_open_orders: Option<i64>,
    sequence: u64,
}

row_set!(PortfolioRows { portfolios: PortfolioRow });

/// The projection.
pub(crate) struct Portfolios;

impl Projection for Portfolios {
    const NAME: &'static str = "portfolios";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = PortfolioRows;

    fn touches(command: &Command, rows: &mut PortfolioRows) {
        for fact in &command.facts {
            if let AnyEvent::Portfolio(_) = &fact.event {
                rows.portfolios.want((PortfolioId::new(Arc::clone(&fact.stream)),));
            }
        }
    }

    fn fold(command: &Command, rows: &mut PortfolioRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            let AnyEvent::Portfolio(event) = &fact.event else { continue };
            if let PortfolioEvent::PortfolioOpened { portfolio_id, owner, name, cash_account_id, currency } =
                event
            {
                rows.portfolios.put(PortfolioRow {
                    portfolio_id: portfolio_id.clone(),
                    owner: owner.clone(),
                    name: name.clone(),
                    cash_account_id: cash_account_id.clone(),
                    currency: *currency,
                    max_order_notional: None,
                    max_position_notional: None,
                    max_exposure: None,
                    max_open_orders: None,
                    sequence: fact.sequence,
                });
                continue;
            }
            let portfolio = rows.portfolios.change(&(PortfolioId::new(Arc::clone(&fact.stream)),))?;
            portfolio.sequence = fact.sequence;
            if let PortfolioEvent::RiskLimitsSet {
                max_order_notional,
                max_position_notional,
                max_exposure,
                max_open_orders,
            } = event
            {
                let units = |limit: &Option<Money>| limit.as_ref().map(Money::units);
                portfolio.max_order_notional = units(max_order_notional);
                portfolio.max_position_notional = units(max_position_notional);
                portfolio.max_exposure = units(max_exposure);
                portfolio.max_open_orders = max_open_orders.map(i64::from);
            }
        }
        Ok(())
    }

    fn announce(rows: &PortfolioRows, changed: &mut Vec<Changed>) {
        changed.extend(rows.portfolios.changed_keys().map(|(id,)| Changed::Portfolio(id.clone())));
    }
}
