//! What the paper venue knows from the log: the open orders of paper markets, halted markets, frozen accounts. A fold, saved
//! now and then with its log position, so that a start need not read the log from its beginning.

use std::collections::{BTreeSet, HashMap};

use domain::account::AccountEvent;
use domain::decider::Decider;
use domain::event::AnyEvent;
use domain::ids::{AccountId, OrderId, Symbol};
use domain::market::{MarketEvent, Venue};
use domain::order::{Order, OrderEvent};
use event_store::LogPosition;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An order of a paper market that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenOrder {
    /// As the log has it.
    pub order: Order,
    /// Where it was accepted, if it was: orders arrive in this order.
    pub accepted_at: Option<u64>,
    /// Ties its fills to the request that placed it.
    pub correlation_id: Option<Uuid>,
    /// Whether it had come to rest when this was saved.
    pub rested: bool,
}

impl OpenOrder {
    pub(crate) fn symbol(&self) -> Option<&Symbol> {
        self.order.placed().ok().map(|placed| &placed.ticket.symbol)
    }
}

/// What an event changes for the venue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The order may trade from now on.
    Accepted(OrderId),
    /// A fill is in the log.
    Filled(OrderId),
    /// It trades no more; it was of this market.
    Ended(OrderId, Symbol),
    Halted(Symbol),
    Resumed(Symbol),
    Frozen(AccountId),
    Unfrozen(AccountId),
}

/// The fold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct OpenOrders {
    pub orders: HashMap<OrderId, OpenOrder>,
    pub halted: BTreeSet<Symbol>,
    pub frozen: BTreeSet<AccountId>,
}

/// As it is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    orders: Vec<OpenOrder>,
    halted: BTreeSet<Symbol>,
    frozen: BTreeSet<AccountId>,
}

impl OpenOrders {
    /// Whether an event of this type, of the aggregate with this id, can change anything; others need not be decoded.
    pub(crate) fn concerns(&self, aggregate_type: &str, aggregate_id: &str, event_type: &str) -> bool {
        match aggregate_type {
            "order" => event_type == "OrderPlaced" || self.orders.contains_key(&OrderId::new(aggregate_id)),
            "market" => matches!(event_type, "TradingHalted" | "TradingResumed"),
            "account" => matches!(event_type, "AccountFrozen" | "AccountUnfrozen"),
            _ => false,
        }
    }

