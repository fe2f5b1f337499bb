//! An account as its events have made it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::account::{AccountCommand, AccountEvent};
use crate::amount::Money;
use crate::decider::Decider;
use crate::ids::{AccountId, HoldId, OrderId};
use crate::refusal::{Code, Refusal};

/// What an account is for. The kind carries no rule yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccountKind {
    /// Everyday money.
    Current,
    /// Savings.
    Savings,
    /// A line of credit.
    Credit,
    /// Cash of a portfolio.
    Brokerage,
}

/// Whether movements are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccountStatus {
    /// They are.
    Open,
    /// Not until it is unfrozen.
    Frozen,
    /// Never again.
    Closed,
}

/// An open hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// What it still holds.
    pub remaining: Money,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// The order it pays for.
    pub order_id: Option<OrderId>,
}

/// An account; `None` inside before it was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    opened: Option<Opened>,
}

/// What is known of an account since it was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// Its id.
    pub account_id: AccountId,
    /// Whose it is.
    pub owner: String,
    /// What it is for.
    pub kind: AccountKind,
    /// Whether movements are allowed.
    pub status: AccountStatus,
    /// Posted: every credit minus every debit.
    pub balance: Money,
    /// The sum of what open holds still hold.
    pub held: Money,
    /// How far below zero the balance may go.
    pub overdraft_limit: Money,
    /// Open holds.
    pub holds: BTreeMap<HoldId, Hold>,
    /// How many holds there ever were: the next one's number is one more.
    pub hold_count: u64,
    /// How many movements it began: the next one's number is one more.
    pub movement_count: u64,
}

impl Account {
    /// The account, if it was opened.
    ///
    /// # Errors
    /// [`Code::AccountNotFound`].
    pub fn opened(&self) -> Result<&Opened, Refusal> {
        self.opened.as_ref().ok_or_else(|| Refusal::new(Code::AccountNotFound, "there is no such account"))
    }
}

impl Opened {
    /// `balance - held + overdraft_limit`: what can be spent, never below zero.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`] cannot happen while the invariants hold.
    pub fn available(&self) -> Result<Money, Refusal> {
        self.balance.minus(self.held)?.plus(self.overdraft_limit)
    }
}

impl Decider for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;

    fn decide(&self, _command: &AccountCommand, _now: Timestamp) -> Result<Vec<AccountEvent>, Refusal> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _event: &AccountEvent) {}
}
