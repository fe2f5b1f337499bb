//! What must hold of trading whatever is asked: a small exchange is driven at random and audited after every request.

mod common;
mod exchange;

use std::collections::BTreeSet;

use common::{assert_replays_from_every_cut, decide_both_ways, noon_plus, property, read};
use domain::account::{Account, AccountCommand};
use domain::ids::OrderId;
use domain::market::{Market, MarketCommand};
use domain::order::{FeeAccrual, Order, OrderSide, OrderType, QuoteBudget, SelfTradePrevention, TimeInForce};
use domain::portfolio::Portfolio;
use domain::price::Rounding;
use domain::quote::{BestLevel, ObservedWindow, Quote, QuoteCommand};
use domain::{Asset, Code, Decider, Decimal, Money, Price, Quantity, Rate};
use exchange::audit::Audit;
use exchange::{Exchange, Outcome, TRADERS, Wish, symbol};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

// ---- what is asked

#[derive(Clone, Debug)]
enum Request {
    Place(Wish),
    Cancel(Index),
    Freeze(usize),
    Unfreeze(usize),
    Halt,
    Resume,
}

/// Prices close together, so that orders meet, and some that nobody should take.
fn price() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        20 => (9_800i128..10_200).prop_map(|cents| Decimal::new(cents, 2)),
        1 => select(vec!["0.01", "0", "-1", "149.99", "50", "1000", "100.005", "1000000000000000000000000"])
            .prop_map(read),
    ]
}

/// Quantities of a few lots up to a few BTC, and some that nobody should take.
fn quantity() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        6 => (1i128..20).prop_map(|lots| Decimal::new(lots, 6)),
        12 => (1i128..12_000_000).prop_map(|lots| Decimal::new(lots, 6)),
        2 => (1i128..40).prop_map(|whole| Decimal::new(whole, 0)),
        1 => select(vec!["0", "-0.5", "0.0000001", "0.000000001", "1000001", "100000000000000000000000000000"])
            .prop_map(read),
    ]
}

