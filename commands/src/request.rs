//! Every command with its fields, and the receipt that answers it.
//!
//! A command is what the border has parsed: exact numbers, well-formed ids. Its JSON form is what the idempotency hash
//! covers, so two requests are the same when they mean the same. In that form it also travels to the node that leads, where
//! it has the same hash again.

use domain::account::AccountKind;
use domain::ids::{AccountId, HoldId, MovementId, OrderId, PortfolioId, Symbol, TradeId};
use domain::market::Venue;
use domain::order::{Evidence, Liquidity, OrderSide, OrderType, SelfTradePrevention, TimeInForce};
use domain::quote::ObservedWindow;
use domain::{Asset, Code, Decimal, Price, Quantity, Refusal, Timestamp};
use event_store::LogPosition;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::principal::Principal;

/// A command on its way to the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// At most 128 printable ASCII characters, unique per principal.
    pub idempotency_key: String,
    /// Ties the events to the request that caused them; nil if nothing but a process did, and then it is not kept.
    pub correlation_id: Uuid,
    /// What is asked.
    pub command: Command,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "camelCase")]
pub enum Command {
    /// Open an account.
    OpenAccount(OpenAccount),
    /// Money comes in from the world.
    Deposit(MoneyMovement),
    /// Money goes out to the world.
    Withdraw(MoneyMovement),
    /// Money from one account to another.
    Transfer(Transfer),
    /// Set money aside.
    PlaceHold(PlaceHold),
    /// Pay out of a hold.
    CaptureHold(CaptureHold),
    /// End a hold.
    ReleaseHold(ReleaseHold),
    /// Stop an account's movements.
    FreezeAccount(AccountStatusChange),
    /// Allow them again.
    UnfreezeAccount(AccountStatusChange),
    /// Close an account for good.
    CloseAccount(AccountStatusChange),
    /// Let an account go below zero.
    SetOverdraftLimit(SetOverdraftLimit),
    /// Open a portfolio.
    OpenPortfolio(OpenPortfolio),
    /// An asset comes in from the world.
    DepositAsset(AssetMovement),
    /// An asset goes out to the world.
    WithdrawAsset(AssetMovement),
    /// Limit what a portfolio may risk.
    SetRiskLimits(SetRiskLimits),
    /// Place an order.
    PlaceOrder(PlaceOrder),
    /// Take an order back.
    CancelOrder(CancelOrder),
    /// Open a market.
    RegisterMarket(RegisterMarket),
    /// Stop a market.
    HaltMarket(MarketStatusChange),
    /// Trade again.
    ResumeMarket(MarketStatusChange),
    /// A feed has observed a window of one or more outside markets.
    ObservePrices(ObservePrices),
    /// A paper venue reports fills of one order, and its end if it has ended.
    ReportExecution(ReportExecution),
    /// A timer sweeps an idle account's due holds.
    ExpireHolds(ExpireHolds),
}

impl Command {
    /// Its name in the log and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Command::OpenAccount(_) => "OpenAccount",
            Command::Deposit(_) => "Deposit",
            Command::Withdraw(_) => "Withdraw",
            Command::Transfer(_) => "Transfer",
            Command::PlaceHold(_) => "PlaceHold",
            Command::CaptureHold(_) => "CaptureHold",
            Command::ReleaseHold(_) => "ReleaseHold",
            Command::FreezeAccount(_) => "FreezeAccount",
            Command::UnfreezeAccount(_) => "UnfreezeAccount",
            Command::CloseAccount(_) => "CloseAccount",
            Command::SetOverdraftLimit(_) => "SetOverdraftLimit",
            Command::OpenPortfolio(_) => "OpenPortfolio",
            Command::DepositAsset(_) => "DepositAsset",
            Command::WithdrawAsset(_) => "WithdrawAsset",
            Command::SetRiskLimits(_) => "SetRiskLimits",
            Command::PlaceOrder(_) => "PlaceOrder",
            Command::CancelOrder(_) => "CancelOrder",
            Command::RegisterMarket(_) => "RegisterMarket",
            Command::HaltMarket(_) => "HaltMarket",
            Command::ResumeMarket(_) => "ResumeMarket",
            Command::ObservePrices(_) => "ObservePrices",
            Command::ReportExecution(_) => "ReportExecution",
            Command::ExpireHolds(_) => "ExpireHolds",
        }
    }
}

