//! Names of aggregates and of things inside them.
//!
//! The id of a thing inside an aggregate starts with the aggregate's id, so a command finds its stream without a read
//! model: hold `…​.h3` lives in account `…`, movement `….m7` began there.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::NumberText;
use crate::refusal::{Code, Refusal};

macro_rules! ids {
    ($($(#[$doc:meta])+ $name:ident, $not_found:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The id of something just made. The text is trusted.
            pub fn new(text: impl Into<std::sync::Arc<str>>) -> Self {
                Self(text.into())
            }
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Refusal;
            fn from_str(text: &str) -> Result<Self, Refusal> {
                if is_well_formed(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(Refusal::new(Code::$not_found, "there is nothing with that id: ids have 1 to 96 letters, digits and - . _"))
                }
            }
        }

        impl From<&$name> for std::sync::Arc<str> {
            fn from(id: &$name) -> Self {
                Self::clone(&id.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

fn is_well_formed(text: &str) -> bool {
    (1..=96).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

ids! {
    /// An account: a UUIDv7 as text.
    AccountId, AccountNotFound;
    /// A portfolio: a UUIDv7 as text.
    PortfolioId, PortfolioNotFound;
    /// An order: a UUIDv7 as text; with a client order id, a UUIDv5 of portfolio and client order id, so that a second one with the same client order id meets the first.
    OrderId, OrderNotFound;
    /// A market: `BASE-QUOTE`, for example `BTC-USDT`.
    Symbol, MarketNotFound;
    /// A hold: `<account>.h<n>`.
    HoldId, HoldNotFound;
    /// A deposit, withdrawal or transfer: `<account or portfolio>.m<n>`, of the account that began it.
    MovementId, AccountNotFound;
    /// A trade or fill: `<symbol>.<n>` on an internal market, `<order>.f<n>` on a paper market.
    TradeId, OrderNotFound;
}

/// `<stem><mark><n>`: what every movement and hold is named by, so it is put together without the machinery of `format!`.
fn numbered(stem: &str, mark: &str, n: u64) -> String {
    let number = NumberText::new(i128::from(n), 0, None);
    [stem, mark, number.as_str()].concat()
}

fn stem(id: &str) -> &str {
    id.rsplit_once('.').map_or(id, |(stem, _)| stem)
}

impl HoldId {
    /// The `n`-th hold of an account.
    pub fn nth(account: &AccountId, n: u64) -> Self {
        Self::new(numbered(account.as_str(), ".h", n))
    }
    /// The account it is on.
    pub fn account(&self) -> AccountId {
        AccountId::new(stem(&self.0))
    }
    /// Its number within the account, if the id is one of ours.
    pub fn number(&self) -> Option<u64> {
        self.0.rsplit_once(".h").and_then(|(_, n)| n.parse().ok())
    }
}

impl MovementId {
    /// The `n`-th movement that an account or portfolio began.
    pub fn nth(origin: &str, n: u64) -> Self {
        Self::new(numbered(origin, ".m", n))
    }
    /// The id of the account or portfolio that began it.
    pub fn origin(&self) -> &str {
        stem(&self.0)
    }
}

/// The other side of a movement: an account or portfolio id, or a party without a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Party(std::borrow::Cow<'static, str>);

impl Party {
    /// Everything outside: where deposits come from and withdrawals go to.
    pub const WORLD: Party = Party(std::borrow::Cow::Borrowed("world"));
    /// Who earns the trading fees.
    pub const FEES: Party = Party(std::borrow::Cow::Borrowed("fees"));
    /// Who gets what rounding leaves.
    pub const ROUNDING: Party = Party(std::borrow::Cow::Borrowed("rounding"));
    /// The counterparty of every fill on a paper market.
    pub const PAPER_VENUE: Party = Party(std::borrow::Cow::Borrowed("venue:paper"));

    /// Whether it has no stream, so that its balance is a fold of what others' events say.
    pub fn is_outside(&self) -> bool {
        Self::is_name_outside(&self.0)
    }
    /// Whether what has this name has no stream.
    pub fn is_name_outside(name: &str) -> bool {
        matches!(name, "world" | "fees" | "rounding") || name.starts_with("venue:")
    }
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Party> for std::sync::Arc<str> {
    fn from(party: &Party) -> Self {
        party.as_str().into()
    }
}

impl From<&AccountId> for Party {
    fn from(id: &AccountId) -> Self {
        Party(id.as_str().to_owned().into())
    }
}

impl From<&PortfolioId> for Party {
    fn from(id: &PortfolioId) -> Self {
        Party(id.as_str().to_owned().into())
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
