//! What always holds of a portfolio, whatever is asked of it: checked after every one of many generated commands.
//!
//! A book beside it computes average cost and profit from the commands alone, with numbers that have no bounds.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{assert_replays_from_every_cut, decide_both_ways, noon, property, read};
use domain::amount::MAX_UNITS;
use domain::ids::{OrderId, Party, PortfolioId};
use domain::portfolio::{OpenOrder, Portfolio, PortfolioCommand as Command, PortfolioEvent as Event};
use domain::{Asset, Code, Decider, Decimal, Money, Quantity};
use num_bigint::BigInt;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

// ---- what is asked

/// A size that is only known when the portfolio is: a part of what is free, reserved, committed or affordable.
#[derive(Clone, Debug)]
enum Size {
    Zero,
    Negative,
    SmallestUnit,
    All,
    OneMoreThanAll,
    Half,
    Largest,
    Units(i128),
}

#[derive(Clone, Debug)]
enum Request {
    Deposit(Size, Option<Decimal>),
    Withdraw(Size),
    CommitBuy(Size),
    Reserve(Size),
    /// Quantity, cost, and what stays committed.
    Increase(Size, Size, Size),
    /// Quantity and proceeds.
    Reduce(Size, Size),
    ReleaseOrder,
}

#[derive(Clone, Debug)]
struct Step {
    asset: usize,
    order: usize,
    request: Request,
}

const ASSETS: [&str; 4] = ["BTC", "ETH", "ACME", "USD"];

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        1 => Just(Size::Zero),
        1 => Just(Size::Negative),
        2 => Just(Size::SmallestUnit),
        4 => Just(Size::All),
        2 => Just(Size::OneMoreThanAll),
        4 => Just(Size::Half),
        1 => Just(Size::Largest),
        8 => (1i128..1_000_000_000).prop_map(Size::Units),
        2 => (1i128..1_000_000_000_000_000_000_000).prop_map(Size::Units),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let unit_cost = (-1i128..10_000_000, 0u8..=13).prop_map(|(units, scale)| Decimal::new(units, scale));
    prop_oneof![
        6 => (size(), proptest::option::of(unit_cost)).prop_map(|(size, cost)| Request::Deposit(size, cost)),
        3 => size().prop_map(Request::Withdraw),
        4 => size().prop_map(Request::CommitBuy),
        5 => size().prop_map(Request::Reserve),
        8 => (size(), size(), size()).prop_map(|(quantity, cost, rest)| Request::Increase(quantity, cost, rest)),
        8 => (size(), size()).prop_map(|(quantity, proceeds)| Request::Reduce(quantity, proceeds)),
        2 => Just(Request::ReleaseOrder),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few assets and orders, the first ones the hottest, so that the same ones meet again.
    let asset = prop_oneof![10 => Just(0usize), 5 => Just(1), 2 => Just(2), 1 => Just(3)];
    let order = prop_oneof![4 => Just(0usize), 3 => Just(1), 2 => 2usize..6];
    let step = (asset, order, request()).prop_map(|(asset, order, request)| Step { asset, order, request });
    proptest::collection::vec(step, 1..80)
}

// ---- the book beside

#[derive(Clone, Debug, Default, PartialEq)]
struct Holding {
    quantity: BigInt,
    cost: BigInt,
    profit: BigInt,
}

/// What an open order has set aside: an asset and how much of it, or of the currency.
#[derive(Clone, Debug, PartialEq)]
enum Aside {
    Buy(Asset, BigInt),
    Sell(Asset, BigInt),
}

#[derive(Clone, Debug, Default)]
struct Book {
    holdings: BTreeMap<Asset, Holding>,
    orders: BTreeMap<OrderId, Aside>,
    /// All cost that ever came in, all that went out with withdrawals, and all that sales removed.
    cost_in: BigInt,
    cost_out: BigInt,
    cost_sold: BigInt,
    proceeds: BigInt,
}

/// To the nearer whole number, a tie to the even one. Both are at or above zero.
fn half_even(numerator: BigInt, denominator: &BigInt) -> BigInt {
    let (quotient, twice_rest) = (&numerator / denominator, (&numerator % denominator) * 2);
    let up = twice_rest > *denominator || (twice_rest == *denominator && &quotient % 2 == BigInt::from(1));
    quotient + i32::from(up)
}

