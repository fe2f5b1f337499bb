//! Transfers between accounts.

use async_graphql::{ID, SimpleObject};
use commands::Principal;
use projections::read;

use crate::graphql::context::personal;
use crate::graphql::scalars::{DateTime, Decimal, LogPosition};

/// A transfer between two accounts, of its own or out of a hold.
#[derive(SimpleObject)]
pub struct Transfer {
    /// Names the account that began it, too.
    id: ID,
    /// Pays.
    from: ID,
    /// Is paid.
    to: ID,
    /// How much.
    amount: Decimal,
    /// In which currency.
    currency: String,
    /// What it is for; masked for the role operator.
    reference: Option<String>,
    /// The reversal of it. Not yet working.
    reversed_by: Option<ID>,
    /// What it reverses. Not yet working.
    reverses: Option<ID>,
    /// When it counts.
    effective_at: DateTime,
    /// Where its first leg is in the log.
    log_position: LogPosition,
    /// When it was recorded.
    recorded_at: DateTime,
}

impl Transfer {
    /// The transfer as `principal` may see it.
    pub fn new(row: read::Transfer, principal: &Principal) -> Self {
        Self {
            id: ID::from(row.transfer_id.as_str()),
            from: ID::from(row.from.as_str()),
            to: ID::from(row.to.as_str()),
            currency: row.amount.asset().to_string(),
            amount: row.amount.into(),
            reference: row.reference.map(|text| personal(principal, &text)),
            reversed_by: None,
            reverses: None,
            effective_at: row.effective_at.into(),
            log_position: row.log_position.into(),
            recorded_at: row.recorded_at.into(),
        }
    }
}
