//! What an account can be asked.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use crate::Timestamp;
use crate::account::AccountKind;
use crate::amount::Money;
use crate::asset::Asset;
use crate::decimal::Decimal;
use crate::ids::{AccountId, HoldId, MovementId, OrderId, Party, TradeId};

/// A request to one account. Amounts come as decimals; the account gives them its currency and scale.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountCommand {
    /// Open it.
    Open {
        account_id: AccountId,
        owner: String,
        currency: Asset,
        kind: AccountKind,
        overdraft_limit: Decimal,
    },
    /// Money comes in from the world.
    Deposit { amount: Decimal, reference: Option<String>, effective_at: Option<Timestamp> },
    /// Money goes out to the world.
    Withdraw { amount: Decimal, reference: Option<String>, effective_at: Option<Timestamp> },
    /// First leg of a transfer: the money leaves.
    SendTransfer {
        to: AccountId,
        amount: Decimal,
        reference: Option<String>,
        effective_at: Option<Timestamp>,
    },
    /// Second leg: the money arrives. Issued in the same unit of work with what the first leg decided.
    ReceiveTransfer {
        transfer_id: MovementId,
        from: AccountId,
        amount: Money,
        reference: Option<String>,
        effective_at: Option<Timestamp>,
    },
    /// Set money aside.
    PlaceHold { amount: Decimal, expires_at: Option<Timestamp>, reference: Option<String> },
    /// Pay another account out of a hold; the rest comes free. Without an amount the whole hold.
    CaptureHold { hold_id: HoldId, to: AccountId, amount: Option<Decimal> },
    /// End a hold without paying.
    ReleaseHold { hold_id: HoldId },
    /// End the holds whose time has come. Changes nothing when none is due.
    ExpireHolds,
    /// Set money aside for a buy order.
    HoldForOrder { order_id: OrderId, amount: Money },
    /// Pay for a purchase out of the order's hold, of which `hold_remaining` stays set aside and the rest comes free.
    SettlePurchase {
        trade_id: TradeId,
        order_id: OrderId,
        hold_id: HoldId,
        counterparty: Party,
        notional: Money,
        fee: Money,
        hold_remaining: Money,
    },
    /// Take the proceeds of a sale, less the fee.
    SettleSale { trade_id: TradeId, order_id: OrderId, counterparty: Party, notional: Money, fee: Money },
    /// End the hold of an order that has ended.
    ReleaseOrderHold { hold_id: HoldId },
    /// Set how far below zero the balance may go.
    SetOverdraftLimit { limit: Decimal, reason: Option<String> },
    /// Stop every movement.
    Freeze { reason: String },
    /// Allow movements again.
    Unfreeze { reason: String },
    /// Close it for good; it must be empty.
    Close { reason: String },
}
