//! Every way in which a command is refused or an order rejected, each with a stable code.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A stable, machine-readable reason. Codes are never renamed or reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// The code as it is written on the wire, for example `INSUFFICIENT_FUNDS`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),+ }
            }

            /// What the code means, in a sentence, for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

codes! {
    // ---- form
    /// A field is malformed: the message says which and how.
    MalformedInput = "MALFORMED_INPUT",
    /// A text holds a NUL or control character, or is longer than allowed.
    InvalidText = "INVALID_TEXT",
    /// An amount is not a decimal number without exponent.
    InvalidAmount = "INVALID_AMOUNT",
    /// An amount has more digits after the point than its asset allows.
    TooManyDecimals = "TOO_MANY_DECIMALS",
    /// An amount, or a product of amounts, is larger than can be represented.
    AmountOutOfRange = "AMOUNT_OUT_OF_RANGE",
    /// An amount that must be positive is zero or negative.
    AmountNotPositive = "AMOUNT_NOT_POSITIVE",
    /// The asset code is not known or not of this kind.
    UnknownAsset = "UNKNOWN_ASSET",
    /// The idempotency key is empty, longer than 128 characters or not printable ASCII.
    InvalidIdempotencyKey = "INVALID_IDEMPOTENCY_KEY",
    /// The key was used before with another command.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT",
    /// Another command of the same atomic set was refused.
    LinkedFailed = "LINKED_FAILED",
    /// This part of the schema does not work yet.
    NotSupported = "NOT_SUPPORTED",
    // ---- account
    /// There is no such account.
    AccountNotFound = "ACCOUNT_NOT_FOUND",
    /// The id is already taken.
    AlreadyExists = "ALREADY_EXISTS",
    /// The account is frozen.
    AccountFrozen = "ACCOUNT_FROZEN",
    /// The account is not frozen.
    AccountNotFrozen = "ACCOUNT_NOT_FROZEN",
    /// The account is closed.
    AccountClosed = "ACCOUNT_CLOSED",
    /// The account still has a balance, a hold or an overdraft limit.
    AccountNotEmpty = "ACCOUNT_NOT_EMPTY",
    /// The account has less available than was asked for.
    InsufficientFunds = "INSUFFICIENT_FUNDS",
    /// The two accounts, or the account and the amount, have different currencies.
    CurrencyMismatch = "CURRENCY_MISMATCH",
    /// A transfer from an account to itself.
    SameAccount = "SAME_ACCOUNT",
    /// The overdraft limit is below what is already used.
    OverdraftInUse = "OVERDRAFT_IN_USE",
    /// The time lies in the future.
    EffectiveInFuture = "EFFECTIVE_IN_FUTURE",
    /// The time of expiry has passed already.
    ExpiryInPast = "EXPIRY_IN_PAST",
    /// There is no such hold.
    HoldNotFound = "HOLD_NOT_FOUND",
    /// The hold was captured, released or has expired.
    HoldNotOpen = "HOLD_NOT_OPEN",
    /// The hold belongs to an open order and ends with it.
    HoldBelongsToOrder = "HOLD_BELONGS_TO_ORDER",
    /// More than the hold holds was to be captured.
    CaptureExceedsHold = "CAPTURE_EXCEEDS_HOLD",
    /// The account has as many open holds as it may have.
    TooManyHolds = "TOO_MANY_HOLDS",
    // ---- portfolio
    /// There is no such portfolio.
    PortfolioNotFound = "PORTFOLIO_NOT_FOUND",
    /// The portfolio and its cash account have different owners.
    OwnerMismatch = "OWNER_MISMATCH",
    /// The portfolio has less of the asset free than was asked for.
    InsufficientPosition = "INSUFFICIENT_POSITION",
    /// Cash goes through accounts, not through portfolios.
    AssetIsCash = "ASSET_IS_CASH",
    /// The order's notional is over the portfolio's limit.
    MaxOrderNotional = "MAX_ORDER_NOTIONAL",
    /// The position after the order would be over the portfolio's limit.
    MaxPositionNotional = "MAX_POSITION_NOTIONAL",
    /// Positions and open buy orders together would be over the portfolio's limit.
    MaxExposure = "MAX_EXPOSURE",
    /// The portfolio has as many open orders as it may have.
    MaxOpenOrders = "MAX_OPEN_ORDERS",
    // ---- market
    /// There is no such market.
    MarketNotFound = "MARKET_NOT_FOUND",
    /// The market is halted.
    MarketHalted = "MARKET_HALTED",
    /// The market is not halted.
    MarketNotHalted = "MARKET_NOT_HALTED",
    /// A market's symbol must be BASE-QUOTE of two different known assets.
    InvalidSymbol = "INVALID_SYMBOL",
    /// The market's tick and lot are so fine that a notional would not fit the quote asset's scale.
    TickAndLotTooFine = "TICK_AND_LOT_TOO_FINE",
    /// The market is not of the venue that the command is for.
    WrongVenue = "WRONG_VENUE",
    /// The portfolio's cash is not in the market's quote asset.
    QuoteAssetMismatch = "QUOTE_ASSET_MISMATCH",
    // ---- order
    /// There is no such order.
    OrderNotFound = "ORDER_NOT_FOUND",
    /// The order is filled, canceled, rejected or expired.
    OrderNotOpen = "ORDER_NOT_OPEN",
    /// Another order of the portfolio has this client order id.
    DuplicateClientOrderId = "DUPLICATE_CLIENT_ORDER_ID",
    /// The order's fields do not go together: the message says which.
    InvalidOrder = "INVALID_ORDER",
    /// The price is not a multiple of the market's tick.
    TickSize = "TICK_SIZE",
    /// The quantity is not a multiple of the market's lot, or outside its minimum and maximum.
    LotSize = "LOT_SIZE",
    /// The order's notional is below the market's minimum.
    MinNotional = "MIN_NOTIONAL",
    /// The limit price lies outside the market's band around the reference price.
    PriceBand = "PRICE_BAND",
    /// There is no price yet from which the order could be valued.
    NoReferencePrice = "NO_REFERENCE_PRICE",
    /// The order was to be a maker but would have traded at once.
    WouldTake = "WOULD_TAKE",
    /// A fill is worse than the order's limit or larger than what remains.
    FillOutOfBounds = "FILL_OUT_OF_BOUNDS",
    /// The fill was applied before.
    DuplicateFill = "DUPLICATE_FILL",
    /// Nothing was left to trade with, and the order does not rest.
    NoLiquidity = "NO_LIQUIDITY",
    /// A fill-or-kill order could not be filled whole.
    NotFillable = "NOT_FILLABLE",
    /// The order would have traded with one of the same owner.
    SelfTrade = "SELF_TRADE",
    /// The user canceled the order.
    CanceledByUser = "CANCELED_BY_USER",
    // ---- rights and machinery
    /// No valid key was sent.
    Unauthenticated = "UNAUTHENTICATED",
    /// The key's role or owner does not allow this.
    Forbidden = "FORBIDDEN",
    /// A limit on work in progress was reached: try again later.
    Overloaded = "OVERLOADED",
    /// The server is starting or stopping, has lost its database, or no server leads yet: try again with the same key.
    Unavailable = "UNAVAILABLE",
    /// The read model has not reached the log position in time.
    NotYetVisible = "NOT_YET_VISIBLE",
    /// The log position lies beyond the end of the log.
    BeyondHead = "BEYOND_HEAD",
    /// The query is too deep, too complex or too long.
    QueryTooComplex = "QUERY_TOO_COMPLEX",
    /// The GraphQL document or its variables are not valid.
    BadRequest = "BAD_REQUEST",
    /// Something failed inside; the log has the details under the request's correlation id.
    Internal = "INTERNAL",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a command was refused: nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What happened and what the caller can do, for people.
    pub message: String,
    /// Path of the input field at fault, if one is, for example `["input", "amount"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Vec<String>>,
}

impl Refusal {
    /// A refusal that no single field is to blame for.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    /// The same refusal, naming the input field at fault by its GraphQL name, for example `amount`.
    #[must_use]
    pub fn at(mut self, field: &str) -> Self {
        self.field = Some(vec!["input".to_owned(), field.to_owned()]);
        self
    }
}
