//! An account as its events have made it.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::account::{AccountCommand, AccountEvent, decide};
use crate::amount::Money;
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::{AccountId, HoldId, MovementId, OrderId};
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
    /// Whose it is. Shared, because every change begins with a copy of the account.
    pub owner: Arc<str>,
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
    /// Open holds, of users and of orders.
    pub holds: OrdMap<HoldId, Hold>,
    /// How many of them are of orders.
    pub order_hold_count: usize,
    /// Those of the open holds that end by themselves, the next one first.
    pub expiries: OrdSet<(Timestamp, HoldId)>,
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
    /// What the account is kept in.
    pub fn currency(&self) -> Asset {
        self.balance.asset()
    }

    /// `balance - held + overdraft_limit`: what can be spent, never below zero.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`] cannot happen while the invariants hold.
    pub fn available(&self) -> Result<Money, Refusal> {
        self.balance.minus(self.held)?.plus(self.overdraft_limit)
    }

    /// The holds whose time has come at `now`, the longest due first.
    pub fn due_holds(&self, now: Timestamp) -> impl Iterator<Item = (&HoldId, &Hold)> {
        self.expiries
            .iter()
            .take_while(move |(expires_at, _)| *expires_at <= now)
            .filter_map(|(_, hold_id)| self.holds.get(hold_id).map(|hold| (hold_id, hold)))
    }

    /// How many open holds are of users, not of orders.
    pub fn user_hold_count(&self) -> usize {
        self.holds.len().saturating_sub(self.order_hold_count)
    }

    /// Whether the account ever had this hold, open or not.
    pub fn had_hold(&self, hold_id: &HoldId) -> bool {
        hold_id.number().is_some_and(|n| {
            (1..=self.hold_count).contains(&n) && HoldId::nth(&self.account_id, n) == *hold_id
        })
    }

    /// The id of the next movement that this account begins.
    pub fn next_movement(&self) -> MovementId {
        MovementId::nth(self.account_id.as_str(), self.movement_count.saturating_add(1))
    }

    /// The id of the next hold.
    pub fn next_hold(&self) -> HoldId {
        HoldId::nth(&self.account_id, self.hold_count.saturating_add(1))
    }

    fn credit(&mut self, amount: Money) {
        self.balance.accumulate(amount);
    }

    fn debit(&mut self, amount: Money) {
        self.balance.accumulate(amount.negated());
    }

    fn place(&mut self, hold_id: &HoldId, hold: Hold) {
        self.hold_count += 1;
        self.held.accumulate(hold.remaining);
        self.order_hold_count += usize::from(hold.order_id.is_some());
        if let Some(expires_at) = hold.expires_at {
            self.expiries.insert((expires_at, hold_id.clone()));
        }
        self.holds.insert(hold_id.clone(), hold);
    }

    /// What the hold still holds is `remaining` from now on; nothing ends it.
    fn keep(&mut self, hold_id: &HoldId, remaining: Money) {
        if !remaining.is_positive() {
            return self.end(hold_id);
        }
        if let Some(hold) = self.holds.get_mut(hold_id) {
            self.held.accumulate(hold.remaining.negated());
            self.held.accumulate(remaining);
            hold.remaining = remaining;
        }
    }

    fn end(&mut self, hold_id: &HoldId) {
        let Some(hold) = self.holds.remove(hold_id) else { return };
        self.held.accumulate(hold.remaining.negated());
        self.order_hold_count = self.order_hold_count.saturating_sub(usize::from(hold.order_id.is_some()));
        if let Some(expires_at) = hold.expires_at {
            self.expiries.remove(&(expires_at, hold_id.clone()));
        }
    }

    fn apply(&mut self, event: &AccountEvent) {
        use AccountEvent as E;
        match event {
            E::AccountOpened { .. } => {}
            E::FundsDeposited { amount, .. } => {
                self.movement_count += 1;
                self.credit(*amount);
            }
            E::FundsWithdrawn { amount, .. } | E::TransferSent { amount, .. } => {
                self.movement_count += 1;
                self.debit(*amount);
            }
            E::TransferReceived { amount, .. } => self.credit(*amount),
            E::HoldPlaced { hold_id, amount, expires_at, order_id, .. } => {
                let hold = Hold { remaining: *amount, expires_at: *expires_at, order_id: order_id.clone() };
                self.place(hold_id, hold);
            }
            E::HoldCaptured { hold_id, amount, .. } => {
                self.movement_count += 1;
                self.end(hold_id);
                self.debit(*amount);
            }
            E::HoldReleased { hold_id, .. } | E::HoldExpired { hold_id, .. } => self.end(hold_id),
            E::PurchaseSettled { hold_id, notional, fee, hold_remaining, .. } => {
                self.keep(hold_id, *hold_remaining);
                self.debit(*notional);
                self.debit(*fee);
            }
            E::SaleSettled { notional, fee, .. } => {
                self.credit(*notional);
                self.debit(*fee);
            }
            E::OverdraftLimitSet { limit, .. } => self.overdraft_limit = *limit,
            E::AccountFrozen { .. } => self.status = AccountStatus::Frozen,
            E::AccountUnfrozen { .. } => self.status = AccountStatus::Open,
            E::AccountClosed { .. } => self.status = AccountStatus::Closed,
        }
    }
}

impl Decider for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;

    fn decide(&self, command: &AccountCommand, now: Timestamp) -> Result<Vec<AccountEvent>, Refusal> {
        decide::decide(self, command, now)
    }

    fn apply(&mut self, event: &AccountEvent) {
        match (&mut self.opened, event) {
            (
                nothing @ None,
                AccountEvent::AccountOpened { account_id, owner, currency, kind, overdraft_limit },
            ) => {
                *nothing = Some(Opened {
                    account_id: account_id.clone(),
                    owner: owner.as_str().into(),
                    kind: *kind,
                    status: AccountStatus::Open,
                    balance: Money::zero(*currency),
                    held: Money::zero(*currency),
                    overdraft_limit: *overdraft_limit,
                    holds: OrdMap::new(),
                    order_hold_count: 0,
                    expiries: OrdSet::new(),
                    hold_count: 0,
                    movement_count: 0,
                });
            }
            (Some(opened), event) => opened.apply(event),
            // Nothing happens to an account before it is opened.
            (None, _) => {}
        }
    }
}
