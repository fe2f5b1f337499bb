//! A whole small exchange under random commands: what must always hold is asserted after every one of them.

use commands::aggregates::Kept;
use commands::request::{
    AccountStatusChange, CancelOrder, MarketStatusChange, PlaceOrder, RegisterMarket, Transfer,
};
use commands::unit::Halt;
use commands::{Command, Role};
use domain::account::AccountEvent;
use domain::event::AnyEvent;
use domain::ids::{OrderId, Symbol};
use domain::market::{Market, Venue};
use domain::order::{OrderSide, OrderType, SelfTradePrevention, TimeInForce};
use domain::{Asset, Code, Decimal};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{House, Trader, dec, limit, movement, of_role};

const SYMBOL: &str = "ACME-USDT";
const CASH: i128 = 10_000_00000000;
const SHARES: i128 = 100_00000000;

#[derive(Clone, Debug)]
enum Step {
    Place { trader: usize, buy: bool, ticks: i64, lots: i64, kind: u8, prevention: u8, by_quote: bool },
    Cancel { which: usize },
    Freeze { trader: usize, on: bool },
    Halt { on: bool },
    Transfer { from: usize, to: usize, units: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3usize, any::<bool>(), 990..1010i64, prop_oneof![1..4i64, 1..500_000i64], 0..5u8, 0..4u8, prop::bool::weighted(0.2))
            .prop_map(|(trader, buy, ticks, lots, kind, prevention, by_quote)| Step::Place { trader, buy, ticks, lots, kind, prevention, by_quote }),
        2 => (0..64usize).prop_map(|which| Step::Cancel { which }),
        1 => (0..3usize, any::<bool>()).prop_map(|(trader, on)| Step::Freeze { trader, on }),
        1 => prop::bool::weighted(0.3).prop_map(|on| Step::Halt { on }),
        1 => (0..3usize, 0..3usize, prop_oneof![Just(0), Just(1), 1..2_000_000_000_000i64])
            .prop_map(|(from, to, units)| Step::Transfer { from, to, units }),
    ]
}

struct Exchange {
    house: House,
    traders: Vec<Trader>,
    orders: Vec<(usize, OrderId)>,
}

impl Exchange {
    fn new() -> Self {
        let mut house = House::new();
        let register = RegisterMarket {
            symbol: Symbol::new(SYMBOL),
            base: "ACME".parse().unwrap(),
            quote: "USDT".parse().unwrap(),
            venue: Venue::Internal,
            tick_size: dec("0.01"),
            lot_size: dec("0.0001"),
            min_quantity: dec("0.0001"),
            max_quantity: dec("1000"),
            min_notional: Decimal::ZERO,
            // Rates that leave a rest on nearly every fill.
            maker_fee_bps: dec("3.3333"),
            taker_fee_bps: dec("7.7777"),
            price_band: None,
        };
        house.run(&of_role(Role::Operator), Command::RegisterMarket(register)).unwrap();
        let traders: Vec<_> =
            ["alice", "bob", "carol"].iter().map(|name| house.open_trader(name, "USDT", "0")).collect();
        for trader in &traders {
            house
                .run(&of_role(Role::Operator), Command::Deposit(movement(&trader.account, "10000")))
                .unwrap();
            house.give(trader, "ACME", "100", "9.99");
        }
        Self { house, traders, orders: Vec::new() }
    }

