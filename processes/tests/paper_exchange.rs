//! The paper exchange: what an order gets is what the observed market would have given it, and no more.

use std::collections::HashMap;
use std::sync::Arc;

use domain::decider::Decider;
use domain::ids::{AccountId, HoldId, OrderId, PortfolioId, Symbol};
use domain::market::Venue;
use domain::order::{
    Liquidity, Order, OrderEvent, OrderSide, OrderTicket, OrderType, SelfTradePrevention, TimeInForce,
};
use domain::{Code, Decimal, Price, Quantity, Rate, Timestamp};
use processes::feed::recording::BTC_USDT;
use processes::feed::{
    BookSnapshot, DepthUpdate, FeedMessage, Level, MarketData, MarketTrade, Pass, PassPlayback, Speed,
};
use processes::observed_book::ObservedBook;
use processes::paper_venue::{ExecutionReport, PaperExchange};
use proptest::prelude::*;
use rstest::rstest;

use OrderSide::{Buy, Sell};
use OrderType::{Limit, LimitMaker, Market};
use TimeInForce::{Fok, Gtc, Ioc};

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn price(text: &str) -> Price {
    text.parse().unwrap()
}

fn btc(text: &str) -> Quantity {
    Quantity::from_decimal("BTC".parse().unwrap(), text.parse().unwrap()).unwrap()
}

/// An order that both risk stages have passed.
#[derive(Clone)]
struct Asked {
    id: String,
    account: String,
    side: OrderSide,
    order_type: OrderType,
    time_in_force: TimeInForce,
    quantity: Option<Quantity>,
    quote_quantity: Option<&'static str>,
    worst: Price,
}

fn asked(
    id: &str,
    side: OrderSide,
    order_type: OrderType,
    tif: TimeInForce,
    quantity: &str,
    worst: &str,
) -> Asked {
    Asked {
        id: id.to_owned(),
        account: "a1".to_owned(),
        side,
        order_type,
        time_in_force: tif,
        quantity: Some(btc(quantity)),
        quote_quantity: None,
        worst: price(worst),
    }
}

impl Asked {
    fn of(mut self, account: &str) -> Self {
        self.account = account.to_owned();
        self
    }

    fn accepted(&self) -> Order {
        let by_market = self.order_type == Market;
        let ticket = OrderTicket {
            owner: "demo".to_owned(),
            portfolio_id: PortfolioId::new("p1"),
            account_id: AccountId::new(self.account.as_str()),
            symbol: Symbol::new("BTC-USDT"),
            venue: Venue::Paper,
            base: "BTC".parse().unwrap(),
            quote: "USDT".parse().unwrap(),
            lot_size: btc("0.00001"),
            side: self.side,
            order_type: self.order_type,
            time_in_force: self.time_in_force,
            quantity: self.quantity,
            quote_quantity: self.quote_quantity.map(|text| format!("{text} USDT").parse().unwrap()),
            limit_price: (!by_market).then_some(self.worst),
            self_trade_prevention: SelfTradePrevention::None,
            client_order_id: None,
        };
        let (maker_fee, taker_fee) = (Rate::ZERO, "0.001".parse().unwrap());
        let price_bound = by_market.then_some(self.worst);
        let needs = ticket.requirements(price_bound, maker_fee, taker_fee).unwrap();
        let hold_id = needs.cash.map(|_| HoldId::new(format!("{}.h1", self.account)));
        let mut order = Order::default();
        order.apply(&OrderEvent::OrderPlaced { order_id: OrderId::new(self.id.as_str()), ticket });
        order.apply(&OrderEvent::OrderAccepted {
            hold_id,
            held: needs.cash,
            reserved: needs.quantity,
            price_bound,
            maker_fee,
            taker_fee,
        });
        order
    }
}

fn message(data: MarketData) -> FeedMessage {
    FeedMessage { at: now(), data: Arc::new(data) }
}

fn levels(pairs: &[(&str, &str)]) -> Vec<Level> {
    pairs.iter().map(|(p, q)| Level { price: price(p), quantity: btc(q) }).collect()
}

