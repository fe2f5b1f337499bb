//! What must hold of the exchange after every request, computed beside it from its events.

use std::collections::{BTreeMap, BTreeSet};

use domain::account::{AccountEvent, AccountStatus};
use domain::event::AnyEvent;
use domain::ids::{OrderId, Party, TradeId};
use domain::market::{MarketEvent, MarketStatus};
use domain::order::{Liquidity, OrderEvent, OrderSide, OrderStatus, Placed};
use domain::portfolio::{OpenOrder, PortfolioEvent};
use domain::price::Rounding;
use domain::{Asset, Price, Quantity, Rate};

use super::Exchange;

/// An order in the auditor's own book.
#[derive(Clone, Debug)]
struct Resting {
    order_id: OrderId,
    side: OrderSide,
    price: Price,
    quantity: Quantity,
}

/// Fills of one order, counted from the events.
#[derive(Clone, Debug, Default)]
struct Fills {
    quantity: i128,
    notional: i128,
    /// In hundred-millionths of the smallest unit.
    owed: i128,
    charged: i128,
    trades: BTreeSet<TradeId>,
    last_price: Option<Price>,
}

/// What one trade moved, by the events of both sides.
#[derive(Clone, Debug, Default, PartialEq)]
struct Legs {
    paid: Vec<i128>,
    received: Vec<i128>,
    came: Vec<i128>,
    went: Vec<i128>,
}

/// The auditor: folds of the log of its own, in plain numbers.
#[derive(Debug, Default)]
pub struct Audit {
    read: usize,
    /// Balances of parties without a stream.
    outside: BTreeMap<(Party, Asset), i128>,
    /// In the order of arrival.
    book: Vec<Resting>,
    fills: BTreeMap<OrderId, Fills>,
    halted: bool,
    frozen: BTreeSet<String>,
    /// How much happened, to see that the test is worth its while.
    pub trades: usize,
}

impl Audit {
    /// Reads what happened since the last time and checks everything.
    pub fn check(&mut self, exchange: &Exchange) {
        let news = &exchange.log[self.read..];
        self.read = exchange.log.len();
        let mut legs: BTreeMap<TradeId, Legs> = BTreeMap::new();
        for (id, event) in news {
            match event {
                AnyEvent::Account(event) => self.read_account(id, event, &mut legs),
                AnyEvent::Portfolio(event) => self.read_portfolio(event, &mut legs),
                AnyEvent::Order(event) => self.read_order(id, event, exchange),
                AnyEvent::Market(event) => self.read_market(event, exchange),
                AnyEvent::Quote(_) => {}
            }
        }
        for (_, event) in news {
            if let AnyEvent::Market(MarketEvent::TradeExecuted { trade_id, price, quantity, .. }) = event {
                self.trades += 1;
                let quote = exchange.market().instrument.quote;
                let notional = price.notional(*quantity, quote, Rounding::Exact).expect("exact").units();
                let both = Legs {
                    paid: vec![notional],
                    received: vec![notional],
                    came: vec![quantity.units()],
                    went: vec![quantity.units()],
                };
                assert_eq!(
                    legs.remove(trade_id),
                    Some(both),
                    "{trade_id} moves cash and asset of both sides"
                );
            }
        }
        assert!(legs.is_empty(), "nothing settles without a trade: {legs:?}");
        self.check_sums(exchange);
        self.check_orders(exchange);
        self.check_book(exchange);
    }

    fn pay(&mut self, party: &Party, asset: Asset, units: i128) {
        if party.is_outside() {
            *self.outside.entry((party.clone(), asset)).or_default() += units;
        }
    }