    fn command(&self, step: &Step) -> (usize, Option<Role>, Command) {
        match *step {
            Step::Place { trader, buy, ticks, lots, kind, prevention, by_quote } => {
                let side = if buy { OrderSide::Buy } else { OrderSide::Sell };
                let (order_type, time_in_force) = [
                    (OrderType::Limit, TimeInForce::Gtc),
                    (OrderType::Limit, TimeInForce::Ioc),
                    (OrderType::Limit, TimeInForce::Fok),
                    (OrderType::Market, TimeInForce::Gtc),
                    (OrderType::LimitMaker, TimeInForce::Gtc),
                ][usize::from(kind)];
                let mut order = PlaceOrder {
                    order_type,
                    time_in_force,
                    self_trade_prevention: [
                        SelfTradePrevention::None,
                        SelfTradePrevention::ExpireTaker,
                        SelfTradePrevention::ExpireMaker,
                        SelfTradePrevention::ExpireBoth,
                    ][usize::from(prevention)],
                    quantity: Some(Decimal::new(i128::from(lots), 4)),
                    limit_price: Some(Decimal::new(i128::from(ticks), 2)),
                    ..limit(&self.traders[trader], SYMBOL, side, "1", "1")
                };
                if order_type == OrderType::Market {
                    order.limit_price = None;
                    if by_quote {
                        order.quantity = None;
                        order.quote_quantity = Some(Decimal::new(i128::from(lots), 3));
                    }
                }
                (trader, None, Command::PlaceOrder(order))
            }
            Step::Cancel { which } => {
                let (trader, order_id) = match self.orders.get(which % self.orders.len().max(1)) {
                    Some((trader, order_id)) => (*trader, order_id.clone()),
                    None => (0, OrderId::new("none")),
                };
                (trader, None, Command::CancelOrder(CancelOrder { order_id }))
            }
            Step::Freeze { trader, on } => {
                let change = AccountStatusChange {
                    account_id: self.traders[trader].account.clone(),
                    reason: "test".into(),
                };
                let command =
                    if on { Command::FreezeAccount(change) } else { Command::UnfreezeAccount(change) };
                (trader, Some(Role::Compliance), command)
            }
            Step::Halt { on } => {
                let change = MarketStatusChange { symbol: Symbol::new(SYMBOL), reason: "test".into() };
                let command = if on { Command::HaltMarket(change) } else { Command::ResumeMarket(change) };
                (0, Some(Role::Operator), command)
            }
            Step::Transfer { from, to, units } => {
                let transfer = Transfer {
                    from: self.traders[from].account.clone(),
                    to: self.traders[to].account.clone(),
                    amount: Decimal::new(i128::from(units), 8),
                    reference: None,
                    effective_at: None,
                };
                (from, None, Command::Transfer(transfer))
            }
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let (trader, role, command) = self.command(step);
        let principal = role.map_or_else(|| self.traders[trader].principal.clone(), of_role);
        let before = self.fingerprint();
        self.house.tick(1);
        match self.house.run(&principal, command) {
            Ok(answer) => {
                if let (Some(order_id), Step::Place { .. }) = (answer.order_id, step) {
                    self.orders.push((trader, order_id));
                }
            }
            Err(Halt::Refused(refusal) | Halt::Forbidden(refusal)) => {
                prop_assert!(refusal.code != Code::Internal, "{refusal}");
                prop_assert_eq!(before, self.fingerprint(), "a refused command changes nothing");
            }
            Err(halt) => return Err(TestCaseError::fail(format!("{step:?} halted with {halt:?}"))),
        }
        self.check()
    }

    /// Everything that a refused command could have changed.
    fn fingerprint(&self) -> String {
        let states: Vec<_> = self
            .traders
            .iter()
            .map(|trader| (self.house.account(&trader.account), self.house.portfolio(&trader.portfolio)))
            .collect();
        let market = Market::shelf(&self.house.aggregates).get(SYMBOL).unwrap();
        format!(
            "{} {} {}",
            serde_json::to_string(&states).unwrap(),
            market.sequence,
            serde_json::to_string(&*market.state).unwrap()
        )
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (mut cash, mut shares, mut fees) = (0, 0, 0);
        for event in self.house.events.iter().filter(|event| event.aggregate_type == "account") {
            if let AnyEvent::Account(
                AccountEvent::PurchaseSettled { fee, .. } | AccountEvent::SaleSettled { fee, .. },
            ) = &event.event
            {
                fees += fee.units();
            }
        }
        for (index, trader) in self.traders.iter().enumerate() {
            let account = self.house.account(&trader.account);
            let portfolio = self.house.portfolio(&trader.portfolio);
            let (mut held, mut reserved) = (0, 0);
            for (_, id) in self.orders.iter().filter(|(owner, _)| *owner == index) {
                let order = self.house.order(id);
                held += order.cash_required().unwrap().units();
                reserved += order.quantity_reserved().unwrap().units();
                prop_assert_eq!(order.is_open(), portfolio.open_orders.contains_key(id));
                if let Some(asked) = order.ticket.quantity {
                    prop_assert!(order.filled_quantity.units() <= asked.units(), "filled beyond the order");
                }
                if let Some(asked) = order.ticket.quote_quantity {
                    prop_assert!(order.filled_notional.units() <= asked.units());
                }
            }
            prop_assert_eq!(held, account.held.units(), "held is what open buys need");
            prop_assert!(!account.available().unwrap().is_negative());
            let position = &portfolio.positions[&"ACME".parse::<Asset>().unwrap()];
            prop_assert_eq!(reserved, position.reserved.units(), "reserved is what open sales need");
            prop_assert!(position.reserved.units() <= position.quantity.units());
            prop_assert!(!position.cost.is_negative());
            cash += account.balance.units();
            shares += position.quantity.units();
        }
        prop_assert_eq!(cash + fees, 3 * CASH, "cash and fees are what came in");
        prop_assert_eq!(shares, 3 * SHARES, "shares are what came in");
        let market = Market::shelf(&self.house.aggregates).get(SYMBOL).unwrap();
        let book = &market.state.registered().unwrap().book;
        if let (Some(bid), Some(ask)) = (book.best_bid(), book.best_ask()) {
            prop_assert!(bid < ask, "the book is crossed: {bid} and {ask}");
        }
        Ok(())
    }
}

#[test]
fn what_must_always_hold_holds_after_every_command() {
    let cases = std::env::var("DAYBOOK_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    TestRunner::new_with_rng(config, rng)
        .run(&prop::collection::vec(step(), 1..80), |steps| {
            let mut exchange = Exchange::new();
            for step in &steps {
                exchange.take(step)?;
            }
            Ok(())
        })
        .unwrap();
}
