//! An asset comes into a portfolio from the world.

use domain::AnyEvent;
use domain::portfolio::{Portfolio, PortfolioCommand, PortfolioEvent};

use crate::request::{Answer, AssetMovement};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_portfolio};

pub(super) fn run(command: &AssetMovement, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_portfolio(unit, &command.portfolio_id).at("portfolioId")?;
    let movement_id = unit
        .execute::<Portfolio>(
            command.portfolio_id.as_str(),
            &PortfolioCommand::DepositAsset {
                asset: command.asset,
                quantity: command.quantity,
                unit_cost: command.unit_cost,
                reference: command.reference.clone(),
            },
        )
        .number_at("quantity")?
        .iter()
        .find_map(|decided| match &decided.event {
            AnyEvent::Portfolio(PortfolioEvent::AssetDeposited { movement_id, .. }) => {
                Some(movement_id.clone())
            }
            _ => None,
        });
    Ok(Answer { portfolio_id: Some(command.portfolio_id.clone()), movement_id, ..Answer::default() })
}