fn snapshot(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> FeedMessage {
    message(MarketData::Snapshot(BookSnapshot { last_update_id: 10, bids: levels(bids), asks: levels(asks) }))
}

fn depth(id: u64, bids: &[(&str, &str)], asks: &[(&str, &str)]) -> FeedMessage {
    message(MarketData::Depth(DepthUpdate {
        first_update_id: id,
        last_update_id: id,
        bids: levels(bids),
        asks: levels(asks),
    }))
}

fn trade(at: &str, quantity: &str, taker_side: OrderSide) -> FeedMessage {
    message(MarketData::Trade(MarketTrade {
        trade_id: 77,
        price: price(at),
        quantity: btc(quantity),
        taker_side,
    }))
}

fn pass(number: u64) -> Pass {
    Pass { feed: "test/btc".into(), number }
}

/// Bids 99 × 2 and 98 × 5, asks 101 × 1, 102 × 2 and 103 × 4.
fn exchange() -> PaperExchange {
    let mut exchange = PaperExchange::new(ObservedBook::new(), pass(1));
    exchange.observe(&snapshot(&[("99", "2"), ("98", "5")], &[("101", "1"), ("102", "2"), ("103", "4")]));
    exchange
}

fn arrive(exchange: &mut PaperExchange, asked: &Asked) -> Vec<ExecutionReport> {
    exchange.arrive(asked.accepted(), now())
}

/// The fills of all reports as `quantity@price`.
fn fills(reports: &[ExecutionReport]) -> Vec<String> {
    let fills = reports.iter().flat_map(|report| &report.fills);
    fills.map(|fill| format!("{}@{}", fill.quantity.to_decimal(), fill.price)).collect()
}

// ---- takers

#[test]
fn a_market_order_walks_the_levels_best_first_with_its_evidence() {
    let reports = arrive(&mut exchange(), &asked("o1", Buy, Market, Ioc, "2.5", "200"));
    assert_eq!(fills(&reports), ["1@101", "1.5@102"]);
    assert_eq!((reports.len(), reports[0].number, reports[0].expired), (1, 1, None));
    let second = &reports[0].fills[1];
    assert_eq!((second.trade_id.as_str(), second.liquidity), ("o1.f2", Liquidity::Taker));
    assert_eq!((second.evidence.feed.as_str(), second.evidence.pass), ("test/btc", 1));
    assert_eq!((second.evidence.update_id, second.evidence.trade_id), (Some(10), None));
    assert_eq!(second.evidence.levels[0].quantity, "1.5".parse::<Decimal>().unwrap());
}

#[test]
fn a_sale_walks_the_bids() {
    assert_eq!(fills(&arrive(&mut exchange(), &asked("o1", Sell, Market, Ioc, "3", "1"))), ["2@99", "1@98"]);
}

#[rstest]
#[case::market_beyond_its_bound(Market, Ioc, "5", "102", &["1@101", "2@102"], Some(Code::NoLiquidity))]
#[case::market_beyond_the_book(Market, Ioc, "9", "200", &["1@101", "2@102", "4@103"], Some(Code::NoLiquidity))]
#[case::ioc_with_a_remainder(Limit, Ioc, "2", "101", &["1@101"], Some(Code::NoLiquidity))]
#[case::ioc_without_a_price(Limit, Ioc, "2", "100", &[], Some(Code::NoLiquidity))]
#[case::fok_that_fits(Limit, Fok, "3", "102", &["1@101", "2@102"], None)]
#[case::fok_that_does_not(Limit, Fok, "3.00001", "102", &[], Some(Code::NotFillable))]
#[case::maker_that_would_take(LimitMaker, Gtc, "1", "101", &[], Some(Code::WouldTake))]
fn what_a_taker_cannot_get_ends_it(
    #[case] order_type: OrderType,
    #[case] tif: TimeInForce,
    #[case] quantity: &str,
    #[case] worst: &str,
    #[case] filled: &[&str],
    #[case] expired: Option<Code>,
) {
    let mut exchange = exchange();
    let reports = arrive(&mut exchange, &asked("o1", Buy, order_type, tif, quantity, worst));
    assert_eq!(fills(&reports), filled);
    assert_eq!(reports[0].expired, expired);
    assert!(!exchange.is_resting(&OrderId::new("o1")));
}

#[test]
fn a_quote_quantity_is_spent_in_whole_lots_with_its_fees() {
    // 101 × 1 with its fee is 101.101; of the 48.899 that are left, 0.47892 at 102 take 48.84984 and 0.04884984.
    let by_quote =
        Asked { quantity: None, quote_quantity: Some("150"), ..asked("o1", Buy, Market, Ioc, "1", "110") };
    let reports = arrive(&mut exchange(), &by_quote);
    assert_eq!(fills(&reports), ["1@101", "0.47892@102"]);
}

#[test]
fn what_was_taken_stays_taken_until_the_feed_speaks_of_the_level() {
    let mut exchange = exchange();
    assert_eq!(
        fills(&arrive(&mut exchange, &asked("o1", Buy, Market, Ioc, "1.5", "200"))),
        ["1@101", "0.5@102"]
    );
    assert_eq!(fills(&arrive(&mut exchange, &asked("o2", Buy, Market, Ioc, "1", "200"))), ["1@102"]);
    exchange.observe(&depth(11, &[], &[("101", "0.7")]));
    let third = arrive(&mut exchange, &asked("o3", Buy, Market, Ioc, "1.5", "200"));
    assert_eq!(fills(&third), ["0.7@101", "0.5@102", "0.3@103"]);
    exchange.observe(&snapshot(&[], &[("101", "1")]));
    assert_eq!(fills(&arrive(&mut exchange, &asked("o4", Buy, Market, Ioc, "1", "200"))), ["1@101"]);
}

// ---- makers

#[test]
fn what_remains_of_a_crossing_limit_order_rests_at_its_limit() {
    let mut exchange = exchange();
    assert_eq!(fills(&arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "3", "101"))), ["1@101"]);
    let reports = exchange.observe(&trade("101", "0.5", Sell));
    assert_eq!(fills(&reports), ["0.5@101"]);
    assert_eq!((reports[0].number, reports[0].fills[0].trade_id.as_str()), (2, "o1.f2"));
    assert_eq!(reports[0].fills[0].liquidity, Liquidity::Maker);
}