impl Book {
    fn take_in(&mut self, quantity: Quantity, cost: BigInt) {
        let holding = self.holdings.entry(quantity.asset()).or_default();
        holding.quantity += quantity.units();
        holding.cost += &cost;
        self.cost_in += cost;
    }

    /// The cost that goes with the quantity.
    fn give_away(&mut self, quantity: Quantity) -> BigInt {
        let holding = self.holdings.get_mut(&quantity.asset()).expect("nothing leaves that is not there");
        let cost = half_even(&holding.cost * quantity.units(), &holding.quantity);
        holding.quantity -= quantity.units();
        holding.cost -= &cost;
        assert!(holding.quantity >= BigInt::ZERO && holding.cost >= BigInt::ZERO, "no position below zero");
        cost
    }

    fn set_aside(&mut self, order_id: &OrderId, aside: Aside) {
        let (Aside::Buy(_, amount) | Aside::Sell(_, amount)) = &aside;
        assert!(*amount >= BigInt::ZERO, "nothing set aside is below zero");
        if *amount == BigInt::ZERO {
            self.orders.remove(order_id);
        } else {
            self.orders.insert(order_id.clone(), aside);
        }
    }

    fn reserved(&self, asset: Asset) -> BigInt {
        self.orders
            .values()
            .filter_map(|aside| match aside {
                Aside::Sell(of, quantity) if *of == asset => Some(quantity),
                _ => None,
            })
            .sum()
    }

    fn committed(&self, on: Option<Asset>) -> BigInt {
        self.orders
            .values()
            .filter_map(|aside| match aside {
                Aside::Buy(of, amount) if on.is_none_or(|asset| *of == asset) => Some(amount),
                _ => None,
            })
            .sum()
    }

    /// Follows an accepted command; the figures of its event must be the ones computed here.
    fn follow(&mut self, command: &Command, events: &[Event]) {
        match (command, events) {
            (Command::DepositAsset { unit_cost, .. }, [Event::AssetDeposited { quantity, cost, .. }]) => {
                // In 10^-18 of the currency, divided down to its scale of 8 once.
                let each = unit_cost.map_or(0, |cost| cost.units_at(18).expect("few digits"));
                let exact = BigInt::from(each) * quantity.units();
                let scale = u32::from(quantity.asset().scale());
                assert_eq!(BigInt::from(cost.units()), half_even(exact, &BigInt::from(10).pow(10 + scale)));
                self.take_in(*quantity, cost.units().into());
            }
            (Command::WithdrawAsset { .. }, [Event::AssetWithdrawn { quantity, cost_removed, .. }]) => {
                let cost = self.give_away(*quantity);
                assert_eq!(BigInt::from(cost_removed.units()), cost);
                self.cost_out += cost;
            }
            (Command::CommitBuy { order_id, asset, notional }, [Event::BuyCommitted { .. }]) => {
                assert!(!self.orders.contains_key(order_id));
                self.set_aside(order_id, Aside::Buy(*asset, notional.units().into()));
            }
            (Command::Reserve { order_id, quantity }, [Event::QuantityReserved { .. }]) => {
                assert!(!self.orders.contains_key(order_id));
                self.set_aside(order_id, Aside::Sell(quantity.asset(), quantity.units().into()));
            }
            (
                Command::Increase { order_id, quantity, cost, committed, .. },
                [Event::PositionIncreased { .. }],
            ) => {
                let Some(Aside::Buy(asset, before)) = self.orders.get(order_id).cloned() else {
                    panic!("{order_id} is no open buy order")
                };
                assert!(asset == quantity.asset() && before >= committed.units().into());
                self.take_in(*quantity, cost.units().into());
                self.set_aside(order_id, Aside::Buy(asset, committed.units().into()));
            }
            (
                Command::Reduce { order_id, quantity, proceeds, .. },
                [Event::PositionReduced { cost_removed, realized_pnl, reserved, .. }],
            ) => {
                let Some(Aside::Sell(asset, before)) = self.orders.get(order_id).cloned() else {
                    panic!("{order_id} is no open sell order")
                };
                assert_eq!(asset, quantity.asset());
                assert_eq!(BigInt::from(reserved.units()), before - quantity.units());
                let cost = self.give_away(*quantity);
                assert_eq!(BigInt::from(cost_removed.units()), cost);
                assert_eq!(BigInt::from(realized_pnl.units()), proceeds.units() - &cost);
                self.holdings.get_mut(&asset).expect("it was held").profit += realized_pnl.units();
                self.cost_sold += cost;
                self.proceeds += proceeds.units();
                self.set_aside(order_id, Aside::Sell(asset, reserved.units().into()));
            }
            (Command::ReleaseOrder { order_id }, []) => assert!(!self.orders.contains_key(order_id)),
            (Command::ReleaseOrder { order_id }, [event]) => {
                let released = match event {
                    Event::CommitmentReleased { notional, .. } => notional.units(),
                    Event::ReservationReleased { quantity, .. } => quantity.units(),
                    other => panic!("a release does not make {other:?}"),
                };
                let (Aside::Buy(_, amount) | Aside::Sell(_, amount)) =
                    self.orders.remove(order_id).expect("only an open order is released");
                assert_eq!(BigInt::from(released), amount);
            }
            (command, events) => panic!("{command:?} does not make {events:?}"),
        }
    }
}

