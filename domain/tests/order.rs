//! Orders: every command, refusal and rejection, given / when / then.

mod common;

use std::collections::BTreeMap;

use common::{Given, read};
use domain::ids::TradeId;
use domain::market::Venue;
use domain::order::{
    Evidence, LevelUsed, Liquidity, Order, OrderCommand as Command, OrderEvent as Event, OrderSide,
    OrderStatus, OrderTicket, OrderType, Placed, RiskStage, SelfTradePrevention, TimeInForce,
};
use domain::{Code, Money, Price, Quantity};
use rstest::rstest;

use Liquidity::{Maker, Taker};
use OrderSide::{Buy, Sell};

// ---- words

fn btc(number: &str) -> Quantity {
    read(&format!("{number} BTC"))
}
fn usdt(number: &str) -> Money {
    read(&format!("{number} USDT"))
}
fn price(number: &str) -> Price {
    read(number)
}
/// A good-till-canceled limit order for 2 BTC at 100 on a paper market.
fn limit(side: OrderSide) -> OrderTicket {
    OrderTicket {
        owner: "ada".into(),
        portfolio_id: read("folio"),
        account_id: read("cash"),
        symbol: read("BTC-USDT"),
        venue: Venue::Paper,
        base: read("BTC"),
        quote: read("USDT"),
        lot_size: btc("0.00001"),
        side,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        quantity: Some(btc("2")),
        quote_quantity: None,
        limit_price: Some(price("100")),
        self_trade_prevention: SelfTradePrevention::ExpireTaker,
        client_order_id: None,
    }
}
fn market(side: OrderSide) -> OrderTicket {
    OrderTicket {
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        limit_price: None,
        ..limit(side)
    }
}
fn by_quote(side: OrderSide, budget: &str) -> OrderTicket {
    OrderTicket { quantity: None, quote_quantity: Some(usdt(budget)), ..market(side) }
}
fn internal(ticket: OrderTicket) -> OrderTicket {
    OrderTicket { venue: Venue::Internal, ..ticket }
}
fn place(ticket: OrderTicket) -> Command {
    Command::Place { order_id: read("o"), ticket }
}
fn placed(ticket: OrderTicket) -> Event {
    Event::OrderPlaced { order_id: read("o"), ticket }
}
fn figures() -> BTreeMap<String, String> {
    BTreeMap::from([("availableCash".to_owned(), "1.00000000 USDT".to_owned())])
}
fn pass(stage: RiskStage) -> Command {
    Command::PassRiskStage { stage, figures: figures() }
}
fn passed(stage: RiskStage) -> Event {
    Event::RiskStagePassed { stage, figures: figures() }
}
fn reject(stage: RiskStage) -> Command {
    let (code, message) = (Code::InsufficientFunds, "too little".to_owned());
    Command::Reject { stage, code, message, figures: figures() }
}
/// Terms with 0.1 % of fee as maker and 0.2 % as taker.
fn accept(held: Option<&str>, reserved: Option<&str>, bound: Option<&str>) -> Command {
    Command::Accept {
        hold_id: held.map(|_| read("cash.h1")),
        held: held.map(usdt),
        reserved: reserved.map(btc),
        price_bound: bound.map(price),
        maker_fee: read("0.001"),
        taker_fee: read("0.002"),
    }
}
fn accepted(held: Option<&str>, reserved: Option<&str>, bound: Option<&str>) -> Event {
    let Command::Accept { hold_id, held, reserved, price_bound, maker_fee, taker_fee } =
        accept(held, reserved, bound)
    else {
        unreachable!()
    };
    Event::OrderAccepted { hold_id, held, reserved, price_bound, maker_fee, taker_fee }
}
fn through_risk(ticket: OrderTicket) -> Given<Order> {
    common::given::<Order>([placed(ticket), passed(RiskStage::Instrument), passed(RiskStage::Portfolio)])
}
/// An order at its venue, with all set aside that it needs.
fn open(ticket: OrderTicket, bound: Option<&str>) -> Given<Order> {
    let needs = ticket.requirements(bound.map(price), read("0.001"), read("0.002")).expect("can be computed");
    let (held, reserved) = (needs.cash.map(|cash| cash.number()), needs.quantity.map(|q| q.number()));
    through_risk(ticket).and([accepted(held.as_deref(), reserved.as_deref(), bound)])
}
fn fill(n: u64, at: &str, quantity: &str, liquidity: Liquidity) -> Command {
    Command::Fill {
        trade_id: TradeId::new(format!("o.f{n}")),
        price: price(at),
        quantity: btc(quantity),
        liquidity,
        evidence: None,
    }
}
fn trade(n: u64, at: &str, quantity: &str, liquidity: Liquidity) -> Command {
    let Command::Fill { price, quantity, liquidity, evidence, .. } = fill(n, at, quantity, liquidity) else {
        unreachable!()
    };
    Command::Fill { trade_id: TradeId::new(format!("BTC-USDT.{n}")), price, quantity, liquidity, evidence }
}
fn look(order: &Given<Order>) -> Placed {
    order.look().placed().expect("placed").clone()
}
fn state(order: Given<Order>) -> Placed {
    look(&order)
}
/// What a fill decided: notional, fee, filled in all, done.
fn facts(events: &[Event]) -> (String, String, String, bool) {
    let [Event::OrderFilled { notional, fee, filled_quantity, done, .. }] = events else {
        panic!("not one fill: {events:?}")
    };
    (notional.number(), fee.number(), filled_quantity.number(), *done)
}
fn filled(order: Given<Order>, command: Command) -> (Given<Order>, (String, String, String, bool)) {
    let (order, events) = order.when(command).happens();
    (order, facts(&events))
}
fn says(notional: &str, fee: &str, filled: &str, done: bool) -> (String, String, String, bool) {
    (notional.to_owned(), fee.to_owned(), filled.to_owned(), done)
}