fn quote_quantity() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        8 => (1i128..150_000_000_000).prop_map(|units| Decimal::new(units, 8)),
        1 => select(vec!["0", "-1", "0.00000001", "0.0001", "10000", "99999999999999999999999999"]).prop_map(read),
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    let side = select(vec![OrderSide::Buy, OrderSide::Sell]);
    let order_type = prop_oneof![
        6 => Just(OrderType::Limit),
        2 => Just(OrderType::Market),
        1 => Just(OrderType::LimitMaker),
    ];
    let time_in_force =
        prop_oneof![4 => Just(TimeInForce::Gtc), 1 => Just(TimeInForce::Ioc), 1 => Just(TimeInForce::Fok)];
    let self_trade_prevention = select(vec![
        SelfTradePrevention::None,
        SelfTradePrevention::ExpireTaker,
        SelfTradePrevention::ExpireMaker,
        SelfTradePrevention::ExpireBoth,
    ]);
    let numbers = (quantity(), quote_quantity(), price(), any::<bool>(), prop::bool::weighted(0.02));
    (0..TRADERS.len(), side, order_type, time_in_force, self_trade_prevention, numbers).prop_map(
        |(trader, side, order_type, time_in_force, self_trade_prevention, numbers)| {
            let (quantity, quote_quantity, price, by_quote, is_muddled) = numbers;
            let is_market = order_type == OrderType::Market;
            let by_quote = is_market && by_quote;
            Wish {
                trader,
                side,
                order_type,
                time_in_force,
                quantity: (!by_quote || is_muddled).then_some(quantity),
                quote_quantity: by_quote.then_some(quote_quantity),
                limit_price: (is_market == is_muddled).then_some(price),
                self_trade_prevention,
            }
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    let account = 0..TRADERS.len();
    prop_oneof![
        40 => wish().prop_map(Request::Place),
        5 => any::<Index>().prop_map(Request::Cancel),
        1 => account.clone().prop_map(Request::Freeze),
        5 => account.prop_map(Request::Unfreeze),
        1 => Just(Request::Halt),
        5 => Just(Request::Resume),
    ]
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec(request(), 1..60)
}

// ---- how it is done

fn serve(exchange: &mut Exchange, request: &Request) -> Outcome {
    let reason = || "a reason".to_owned();
    match request {
        Request::Place(wish) => exchange.request(|exchange| exchange.place(wish)),
        Request::Cancel(index) => {
            let known: Vec<_> = exchange.orders.keys().cloned().collect();
            if known.is_empty() {
                return Outcome::Refused(Code::OrderNotFound);
            }
            let id = OrderId::new(index.get(&known).as_str());
            exchange.request(|exchange| exchange.cancel(&id))
        }
        Request::Freeze(trader) => {
            let command = AccountCommand::Freeze { reason: reason() };
            exchange.request(|exchange| {
                exchange.execute::<Account>(TRADERS[*trader].1, command).map(|_| Outcome::Done)
            })
        }
        Request::Unfreeze(trader) => {
            let command = AccountCommand::Unfreeze { reason: reason() };
            exchange.request(|exchange| {
                exchange.execute::<Account>(TRADERS[*trader].1, command).map(|_| Outcome::Done)
            })
        }
        Request::Halt => {
            let command = MarketCommand::Halt { reason: reason() };
            exchange.request(|exchange| exchange.execute::<Market>(symbol(), command).map(|_| Outcome::Done))
        }
        Request::Resume => {
            let command = MarketCommand::Resume { reason: reason() };
            exchange.request(|exchange| exchange.execute::<Market>(symbol(), command).map(|_| Outcome::Done))
        }
    }
}

/// For what an order is refused; everything else rejects it.
const OF_FORM: &[Code] = &[
    Code::AmountNotPositive,
    Code::TooManyDecimals,
    Code::AmountOutOfRange,
    Code::InvalidOrder,
    Code::TickSize,
    Code::LotSize,
];

/// Serves and audits every request; gives what there is in the end.
fn run(requests: &[Request], mut seen: impl FnMut(&Outcome)) -> (Exchange, Audit) {
    let mut exchange = Exchange::open();
    let mut audit = Audit::default();
    audit.check(&exchange);
    for request in requests {
        let before = exchange.clone();
        let outcome = serve(&mut exchange, request);
        seen(&outcome);
        match outcome {
            Outcome::Done => {}
            Outcome::Refused(code) => {
                assert_eq!(exchange.log, before.log, "a refusal leaves no trace");
                let is_order = matches!(request, Request::Place(_));
                assert!(
                    !is_order || OF_FORM.contains(&code),
                    "{code}: what is well-formed is judged, and then trades"
                );
            }
            Outcome::Rejected(_) => {
                assert_eq!(
                    exchange.orders.len(),
                    before.orders.len() + 1,
                    "a rejected order is written down"
                );
                assert!(only_orders_changed(&before, &exchange), "and nothing else changes");
            }
        }
        audit.check(&exchange);
    }
    (exchange, audit)
}

fn only_orders_changed(before: &Exchange, after: &Exchange) -> bool {
    let accounts = before.accounts.iter().all(|(id, stream)| after.accounts[id].state == stream.state);
    let portfolios = before.portfolios.iter().all(|(id, stream)| after.portfolios[id].state == stream.state);
    let orders = before.orders.iter().all(|(id, stream)| after.orders[id].state == stream.state);
    accounts && portfolios && orders && before.market() == after.market()
}

// ---- what holds

proptest! {
    #![proptest_config(property(96))]

    #[test]
    fn trading_keeps_every_invariant_after_every_request(requests in requests()) {
        run(&requests, |_| {});
    }

    #[test]
    fn a_snapshot_and_its_tail_are_the_whole_history_at_every_cut(requests in requests()) {
        let (exchange, _) = run(&requests[..requests.len().min(25)], |_| {});
        for stream in exchange.accounts.values() {
            assert_replays_from_every_cut::<Account>(&stream.events);
        }
        for stream in exchange.portfolios.values() {
            assert_replays_from_every_cut::<Portfolio>(&stream.events);
        }
        for stream in exchange.orders.values() {
            assert_replays_from_every_cut::<Order>(&stream.events);
        }
        for stream in exchange.markets.values() {
            assert_replays_from_every_cut::<Market>(&stream.events);
        }
    }
}

proptest! {
    #![proptest_config(property(1_000))]

    #[test]
    fn a_quote_is_the_last_window_and_never_goes_back(
        windows in prop::collection::vec((0i64..8, any::<bool>(), 1i128..1000), 1..20)
    ) {
        let mut quote = Quote::default();
        for (at, has_bid, cents) in windows {
            let price = Price::from_decimal(Decimal::new(cents, 2)).expect("above zero");
            let window = ObservedWindow {
                symbol: read("BTC-USDT"),
                feed: "live".into(),
                pass: 0,
                opened_at: noon_plus(at),
                length_ms: 1000,
                bid: has_bid.then(|| BestLevel { price, quantity: read("1 BTC") }),
                ask: None,
                traded: None,
            };
            let is_later = quote.opened_at.is_none_or(|last| noon_plus(at) > last);
            let command = QuoteCommand::Observe { window: window.clone() };
            let events = decide_both_ways(&quote, &command, noon_plus(at)).expect("never refused");
            prop_assert_eq!(events.len(), usize::from(is_later));
            events.iter().for_each(|event| Decider::apply(&mut quote, event));
            if is_later {
                prop_assert_eq!(&quote.bid, &window.bid);
            }
        }
    }

    #[test]
    fn a_budget_affords_the_most_lots_that_keep_to_it(
        side in select(vec![OrderSide::Buy, OrderSide::Sell]),
        total in 1i128..1_000_000_000_000,
        cents in 1i128..10_000_000,
        rate in 0i128..=100_000_000,
        earlier in prop::collection::vec(0i128..1000, 0..3),
    ) {
        let (usdt, lot): (Asset, Quantity) = (read("USDT"), read("0.000001 BTC"));
        let price = Price::from_decimal(Decimal::new(cents, 2)).expect("above zero");
        let rate = Rate::from_fraction(Decimal::new(rate, 8)).expect("at most one");
        let mut budget = QuoteBudget::new(side, Money::from_units(usdt, total).expect("in range"));
        let notional = |quantity| price.notional(quantity, usdt, Rounding::Exact).expect("exact");
        let fits = |budget: &QuoteBudget, quantity: Quantity| {
            !budget.with(notional(quantity), rate).and_then(QuoteBudget::left).expect("in range").is_negative()
        };
        for thousandths in earlier {
            let most = budget.affords(price, lot, rate).expect("in range").units() / lot.units();
            let some = most * thousandths / 1000 * lot.units();
            let some = Quantity::from_units(lot.asset(), some).expect("in range");
            budget = budget.with(notional(some), rate).expect("in range");
        }
        let most = budget.affords(price, lot, rate).expect("in range");
        prop_assert_eq!(most.units() % lot.units(), 0);
        prop_assert!(fits(&budget, most), "{} at {} is too much for {:?}", most, price, budget);
        prop_assert!(!fits(&budget, most.plus(lot).expect("in range")), "{} is not the most", most);
    }

    #[test]
    fn the_fees_of_the_parts_sum_to_the_fee_of_the_whole(
        parts in prop::collection::vec((1i128..1_000_000_000_000, 0i128..=100_000_000), 1..12)
    ) {
        let usdt: Asset = read("USDT");
        let (mut accrued, mut charged, mut exact) = (FeeAccrual::default(), 0, 0);
        for (units, rate) in parts {
            let fee = Rate::from_fraction(Decimal::new(rate, 8)).expect("at most one");
            accrued = accrued.with(Money::from_units(usdt, units).expect("in range"), fee).expect("in range");
            let owed = accrued.rounded_up(usdt).expect("in range").units();
            let part = owed - charged;
            prop_assert!((0..=units).contains(&part), "a fee is never below zero nor above its notional");
            charged += part;
            exact += units * rate;
        }
        prop_assert_eq!(charged, (exact + 99_999_999) / 100_000_000);
    }
}

/// A property that generates nothing interesting proves nothing: over fixed cases orders trade in every way and every refusal
/// and rejection of trading occurs.
#[test]
fn the_generated_requests_meet_every_refusal_and_rejection() {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(property(1), seed);
    let (mut refused, mut rejected, mut expired) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut trades = 0;
    for _ in 0..120 {
        let requests = requests().new_tree(&mut runner).expect("can be generated").current();
        let (exchange, audit) = run(&requests, |outcome| {
            match outcome {
                Outcome::Refused(code) => refused.insert(*code),
                Outcome::Rejected(code) => rejected.insert(*code),
                Outcome::Done => true,
            };
        });
        trades += audit.trades;
        for event in exchange.orders.values().flat_map(|stream| &stream.events) {
            if let domain::order::OrderEvent::OrderExpired { code } = event {
                expired.insert(*code);
            }
        }
    }
    assert!(trades > 400, "only {trades} trades");
    let missing = |expected: &[Code], met: &BTreeSet<Code>| -> Vec<Code> {
        expected.iter().filter(|code| !met.contains(code)).copied().collect()
    };
    let none: Vec<Code> = Vec::new();
    assert_eq!(missing(OF_FORM, &refused), none, "refusals of form that never occurred");
    let refusals = [
        Code::OrderNotOpen,
        Code::AccountFrozen,
        Code::AccountNotFrozen,
        Code::MarketHalted,
        Code::MarketNotHalted,
    ];
    assert_eq!(missing(&refusals, &refused), none, "refusals that never occurred");
    let rejections = [
        Code::MarketHalted,
        Code::NoReferencePrice,
        Code::PriceBand,
        Code::WouldTake,
        Code::AccountFrozen,
        Code::InsufficientFunds,
        Code::InsufficientPosition,
        Code::LotSize,
    ];
    assert_eq!(missing(&rejections, &rejected), none, "rejections that never occurred");
    let endings = [Code::NoLiquidity, Code::NotFillable, Code::SelfTrade, Code::AccountFrozen];
    assert_eq!(missing(&endings, &expired), none, "endings that never occurred");
}
