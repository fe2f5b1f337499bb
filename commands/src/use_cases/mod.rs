//! The use cases, one file each: scripts over aggregates in a unit of work.
//!
//! A script reads aggregates, checks whose they are, and executes commands on them. It has no other effect, so the bus may
//! run it again after loading what it asked for. What several scripts share is in [`settlement`] and [`execution`].

mod cancel_order;
mod capture_hold;
mod close_account;
mod deposit;
mod deposit_asset;
mod execution;
mod expire_holds;
mod freeze_account;
mod halt_market;
mod observe_prices;
mod open_account;
mod open_portfolio;
mod place_hold;
mod place_order;
mod register_market;
mod release_hold;
mod report_execution;
mod resume_market;
mod set_overdraft_limit;
mod set_risk_limits;
mod settlement;
mod transfer;
mod unfreeze_account;
mod withdraw;
mod withdraw_asset;

use domain::Code;
use domain::account::Account;
use domain::ids::{AccountId, PortfolioId};
use domain::portfolio::Portfolio;

use crate::request::{Answer, Command};
use crate::unit::{Halt, Unit};

/// Runs the command's script. On `Err` the caller abandons the unit.
///
/// # Errors
/// [`Halt`], which says whether to load streams and run it again, or why it was refused.
pub fn run(command: &Command, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    match command {
        Command::OpenAccount(command) => open_account::run(command, unit),
        Command::Deposit(command) => deposit::run(command, unit),
        Command::Withdraw(command) => withdraw::run(command, unit),
        Command::Transfer(command) => transfer::run(command, unit),
        Command::PlaceHold(command) => place_hold::run(command, unit),
        Command::CaptureHold(command) => capture_hold::run(command, unit),
        Command::ReleaseHold(command) => release_hold::run(command, unit),
        Command::FreezeAccount(command) => freeze_account::run(command, unit),
        Command::UnfreezeAccount(command) => unfreeze_account::run(command, unit),
        Command::CloseAccount(command) => close_account::run(command, unit),
        Command::SetOverdraftLimit(command) => set_overdraft_limit::run(command, unit),
        Command::OpenPortfolio(command) => open_portfolio::run(command, unit),
        Command::DepositAsset(command) => deposit_asset::run(command, unit),
        Command::WithdrawAsset(command) => withdraw_asset::run(command, unit),
        Command::SetRiskLimits(command) => set_risk_limits::run(command, unit),
        Command::PlaceOrder(command) => place_order::run(command, unit),
        Command::CancelOrder(command) => cancel_order::run(command, unit),
        Command::RegisterMarket(command) => register_market::run(command, unit),
        Command::HaltMarket(command) => halt_market::run(command, unit),
        Command::ResumeMarket(command) => resume_market::run(command, unit),
        Command::ObservePrices(command) => observe_prices::run(command, unit),
        Command::ReportExecution(command) => report_execution::run(command, unit),
        Command::ExpireHolds(command) => expire_holds::run(command, unit),
    }
}

/// The account exists and the principal acts for its owner.
fn authorise_account(unit: &Unit<'_>, id: &AccountId) -> Result<(), Halt> {
    let account = unit.read::<Account>(id.as_str())?;
    unit.authorise_owner(&account.opened()?.owner)
}

/// The portfolio exists and the principal acts for its owner.
fn authorise_portfolio(unit: &Unit<'_>, id: &PortfolioId) -> Result<(), Halt> {
    let portfolio = unit.read::<Portfolio>(id.as_str())?;
    unit.authorise_owner(&portfolio.opened()?.owner)
}

/// Names the input field that a refusal is about.
trait Blame {
    /// The field that holds the number, if the refusal is about a number.
    fn number_at(self, field: &str) -> Self;
    /// The field, whatever the refusal is about.
    fn at(self, field: &str) -> Self;
}

impl<T> Blame for Result<T, Halt> {
    fn number_at(self, field: &str) -> Self {
        self.map_err(|halt| match halt {
            Halt::Refused(refusal)
                if refusal.field.is_none()
                    && matches!(
                        refusal.code,
                        Code::InvalidAmount
                            | Code::TooManyDecimals
                            | Code::AmountOutOfRange
                            | Code::AmountNotPositive
                            | Code::InsufficientFunds
                            | Code::InsufficientPosition
                    ) =>
            {
                Halt::Refused(refusal.at(field))
            }
            other => other,
        })
    }

    fn at(self, field: &str) -> Self {
        self.map_err(|halt| match halt {
            Halt::Refused(refusal) if refusal.field.is_none() => Halt::Refused(refusal.at(field)),
            other => other,
        })
    }
}