// ---- placing and the risk stages

#[test]
fn an_order_is_placed_once() {
    common::given::<Order>([])
        .when(place(limit(Buy)))
        .then([placed(limit(Buy))])
        .when(place(limit(Buy)))
        .then_refused(Code::AlreadyExists);
}

#[test]
fn a_client_order_id_is_used_once() {
    let named = OrderTicket { client_order_id: Some("mine".into()), ..limit(Buy) };
    common::given::<Order>([placed(named.clone())])
        .when(place(OrderTicket { quantity: Some(btc("1")), ..named }))
        .then_refused_at(Code::DuplicateClientOrderId, "clientOrderId");
}

#[test]
fn an_order_passes_the_instrument_stage_and_then_the_portfolio_stage() {
    let order = common::given::<Order>([placed(limit(Buy))])
        .when(pass(RiskStage::Portfolio))
        .then_refused(Code::Internal)
        .when(accept(Some("200.4"), None, None))
        .then_refused(Code::Internal)
        .when(pass(RiskStage::Instrument))
        .then([passed(RiskStage::Instrument)])
        .when(pass(RiskStage::Instrument))
        .then_refused(Code::Internal)
        .when(accept(Some("200.4"), None, None))
        .then_refused(Code::Internal)
        .when(pass(RiskStage::Portfolio))
        .then([passed(RiskStage::Portfolio)])
        .when(pass(RiskStage::Portfolio))
        .then_refused(Code::Internal)
        .when(reject(RiskStage::Portfolio))
        .then_refused(Code::Internal)
        .when(accept(Some("200.4"), None, None))
        .then([accepted(Some("200.4"), None, None)])
        .when(pass(RiskStage::Instrument))
        .then_refused(Code::OrderNotOpen)
        .when(accept(Some("200.4"), None, None))
        .then_refused(Code::OrderNotOpen);
    assert_eq!(state(order).status, OrderStatus::New);
}

#[rstest]
#[case(RiskStage::Instrument, &[])]
#[case(RiskStage::Portfolio, &[RiskStage::Instrument])]
fn a_stage_may_turn_the_order_down_and_that_is_the_end(
    #[case] stage: RiskStage,
    #[case] before: &[RiskStage],
) {
    let order = common::given::<Order>([placed(limit(Buy))])
        .and(before.iter().map(|stage| passed(*stage)))
        .when(reject(stage))
        .then([Event::OrderRejected {
            stage,
            code: Code::InsufficientFunds,
            message: "too little".into(),
            figures: figures(),
        }])
        .when(pass(stage))
        .then_refused(Code::OrderNotOpen)
        .when(reject(stage))
        .then_refused(Code::OrderNotOpen)
        .when(Command::Cancel)
        .then_refused(Code::OrderNotOpen)
        .when(fill(1, "100", "1", Taker))
        .then_refused(Code::OrderNotOpen);
    let order = state(order);
    assert_eq!(order.status, OrderStatus::Rejected);
    assert!(order.cash_required().expect("computed").is_zero());
}