#[test]
fn a_resting_order_fills_at_its_price_after_what_was_ahead_of_it() {
    let mut exchange = exchange();
    assert!(arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "99")).is_empty());
    assert!(exchange.observe(&trade("99", "1.5", Sell)).is_empty());
    let reports = exchange.observe(&trade("99", "0.8", Sell));
    assert_eq!(fills(&reports), ["0.3@99"]);
    let evidence = &reports[0].fills[0].evidence;
    assert_eq!((evidence.trade_id, evidence.ahead), (Some(77), Some("0.5".parse().unwrap())));
    assert_eq!(fills(&exchange.observe(&trade("99", "5", Sell))), ["0.7@99"]);
    assert!(exchange.observe(&trade("99", "5", Sell)).is_empty());
}

#[test]
fn a_trade_of_ones_own_side_does_not_fill() {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "100"));
    assert!(exchange.observe(&trade("100", "9", Buy)).is_empty());
    assert!(exchange.observe(&trade("101", "9", Buy)).is_empty());
}

#[rstest]
#[case(Buy, "99", "98.99")]
#[case(Sell, "101", "101.01")]
fn a_trade_beyond_the_price_fills_all_at_the_orders_own_price(
    #[case] side: OrderSide,
    #[case] limit: &str,
    #[case] traded: &str,
) {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", side, Limit, Gtc, "7", limit));
    assert_eq!(fills(&exchange.observe(&trade(traded, "0.00001", side.opposite()))), [format!("7@{limit}")]);
}

#[test]
fn no_more_is_ahead_than_the_level_shows() {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "99"));
    exchange.observe(&depth(11, &[("99", "0.2")], &[]));
    exchange.observe(&depth(12, &[("99", "6")], &[]));
    assert_eq!(fills(&exchange.observe(&trade("99", "0.5", Sell))), ["0.3@99"]);
}