/// See [`Command::OpenAccount`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenAccount {
    /// Whose it will be.
    pub owner: String,
    /// Its currency.
    pub currency: Asset,
    /// What it is for.
    pub kind: AccountKind,
    /// How far below zero it may go; other than zero needs the role risk or admin.
    pub overdraft_limit: Decimal,
}

/// See [`Command::Deposit`] and [`Command::Withdraw`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MoneyMovement {
    /// The account.
    pub account_id: AccountId,
    /// In its currency.
    pub amount: Decimal,
    /// What it is for.
    pub reference: Option<String>,
    /// When it counts; not in the future.
    pub effective_at: Option<Timestamp>,
}

/// See [`Command::Transfer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Pays.
    pub from: AccountId,
    /// Is paid.
    pub to: AccountId,
    /// In the currency of both.
    pub amount: Decimal,
    /// What it is for.
    pub reference: Option<String>,
    /// When it counts; not in the future.
    pub effective_at: Option<Timestamp>,
}

/// See [`Command::PlaceHold`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceHold {
    /// The account.
    pub account_id: AccountId,
    /// In its currency.
    pub amount: Decimal,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// What it is for.
    pub reference: Option<String>,
}

/// See [`Command::CaptureHold`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptureHold {
    /// The hold.
    pub hold_id: HoldId,
    /// Is paid.
    pub to: AccountId,
    /// The whole hold if absent.
    pub amount: Option<Decimal>,
}

/// See [`Command::ReleaseHold`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseHold {
    /// The hold.
    pub hold_id: HoldId,
}

/// See [`Command::FreezeAccount`], [`Command::UnfreezeAccount`] and [`Command::CloseAccount`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccountStatusChange {
    /// The account.
    pub account_id: AccountId,
    /// Why.
    pub reason: String,
}

/// See [`Command::SetOverdraftLimit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetOverdraftLimit {
    /// The account.
    pub account_id: AccountId,
    /// Zero or more, in its currency.
    pub limit: Decimal,
    /// Why.
    pub reason: Option<String>,
}

/// See [`Command::OpenPortfolio`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenPortfolio {
    /// Whose it will be; also the owner of the cash account.
    pub owner: String,
    /// What the owner calls it.
    pub name: String,
    /// Pays for purchases and receives proceeds.
    pub cash_account_id: AccountId,
}

/// See [`Command::DepositAsset`] and [`Command::WithdrawAsset`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssetMovement {
    /// The portfolio.
    pub portfolio_id: PortfolioId,
    /// Not a currency of ISO 4217.
    pub asset: Asset,
    /// How much.
    pub quantity: Decimal,
    /// What one unit had cost, for deposits.
    pub unit_cost: Option<Decimal>,
    /// What it is for.
    pub reference: Option<String>,
}

/// See [`Command::SetRiskLimits`]; absent is unlimited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetRiskLimits {
    /// The portfolio.
    pub portfolio_id: PortfolioId,
    /// Of one order.
    pub max_order_notional: Option<Decimal>,
    /// Of one position with its open buy orders.
    pub max_position_notional: Option<Decimal>,
    /// Of all positions with all open buy orders.
    pub max_exposure: Option<Decimal>,
    /// How many orders may be open.
    pub max_open_orders: Option<u32>,
}

/// See [`Command::PlaceOrder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceOrder {
    /// Holds what is sold and gets what is bought.
    pub portfolio_id: PortfolioId,
    /// The market.
    pub symbol: Symbol,
    /// Bought or sold.
    pub side: OrderSide,
    /// How the price is found.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// In the base asset.
    pub quantity: Option<Decimal>,
    /// In the quote asset, for a MARKET order instead of a quantity.
    pub quote_quantity: Option<Decimal>,
    /// The worst price it may trade at.
    pub limit_price: Option<Decimal>,
    /// What happens when it meets one of the same owner.
    pub self_trade_prevention: SelfTradePrevention,
    /// The caller's own id, unique among a portfolio's orders.
    pub client_order_id: Option<String>,
}