#[rstest]
#[case::a_buy_without_hold(limit(Buy), accept(None, None, None))]
#[case::a_buy_with_too_small_a_hold(limit(Buy), accept(Some("200.39999999"), None, None))]
#[case::a_buy_with_too_large_a_hold(limit(Buy), accept(Some("200.40000001"), None, None))]
#[case::a_limit_order_with_a_bound(limit(Buy), accept(Some("200.4"), None, Some("100")))]
#[case::a_market_order_without_a_bound(market(Buy), accept(Some("200.4"), None, None))]
#[case::a_sale_without_reservation(limit(Sell), accept(None, None, None))]
#[case::a_sale_that_reserved_too_little(limit(Sell), accept(None, Some("1.99999"), None))]
#[case::a_sale_with_a_hold(limit(Sell), accept(Some("200.4"), Some("2"), None))]
fn an_order_is_not_accepted_with_less_or_more_than_it_needs(
    #[case] ticket: OrderTicket,
    #[case] accept: Command,
) {
    through_risk(ticket).when(accept).then_refused(Code::Internal);
}

#[rstest]
#[case::a_limit_buy(limit(Buy), accept(Some("200.4"), None, None))]
#[case::a_market_buy(market(Buy), accept(Some("210.42"), None, Some("105")))]
#[case::a_market_buy_by_quote_quantity(by_quote(Buy, "500"), accept(Some("500"), None, Some("105")))]
#[case::a_limit_sale(limit(Sell), accept(None, Some("2"), None))]
#[case::a_market_sale(market(Sell), accept(None, Some("2"), Some("95")))]
#[case::a_market_sale_by_quote_quantity(by_quote(Sell, "190"), accept(None, Some("2"), Some("95")))]
fn an_order_is_accepted_with_what_it_needs(#[case] ticket: OrderTicket, #[case] accept: Command) {
    through_risk(ticket).when(accept).events();
}

// ---- fills

#[test]
fn a_buy_is_filled_part_by_part_and_needs_less_each_time() {
    let order = open(limit(Buy), None);
    let placed = state(open(limit(Buy), None));
    assert_eq!(placed.cash_required(), Ok(usdt("200.4")));
    assert_eq!(placed.committed_notional(), Ok(usdt("200")));
    assert_eq!(placed.remaining(), Ok(Some(btc("2"))));

    let (order, first) = filled(order, fill(1, "90", "0.5", Taker));
    assert_eq!(first, says("45.00000000", "0.09000000", "0.50000000", false));
    let placed = look(&order);
    assert_eq!(placed.status, OrderStatus::PartiallyFilled);
    assert_eq!(placed.cash_required(), Ok(usdt("150.3")));
    assert_eq!(placed.committed_notional(), Ok(usdt("150")));

    let (order, last) = filled(order, fill(2, "100", "1.5", Maker));
    assert_eq!(last, says("150.00000000", "0.15000000", "2.00000000", true));
    let placed = state(order);
    assert_eq!(placed.status, OrderStatus::Filled);
    assert_eq!(placed.cash_required(), Ok(usdt("0")));
    assert_eq!(placed.committed_notional(), Ok(usdt("0")));
    assert_eq!((placed.filled_notional, placed.fees), (usdt("195"), usdt("0.24")));
}

#[test]
fn a_sale_reserves_what_remains() {
    let (order, _) = filled(open(limit(Sell), None), fill(1, "101", "0.5", Maker));
    let placed = look(&order);
    assert_eq!(placed.quantity_reserved(), Ok(btc("1.5")));
    assert_eq!((placed.cash_required(), placed.committed_notional()), (Ok(usdt("0")), Ok(usdt("0"))));
    let (order, _) = filled(order, fill(2, "100", "1.5", Maker));
    assert_eq!(state(order).quantity_reserved(), Ok(btc("0")));
}

