//! The trial balance and the state of the projections.

use async_graphql::SimpleObject;
use projections::read;

use crate::graphql::scalars::{BigInt, Decimal, LogPosition};

/// What one asset comes to over all parties, each column from its own read model.
#[derive(SimpleObject)]
pub struct TrialBalanceLine {
    /// The asset.
    asset: String,
    /// Sum of the balances of all accounts.
    accounts: Decimal,
    /// Sum of all positions.
    positions: Decimal,
    /// Sum of the balances of the parties outside: world, fees, rounding and the venues.
    outside: Decimal,
    /// Sum of all debits.
    debits: Decimal,
    /// Sum of all credits.
    credits: Decimal,
    /// What does not cancel out; always zero.
    difference: Decimal,
}

impl From<read::TrialBalanceLine> for TrialBalanceLine {
    fn from(row: read::TrialBalanceLine) -> Self {
        let at_scale = |number| match domain::Quantity::from_decimal(row.asset, number) {
            Ok(amount) => amount.into(),
            Err(_) => Decimal::from(number),
        };
        Self {
            asset: row.asset.to_string(),
            accounts: at_scale(row.accounts),
            positions: at_scale(row.positions),
            outside: at_scale(row.outside),
            debits: at_scale(row.debits),
            credits: at_scale(row.credits),
            difference: at_scale(row.difference),
        }
    }
}

/// How far a projection is.
#[derive(SimpleObject)]
pub struct ProjectionStatus {
    /// Its name.
    name: String,
    /// The version of its tables and fold.
    version: i32,
    /// Its checkpoint.
    log_position: LogPosition,
    /// Events between its checkpoint and the end of the log.
    lag: BigInt,
    /// LIVE, BUILDING or STOPPED.
    state: String,
}

impl From<read::ProjectionStatus> for ProjectionStatus {
    fn from(row: read::ProjectionStatus) -> Self {
        Self {
            name: row.name,
            version: i32::try_from(row.version).unwrap_or(i32::MAX),
            log_position: row.log_position.into(),
            lag: row.lag.into(),
            state: row.state.to_string(),
        }
    }
}