#[test]
fn own_orders_at_one_price_fill_in_the_order_in_which_they_came() {
    let mut exchange = exchange();
    for id in ["o1", "o2", "o3"] {
        arrive(&mut exchange, &asked(id, Sell, Limit, Gtc, "0.4", "100"));
    }
    arrive(&mut exchange, &asked("o4", Sell, Limit, Gtc, "0.4", "99.5"));
    let reports = exchange.observe(&trade("100", "0.6", Buy));
    let by_order: Vec<_> =
        reports.iter().map(|r| (r.order_id.as_str(), fills(std::slice::from_ref(r)).concat())).collect();
    assert_eq!(
        by_order,
        [("o4", "0.4@99.5".to_owned()), ("o1", "0.4@100".to_owned()), ("o2", "0.2@100".to_owned())]
    );
}

#[test]
fn a_canceled_order_fills_no_more() {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "99"));
    exchange.remove(&OrderId::new("o1"));
    assert!(exchange.observe(&trade("98", "9", Sell)).is_empty());
}

#[test]
fn a_resting_order_stays_over_the_end_of_a_pass() {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "99"));
    exchange.observe(&message(MarketData::PassStarted(pass(2))));
    exchange.observe(&snapshot(&[("99", "0.1")], &[("101", "1")]));
    let reports = exchange.observe(&trade("99", "0.5", Sell));
    assert_eq!((fills(&reports), reports[0].fills[0].evidence.pass), (vec!["0.4@99".to_owned()], 2));
}

#[test]
fn after_a_restart_a_resting_order_rests_again_even_where_it_would_take() {
    let mut exchange = PaperExchange::new(ObservedBook::new(), pass(2));
    exchange.rest_again(asked("o1", Buy, LimitMaker, Gtc, "1", "105").accepted());
    assert!(exchange.observe(&snapshot(&[("99", "2")], &[("101", "1")])).is_empty());
    assert!(exchange.is_resting(&OrderId::new("o1")));
    assert_eq!(fills(&exchange.observe(&trade("101", "0.1", Sell))), ["1@105"]);
}

// ---- waiting

#[test]
fn until_the_book_is_known_orders_wait_in_their_order() {
    let mut exchange = PaperExchange::new(ObservedBook::new(), pass(1));
    assert!(arrive(&mut exchange, &asked("o1", Buy, Market, Ioc, "1", "200")).is_empty());
    assert!(arrive(&mut exchange, &asked("o2", Buy, Market, Ioc, "1", "200")).is_empty());
    let reports = exchange.observe(&snapshot(&[("99", "2")], &[("101", "1"), ("102", "1")]));
    assert_eq!(fills(&reports), ["1@101", "1@102"]);
}

#[test]
fn a_gap_in_the_feed_makes_orders_wait_for_the_next_snapshot() {
    let mut exchange = exchange();
    exchange.observe(&depth(11, &[], &[]));
    exchange.observe(&depth(13, &[], &[("101", "9")]));
    assert!(arrive(&mut exchange, &asked("o1", Buy, Market, Ioc, "1", "200")).is_empty());
    assert_eq!(fills(&exchange.observe(&snapshot(&[], &[("104", "1")]))), ["1@104"]);
}

#[test]
fn while_the_market_is_halted_nothing_fills() {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "99"));
    exchange.halt();
    assert!(exchange.observe(&trade("98", "9", Sell)).is_empty());
    assert!(arrive(&mut exchange, &asked("o2", Buy, Market, Ioc, "1", "200")).is_empty());
    assert_eq!(fills(&exchange.resume(now())), ["1@101"]);
    assert_eq!(fills(&exchange.observe(&trade("98", "9", Sell))), ["1@99"]);
}

#[test]
fn while_an_account_is_frozen_its_orders_do_not_fill() {
    let mut exchange = exchange();
    arrive(&mut exchange, &asked("o1", Buy, Limit, Gtc, "1", "99"));
    arrive(&mut exchange, &asked("o2", Buy, Limit, Gtc, "1", "99").of("a2"));
    exchange.freeze(AccountId::new("a1"));
    assert!(arrive(&mut exchange, &asked("o3", Buy, Market, Ioc, "1", "200")).is_empty());
    let reports = exchange.observe(&trade("98", "9", Sell));
    assert_eq!((reports.len(), reports[0].order_id.as_str()), (1, "o2"));
    assert_eq!(fills(&exchange.unfreeze(&AccountId::new("a1"), now())), ["1@101"]);
}