#[test]
fn fees_are_rounded_up_once_for_all_fills_together() {
    // Each fill owes 0.000000002 USDT: the first is charged the smallest unit, which is enough for four more.
    let ticket = OrderTicket { quantity: Some(btc("0.0001")), limit_price: Some(price("0.1")), ..limit(Buy) };
    let mut order = open(ticket, None);
    let mut fees = Vec::new();
    for n in 1..=6 {
        let (next, (_, fee, _, _)) = filled(order, fill(n, "0.1", "0.00001", Taker));
        fees.push(fee);
        order = next;
    }
    let (charged, nothing) = ("0.00000001", "0.00000000");
    assert_eq!(fees, [charged, nothing, nothing, nothing, nothing, charged]);
}

#[test]
fn a_fill_keeps_its_evidence() {
    let evidence = Evidence {
        feed: "binance-spot/btcusdt-20240808".into(),
        pass: 2,
        update_id: Some(7),
        trade_id: None,
        ahead: None,
        levels: vec![LevelUsed { price: price("99"), quantity: read("1.5") }],
    };
    let command = Command::Fill {
        trade_id: read("o.f1"),
        price: price("99"),
        quantity: btc("1.5"),
        liquidity: Taker,
        evidence: Some(evidence.clone()),
    };
    open(limit(Buy), None).when(command).then([Event::OrderFilled {
        trade_id: read("o.f1"),
        price: price("99"),
        quantity: btc("1.5"),
        notional: usdt("148.5"),
        fee: usdt("0.297"),
        liquidity: Taker,
        filled_quantity: btc("1.5"),
        done: false,
        evidence: Some(evidence),
    }]);
}

#[rstest]
#[case::above_the_limit_of_a_buy(open(limit(Buy), None), fill(1, "100.01", "1", Taker))]
#[case::below_the_limit_of_a_sale(open(limit(Sell), None), fill(1, "99.99", "1", Taker))]
#[case::above_the_bound_of_a_market_buy(open(market(Buy), Some("105")), fill(1, "105.01", "1", Taker))]
#[case::below_the_bound_of_a_market_sale(open(market(Sell), Some("95")), fill(1, "94.99", "1", Taker))]
#[case::more_than_remains(open(limit(Buy), None), fill(1, "100", "2.00001", Taker))]
#[case::not_whole_lots(open(limit(Buy), None), fill(1, "100", "0.000015", Taker))]
#[case::nothing(open(limit(Buy), None), fill(1, "100", "0", Taker))]
#[case::less_than_nothing(open(limit(Buy), None), fill(1, "100", "-1", Taker))]
#[case::before_the_one_before_it(open(limit(Buy), None), fill(2, "100", "1", Taker))]
#[case::over_the_quote_quantity(open(by_quote(Buy, "100"), Some("105")), fill(1, "100", "1", Taker))]
#[case::bringing_over_the_quote_quantity(
    open(by_quote(Sell, "100"), Some("95")),
    fill(1, "100", "1.00001", Taker)
)]
fn a_fill_out_of_bounds_is_refused(#[case] order: Given<Order>, #[case] fill: Command) {
    order.when(fill).then_refused(Code::FillOutOfBounds);
}

#[test]
fn a_fill_off_the_tick_is_refused() {
    let fill = fill(1, "99.9999999", "0.00001", Taker);
    open(limit(Buy), None).when(fill).then_refused(Code::TickAndLotTooFine);
}

#[test]
fn a_paper_fill_is_applied_once_even_after_the_order_has_ended() {
    let (order, _) = filled(open(limit(Buy), None), fill(1, "100", "0.5", Taker));
    let order = order.when(fill(1, "100", "0.5", Taker)).then_refused(Code::DuplicateFill);
    let (order, _) = filled(order, fill(2, "100", "1.5", Taker));
    order
        .when(fill(1, "100", "0.5", Taker))
        .then_refused(Code::DuplicateFill)
        .when(fill(2, "100", "1.5", Taker))
        .then_refused(Code::DuplicateFill)
        .when(fill(3, "100", "1", Taker))
        .then_refused(Code::OrderNotOpen);
}

