//! What can happen to an account.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::account::AccountKind;
use crate::amount::Money;
use crate::asset::Asset;
use crate::ids::{AccountId, HoldId, MovementId, OrderId, Party, TradeId};

/// A fact about one account. Amounts are above zero unless it says otherwise; `effective_at` is when the movement counts,
/// the time of recording if absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum AccountEvent {
    /// The account exists.
    AccountOpened {
        account_id: AccountId,
        owner: String,
        currency: Asset,
        kind: AccountKind,
        overdraft_limit: Money,
    },
    /// Credit: money came in from `from`.
    FundsDeposited {
        movement_id: MovementId,
        from: Party,
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Timestamp>,
    },
    /// Debit: money went out to `to`.
    FundsWithdrawn {
        movement_id: MovementId,
        to: Party,
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Timestamp>,
    },
    /// Debit: first leg of a transfer.
    TransferSent {
        transfer_id: MovementId,
        to: AccountId,
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Timestamp>,
    },
    /// Credit: second leg of a transfer or of a capture, in the same commit as the first.
    TransferReceived {
        transfer_id: MovementId,
        from: AccountId,
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effective_at: Option<Timestamp>,
    },
    /// Money was set aside; the balance stays.
    HoldPlaced {
        hold_id: HoldId,
        amount: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
        /// The order it pays for, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order_id: Option<OrderId>,
    },
    /// Debit, and the end of a hold: `amount` went to `to`, `released` (zero or more) came free.
    HoldCaptured { hold_id: HoldId, transfer_id: MovementId, to: AccountId, amount: Money, released: Money },
    /// The end of a hold: what it still held came free.
    HoldReleased { hold_id: HoldId, released: Money },
    /// The end of a hold whose time had come.
    HoldExpired { hold_id: HoldId, released: Money },
    /// Debit of `notional` to `counterparty` and of `fee` (zero or more) to `fees`, out of an order's hold, of which
    /// `hold_remaining` (zero or more; zero ends it) stays.
    PurchaseSettled {
        trade_id: TradeId,
        order_id: OrderId,
        hold_id: HoldId,
        counterparty: Party,
        notional: Money,
        fee: Money,
        hold_remaining: Money,
    },
    /// Credit of `notional` from `counterparty`, and debit of `fee` (zero or more) to `fees`.
    SaleSettled { trade_id: TradeId, order_id: OrderId, counterparty: Party, notional: Money, fee: Money },
    /// How far below zero the balance may go from now on (zero or more).
    OverdraftLimitSet {
        limit: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// No movement from now on.
    AccountFrozen { reason: String },
    /// Movements again.
    AccountUnfrozen { reason: String },
    /// Closed for good.
    AccountClosed { reason: String },
}

crate::domain_event!(Account: AccountEvent {
    AccountOpened,
    FundsDeposited,
    FundsWithdrawn,
    TransferSent,
    TransferReceived,
    HoldPlaced,
    HoldCaptured,
    HoldReleased,
    HoldExpired,
    PurchaseSettled,
    SaleSettled,
    OverdraftLimitSet,
    AccountFrozen,
    AccountUnfrozen,
    AccountClosed,
});