    fn read_account(&mut self, id: &str, event: &AccountEvent, legs: &mut BTreeMap<TradeId, Legs>) {
        match event {
            AccountEvent::FundsDeposited { from, amount, .. } => {
                self.pay(from, amount.asset(), -amount.units())
            }
            AccountEvent::PurchaseSettled { trade_id, counterparty, notional, fee, .. } => {
                assert!(!self.frozen.contains(id), "no fill while the account is frozen");
                legs.entry(trade_id.clone()).or_default().paid.push(notional.units());
                self.pay(counterparty, notional.asset(), notional.units());
                self.pay(&Party::FEES, fee.asset(), fee.units());
            }
            AccountEvent::SaleSettled { trade_id, counterparty, notional, fee, .. } => {
                assert!(!self.frozen.contains(id), "no fill while the account is frozen");
                legs.entry(trade_id.clone()).or_default().received.push(notional.units());
                self.pay(counterparty, notional.asset(), -notional.units());
                self.pay(&Party::FEES, fee.asset(), fee.units());
            }
            AccountEvent::AccountFrozen { .. } => {
                self.frozen.insert(id.to_owned());
            }
            AccountEvent::AccountUnfrozen { .. } => {
                self.frozen.remove(id);
            }
            _ => {}
        }
    }

    fn read_portfolio(&mut self, event: &PortfolioEvent, legs: &mut BTreeMap<TradeId, Legs>) {
        match event {
            PortfolioEvent::AssetDeposited { from, quantity, .. } => {
                self.pay(from, quantity.asset(), -quantity.units());
            }
            PortfolioEvent::PositionIncreased { trade_id, from, quantity, .. } => {
                legs.entry(trade_id.clone()).or_default().came.push(quantity.units());
                self.pay(from, quantity.asset(), -quantity.units());
            }
            PortfolioEvent::PositionReduced { trade_id, to, quantity, .. } => {
                legs.entry(trade_id.clone()).or_default().went.push(quantity.units());
                self.pay(to, quantity.asset(), quantity.units());
            }
            _ => {}
        }
    }

    fn read_order(&mut self, id: &str, event: &OrderEvent, exchange: &Exchange) {
        let OrderEvent::OrderFilled { trade_id, price, quantity, notional, fee, liquidity, .. } = event
        else {
            return;
        };
        let order = exchange.order(&OrderId::new(id));
        let worst = order.worst_price().expect("an accepted order has one");
        assert!(order.ticket.side.allows(worst, *price), "no fill is worse than the limit");
        let fills = self.fills.entry(OrderId::new(id)).or_default();
        assert!(fills.trades.insert(trade_id.clone()), "a fill is applied once");
        fills.quantity += quantity.units();
        fills.notional += notional.units();
        fills.owed += notional.units() * i128::from(rate(order, *liquidity).units());
        fills.charged += fee.units();
        fills.last_price = Some(*price);
        assert!(!fee.is_negative());
    }

    fn read_market(&mut self, event: &MarketEvent, exchange: &Exchange) {
        match event {
            MarketEvent::TradingHalted { .. } => self.halted = true,
            MarketEvent::TradingResumed { .. } => self.halted = false,
            MarketEvent::OrderBooked { order_id, side, price, quantity, account_id, .. } => {
                assert!(!self.halted, "no order reaches the book of a halted market");
                assert!(!self.frozen.contains(account_id.as_str()), "nor one of a frozen account");
                self.book.push(Resting {
                    order_id: order_id.clone(),
                    side: *side,
                    price: *price,
                    quantity: *quantity,
                });
            }
            MarketEvent::OrderUnbooked { order_id, .. } => {
                self.book.retain(|resting| resting.order_id != *order_id);
            }
            MarketEvent::TradeExecuted {
                maker_order_id,
                taker_order_id,
                taker_side,
                price,
                quantity,
                maker_remaining,
                ..
            } => {
                assert!(!self.halted, "no fill happens on a halted market");
                let best = self.best(taker_side.opposite()).expect("somebody rests");
                let maker = &mut self.book[best];
                assert_eq!(maker.order_id, *maker_order_id, "the best price first, then the earliest");
                assert_eq!(maker.price, *price, "the maker's price is the trade's price");
                assert_eq!(maker.quantity.minus(*quantity).expect("in range"), *maker_remaining);
                assert!(!maker_remaining.is_negative());
                maker.quantity = *maker_remaining;
                if maker_remaining.is_zero() {
                    self.book.remove(best);
                }
                assert_eq!(exchange.order(taker_order_id).ticket.side, *taker_side);
            }
            MarketEvent::InstrumentRegistered { .. } => {}
        }
    }

