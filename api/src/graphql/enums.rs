//! The schema's enums, and how they become the domain's.

use async_graphql::Enum;
use domain::order::{self, OrderStatus as DomainOrderStatus};
use domain::{Code, Refusal, account, market};

/// What does not work yet.
fn not_supported(what: &str, field: &str) -> Refusal {
    Refusal::new(Code::NotSupported, format!("{what} do not work yet")).at(field)
}

macro_rules! same_as {
    ($ours:ident, $theirs:path, $($variant:ident),+) => {
        impl From<$theirs> for $ours {
            fn from(value: $theirs) -> Self {
                match value { $(<$theirs>::$variant => $ours::$variant),+ }
            }
        }
    };
}

macro_rules! also_back {
    ($ours:ident, $theirs:path, $($variant:ident),+) => {
        same_as!($ours, $theirs, $($variant),+);
        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $($ours::$variant => <$theirs>::$variant),+ }
            }
        }
    };
}

/// What an account is for.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
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
also_back!(AccountKind, account::AccountKind, Current, Savings, Credit, Brokerage);

/// Whether an account's movements are allowed.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// They are.
    Open,
    /// Not until it is unfrozen.
    Frozen,
    /// Never again.
    Closed,
}
also_back!(AccountStatus, account::AccountStatus, Open, Frozen, Closed);

/// How days are counted for interest.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayCount {
    /// Actual days over 365.
    #[graphql(name = "ACT_365")]
    Act365,
    /// Months of 30 days over 360.
    #[graphql(name = "THIRTY_360")]
    Thirty360,
}

/// Where a loan is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoanStatus {
    /// Asked for.
    Applied,
    /// Granted, not paid out.
    Approved,
    /// Turned down.
    Declined,
    /// Paid out.
    Active,
    /// An instalment is overdue.
    Late,
    /// Paid back.
    PaidOff,
    /// Given up.
    WrittenOff,
}

/// What a kill switch stops.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradingScope {
    /// Everything.
    Platform,
    /// One market.
    Market,
    /// One portfolio.
    Portfolio,
    /// One account.
    Account,
}

/// Whether the base asset is bought or sold.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderSide {
    /// Bought.
    Buy,
    /// Sold.
    Sell,
}
also_back!(OrderSide, order::OrderSide, Buy, Sell);

/// How the price of an order is found.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderType {
    /// At the limit price or better.
    Limit,
    /// At the best prices there are, at once.
    Market,
    /// At the limit price, and only as a maker.
    LimitMaker,
    /// Not yet working.
    StopLoss,
    /// Not yet working.
    StopLossLimit,
    /// Not yet working.
    TakeProfit,
    /// Not yet working.
    TakeProfitLimit,
}
same_as!(OrderType, order::OrderType, Limit, Market, LimitMaker);

impl OrderType {
    /// As the domain knows it.
    ///
    /// # Errors
    /// [`Code::NotSupported`] for stop and take-profit orders.
    pub fn supported(self) -> Result<order::OrderType, Refusal> {
        match self {
            Self::Limit => Ok(order::OrderType::Limit),
            Self::Market => Ok(order::OrderType::Market),
            Self::LimitMaker => Ok(order::OrderType::LimitMaker),
            Self::StopLoss | Self::StopLossLimit | Self::TakeProfit | Self::TakeProfitLimit => {
                Err(not_supported("stop and take-profit orders", "type"))
            }
        }
    }
}

/// How long an order lives.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeInForce {
    /// Good till canceled.
    Gtc,
    /// Immediate or cancel.
    Ioc,
    /// Fill or kill.
    Fok,
    /// Good till a date. Not yet working.
    Gtd,
}
same_as!(TimeInForce, order::TimeInForce, Gtc, Ioc, Fok);

impl TimeInForce {
    /// As the domain knows it.
    ///
    /// # Errors
    /// [`Code::NotSupported`] for GTD.
    pub fn supported(self) -> Result<order::TimeInForce, Refusal> {
        match self {
            Self::Gtc => Ok(order::TimeInForce::Gtc),
            Self::Ioc => Ok(order::TimeInForce::Ioc),
            Self::Fok => Ok(order::TimeInForce::Fok),
            Self::Gtd => Err(not_supported("good-till-date orders", "timeInForce")),
        }
    }
}

/// What happens when an order would trade with one of the same owner.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTradePrevention {
    /// They trade.
    None,
    /// The incoming one ends.
    ExpireTaker,
    /// The resting one ends.
    ExpireMaker,
    /// Both end.
    ExpireBoth,
    /// Both become less by the smaller. Not yet working.
    Decrement,
}
same_as!(SelfTradePrevention, order::SelfTradePrevention, None, ExpireTaker, ExpireMaker, ExpireBoth);

impl SelfTradePrevention {
    /// As the domain knows it.
    ///
    /// # Errors
    /// [`Code::NotSupported`] for DECREMENT.
    pub fn supported(self) -> Result<order::SelfTradePrevention, Refusal> {
        match self {
            Self::None => Ok(order::SelfTradePrevention::None),
            Self::ExpireTaker => Ok(order::SelfTradePrevention::ExpireTaker),
            Self::ExpireMaker => Ok(order::SelfTradePrevention::ExpireMaker),
            Self::ExpireBoth => Ok(order::SelfTradePrevention::ExpireBoth),
            Self::Decrement => {
                Err(not_supported("orders with self-trade prevention DECREMENT", "selfTradePrevention"))
            }
        }
    }
}

/// Where an order is in its life.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStatus {
    /// Placed, not yet through risk.
    Pending,
    /// Accepted, nothing filled.
    New,
    /// Some filled, still open.
    PartiallyFilled,
    /// All filled.
    Filled,
    /// Taken back by the user.
    Canceled,
    /// Turned down by a risk stage.
    Rejected,
    /// Ended by the venue.
    Expired,
}
also_back!(
    OrderStatus,
    DomainOrderStatus,
    Pending,
    New,
    PartiallyFilled,
    Filled,
    Canceled,
    Rejected,
    Expired
);

/// Where a market's orders trade.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Venue {
    /// In our own order book.
    Internal,
    /// Against the observed book of an outside market.
    Paper,
}
also_back!(Venue, market::Venue, Internal, Paper);

/// Whether a market trades.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketStatus {
    /// It does.
    Trading,
    /// It does not.
    Halted,
}
also_back!(MarketStatus, market::MarketStatus, Trading, Halted);

/// Whether an order rested or came to trade.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liquidity {
    /// It rested.
    Maker,
    /// It came.
    Taker,
}
also_back!(Liquidity, order::Liquidity, Maker, Taker);

/// The side of an entry.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The balance became less.
    Debit,
    /// The balance became more.
    Credit,
}

/// How a hold stands.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldStatus {
    /// It holds.
    Open,
    /// It was paid out.
    Captured,
    /// It was ended.
    Released,
    /// Its time came.
    Expired,
}

/// How long a candle is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandleInterval {
    /// A second.
    S1,
    /// A minute.
    M1,
    /// Five minutes.
    M5,
    /// A quarter of an hour.
    M15,
    /// An hour.
    H1,
    /// Four hours.
    H4,
    /// A day.
    D1,
}

/// How far back statistics go.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsWindow {
    /// A minute.
    M1,
    /// Five minutes.
    M5,
    /// An hour.
    H1,
    /// A day.
    H24,
}