#[test]
fn a_trade_of_an_internal_market_is_applied_once() {
    let (order, _) = filled(open(internal(limit(Buy)), None), trade(7, "100", "0.5", Taker));
    let order = order
        .when(trade(7, "100", "0.5", Taker))
        .then_refused(Code::DuplicateFill)
        .when(trade(6, "100", "0.5", Taker))
        .then_refused(Code::DuplicateFill);
    filled(order, trade(70, "100", "0.5", Maker));
}

#[rstest]
#[case::of_another_order(limit(Buy), "p.f1")]
#[case::of_a_market_to_a_paper_order(limit(Buy), "BTC-USDT.1")]
#[case::of_a_paper_order_to_a_market(internal(limit(Buy)), "o.f1")]
#[case::of_another_market(internal(limit(Buy)), "ETH-USDT.1")]
#[case::without_number(limit(Buy), "o.f")]
fn a_trade_that_is_not_this_orders_is_refused(#[case] ticket: OrderTicket, #[case] id: &str) {
    let Command::Fill { price, quantity, liquidity, evidence, .. } = fill(1, "100", "1", Taker) else {
        unreachable!()
    };
    let command = Command::Fill { trade_id: read(id), price, quantity, liquidity, evidence };
    open(ticket, None).when(command).then_refused(Code::MalformedInput);
}

// ---- by quote quantity

#[test]
fn a_buy_by_quote_quantity_is_filled_when_no_lot_at_the_worst_price_can_be_paid() {
    let order = open(by_quote(Buy, "160"), Some("105"));
    let placed = look(&order);
    assert_eq!(placed.remaining(), Ok(None));
    assert_eq!(placed.cash_required(), Ok(usdt("160")));
    assert_eq!(placed.fillable(price("100"), btc("1000"), Taker), Ok(btc("1.5968")));

    let (order, first) = filled(order, fill(1, "100", "1", Taker));
    assert_eq!(first, says("100.00000000", "0.20000000", "1.00000000", false));
    let placed = look(&order);
    assert_eq!(placed.remaining_quote(), Ok(Some(usdt("59.8"))));
    assert_eq!((placed.cash_required(), placed.committed_notional()), (Ok(usdt("59.8")), Ok(usdt("59.8"))));

    let most = placed.fillable(price("101"), btc("1000"), Taker).expect("computed");
    assert_eq!(most, btc("0.59089"));
    let (order, last) = filled(order, fill(2, "101", "0.59089", Taker));
    assert_eq!(last, says("59.67989000", "0.11935978", "1.59089000", true));
    let placed = state(order);
    assert_eq!(placed.status, OrderStatus::Filled);
    assert_eq!((placed.cash_required(), placed.remaining_quote()), (Ok(usdt("0")), Ok(Some(usdt("0")))));
}

#[rstest]
#[case::one_more_lot_at_the_price_of_the_fill_but_not_at_the_worst("0.002022", true)]
#[case::one_more_lot_at_the_worst_price("0.0020541", false)]
fn what_is_left_of_a_buy_by_quote_quantity_is_measured_at_the_worst_price(
    #[case] budget: &str,
    #[case] is_done: bool,
) {
    let order = open(by_quote(Buy, budget), Some("105"));
    let (_, (_, _, _, done)) = filled(order, fill(1, "100", "0.00001", Taker));
    assert_eq!(done, is_done);
}

#[test]
fn a_sale_by_quote_quantity_is_filled_when_the_next_lot_would_bring_more() {
    let order = open(by_quote(Sell, "100"), Some("95"));
    let placed = look(&order);
    assert_eq!(placed.quantity_reserved(), Ok(btc("1.05263")));
    let (order, first) = filled(order, fill(1, "100", "0.5", Taker));
    assert_eq!(first, says("50.00000000", "0.10000000", "0.50000000", false));
    let placed = look(&order);
    assert_eq!(placed.remaining_quote(), Ok(Some(usdt("50"))));
    assert_eq!(placed.quantity_reserved(), Ok(btc("0.55263")));
    let (order, last) = filled(order, fill(2, "99", "0.50505", Taker));
    assert_eq!(last, says("49.99995000", "0.09999990", "1.00505000", true));
    assert_eq!(state(order).quantity_reserved(), Ok(btc("0")));
}

#[test]
fn a_sale_by_quote_quantity_is_filled_when_all_that_was_reserved_is_sold() {
    let order = open(by_quote(Sell, "0.00190001"), Some("95"));
    let (order, sold) = filled(order, fill(1, "95", "0.00002", Taker));
    assert!(sold.3);
    assert_eq!(state(order).status, OrderStatus::Filled);
}