    /// The place of the order that is next to trade on a side.
    fn best(&self, side: OrderSide) -> Option<usize> {
        let of_side = || self.book.iter().filter(|resting| resting.side == side).map(|resting| resting.price);
        let price = match side {
            OrderSide::Buy => of_side().max(),
            OrderSide::Sell => of_side().min(),
        }?;
        self.book.iter().position(|resting| resting.side == side && resting.price == price)
    }

    /// For each asset accounts, positions and outside parties sum to zero; each account keeps to what it has.
    fn check_sums(&self, exchange: &Exchange) {
        let mut sums: BTreeMap<Asset, i128> = BTreeMap::new();
        for stream in exchange.accounts.values() {
            let account = stream.state.opened().expect("opened");
            *sums.entry(account.balance.asset()).or_default() += account.balance.units();
            let held: i128 = account.holds.values().map(|hold| hold.remaining.units()).sum();
            assert_eq!(account.held.units(), held, "held is the sum of what open holds hold");
            let available = account.balance.units() - held + account.overdraft_limit.units();
            assert_eq!(account.available().expect("in range").units(), available);
            assert!(available >= 0, "available is never below zero");
        }
        for stream in exchange.portfolios.values() {
            let portfolio = stream.state.opened().expect("opened");
            for (asset, position) in &portfolio.positions {
                *sums.entry(*asset).or_default() += position.quantity.units();
                let of_orders: i128 = portfolio
                    .open_orders
                    .values()
                    .map(|order| match order {
                        OpenOrder::Sell { reserved } if reserved.asset() == *asset => reserved.units(),
                        _ => 0,
                    })
                    .sum();
                assert_eq!(position.reserved.units(), of_orders, "reserved is the sum over open sales");
                assert!(!position.free().is_negative() && !position.reserved.is_negative());
            }
        }
        for ((_, asset), balance) in &self.outside {
            *sums.entry(*asset).or_default() += balance;
        }
        assert!(sums.values().all(|sum| *sum == 0), "every asset sums to zero: {sums:?}");
    }

    /// Every order has filled what its fills say and has set aside what it can still need, to the smallest unit.
    fn check_orders(&self, exchange: &Exchange) {
        for stream in exchange.orders.values() {
            let order = stream.state.placed().expect("placed");
            let fills = self.fills.get(&order.order_id).cloned().unwrap_or_default();
            assert_eq!(order.filled_quantity.units(), fills.quantity);
            assert_eq!(order.filled_notional.units(), fills.notional);
            assert_eq!(order.fees.units(), fills.charged);
            assert_eq!(fills.charged, round_up(fills.owed), "fees are rounded up once");
            let whole = order.ticket.quantity.map(|quantity| quantity.units());
            assert!(whole.is_none_or(|whole| fills.quantity <= whole), "filled never exceeds ordered");
            assert_eq!(order.status == OrderStatus::Filled, is_filled(order, &fills));

            let account = exchange.accounts[order.ticket.account_id.as_str()].state.opened().expect("opened");
            let held = account.holds.values().filter(|hold| hold.order_id.as_ref() == Some(&order.order_id));
            let held: i128 = held.map(|hold| hold.remaining.units()).sum();
            let portfolio = exchange.portfolios[order.ticket.portfolio_id.as_str()].state.opened();
            let set_aside = portfolio.expect("opened").open_order(&order.order_id).cloned();
            if !order.is_open() {
                assert_eq!((held, set_aside), (0, None), "a finished order holds nothing");
                continue;
            }
            match order.ticket.side {
                OrderSide::Buy => {
                    assert_eq!(held, needed(order, &fills), "a buy holds what it can still cost");
                    let Some(OpenOrder::Buy { committed, .. }) = set_aside else {
                        panic!("an open buy counts towards exposure")
                    };
                    assert_eq!(Ok(committed), order.committed_notional());
                }
                OrderSide::Sell => {
                    assert_eq!(held, 0);
                    let Some(OpenOrder::Sell { reserved }) = set_aside else {
                        panic!("an open sale has its quantity reserved")
                    };
                    let whole = whole.expect("what rests has a quantity");
                    assert_eq!(reserved.units(), whole - fills.quantity, "a sale reserves what remains");
                }
            }
        }
    }

