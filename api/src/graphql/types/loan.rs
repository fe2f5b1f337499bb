//! Loans. Not yet working: the types stand, no answer has one.

use async_graphql::{ID, SimpleObject};

use crate::graphql::enums::{DayCount, LoanStatus};
use crate::graphql::scalars::{DateTime, Decimal, LogPosition};

/// A loan. Not yet working.
#[derive(SimpleObject)]
pub struct Loan {
    /// Its id.
    id: ID,
    /// Where it is paid out.
    account_id: ID,
    /// Where it is in its life.
    status: LoanStatus,
    /// How much was lent.
    amount: Decimal,
    /// Interest a year, as a fraction.
    annual_rate: Option<Decimal>,
    /// In how many monthly instalments it is paid back.
    term_months: i32,
    /// How days are counted.
    day_count: DayCount,
    /// What it is for.
    purpose: String,
    /// What is still owed of the amount.
    outstanding_principal: Decimal,
    /// Interest that has come up and is not paid.
    accrued_interest: Decimal,
    /// Fees that are not paid.
    fees: Decimal,
    /// The instalments.
    schedule: Vec<Instalment>,
    /// The log position that this answer was read at.
    log_position: LogPosition,
}

/// One payment of a loan's schedule.
#[derive(SimpleObject)]
pub struct Instalment {
    /// When it is due.
    due_at: DateTime,
    /// Of the amount.
    principal: Decimal,
    /// Of the interest.
    interest: Decimal,
    /// What was paid of it.
    paid: Decimal,
}
