//! How one value stands in a column: exact in both directions, as text where PostgreSQL has no type of ours.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

use domain::account::{AccountKind, AccountStatus};
use domain::ids::{AccountId, HoldId, MovementId, OrderId, PortfolioId, Symbol, TradeId};
use domain::market::{MarketStatus, Venue};
use domain::order::{Liquidity, OrderSide, OrderStatus, OrderType, SelfTradePrevention, TimeInForce};
use domain::{Asset, Code, Price, Rate, Timestamp};
use event_store::LogPosition;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::read::{CandleInterval, Direction, HoldStatus};

/// The types of columns there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlType {
    Text,
    Numeric,
    BigInt,
    Time,
}

impl SqlType {
    /// Its name in PostgreSQL.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Numeric => "numeric",
            Self::BigInt => "bigint",
            Self::Time => "timestamptz",
        }
    }
}

/// A value on its way to or from a column. Numerics travel as text, because they are wider than any number of the driver.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Int(i64),
    Time(Timestamp),
}

pub(crate) type FieldError = Box<dyn Error + Send + Sync>;

impl<'a> Cell<'a> {
    pub(crate) fn read(row: &'a PgRow, index: usize, sql_type: SqlType) -> Result<Self, sqlx::Error> {
        Ok(match sql_type {
            SqlType::Text | SqlType::Numeric => {
                row.try_get::<Option<&str>, _>(index)?.map_or(Self::Null, |text| Self::Text(text.into()))
            }
            SqlType::BigInt => row.try_get::<Option<i64>, _>(index)?.map_or(Self::Null, Self::Int),
            SqlType::Time => row.try_get::<Option<Timestamp>, _>(index)?.map_or(Self::Null, Self::Time),
        })
    }

    pub(crate) fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Text(text) => Cell::Text(text.into_owned().into()),
            Self::Int(number) => Cell::Int(number),
            Self::Time(time) => Cell::Time(time),
        }
    }

    fn text(self) -> Result<Cow<'a, str>, FieldError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!("expected a text, found {other:?}").into()),
        }
    }

    fn int(self) -> Result<i64, FieldError> {
        match self {
            Self::Int(number) => Ok(number),
            other => Err(format!("expected a whole number, found {other:?}").into()),
        }
    }
}

/// A type that has a column type.
pub(crate) trait Field: Clone + Sized {
    const TYPE: SqlType;
    fn cell(&self) -> Cell<'_>;
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError>;
}

impl<T: Field> Field for Option<T> {
    const TYPE: SqlType = T::TYPE;
    fn cell(&self) -> Cell<'_> {
        self.as_ref().map_or(Cell::Null, Field::cell)
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        match cell {
            Cell::Null => Ok(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

/// Texts.
macro_rules! texts {
    ($($name:ty),+) => {$(
        impl Field for $name {
            const TYPE: SqlType = SqlType::Text;
            fn cell(&self) -> Cell<'_> {
                Cell::Text(Cow::Borrowed(self))
            }
            fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
                Ok(cell.text()?.into_owned().into())
            }
        }
    )+};
}

texts!(String, Arc<str>, Cow<'static, str>);

impl Field for i64 {
    const TYPE: SqlType = SqlType::BigInt;
    fn cell(&self) -> Cell<'_> {
        Cell::Int(*self)
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        cell.int()
    }
}

impl Field for u64 {
    const TYPE: SqlType = SqlType::BigInt;
    fn cell(&self) -> Cell<'_> {
        Cell::Int(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        Ok(u64::try_from(cell.int()?)?)
    }
}

impl Field for LogPosition {
    const TYPE: SqlType = SqlType::BigInt;
    fn cell(&self) -> Cell<'_> {
        Cell::Int(self.to_sql())
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        cell.int().map(Self::from_sql)
    }
}