    /// The book is not crossed, and holds exactly the open orders with what remains of each.
    fn check_book(&self, exchange: &Exchange) {
        let market = exchange.market();
        assert_eq!(self.halted, market.status == MarketStatus::Halted);
        if let (Some(bid), Some(ask)) = (market.book.best_bid(), market.book.best_ask()) {
            assert!(bid < ask, "the book is crossed: {bid} against {ask}");
        }
        assert_eq!(market.book.len(), self.book.len());
        for resting in &self.book {
            let (side, price, order) = market.book.get(&resting.order_id).expect("rests");
            assert_eq!((side, price, order.quantity), (resting.side, resting.price, resting.quantity));
        }
        let open = exchange.orders.values().filter_map(|stream| stream.state.placed().ok());
        let open: Vec<_> = open.filter(|order| order.is_open()).collect();
        assert_eq!(open.len(), self.book.len(), "every open order rests, and nothing else");
        for order in open {
            let (_, _, resting) = market.book.get(&order.order_id).expect("an open order rests");
            assert_eq!(order.remaining(), Ok(Some(resting.quantity)));
        }
        for side in [OrderSide::Buy, OrderSide::Sell] {
            let depth = market.book.depth(usize::MAX);
            let levels = if side == OrderSide::Buy { depth.bids } else { depth.asks };
            for level in levels {
                let at_price = self.book.iter().filter(|r| r.side == side && r.price == level.price);
                assert_eq!(level.quantity.units(), at_price.map(|r| r.quantity.units()).sum::<i128>());
            }
        }
        for stream in exchange.accounts.values() {
            let account = stream.state.opened().expect("opened");
            let frozen = self.frozen.contains(account.account_id.as_str());
            assert_eq!(frozen, account.status == AccountStatus::Frozen);
        }
    }
}

fn rate(order: &Placed, liquidity: Liquidity) -> Rate {
    let accepted = order.accepted.as_ref().expect("accepted");
    match liquidity {
        Liquidity::Maker => accepted.maker_fee,
        Liquidity::Taker => accepted.taker_fee,
    }
}

fn round_up(hundred_millionths: i128) -> i128 {
    (hundred_millionths + 99_999_999) / 100_000_000
}

/// What an open buy can still cost: what remains at the worst price, and the worst fee that is not charged yet.
fn needed(order: &Placed, fills: &Fills) -> i128 {
    let whole = order.ticket.quantity.expect("what rests has a quantity").units();
    let remaining = Quantity::from_units(order.ticket.base, whole - fills.quantity).expect("in range");
    let worst = order.worst_price().expect("accepted");
    let notional = worst.notional(remaining, order.ticket.quote, Rounding::Exact).expect("exact").units();
    let worst_rate = rate(order, Liquidity::Maker).max(rate(order, Liquidity::Taker));
    notional + round_up(fills.owed + notional * i128::from(worst_rate.units())) - fills.charged
}

/// Whether the fills have filled the order: nothing of its quantity is left, or too little of its quote quantity for one
/// more lot, of a buy at its worst price with the fee, of a sale at the price of the last fill.
fn is_filled(order: &Placed, fills: &Fills) -> bool {
    let lot_at = |price: Price| {
        price.notional(order.ticket.lot_size, order.ticket.quote, Rounding::Exact).expect("exact").units()
    };
    let (Some(last_price), Some(worst)) = (fills.last_price, order.worst_price()) else { return false };
    match (order.ticket.quantity, order.ticket.quote_quantity, order.ticket.side) {
        (Some(quantity), _, _) => quantity.units() == fills.quantity,
        (None, Some(budget), OrderSide::Buy) => {
            let left = (budget.units() - fills.notional) * 100_000_000 - fills.owed;
            assert!(left >= 0, "a buy never spends more than its quote quantity");
            let fee = i128::from(rate(order, Liquidity::Taker).units());
            left < lot_at(worst) * (100_000_000 + fee)
        }
        (None, Some(budget), OrderSide::Sell) => {
            let left = budget.units() - fills.notional;
            assert!(left >= 0, "a sale never brings more than its quote quantity");
            let reserved = order.accepted.as_ref().and_then(|accepted| accepted.reserved);
            left < lot_at(last_price) || reserved.is_some_and(|reserved| reserved.units() == fills.quantity)
        }
        (None, None, _) => panic!("an order without any quantity"),
    }
}
