//! Who may call which operation: one line for every field of Query, Mutation and Subscription.
//!
//! What an operation may touch is a second question, asked where it is decided: a command's script compares owners, a
//! query hands a trader what its owner owns. A test fails when the schema has an operation that is not here.

use commands::{Principal, Role};
use domain::Code;

use crate::errors::ApiError;

/// The three kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A read.
    Query,
    /// A command.
    Mutation,
    /// A stream of changes.
    Subscription,
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Its kind.
    pub operation: Operation,
    /// The name of the field.
    pub field: &'static str,
    /// The roles that may.
    pub roles: &'static [Role],
}

const EVERYBODY: &[Role] =
    &[Role::Trader, Role::Operator, Role::Risk, Role::Compliance, Role::Auditor, Role::Admin];
const READS_ALL: &[Role] = &[Role::Operator, Role::Risk, Role::Compliance, Role::Auditor, Role::Admin];
const TRADER: &[Role] = &[Role::Trader, Role::Admin];
const OPERATOR: &[Role] = &[Role::Operator, Role::Admin];
const RISK: &[Role] = &[Role::Risk, Role::Admin];
const COMPLIANCE: &[Role] = &[Role::Compliance, Role::Admin];
const OPERATOR_OR_COMPLIANCE: &[Role] = &[Role::Operator, Role::Compliance, Role::Admin];

/// The roles that may read the metrics.
pub const METRICS: &[Role] = &[Role::Operator, Role::Auditor, Role::Admin];

const fn query(field: &'static str, roles: &'static [Role]) -> Right {
    Right { operation: Operation::Query, field, roles }
}

const fn mutation(field: &'static str, roles: &'static [Role]) -> Right {
    Right { operation: Operation::Mutation, field, roles }
}

const fn subscription(field: &'static str, roles: &'static [Role]) -> Right {
    Right { operation: Operation::Subscription, field, roles }
}

/// Every operation there is.
pub const RIGHTS: &[Right] = &[
    query("head", EVERYBODY),
    query("logId", EVERYBODY),
    query("account", EVERYBODY),
    query("accounts", EVERYBODY),
    query("statement", EVERYBODY),
    query("loan", EVERYBODY),
    query("transfer", EVERYBODY),
    query("portfolio", EVERYBODY),
    query("portfolios", EVERYBODY),
    query("order", EVERYBODY),
    query("orders", EVERYBODY),
    query("market", EVERYBODY),
    query("markets", EVERYBODY),
    query("trialBalance", READS_ALL),
    query("events", READS_ALL),
    query("projections", READS_ALL),
    mutation("openAccount", TRADER),
    mutation("deposit", OPERATOR),
    mutation("withdraw", OPERATOR),
    mutation("transfer", TRADER),
    mutation("transfers", TRADER),
    mutation("placeHold", TRADER),
    mutation("captureHold", TRADER),
    mutation("releaseHold", TRADER),
    mutation("freezeAccount", COMPLIANCE),
    mutation("unfreezeAccount", COMPLIANCE),
    mutation("closeAccount", TRADER),
    mutation("setOverdraftLimit", RISK),
    mutation("reverse", OPERATOR_OR_COMPLIANCE),
    mutation("applyForCredit", TRADER),
    mutation("decideCredit", RISK),
    mutation("disburseLoan", RISK),
    mutation("repayLoan", TRADER),
    mutation("openPortfolio", TRADER),
    mutation("depositAsset", OPERATOR),
    mutation("withdrawAsset", OPERATOR),
    mutation("setRiskLimits", RISK),
    mutation("placeOrder", TRADER),
    mutation("cancelOrder", TRADER),
    mutation("amendOrder", TRADER),
    mutation("placeOco", TRADER),
    mutation("pauseTrading", RISK),
    mutation("resumeTrading", RISK),
    mutation("registerMarket", OPERATOR),
    mutation("haltMarket", OPERATOR),
    mutation("resumeMarket", OPERATOR),
    subscription("events", READS_ALL),
    subscription("account", EVERYBODY),
    subscription("orders", EVERYBODY),
    subscription("portfolio", EVERYBODY),
    subscription("ticker", EVERYBODY),
    subscription("trades", EVERYBODY),
];

/// Whether the principal may call the operation at all.
///
/// # Errors
/// [`Code::Forbidden`], also for an operation that is not in [`RIGHTS`].
pub fn authorise(principal: &Principal, operation: Operation, field: &str) -> Result<(), ApiError> {
    let right = RIGHTS.iter().find(|right| right.operation == operation && right.field == field);
    if right.is_some_and(|right| right.roles.contains(&principal.role)) {
        return Ok(());
    }
    let role = principal.role.as_str();
    Err(ApiError::new(
        Code::Forbidden,
        format!("the role {role} may not call {field}; use a key of a role that may"),
    ))
}

/// Whether the principal may see what belongs to `owner`.
///
/// # Errors
/// [`Code::Forbidden`] if it is another owner's and the role sees its own only.
pub fn authorise_owner(principal: &Principal, owner: &str) -> Result<(), ApiError> {
    if principal.acts_for(owner) {
        return Ok(());
    }
    Err(ApiError::new(Code::Forbidden, "this belongs to another owner; use a key of that owner"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_operation_has_one_line() {
        let mut seen = HashSet::new();
        for right in RIGHTS {
            assert!(seen.insert((right.operation, right.field)), "{} is there twice", right.field);
        }
    }

    #[test]
    fn an_operation_that_is_not_listed_is_nobodys() {
        let admin = Principal { name: "a".into(), role: Role::Admin, owner: None };
        assert!(authorise(&admin, Operation::Query, "head").is_ok());
        assert_eq!(authorise(&admin, Operation::Query, "keys").unwrap_err().code(), Code::Forbidden);
    }
}
