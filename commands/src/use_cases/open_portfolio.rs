//! Open a portfolio on a cash account of the same owner.

use domain::account::{Account, AccountStatus};
use domain::ids::PortfolioId;
use domain::portfolio::{Portfolio, PortfolioCommand};
use domain::{Code, Refusal};

use crate::request::{Answer, OpenPortfolio};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account};

pub(super) fn run(command: &OpenPortfolio, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    unit.authorise_owner(&command.owner)?;
    authorise_account(unit, &command.cash_account_id).at("cashAccountId")?;
    let account = unit.read::<Account>(command.cash_account_id.as_str())?;
    let account = account.opened()?;
    if *account.owner != *command.owner {
        let message = "the cash account must belong to the portfolio's owner";
        return Err(Refusal::new(Code::OwnerMismatch, message).at("cashAccountId").into());
    }
    if account.status == AccountStatus::Closed {
        return Err(Refusal::new(Code::AccountClosed, "the cash account is closed")
            .at("cashAccountId")
            .into());
    }
    let id = unit.new_id();
    unit.create::<Portfolio>(&id);
    let portfolio_id = PortfolioId::new(id);
    unit.execute::<Portfolio>(
        portfolio_id.as_str(),
        &PortfolioCommand::Open {
            portfolio_id: portfolio_id.clone(),
            owner: command.owner.clone(),
            name: command.name.clone(),
            cash_account_id: command.cash_account_id.clone(),
            currency: account.balance.asset(),
        },
    )?;
    Ok(Answer { portfolio_id: Some(portfolio_id), ..Answer::default() })
}