    /// Takes in an event of the aggregate with this id.
    pub(crate) fn apply(
        &mut self,
        aggregate_id: &str,
        log_position: LogPosition,
        correlation_id: impl FnOnce() -> Option<Uuid>,
        event: &AnyEvent,
    ) -> Option<Change> {
        match event {
            AnyEvent::Order(event) => {
                self.apply_to_order(OrderId::new(aggregate_id), log_position, correlation_id, event)
            }
            AnyEvent::Market(event) => {
                let symbol = Symbol::new(aggregate_id);
                match event {
                    MarketEvent::TradingHalted { .. } => {
                        self.halted.insert(symbol.clone());
                        Some(Change::Halted(symbol))
                    }
                    MarketEvent::TradingResumed { .. } => {
                        self.halted.remove(&symbol);
                        Some(Change::Resumed(symbol))
                    }
                    _ => None,
                }
            }
            AnyEvent::Account(event) => {
                let account = AccountId::new(aggregate_id);
                match event {
                    AccountEvent::AccountFrozen { .. } => {
                        self.frozen.insert(account.clone());
                        Some(Change::Frozen(account))
                    }
                    AccountEvent::AccountUnfrozen { .. } => {
                        self.frozen.remove(&account);
                        Some(Change::Unfrozen(account))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn apply_to_order(
        &mut self,
        id: OrderId,
        log_position: LogPosition,
        correlation_id: impl FnOnce() -> Option<Uuid>,
        event: &OrderEvent,
    ) -> Option<Change> {
        if let OrderEvent::OrderPlaced { ticket, .. } = event
            && ticket.venue == Venue::Paper
        {
            let new = OpenOrder {
                order: Order::default(),
                accepted_at: None,
                correlation_id: correlation_id(),
                rested: false,
            };
            self.orders.insert(id.clone(), new);
        }
        let known = self.orders.get_mut(&id)?;
        known.order.apply(event);
        let symbol = known.symbol()?.clone();
        let open = known.order.placed().is_ok_and(|placed| placed.is_open());
        match event {
            OrderEvent::OrderAccepted { .. } => {
                known.accepted_at = Some(log_position.0);
                Some(Change::Accepted(id))
            }
            OrderEvent::OrderFilled { .. } if open => Some(Change::Filled(id)),
            OrderEvent::OrderFilled { .. }
            | OrderEvent::OrderRejected { .. }
            | OrderEvent::OrderCanceled {}
            | OrderEvent::OrderExpired { .. } => {
                self.orders.remove(&id);
                Some(Change::Ended(id, symbol))
            }
            OrderEvent::OrderPlaced { .. } | OrderEvent::RiskStagePassed { .. } => None,
        }
    }

    /// The open orders in the order in which they were accepted.
    pub(crate) fn in_order(&self) -> Vec<&OpenOrder> {
        let mut orders: Vec<&OpenOrder> = self.orders.values().filter(|o| o.accepted_at.is_some()).collect();
        orders.sort_by_key(|order| order.accepted_at);
        orders
    }

    /// As it is saved; `rests` says of an order whether it has come to rest.
    ///
    /// # Errors
    /// None that is known: everything in it has a JSON form.
    pub(crate) fn save(
        &self,
        rests: impl Fn(&OpenOrder) -> bool,
    ) -> Result<serde_json::Value, serde_json::Error> {
        let mut orders: Vec<OpenOrder> = self.orders.values().cloned().collect();
        orders.sort_by_key(|open| open.accepted_at);
        for order in &mut orders {
            order.rested = rests(order);
        }
        serde_json::to_value(Saved { orders, halted: self.halted.clone(), frozen: self.frozen.clone() })
    }

    /// From what was saved.
    ///
    /// # Errors
    /// When it was not saved by this version.
    pub(crate) fn load(saved: serde_json::Value) -> Result<Self, serde_json::Error> {
        let Saved { orders, halted, frozen } = serde_json::from_value(saved)?;
        let by_id = orders
            .into_iter()
            .filter_map(|open| Some((open.order.placed().ok()?.order_id.clone(), open)))
            .collect();
        Ok(Self { orders: by_id, halted, frozen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(known: &mut OpenOrders, id: &str, position: u64, payload: &str) -> Option<Change> {
        let event = if payload.starts_with("{\"Account") {
            AnyEvent::Account(serde_json::from_str(payload).unwrap())
        } else if payload.starts_with("{\"Trading") {
            AnyEvent::Market(serde_json::from_str(payload).unwrap())
        } else {
            AnyEvent::Order(serde_json::from_str(payload).unwrap())
        };
        known.apply(id, LogPosition(position), || None, &event)
    }

    fn placed(id: &str, venue: &str) -> String {
        format!(
            r#"{{"OrderPlaced":{{"order_id":"{id}","ticket":{{"owner":"demo","portfolio_id":"p","account_id":"a",
            "symbol":"BTC-USDT","venue":"{venue}","base":"BTC","quote":"USDT","lot_size":"0.00001 BTC","side":"BUY",
            "type":"LIMIT","time_in_force":"GTC","quantity":"1 BTC","limit_price":"100",
            "self_trade_prevention":"NONE"}}}}}}"#
        )
    }

    const ACCEPTED: &str =
        r#"{"OrderAccepted":{"hold_id":"a.h1","held":"100 USDT","maker_fee":"0","taker_fee":"0"}}"#;

    #[test]
    fn only_open_orders_of_paper_markets_are_known_in_the_order_of_their_acceptance() {
        let mut known = OpenOrders::default();
        for (position, id) in [(1, "o2"), (3, "o1"), (5, "o3")] {
            assert_eq!(applied(&mut known, id, position, &placed(id, "PAPER")), None);
            let accepted = applied(&mut known, id, position + 1, ACCEPTED);
            assert_eq!(accepted, Some(Change::Accepted(OrderId::new(id))));
        }
        assert_eq!(applied(&mut known, "o4", 7, &placed("o4", "INTERNAL")), None);
        assert_eq!(applied(&mut known, "o4", 8, ACCEPTED), None);
        let ended = applied(&mut known, "o3", 9, r#"{"OrderCanceled":{}}"#);
        assert_eq!(ended, Some(Change::Ended(OrderId::new("o3"), Symbol::new("BTC-USDT"))));
        let ids: Vec<_> =
            known.in_order().iter().map(|o| o.order.placed().unwrap().order_id.to_string()).collect();
        assert_eq!(ids, ["o2", "o1"]);
    }

    #[test]
    fn what_is_saved_is_what_is_loaded_and_says_what_rests() {
        let mut known = OpenOrders::default();
        applied(&mut known, "o1", 1, &placed("o1", "PAPER"));
        applied(&mut known, "o1", 2, ACCEPTED);
        applied(&mut known, "BTC-USDT", 3, r#"{"TradingHalted":{"reason":"r"}}"#);
        applied(&mut known, "a", 4, r#"{"AccountFrozen":{"reason":"r"}}"#);
        let loaded = OpenOrders::load(known.save(|_| true).unwrap()).unwrap();
        assert!(loaded.orders[&OrderId::new("o1")].rested);
        known.orders.values_mut().for_each(|open| open.rested = true);
        assert_eq!(loaded, known);
        applied(&mut known, "BTC-USDT", 5, r#"{"TradingResumed":{"reason":"r"}}"#);
        applied(&mut known, "a", 6, r#"{"AccountUnfrozen":{"reason":"r"}}"#);
        assert!(known.halted.is_empty() && known.frozen.is_empty());
    }
}