#[test]
fn what_can_fill_is_bounded_by_price_quantity_and_lot() {
    let placed = state(open(limit(Buy), None));
    assert_eq!(placed.fillable(price("100"), btc("5"), Taker), Ok(btc("2")));
    assert_eq!(placed.fillable(price("100"), btc("0.12345678"), Taker), Ok(btc("0.12345")));
    assert_eq!(placed.fillable(price("100.01"), btc("5"), Taker), Ok(btc("0")));
    let pending = state(through_risk(limit(Buy)));
    assert_eq!(pending.fillable(price("100"), btc("5"), Taker), Ok(btc("0")));
}

// ---- the end

#[test]
fn the_user_takes_an_open_order_back() {
    let (order, _) = filled(open(limit(Buy), None), fill(1, "100", "0.5", Taker));
    let order = order
        .when(Command::Cancel)
        .then([Event::OrderCanceled {}])
        .when(Command::Cancel)
        .then_refused(Code::OrderNotOpen)
        .when(Command::Expire { code: Code::NoLiquidity })
        .then_refused(Code::OrderNotOpen)
        .when(fill(2, "100", "0.5", Taker))
        .then_refused(Code::OrderNotOpen);
    let placed = state(order);
    assert_eq!(placed.status, OrderStatus::Canceled);
    assert_eq!((placed.cash_required(), placed.remaining()), (Ok(usdt("0")), Ok(Some(btc("0")))));
}

#[test]
fn the_venue_ends_an_open_order() {
    let order = open(market(Sell), Some("95"))
        .when(Command::Expire { code: Code::NoLiquidity })
        .then([Event::OrderExpired { code: Code::NoLiquidity }])
        .when(Command::Cancel)
        .then_refused(Code::OrderNotOpen);
    let placed = state(order);
    assert_eq!(placed.status, OrderStatus::Expired);
    assert_eq!(placed.quantity_reserved(), Ok(btc("0")));
}

#[rstest]
#[case::fill(fill(1, "100", "1", Taker))]
#[case::cancel(Command::Cancel)]
#[case::expire(Command::Expire { code: Code::NoLiquidity })]
fn an_order_that_is_not_accepted_yet_is_not_open(#[case] command: Command) {
    through_risk(limit(Buy)).when(command).then_refused(Code::OrderNotOpen);
}

#[rstest]
#[case::pass(pass(RiskStage::Instrument))]
#[case::reject(reject(RiskStage::Instrument))]
#[case::accept(accept(Some("1"), None, None))]
#[case::fill(fill(1, "100", "1", Taker))]
#[case::cancel(Command::Cancel)]
#[case::expire(Command::Expire { code: Code::NoLiquidity })]
fn nothing_is_asked_of_an_order_that_is_not_there(#[case] command: Command) {
    common::given::<Order>([]).when(command).then_refused(Code::OrderNotFound);
}

// ---- to the venue

#[test]
fn an_open_order_comes_to_an_internal_market_with_its_terms() {
    let incoming = state(open(internal(by_quote(Sell, "190")), Some("95"))).incoming().expect("open");
    assert_eq!((incoming.price, incoming.quantity), (price("95"), btc("2")));
    assert_eq!((incoming.quote_quantity, incoming.taker_fee), (Some(usdt("190")), read("0.002")));
    let unbounded = state(open(internal(by_quote(Buy, "190")), Some("105"))).incoming().expect("open");
    assert_eq!(unbounded.quantity.units(), domain::amount::MAX_UNITS);
    let refusal = state(through_risk(limit(Buy))).incoming().expect_err("not accepted");
    assert_eq!(refusal.code, Code::OrderNotOpen);
}

#[test]
fn amounts_too_large_to_compute_are_refused() {
    let most = Quantity::from_units(read("BTC"), domain::amount::MAX_UNITS).expect("the largest");
    let ticket = OrderTicket { quantity: Some(most), ..limit(Buy) };
    let refusal = ticket.requirements(None, read("0.001"), read("0.002")).expect_err("too large");
    assert_eq!(refusal.code, Code::AmountOutOfRange);
}