// ---- the portfolio

struct Desk {
    portfolio: Portfolio,
    stream: Vec<Event>,
    book: Book,
    codes: BTreeSet<Code>,
}

impl Desk {
    fn new() -> Self {
        let open = Command::Open {
            portfolio_id: PortfolioId::new("folio"),
            owner: "demo".into(),
            name: "Trading".into(),
            cash_account_id: read("cash"),
            currency: read("USDT"),
        };
        let stream = Portfolio::default().decide(&open, noon()).expect("a new portfolio can be opened");
        let portfolio = common::replay(stream.clone());
        Self { portfolio, stream, book: Book::default(), codes: BTreeSet::new() }
    }

    fn command(&self, step: &Step) -> Command {
        let opened = self.portfolio.opened().expect("it is open");
        let asset: Asset = read(ASSETS[step.asset]);
        let order_id = OrderId::new(format!("order-{}", step.order));
        let aside = opened.open_order(&order_id);
        let (committed, reserved) = match aside {
            Some(OpenOrder::Buy { committed, .. }) => (committed.units(), 0),
            Some(OpenOrder::Sell { reserved }) => (0, reserved.units()),
            None => (0, 0),
        };
        // An order's fill is mostly of the order's own asset.
        let of_order = match aside {
            Some(OpenOrder::Buy { asset, .. }) => *asset,
            Some(OpenOrder::Sell { reserved }) => reserved.asset(),
            None => asset,
        };
        let units = |size: &Size, all: i128| match size {
            Size::Zero => 0,
            Size::Negative => -1,
            Size::SmallestUnit => 1,
            Size::All => all,
            Size::OneMoreThanAll => (all + 1).min(MAX_UNITS),
            Size::Half => all / 2,
            Size::Largest => MAX_UNITS,
            Size::Units(units) => *units,
        };
        let quantity =
            |asset, size: &Size, all| Quantity::from_units(asset, units(size, all)).expect("in range");
        let money =
            |size: &Size, all| Money::from_units(opened.currency, units(size, all)).expect("in range");
        let number = |size: &Size, all| Decimal::new(units(size, all), asset.scale());
        let free = opened.free(asset).units();
        match &step.request {
            Request::Deposit(size, unit_cost) => {
                let quantity = number(size, MAX_UNITS / 2);
                Command::DepositAsset { asset, quantity, unit_cost: *unit_cost, reference: None }
            }
            Request::Withdraw(size) => {
                Command::WithdrawAsset { asset, quantity: number(size, free), reference: Some("out".into()) }
            }
            Request::CommitBuy(size) => Command::CommitBuy { order_id, asset, notional: money(size, 1_000) },
            Request::Reserve(size) => Command::Reserve { order_id, quantity: quantity(asset, size, free) },
            Request::Increase(size, cost, rest) => Command::Increase {
                trade_id: read("BTC-USDT.1"),
                order_id,
                from: Party::PAPER_VENUE,
                quantity: quantity(of_order, size, 100_000_000),
                cost: money(cost, committed),
                committed: money(rest, committed),
            },
            Request::Reduce(size, proceeds) => Command::Reduce {
                trade_id: read("BTC-USDT.1"),
                order_id,
                to: Party::PAPER_VENUE,
                quantity: quantity(of_order, size, reserved),
                proceeds: money(proceeds, 1_000_000),
            },
            Request::ReleaseOrder => Command::ReleaseOrder { order_id },
        }
    }