/// See [`Command::CancelOrder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelOrder {
    /// The order.
    pub order_id: OrderId,
}

/// See [`Command::RegisterMarket`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterMarket {
    /// `BASE-QUOTE`.
    pub symbol: Symbol,
    /// What is bought and sold.
    pub base: Asset,
    /// What it is paid in.
    pub quote: Asset,
    /// Where orders trade.
    pub venue: Venue,
    /// Prices are multiples of this.
    pub tick_size: Decimal,
    /// Quantities are multiples of this.
    pub lot_size: Decimal,
    /// The least quantity of an order.
    pub min_quantity: Decimal,
    /// The greatest quantity of an order.
    pub max_quantity: Decimal,
    /// The least notional of an order.
    pub min_notional: Decimal,
    /// In basis points.
    pub maker_fee_bps: Decimal,
    /// In basis points.
    pub taker_fee_bps: Decimal,
    /// How far a limit price may lie from the reference price, as a fraction.
    pub price_band: Option<Decimal>,
}

/// See [`Command::HaltMarket`] and [`Command::ResumeMarket`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarketStatusChange {
    /// The market.
    pub symbol: Symbol,
    /// Why.
    pub reason: String,
}

/// See [`Command::ObservePrices`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservePrices {
    /// At most one a market.
    pub windows: Vec<ObservedWindow>,
}

/// One fill a paper venue reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VenueFill {
    /// `<order>.f<n>`, numbered from 1 without gap.
    pub trade_id: TradeId,
    /// Not worse than the order's limit.
    pub price: Price,
    /// Not more than what remains.
    pub quantity: Quantity,
    /// Whether the order had rested.
    pub liquidity: Liquidity,
    /// What of the outside market it rests on.
    pub evidence: Evidence,
}

/// See [`Command::ReportExecution`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportExecution {
    /// The order.
    pub order_id: OrderId,
    /// In their order; all in one commit.
    pub fills: Vec<VenueFill>,
    /// Why the venue ended what remains, if it did.
    pub expired: Option<Code>,
}

/// See [`Command::ExpireHolds`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpireHolds {
    /// The account.
    pub account_id: AccountId,
}

/// The ids of what a command made or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// The account opened or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// The deposit, withdrawal or transfer made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub movement_id: Option<MovementId>,
    /// The hold placed or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_id: Option<HoldId>,
    /// The portfolio opened or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portfolio_id: Option<PortfolioId>,
    /// The order placed or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The market registered or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// Why the order placed was rejected by risk; it has events all the same. Boxed, for it is rare and answers move a lot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Box<Refusal>>,
}

/// What a command came to; remembered under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has happened.
    Accepted(Answer),
    /// It has not.
    Refused(Refusal),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What it came to.
    pub outcome: Outcome,
    /// Of the command's last event; `None` when refused, or when nothing had to change.
    pub log_position: Option<LogPosition>,
    /// Whether this is the stored answer to an earlier request with the same key. That one may have been sent by this
    /// node itself: when the leader is lost before it answers, the next one is asked again.
    pub replayed: bool,
}

/// Why there is no receipt. Nothing of this is remembered: asking again with the same key is safe and settles it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// The principal may not do this.
    #[error("{0}")]
    Forbidden(Refusal),
    /// A limit on work in progress was reached.
    #[error("too much work in progress: try again in a moment")]
    Overloaded,
    /// No node that could be reached decides now: the bus is stopping, has lost its database, or another takes over.
    #[error("the write side is not available: try again with the same key")]
    Unavailable,
    /// A defect; the details are in the server's log.
    #[error("an internal error: the server's log has the details")]
    Internal,
}

impl Failure {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Failure::Forbidden(refusal) => refusal.code,
            Failure::Overloaded => Code::Overloaded,
            Failure::Unavailable => Code::Unavailable,
            Failure::Internal => Code::Internal,
        }
    }
}
