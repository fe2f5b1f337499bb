//! The payloads of mutations: a receipt and the entity it is about.
//!
//! The entity is read at the receipt's log position or later. When the read model does not get there in time the entity
//! alone is null, with an error of its own; receipt and errors stand.

use async_graphql::{ID, Interface, Object, SimpleObject};
use domain::{Code, Refusal};

use super::enums::TradingScope;
use super::error_code::ErrorCode;
use super::scalars::LogPosition;
use super::types::{Account, Hold, Loan, Market, Order, Portfolio, Transfer};
use crate::errors::{ApiError, Result, mapping};

/// Why a command was refused, or an order rejected.
#[derive(SimpleObject, Clone, Debug)]
pub struct UserError {
    /// Stable and machine-readable, for example INSUFFICIENT_FUNDS, LOT_SIZE, IDEMPOTENCY_CONFLICT.
    pub code: ErrorCode,
    /// For people; never needed by a program.
    pub message: String,
    /// Path of the input field at fault, if one is.
    pub field: Option<Vec<String>>,
}

impl From<Refusal> for UserError {
    fn from(refusal: Refusal) -> Self {
        mapping::count(refusal.code);
        Self { code: ErrorCode(refusal.code), message: refusal.message, field: refusal.field }
    }
}

/// What every payload says beside its entity.
#[derive(Interface)]
#[graphql(
    field(name = "errors", ty = "Vec<UserError>", desc = "Empty when the command was accepted."),
    field(
        name = "log_position",
        ty = "Option<LogPosition>",
        desc = "Log position of the command's last event; null when refused. A rejected order is not refused: it has events, a position and errors."
    ),
    field(
        name = "replayed",
        ty = "bool",
        desc = "True when this is the stored answer to an earlier request with the same key."
    )
)]
#[expect(clippy::large_enum_variant, reason = "it only tells the schema what payloads have in common")]
pub enum Receipt {
    /// Of an account.
    Account(AccountPayload),
    /// Of a transfer.
    Transfer(TransferPayload),
    /// Of a hold.
    Hold(HoldPayload),
    /// Of a portfolio.
    Portfolio(PortfolioPayload),
    /// Of an order.
    Order(OrderPayload),
    /// Of a loan.
    Loan(LoanPayload),
    /// Of two orders.
    Oco(OcoPayload),
    /// Of a kill switch.
    TradingSwitch(TradingSwitchPayload),
    /// Of a market.
    Market(MarketPayload),
}

/// The part of a payload that is the same everywhere.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Empty when accepted.
    pub errors: Vec<UserError>,
    /// Of the last event.
    pub log_position: Option<LogPosition>,
    /// Whether it is a stored answer.
    pub replayed: bool,
}

impl Outcome {
    /// A refusal before the bus.
    pub fn refused(refusal: Refusal) -> Self {
        Self { errors: vec![refusal.into()], log_position: None, replayed: false }
    }

    /// The refusal of a command that does not work yet.
    pub fn not_supported(what: &str) -> Self {
        Self::refused(Refusal::new(Code::NotSupported, format!("{what} does not work yet")))
    }
}

/// An entity of a payload: there, not there, or not yet visible.
pub type Entity<T> = std::result::Result<Option<T>, ApiError>;

macro_rules! payloads {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $entity:ty,)+ })+) => {$(
        $(#[doc = $doc])+
        pub struct $name {
            /// The receipt.
            pub outcome: Outcome,
            $($(#[doc = $field_doc])+ pub $field: Entity<$entity>,)+
        }

        impl From<Outcome> for $name {
            fn from(outcome: Outcome) -> Self {
                Self { outcome, $($field: Ok(None),)+ }
            }
        }

        $(#[doc = $doc])+
        #[Object]
        impl $name {
            $($(#[doc = $field_doc])+
            async fn $field(&self) -> Result<Option<&$entity>> {
                match &self.$field {
                    Ok(entity) => Ok(entity.as_ref()),
                    Err(error) => Err(error.clone()),
                }
            })+

            /// Empty when the command was accepted.
            async fn errors(&self) -> Vec<UserError> {
                self.outcome.errors.clone()
            }

            /// Log position of the command's last event; null when refused.
            async fn log_position(&self) -> Option<LogPosition> {
                self.outcome.log_position
            }

            /// True when this is the stored answer to an earlier request with the same key.
            async fn replayed(&self) -> bool {
                self.outcome.replayed
            }
        }
    )+};
}

payloads! {
    /// The receipt of a command on an account.
    AccountPayload {
        /// The account with the command's effect.
        account: Account,
    }
    /// The receipt of a transfer.
    TransferPayload {
        /// The transfer made.
        transfer: Transfer,
    }
    /// The receipt of a command on a hold.
    HoldPayload {
        /// The hold with the command's effect.
        hold: Hold,
        /// Its account.
        account: Account,
    }
    /// The receipt of a command on a portfolio.
    PortfolioPayload {
        /// The portfolio with the command's effect.
        portfolio: Portfolio,
    }
    /// The receipt of a command on an order.
    OrderPayload {
        /// The order with the command's effect.
        order: Order,
    }
    /// The receipt of a command on a loan.
    LoanPayload {
        /// The loan with the command's effect.
        loan: Loan,
    }
    /// The receipt of two orders.
    OcoPayload {
        /// One of them.
        first: Order,
        /// The other.
        second: Order,
    }
    /// The receipt of a command on a market.
    MarketPayload {
        /// The market with the command's effect.
        market: Market,
    }
}

/// The receipt of a kill switch.
pub struct TradingSwitchPayload {
    /// The receipt.
    pub outcome: Outcome,
    /// What it stops.
    pub scope: TradingScope,
    /// Symbol, portfolio or account.
    pub id: Option<ID>,
    /// Whether trading is paused.
    pub paused: bool,
}

/// The receipt of a kill switch.
#[Object]
impl TradingSwitchPayload {
    /// What it stops.
    async fn scope(&self) -> TradingScope {
        self.scope
    }

    /// Symbol, portfolio or account; none for the platform.
    async fn id(&self) -> Option<ID> {
        self.id.clone()
    }

    /// Whether trading is paused now.
    async fn paused(&self) -> bool {
        self.paused
    }

    /// Empty when the command was accepted.
    async fn errors(&self) -> Vec<UserError> {
        self.outcome.errors.clone()
    }

    /// Log position of the command's last event; null when refused.
    async fn log_position(&self) -> Option<LogPosition> {
        self.outcome.log_position
    }

    /// True when this is the stored answer to an earlier request with the same key.
    async fn replayed(&self) -> bool {
        self.outcome.replayed
    }
}