#[test]
fn a_refused_fill_did_not_happen_and_the_next_is_numbered_the_same_but_another_attempt() {
    let mut exchange = exchange();
    let order = asked("o1", Buy, Limit, Gtc, "1", "99");
    arrive(&mut exchange, &order);
    let first = exchange.observe(&trade("98", "9", Sell)).remove(0);
    exchange.refused(&first, order.accepted());
    assert!(exchange.is_resting(&OrderId::new("o1")));
    let second = exchange.observe(&trade("98", "9", Sell)).remove(0);
    assert_eq!((first.number, second.number), (1, 1));
    assert_eq!((first.attempt, second.attempt), (0, 1));
    assert_eq!(first.fills[0].trade_id, second.fills[0].trade_id);
}

#[test]
fn a_refused_taker_comes_again_with_the_next_snapshot() {
    let mut exchange = exchange();
    let order = asked("o1", Buy, Market, Ioc, "1", "200");
    let first = arrive(&mut exchange, &order).remove(0);
    exchange.refused(&first, order.accepted());
    let again = exchange.observe(&snapshot(&[], &[("104", "1")]));
    assert_eq!((fills(&again), again[0].attempt), (vec!["1@104".to_owned()], 1));
}

// ---- properties, over recorded traffic

#[derive(Clone, Debug)]
struct Arrival {
    after_messages: usize,
    side: OrderSide,
    kind: (OrderType, TimeInForce),
    lots: i128,
    /// Distance of the worst price from 61,837.63, in ticks.
    ticks: i128,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let kind = prop_oneof![
        Just((Market, Ioc)),
        Just((Limit, Ioc)),
        Just((Limit, Fok)),
        Just((Limit, Gtc)),
        Just((LimitMaker, Gtc))
    ];
    let one = (
        0usize..4_000,
        any::<bool>(),
        kind,
        prop_oneof![1i128..500, 50_000i128..2_000_000],
        -4_000i128..4_000,
    )
        .prop_map(|(after_messages, buy, kind, lots, ticks)| Arrival {
            after_messages,
            side: if buy { Buy } else { Sell },
            kind,
            lots,
            ticks,
        });
    prop::collection::vec(one, 1..40).prop_map(|mut arrivals| {
        arrivals.sort_by_key(|arrival| arrival.after_messages);
        arrivals
    })
}

fn messages() -> &'static [FeedMessage] {
    static MESSAGES: std::sync::LazyLock<Vec<FeedMessage>> = std::sync::LazyLock::new(|| {
        PassPlayback::new(&BTC_USDT, 1, now(), Speed::REAL).unwrap().take(4_001).map(Result::unwrap).collect()
    });
    &MESSAGES
}

fn order_of(number: usize, arrival: &Arrival) -> Order {
    let worst = Price::from_decimal(Decimal::new(6_183_763 + arrival.ticks, 2)).unwrap();
    let quantity = Quantity::from_units("BTC".parse().unwrap(), arrival.lots * 1_000).unwrap();
    Asked {
        quantity: Some(quantity),
        worst,
        ..asked(&format!("o{number}"), arrival.side, arrival.kind.0, arrival.kind.1, "1", "1")
    }
    .accepted()
}

/// Plays the feed with the arrivals between its messages; every report with the number of messages before it.
fn play(arrivals: &[Arrival]) -> Vec<(usize, ExecutionReport)> {
    let mut exchange = PaperExchange::new(ObservedBook::new(), pass(1));
    let mut reports = Vec::new();
    let mut arriving = arrivals.iter().enumerate().peekable();
    for (place, message) in messages().iter().enumerate() {
        while let Some((number, arrival)) = arriving.next_if(|(_, a)| a.after_messages <= place) {
            reports.extend(exchange.arrive(order_of(number, arrival), now()).into_iter().map(|r| (place, r)));
        }
        reports.extend(exchange.observe(message).into_iter().map(|r| (place + 1, r)));
    }
    reports
}