/// Smallest units of an asset.
impl Field for i128 {
    const TYPE: SqlType = SqlType::Numeric;
    fn cell(&self) -> Cell<'_> {
        Cell::Text(self.to_string().into())
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        Ok(cell.text()?.parse()?)
    }
}

impl Field for Timestamp {
    const TYPE: SqlType = SqlType::Time;
    fn cell(&self) -> Cell<'_> {
        Cell::Time(*self)
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        match cell {
            Cell::Time(time) => Ok(time),
            other => Err(format!("expected a time, found {other:?}").into()),
        }
    }
}

/// Types with a text form of their own.
macro_rules! written {
    ($sql_type:expr; $($name:ty),+) => {$(
        impl Field for $name {
            const TYPE: SqlType = $sql_type;
            fn cell(&self) -> Cell<'_> {
                Cell::Text(self.to_string().into())
            }
            fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
                Ok(cell.text()?.parse()?)
            }
        }
    )+};
}

written!(SqlType::Numeric; Price, Rate);
written!(SqlType::Text; Asset);

/// Ids, which were checked when they were made.
macro_rules! ids {
    ($($name:ty),+) => {$(
        impl Field for $name {
            const TYPE: SqlType = SqlType::Text;
            fn cell(&self) -> Cell<'_> {
                Cell::Text(self.as_str().into())
            }
            fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
                Ok(Self::new(cell.text()?))
            }
        }
    )+};
}

ids!(AccountId, HoldId, MovementId, OrderId, PortfolioId, Symbol, TradeId);

/// Enumerations, by the names they have in the API.
macro_rules! words {
    ($($name:ident { $($variant:ident = $word:literal),+ $(,)? })+) => {$(
        impl Field for $name {
            const TYPE: SqlType = SqlType::Text;
            fn cell(&self) -> Cell<'_> {
                Cell::Text(match self { $(Self::$variant => $word),+ }.into())
            }
            fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
                match &*cell.text()? {
                    $($word => Ok(Self::$variant),)+
                    other => Err(format!("{other:?} is not known here").into()),
                }
            }
        }
    )+};
}

words! {
    AccountKind { Current = "CURRENT", Savings = "SAVINGS", Credit = "CREDIT", Brokerage = "BROKERAGE" }
    AccountStatus { Open = "OPEN", Frozen = "FROZEN", Closed = "CLOSED" }
    Direction { Debit = "DEBIT", Credit = "CREDIT" }
    HoldStatus { Open = "OPEN", Captured = "CAPTURED", Released = "RELEASED", Expired = "EXPIRED" }
    Venue { Internal = "INTERNAL", Paper = "PAPER" }
    MarketStatus { Trading = "TRADING", Halted = "HALTED" }
    OrderSide { Buy = "BUY", Sell = "SELL" }
    OrderType { Limit = "LIMIT", Market = "MARKET", LimitMaker = "LIMIT_MAKER" }
    TimeInForce { Gtc = "GTC", Ioc = "IOC", Fok = "FOK" }
    SelfTradePrevention { None = "NONE", ExpireTaker = "EXPIRE_TAKER", ExpireMaker = "EXPIRE_MAKER", ExpireBoth = "EXPIRE_BOTH" }
    OrderStatus {
        Pending = "PENDING", New = "NEW", PartiallyFilled = "PARTIALLY_FILLED", Filled = "FILLED",
        Canceled = "CANCELED", Rejected = "REJECTED", Expired = "EXPIRED",
    }
    Liquidity { Maker = "MAKER", Taker = "TAKER" }
    CandleInterval { S1 = "S1", M1 = "M1", M5 = "M5", M15 = "M15", H1 = "H1", H4 = "H4", D1 = "D1" }
}

impl Field for Code {
    const TYPE: SqlType = SqlType::Text;
    fn cell(&self) -> Cell<'_> {
        Cell::Text(self.as_str().into())
    }
    fn from_cell(cell: Cell<'_>) -> Result<Self, FieldError> {
        let text = cell.text()?;
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a code").into())
    }
}