    fn step(&mut self, step: &Step) {
        let command = self.command(step);
        let before = serde_json::to_string(&self.portfolio).expect("a state can be written");
        match decide_both_ways(&self.portfolio, &command, noon()) {
            Ok(events) => {
                assert_eq!(self.portfolio.decide(&command, noon()), Ok(events.clone()));
                self.book.follow(&command, &events);
                events.iter().for_each(|event| Decider::apply(&mut self.portfolio, event));
                self.stream.extend(events);
            }
            Err(refusal) => {
                self.codes.insert(refusal.code);
                let after = serde_json::to_string(&self.portfolio).expect("a state can be written");
                assert_eq!(after, before, "a refused command changes nothing");
            }
        }
        self.assert_invariants();
    }

    fn assert_invariants(&self) {
        let opened = self.portfolio.opened().expect("it is open");
        let (mut cost, mut profit) = (BigInt::ZERO, BigInt::ZERO);
        for (asset, position) in &opened.positions {
            let holding = self.book.holdings.get(asset).cloned().unwrap_or_default();
            let held = Holding {
                quantity: position.quantity.units().into(),
                cost: position.cost.units().into(),
                profit: position.realized_pnl.units().into(),
            };
            assert_eq!(held, holding, "the position in {asset} is the sum of what came and went");
            let reserved = BigInt::from(position.reserved.units());
            assert_eq!(reserved, self.book.reserved(*asset), "reserved is what open sell orders reserve");
            assert!(reserved <= held.quantity, "nothing is reserved that is not held");
            assert_eq!(BigInt::from(opened.free(*asset).units()), &held.quantity - reserved);
            if held.quantity == BigInt::ZERO {
                assert_eq!(held.cost, BigInt::ZERO, "nothing costs nothing");
            }
            cost += held.cost;
            profit += held.profit;
            assert_eq!(BigInt::from(opened.committed_on(*asset).units()), self.book.committed(Some(*asset)));
        }
        assert!(self.book.holdings.keys().all(|asset| opened.positions.contains_key(asset)));
        assert_eq!(&self.book.cost_in - &self.book.cost_out - &self.book.cost_sold, cost, "no cost is lost");
        assert_eq!(&self.book.proceeds - &self.book.cost_sold, profit, "profit is proceeds less cost");
        assert_eq!(BigInt::from(opened.committed_total().units()), self.book.committed(None));
        assert_eq!(opened.open_order_count(), self.book.orders.len());
        assert!(opened.commitments.values().all(Money::is_positive));
    }
}

proptest! {
    #![proptest_config(property(200))]

    #[test]
    fn whatever_is_asked_positions_are_the_sum_of_fills_at_average_cost(steps in steps()) {
        let mut desk = Desk::new();
        for step in &steps {
            desk.step(step);
        }
        assert_replays_from_every_cut::<Portfolio>(&desk.stream);
    }
}

/// A property that generates nothing interesting proves nothing: over the fixed cases every refusal of a portfolio that its
/// state can cause must occur, and every kind of event.
#[test]
fn the_generated_commands_meet_every_refusal_and_every_event() {
    let seed =
        proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(property(1), seed);
    let (mut codes, mut names) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..120 {
        let mut desk = Desk::new();
        for step in &steps().new_tree(&mut runner).expect("steps can be generated").current() {
            desk.step(step);
        }
        codes.append(&mut desk.codes);
        names.extend(desk.stream.iter().map(Event::name));
    }
    let expected = [
        Code::AlreadyExists,
        Code::AmountNotPositive,
        Code::AmountOutOfRange,
        Code::TooManyDecimals,
        Code::AssetIsCash,
        Code::InsufficientPosition,
        Code::OrderNotOpen,
        Code::FillOutOfBounds,
    ];
    let missing: Vec<Code> = expected.into_iter().filter(|code| !codes.contains(code)).collect();
    assert_eq!(missing, [], "met only {codes:?}");
    names.insert("RiskLimitsSet"); // Limits set nothing in motion, so they are not generated.
    let unseen: Vec<&str> =
        Event::TYPES.iter().map(|(name, _)| *name).filter(|name| !names.contains(name)).collect();
    assert!(unseen.is_empty(), "never happened: {unseen:?}");
}