#[test]
fn in_recorded_traffic_orders_fill_as_takers_and_as_makers() {
    let arrival =
        |after_messages, side, kind, ticks| Arrival { after_messages, side, kind, lots: 500, ticks };
    let reports = play(&[
        arrival(20, Buy, (Limit, Gtc), -1),
        arrival(20, Sell, (LimitMaker, Gtc), 2),
        arrival(200, Buy, (Market, Ioc), 4_000),
        arrival(200, Sell, (Limit, Fok), -4_000),
    ]);
    let of = |liquidity| {
        reports
            .iter()
            .flat_map(|(_, report)| &report.fills)
            .filter(|fill| fill.liquidity == liquidity)
            .count()
    };
    assert!(of(Liquidity::Taker) >= 2 && of(Liquidity::Maker) >= 1, "{reports:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn the_same_feed_and_arrivals_give_the_same_reports(arrivals in arrivals()) {
        prop_assert_eq!(play(&arrivals), play(&arrivals));
    }

    #[test]
    fn no_fill_is_worse_than_the_limit_nor_more_than_was_ordered_or_observed(arrivals in arrivals()) {
        let reports = play(&arrivals);
        let mut orders: HashMap<OrderId, Order> = HashMap::new();
        for (number, arrival) in arrivals.iter().enumerate() {
            orders.insert(OrderId::new(format!("o{number}")), order_of(number, arrival));
        }
        let mut book = ObservedBook::new();
        let mut used: HashMap<(bool, Price), Quantity> = HashMap::new();
        let mut reports = reports.into_iter().peekable();
        for (place, message) in messages().iter().enumerate() {
            let mut of_trade = Quantity::zero("BTC".parse().unwrap());
            match &*message.data {
                MarketData::Snapshot(snapshot) => {
                    book.start_from(snapshot).unwrap();
                    used.clear();
                }
                MarketData::Depth(update) => {
                    book.update(update).unwrap();
                    used.retain(|(asks, price), _| {
                        let levels = if *asks { &update.asks } else { &update.bids };
                        !levels.iter().any(|level| level.price == *price)
                    });
                }
                _ => {}
            }
            // Arrivals after this message are answered at the next place.
            while let Some((_, report)) = reports.next_if(|(at, _)| *at == place + 1) {
                let order = orders.get_mut(&report.order_id).unwrap();
                for fill in &report.fills {
                    let side = order.placed().unwrap().ticket.side;
                    prop_assert!(side.allows(order.placed().unwrap().worst_price().unwrap(), fill.price));
                    match (fill.liquidity, &*message.data) {
                        (Liquidity::Taker, _) => {
                            let taken = used.entry((side == Buy, fill.price)).or_insert(Quantity::zero(fill.quantity.asset()));
                            *taken = taken.plus(fill.quantity).unwrap();
                            let observed = book.quantity_at(side.opposite(), fill.price).unwrap();
                            prop_assert!(!observed.is_less_than(*taken).unwrap(), "{taken} of {observed} at {}", fill.price);
                        }
                        (Liquidity::Maker, MarketData::Trade(trade)) => {
                            prop_assert!(side.allows(fill.price, trade.price));
                            if trade.price == fill.price {
                                of_trade = of_trade.plus(fill.quantity).unwrap();
                                prop_assert!(!trade.quantity.is_less_than(of_trade).unwrap());
                            }
                        }
                        (Liquidity::Maker, other) => prop_assert!(false, "a maker filled on {other:?}"),
                    }
                    // The order's own rules take every fill, so no more than ordered is filled and numbers have no gap.
                    let events = order.decide(&domain::order::OrderCommand::Fill {
                        trade_id: fill.trade_id.clone(),
                        price: fill.price,
                        quantity: fill.quantity,
                        liquidity: fill.liquidity,
                        evidence: Some(fill.evidence.clone()),
                    }, now());
                    events.unwrap().iter().for_each(|event| order.apply(event));
                }
                if let Some(code) = report.expired {
                    let events = order.decide(&domain::order::OrderCommand::Expire { code }, now());
                    events.unwrap().iter().for_each(|event| order.apply(event));
                }
            }
        }
        prop_assert!(reports.next().is_none());
        // Nothing that must end at once is left open.
        for order in orders.values() {
            let placed = order.placed().unwrap();
            prop_assert!(placed.ticket.time_in_force == Gtc || !placed.is_open());
        }
    }
}
