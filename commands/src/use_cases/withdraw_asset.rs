//! An asset goes out of a portfolio to the world.

use domain::AnyEvent;
use domain::portfolio::{Portfolio, PortfolioCommand, PortfolioEvent};
use domain::{Code, Refusal};

use crate::request::{Answer, AssetMovement};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_portfolio};

pub(super) fn run(command: &AssetMovement, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_portfolio(unit, &command.portfolio_id).at("portfolioId")?;
    if command.unit_cost.is_some() {
        let message = "a withdrawal goes out at average cost: leave unitCost out";
        return Err(Refusal::new(Code::MalformedInput, message).at("unitCost").into());
    }
    let movement_id = unit
        .execute::<Portfolio>(
            command.portfolio_id.as_str(),
            &PortfolioCommand::WithdrawAsset {
                asset: command.asset,
                quantity: command.quantity,
                reference: command.reference.clone(),
            },
        )
        .number_at("quantity")?
        .iter()
        .find_map(|decided| match &decided.event {
            AnyEvent::Portfolio(PortfolioEvent::AssetWithdrawn { movement_id, .. }) => {
                Some(movement_id.clone())
            }
            _ => None,
        });
    Ok(Answer { portfolio_id: Some(command.portfolio_id.clone()), movement_id, ..Answer::default() })
}
