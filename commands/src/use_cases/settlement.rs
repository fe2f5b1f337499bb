//! What several scripts share about money: the second leg of a payment, and whose hold it is.

use domain::account::{Account, AccountCommand};
use domain::ids::{AccountId, HoldId};

use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account};

/// The second leg of a transfer or capture: the money arrives.
pub(super) fn receive(unit: &mut Unit<'_>, to: &AccountId, receipt: &AccountCommand) -> Result<(), Halt> {
    unit.execute::<Account>(to.as_str(), receipt).at("to").map(drop)
}

/// The hold's account exists and the principal acts for its owner.
pub(super) fn authorise_hold(unit: &Unit<'_>, hold_id: &HoldId) -> Result<(), Halt> {
    authorise_account(unit, &hold_id.account()).at("holdId")
}
