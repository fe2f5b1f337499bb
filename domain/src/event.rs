//! An event of any aggregate: on its way into the log, or read back from it.
//!
//! As JSON it is the event of its aggregate, tagged by its own type. The log keeps the type and version of an event beside its payload. [`AnyEvent::decode`] brings old versions up to
//! date and gives the event of today; what it does not know is an error that names it, so a reader stops instead of
//! skipping a fact.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::{Account, AccountEvent};
use crate::decider::Decider;
use crate::market::{Market, MarketEvent};
use crate::order::{Order, OrderEvent};
use crate::portfolio::{Portfolio, PortfolioEvent};
use crate::quote::{Quote, QuoteEvent};
use crate::upcast::{self, Upcaster};

/// An event of one of the aggregates.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnyEvent {
    /// Of an account.
    Account(AccountEvent),
    /// Of a portfolio.
    Portfolio(PortfolioEvent),
    /// Of an order.
    Order(OrderEvent),
    /// Of a market.
    Market(MarketEvent),
    /// Of the quote of an outside market.
    Quote(QuoteEvent),
}

/// An event that this version of Daybook cannot read. The reader must stop: what follows may rest on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read the event {event_type} of version {event_version} of the aggregate type {aggregate_type}: {reason}; \
     it was written by another version of Daybook"
)]
pub struct UnknownEvent {
    /// The kind of aggregate, for example `account`.
    pub aggregate_type: String,
    /// The type of the event, for example `FundsDeposited`.
    pub event_type: String,
    /// Its version.
    pub event_version: String,
    /// What is wrong with it.
    pub reason: String,
}

impl AnyEvent {
    /// Every aggregate type with its types of events and their current versions.
    pub const TYPES: &'static [(&'static str, &'static [(&'static str, &'static str)])] = &[
        (Account::TYPE, AccountEvent::TYPES),
        (Portfolio::TYPE, PortfolioEvent::TYPES),
        (Order::TYPE, OrderEvent::TYPES),
        (Market::TYPE, MarketEvent::TYPES),
        (Quote::TYPE, QuoteEvent::TYPES),
    ];

    /// The event that the log holds as `payload` (JSON, externally tagged by the type), brought up to date.
    ///
    /// # Errors
    /// [`UnknownEvent`] if the aggregate type, the event type or its version is not known or the payload does not fit.
    pub fn decode(
        aggregate_type: &str,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Self, UnknownEvent> {
        Self::decode_with(upcast::UPCASTERS, aggregate_type, event_type, event_version, payload)
    }

    /// As [`AnyEvent::decode`], with other upcasters than those of this version.
    ///
    /// # Errors
    /// As there.
    pub fn decode_with(
        upcasters: &[Upcaster],
        aggregate_type: &str,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Self, UnknownEvent> {
        let unknown = |reason: String| UnknownEvent {
            aggregate_type: aggregate_type.to_owned(),
            event_type: event_type.to_owned(),
            event_version: event_version.to_owned(),
            reason,
        };
        let current = if upcast::is_old(upcasters, aggregate_type, event_type, event_version) {
            let payload = serde_json::from_str(payload).map_err(|error| unknown(error.to_string()))?;
            Some(upcast::up_to_date(upcasters, aggregate_type, event_type, event_version, payload))
        } else {
            None
        };
        let (event_type, event_version) = match &current {
            Some(event) => (event.event_type.as_str(), event.event_version.as_str()),
            None => (event_type, event_version),
        };
        let Some((_, types)) = Self::TYPES.iter().find(|(name, _)| *name == aggregate_type) else {
            return Err(unknown("the aggregate type is not known".to_owned()));
        };
        match types.iter().find(|(name, _)| *name == event_type) {
            Some((_, version)) if *version == event_version => {}
            Some(_) => return Err(unknown("the version is not known".to_owned())),
            None => return Err(unknown("the event type is not known".to_owned())),
        }
        let payload = match &current {
            Some(event) => Payload::Value(&event.payload),
            None => Payload::Text(payload),
        };
        let event = match aggregate_type {
            Account::TYPE => payload.read().map(Self::Account),
            Portfolio::TYPE => payload.read().map(Self::Portfolio),
            Order::TYPE => payload.read().map(Self::Order),
            Market::TYPE => payload.read().map(Self::Market),
            _ => payload.read().map(Self::Quote),
        }
        .map_err(|error| unknown(error.to_string()))?;
        if event.name() != event_type {
            return Err(unknown(format!("its payload is tagged {}", event.name())));
        }
        Ok(event)
    }

    /// The name of the event's type.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Account(event) => event.name(),
            Self::Portfolio(event) => event.name(),
            Self::Order(event) => event.name(),
            Self::Market(event) => event.name(),
            Self::Quote(event) => event.name(),
        }
    }

    /// The version of its shape.
    pub fn version(&self) -> &'static str {
        match self {
            Self::Account(event) => event.version(),
            Self::Portfolio(event) => event.version(),
            Self::Order(event) => event.version(),
            Self::Market(event) => event.version(),
            Self::Quote(event) => event.version(),
        }
    }

    /// The type of the aggregate it happened to.
    pub fn aggregate_type(&self) -> &'static str {
        match self {
            Self::Account(_) => Account::TYPE,
            Self::Portfolio(_) => Portfolio::TYPE,
            Self::Order(_) => Order::TYPE,
            Self::Market(_) => Market::TYPE,
            Self::Quote(_) => Quote::TYPE,
        }
    }
}

/// A payload as it stands in the log, or as an upcaster left it.
enum Payload<'a> {
    Text(&'a str),
    Value(&'a serde_json::Value),
}

impl Payload<'_> {
    fn read<E: DeserializeOwned>(&self) -> Result<E, serde_json::Error> {
        match self {
            Self::Text(text) => serde_json::from_str(text),
            Self::Value(value) => E::deserialize(*value),
        }
    }
}
