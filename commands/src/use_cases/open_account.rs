//! Open an account.

use domain::account::{Account, AccountCommand};
use domain::ids::AccountId;
use domain::{Code, Decimal, Refusal};

use crate::principal::Role;
use crate::request::{Answer, OpenAccount};
use crate::unit::{Halt, Unit};
use crate::use_cases::Blame;

pub(super) fn run(command: &OpenAccount, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    unit.authorise_owner(&command.owner)?;
    let may_overdraw = matches!(unit.principal().role, Role::Risk | Role::Admin);
    if command.overdraft_limit != Decimal::ZERO && !may_overdraw {
        return Err(Halt::Forbidden(Refusal::new(
            Code::Forbidden,
            "an overdraft limit is set by the roles risk and admin: open the account without one",
        )));
    }
    let id = unit.new_id();
    unit.create::<Account>(&id);
    let account_id = AccountId::new(id);
    unit.execute::<Account>(
        account_id.as_str(),
        &AccountCommand::Open {
            account_id: account_id.clone(),
            owner: command.owner.clone(),
            currency: command.currency,
            kind: command.kind,
            overdraft_limit: command.overdraft_limit,
        },
    )
    .number_at("overdraftLimit")?;
    Ok(Answer { account_id: Some(account_id), ..Answer::default() })
}
