//! Limit what a portfolio may risk.

use domain::portfolio::{Portfolio, PortfolioCommand};

use crate::request::{Answer, SetRiskLimits};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_portfolio};

pub(super) fn run(command: &SetRiskLimits, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_portfolio(unit, &command.portfolio_id).at("portfolioId")?;
    unit.execute::<Portfolio>(
        command.portfolio_id.as_str(),
        &PortfolioCommand::SetRiskLimits {
            max_order_notional: command.max_order_notional,
            max_position_notional: command.max_position_notional,
            max_exposure: command.max_exposure,
            max_open_orders: command.max_open_orders,
        },
    )?;
    Ok(Answer { portfolio_id: Some(command.portfolio_id.clone()), ..Answer::default() })
}
