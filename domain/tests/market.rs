//! Markets: every command and refusal, the filters, and matching in the book, given / when / then.

mod common;

use std::collections::BTreeSet;

use common::{Given, read};
use domain::ids::{AccountId, OrderId, PortfolioId, TradeId};
use domain::market::{
    IncomingOrder, Instrument, MAX_MET_ORDERS, Market, MarketCommand as Command, MarketEvent as Event,
    MarketStatus, Registered, Venue,
};
use domain::order::{OrderSide, SelfTradePrevention, TimeInForce};
use domain::{Code, Decider, Price, Quantity, Rate};
use rstest::rstest;

// ---- words

fn instrument() -> Instrument {
    Instrument {
        symbol: read("BTC-USDT"),
        base: read("BTC"),
        quote: read("USDT"),
        venue: Venue::Internal,
        tick_size: read("0.01"),
        lot_size: btc("0.00001"),
        min_quantity: btc("0.00001"),
        max_quantity: btc("9000"),
        min_notional: read("5 USDT"),
        maker_fee: read("0.001"),
        taker_fee: read("0.002"),
        price_band: Some(read("0.2")),
    }
}
fn registered() -> Event {
    Event::InstrumentRegistered { instrument: instrument() }
}
fn register(change: impl FnOnce(&mut Instrument)) -> Command {
    let mut instrument = instrument();
    change(&mut instrument);
    Command::Register { instrument }
}
fn halted() -> Event {
    Event::TradingHalted { reason: "news pending".into() }
}
fn btc(number: &str) -> Quantity {
    read(&format!("{number} BTC"))
}
fn given(events: impl IntoIterator<Item = Event>) -> Given<Market> {
    common::given::<Market>(events)
}
/// A market in whose book these rest, in this order: (order, its owner, side, price, quantity).
fn book(orders: &[(&str, &str, OrderSide, &str, &str)]) -> Given<Market> {
    given([registered()]).and(
        orders.iter().map(|(name, owner, side, price, quantity)| booked(name, owner, *side, price, quantity)),
    )
}
fn booked(name: &str, owner: &str, side: OrderSide, price: &str, quantity: &str) -> Event {
    Event::OrderBooked {
        order_id: read(name),
        portfolio_id: PortfolioId::new(format!("folio-{owner}")),
        account_id: AccountId::new(format!("cash-{owner}")),
        owner: owner.to_owned(),
        side,
        price: read(price),
        quantity: btc(quantity),
    }
}
/// A good-till-canceled order of `ada` that expires when it meets itself.
fn incoming(side: OrderSide, price: &str, quantity: &str) -> IncomingOrder {
    IncomingOrder {
        order_id: read("new"),
        portfolio_id: read("folio-ada"),
        account_id: read("cash-ada"),
        owner: "ada".into(),
        side,
        price: read(price),
        quantity: btc(quantity),
        quote_quantity: None,
        taker_fee: read("0.002"),
        time_in_force: TimeInForce::Gtc,
        self_trade_prevention: SelfTradePrevention::ExpireTaker,
    }
}
fn by_quote(side: OrderSide, price: &str, budget: &str) -> IncomingOrder {
    IncomingOrder {
        quote_quantity: Some(read(&format!("{budget} USDT"))),
        time_in_force: TimeInForce::Ioc,
        ..incoming(side, price, "1000000")
    }
}
fn matched(order: IncomingOrder) -> Command {
    Command::Match { order, barred: BTreeSet::new() }
}
fn barring(order: IncomingOrder, barred: &[&str]) -> Command {
    Command::Match { order, barred: barred.iter().map(|name| read(name)).collect() }
}
fn traded(n: u64, maker: &str, taker_side: OrderSide, price: &str, quantity: &str, remaining: &str) -> Event {
    Event::TradeExecuted {
        trade_id: TradeId::new(format!("BTC-USDT.{n}")),
        maker_order_id: read(maker),
        taker_order_id: read("new"),
        taker_side,
        price: read(price),
        quantity: btc(quantity),
        maker_remaining: btc(remaining),
    }
}
fn rests(side: OrderSide, price: &str, quantity: &str) -> Event {
    booked("new", "ada", side, price, quantity)
}
fn unbooked(name: &str, code: Code) -> Event {
    Event::OrderUnbooked { order_id: read(name), code }
}
fn ends(market: Given<Market>, order: &IncomingOrder) -> Option<Code> {
    ends_barring(market, order, &[])
}
fn ends_barring(market: Given<Market>, order: &IncomingOrder, barred: &[&str]) -> Option<Code> {
    let barred = barred.iter().map(|name| read(name)).collect();
    let matching = state(market).match_incoming(order, &barred).expect("matches");
    matching.ends
}
fn state(market: Given<Market>) -> Registered {
    market.state().registered().expect("registered").clone()
}

use OrderSide::{Buy, Sell};

// ---- register, halt, resume

#[test]
fn a_market_is_registered_once_and_trades_from_then_on() {
    let market = given([]).when(register(|_| {})).then([registered()]);
    let market = market.when(register(|_| {})).then_refused_at(Code::AlreadyExists, "symbol");
    assert_eq!(state(market).status, MarketStatus::Trading);
}

#[rstest]
#[case::of_other_assets(|i: &mut Instrument| i.symbol = read("ETH-USDT"), Code::InvalidSymbol, "symbol")]
#[case::without_dash(|i: &mut Instrument| i.symbol = read("BTCUSDT"), Code::InvalidSymbol, "symbol")]
#[case::in_a_currency_as_base(|i: &mut Instrument| {
    i.symbol = read("EUR-USDT");
    i.base = read("EUR");
}, Code::UnknownAsset, "base")]
#[case::paid_in_what_is_no_cash(|i: &mut Instrument| {
    i.symbol = read("BTC-ACME");
    i.quote = read("ACME");
    i.min_notional = read("0 ACME");
}, Code::UnknownAsset, "quote")]
#[case::without_tick(|i: &mut Instrument| i.tick_size = Price::ZERO, Code::AmountNotPositive, "tickSize")]
#[case::without_lot(|i: &mut Instrument| i.lot_size = btc("0"), Code::AmountNotPositive, "lotSize")]
#[case::with_a_negative_lot(|i: &mut Instrument| i.lot_size = btc("-1"), Code::AmountNotPositive, "lotSize")]
#[case::with_a_lot_in_another_asset(
    |i: &mut Instrument| i.lot_size = read("1 ETH"), Code::CurrencyMismatch, "lotSize")]
#[case::without_minimum(|i: &mut Instrument| i.min_quantity = btc("0"), Code::AmountNotPositive, "minQuantity")]
#[case::with_a_minimum_off_the_lot(
    |i: &mut Instrument| i.min_quantity = btc("0.000015"), Code::LotSize, "minQuantity")]
#[case::with_a_maximum_off_the_lot(
    |i: &mut Instrument| i.max_quantity = btc("1.000005"), Code::LotSize, "maxQuantity")]
#[case::with_a_maximum_below_the_minimum(|i: &mut Instrument| {
    i.min_quantity = btc("2");
    i.max_quantity = btc("1");
}, Code::LotSize, "maxQuantity")]
#[case::with_a_negative_minimum_notional(
    |i: &mut Instrument| i.min_notional = read("-1 USDT"), Code::AmountNotPositive, "minNotional")]
#[case::with_a_minimum_notional_in_another_asset(
    |i: &mut Instrument| i.min_notional = read("5 USD"), Code::CurrencyMismatch, "minNotional")]
#[case::whose_notionals_would_not_fit_the_quote_asset(
    |i: &mut Instrument| i.tick_size = read("0.0001"), Code::TickAndLotTooFine, "tickSize")]
fn a_market_is_not_registered(
    #[case] change: impl FnOnce(&mut Instrument),
    #[case] code: Code,
    #[case] field: &str,
) {
    given([]).when(register(change)).then_refused_at(code, field);
}

#[test]
fn a_market_of_one_asset_with_itself_is_not_registered() {
    let same = register(|i| {
        i.symbol = read("BTC-BTC");
        i.quote = read("BTC");
    });
    given([]).when(same).then_refused_at(Code::InvalidSymbol, "symbol");
}

#[test]
fn the_finest_tick_and_lot_that_fit_are_registered() {
    given([]).when(register(|i| i.tick_size = read("0.001"))).events();
    given([])
        .when(register(|i| {
            i.symbol = read("ACME-USD");
            i.base = read("ACME");
            i.quote = read("USD");
            i.tick_size = read("0.01");
            (i.lot_size, i.min_quantity, i.max_quantity) = (read("1 ACME"), read("1 ACME"), read("10 ACME"));
            i.min_notional = read("0 USD");
        }))
        .events();
}

#[test]
fn a_market_is_halted_and_resumed_for_a_reason() {
    let halt = Command::Halt { reason: "news pending".into() };
    let resume = Command::Resume { reason: "news out".into() };
    given([registered()])
        .when(resume.clone())
        .then_refused(Code::MarketNotHalted)
        .when(Command::Halt { reason: " ".into() })
        .then_refused_at(Code::InvalidText, "reason")
        .when(halt.clone())
        .then([halted()])
        .when(halt)
        .then_refused(Code::MarketHalted)
        .when(Command::Resume { reason: "\0".into() })
        .then_refused_at(Code::InvalidText, "reason")
        .when(resume)
        .then([Event::TradingResumed { reason: "news out".into() }])
        .when(matched(incoming(Buy, "100", "1")))
        .then([rests(Buy, "100", "1")]);
}

#[rstest]
#[case(Command::Halt { reason: "why".into() })]
#[case(Command::Resume { reason: "why".into() })]
#[case(matched(incoming(Buy, "1", "1")))]
#[case(Command::Unbook { order_id: read("o"), code: Code::CanceledByUser })]
fn nothing_is_asked_of_a_market_that_is_not_there(#[case] command: Command) {
    given([]).when(command).then_refused(Code::MarketNotFound);
}

#[test]
fn while_it_is_halted_no_order_reaches_the_book_but_one_may_leave_it() {
    book(&[("a", "bob", Sell, "100", "1")])
        .and([halted()])
        .when(matched(incoming(Buy, "100", "1")))
        .then_refused(Code::MarketHalted)
        .when(matched(incoming(Buy, "99", "1")))
        .then_refused(Code::MarketHalted)
        .when(Command::Unbook { order_id: read("a"), code: Code::CanceledByUser })
        .then([unbooked("a", Code::CanceledByUser)]);
}

#[test]
fn a_paper_market_has_no_book() {
    let mut paper = instrument();
    paper.venue = Venue::Paper;
    given([Event::InstrumentRegistered { instrument: paper }])
        .when(matched(incoming(Buy, "100", "1")))
        .then_refused(Code::WrongVenue);
}

// ---- the book

#[test]
fn an_order_that_meets_nobody_rests() {
    given([registered()]).when(matched(incoming(Buy, "100", "1"))).then([rests(Buy, "100", "1")]);
    book(&[("a", "bob", Sell, "100.01", "1")])
        .when(matched(incoming(Buy, "100", "1")))
        .then([rests(Buy, "100", "1")]);
}

#[test]
fn an_order_that_rests_does_not_come_again() {
    book(&[("new", "ada", Buy, "100", "1")])
        .when(matched(incoming(Buy, "100", "1")))
        .then_refused(Code::AlreadyExists);
}

#[test]
fn a_resting_order_is_taken_off_and_an_absent_one_changes_nothing() {
    let unbook = Command::Unbook { order_id: read("a"), code: Code::CanceledByUser };
    let market = book(&[("a", "bob", Sell, "100", "1")])
        .when(unbook.clone())
        .then([unbooked("a", Code::CanceledByUser)])
        .when(unbook)
        .then_nothing();
    assert!(state(market).book.is_empty());
}

#[test]
fn the_book_shows_best_prices_and_depth() {
    let market = state(book(&[
        ("a", "bob", Sell, "101", "1"),
        ("b", "bob", Sell, "100", "2"),
        ("c", "eve", Sell, "100", "0.5"),
        ("d", "bob", Buy, "98", "1"),
        ("e", "bob", Buy, "99", "3"),
    ]));
    let depth = market.book.depth(2);
    let levels = |levels: &[domain::market::DepthLevel]| -> Vec<(String, String)> {
        levels.iter().map(|level| (level.price.to_string(), level.quantity.number())).collect()
    };
    let of = |pairs: [(&str, &str); 2]| pairs.map(|(p, q)| (p.to_owned(), q.to_owned())).to_vec();
    assert_eq!(levels(&depth.asks), of([("100", "2.50000000"), ("101", "1.00000000")]));
    assert_eq!(levels(&depth.bids), of([("99", "3.00000000"), ("98", "1.00000000")]));
    assert_eq!(market.book.depth(1).bids.len(), 1);
    assert_eq!((market.book.best_bid(), market.book.best_ask()), (Some(read("99")), Some(read("100"))));
    assert!(market.book.would_take(Buy, read("100")) && !market.book.would_take(Buy, read("99.99")));
    assert!(market.book.would_take(Sell, read("99")) && !market.book.would_take(Sell, read("99.01")));
    assert_eq!(market.book.len(), 5);
}

#[test]
fn the_reference_price_is_the_last_trades_else_the_middle_of_the_book() {
    assert_eq!(state(given([registered()])).reference_price(), None);
    assert_eq!(state(book(&[("a", "bob", Sell, "101", "1")])).reference_price(), Some(read("101")));
    let both = book(&[("a", "bob", Sell, "101", "1"), ("b", "bob", Buy, "98", "1")]);
    assert_eq!(state(both).reference_price(), Some(read("99.5")));
    let traded = book(&[("a", "bob", Sell, "101", "1"), ("b", "bob", Buy, "98", "1")])
        .when(matched(incoming(Buy, "101", "0.5")))
        .then([traded(1, "a", Buy, "101", "0.5", "0.5")]);
    assert_eq!(state(traded).reference_price(), Some(read("101")));
}

// ---- matching

#[test]
fn the_best_price_trades_first_then_the_earliest_at_the_makers_price() {
    let asks = [
        ("late", "bob", Sell, "100", "1"),
        ("far", "bob", Sell, "101", "1"),
        ("best", "bob", Sell, "99", "1"),
        ("later", "eve", Sell, "100", "1"),
    ];
    book(&asks).when(matched(incoming(Buy, "102", "3.5"))).then([
        traded(1, "best", Buy, "99", "1", "0"),
        traded(2, "late", Buy, "100", "1", "0"),
        traded(3, "later", Buy, "100", "1", "0"),
        traded(4, "far", Buy, "101", "0.5", "0.5"),
    ]);
    let bids = [
        ("late", "bob", Buy, "100", "1"),
        ("far", "bob", Buy, "99", "1"),
        ("best", "bob", Buy, "101", "1"),
        ("later", "eve", Buy, "100", "1"),
    ];
    book(&bids).when(matched(incoming(Sell, "99", "3.5"))).then([
        traded(1, "best", Sell, "101", "1", "0"),
        traded(2, "late", Sell, "100", "1", "0"),
        traded(3, "later", Sell, "100", "1", "0"),
        traded(4, "far", Sell, "99", "0.5", "0.5"),
    ]);
}

#[test]
fn a_partly_traded_maker_keeps_its_place() {
    book(&[("first", "bob", Sell, "100", "1"), ("second", "eve", Sell, "100", "1")])
        .when(matched(incoming(Buy, "100", "0.4")))
        .then([traded(1, "first", Buy, "100", "0.4", "0.6")])
        .when(matched(incoming(Buy, "100", "1")))
        .then([traded(2, "first", Buy, "100", "0.6", "0"), traded(3, "second", Buy, "100", "0.4", "0.6")]);
}

#[test]
fn what_is_left_of_a_good_till_canceled_order_rests_at_its_limit() {
    let asks = [("a", "bob", Sell, "100", "1"), ("b", "bob", Sell, "102", "1")];
    let market = book(&asks)
        .when(matched(incoming(Buy, "101", "3")))
        .then([traded(1, "a", Buy, "100", "1", "0"), rests(Buy, "101", "2")]);
    let book = state(market).book;
    assert_eq!((book.best_bid(), book.best_ask()), (Some(read("101")), Some(read("102"))));
}

#[test]
fn what_is_left_of_an_immediate_order_ends() {
    let order = IncomingOrder { time_in_force: TimeInForce::Ioc, ..incoming(Buy, "101", "3") };
    let market = || book(&[("a", "bob", Sell, "100", "1")]);
    market().when(matched(order.clone())).then([traded(1, "a", Buy, "100", "1", "0")]);
    assert_eq!(ends(market(), &order), Some(Code::NoLiquidity));
    assert_eq!(ends(given([registered()]), &order), Some(Code::NoLiquidity));
    assert_eq!(ends(market(), &IncomingOrder { quantity: btc("1"), ..order }), None);
}

#[test]
fn fill_or_kill_trades_whole_or_not_at_all() {
    let asks = || book(&[("a", "bob", Sell, "100", "1"), ("b", "bob", Sell, "101", "1")]);
    let kill =
        |price, quantity| IncomingOrder { time_in_force: TimeInForce::Fok, ..incoming(Buy, price, quantity) };
    asks()
        .when(matched(kill("101", "2")))
        .then([traded(1, "a", Buy, "100", "1", "0"), traded(2, "b", Buy, "101", "1", "0")]);
    assert_eq!(ends(asks(), &kill("101", "2")), None);
    asks().when(matched(kill("101", "2.00001"))).then_nothing();
    assert_eq!(ends(asks(), &kill("101", "2.00001")), Some(Code::NotFillable));
    asks().when(matched(kill("100", "2"))).then_nothing();
}

#[test]
fn fill_or_kill_counts_neither_barred_orders_nor_its_own() {
    let asks = || book(&[("own", "ada", Sell, "100", "1"), ("b", "bob", Sell, "101", "1")]);
    let kill = |prevention| IncomingOrder {
        time_in_force: TimeInForce::Fok,
        self_trade_prevention: prevention,
        ..incoming(Buy, "101", "2")
    };
    asks().when(matched(kill(SelfTradePrevention::ExpireMaker))).then_nothing();
    assert_eq!(ends(asks(), &kill(SelfTradePrevention::ExpireMaker)), Some(Code::NotFillable));
    assert_eq!(ends(asks(), &kill(SelfTradePrevention::ExpireTaker)), Some(Code::SelfTrade));
    asks().when(barring(kill(SelfTradePrevention::None), &["b"])).then_nothing();
    assert_eq!(ends_barring(asks(), &kill(SelfTradePrevention::None), &["b"]), Some(Code::NotFillable));
    asks()
        .when(matched(kill(SelfTradePrevention::None)))
        .then([traded(1, "own", Buy, "100", "1", "0"), traded(2, "b", Buy, "101", "1", "0")]);
}

#[test]
fn an_order_does_not_trade_with_one_of_the_same_owner_unless_it_wants_to() {
    let asks =
        [("a", "bob", Sell, "99", "1"), ("own", "ada", Sell, "100", "1"), ("b", "bob", Sell, "101", "1")];
    let with =
        |prevention| IncomingOrder { self_trade_prevention: prevention, ..incoming(Buy, "101", "2.5") };
    let first = || traded(1, "a", Buy, "99", "1", "0");

    let order = with(SelfTradePrevention::None);
    book(&asks).when(matched(order)).then([
        first(),
        traded(2, "own", Buy, "100", "1", "0"),
        traded(3, "b", Buy, "101", "0.5", "0.5"),
    ]);

    let order = with(SelfTradePrevention::ExpireTaker);
    assert_eq!(ends(book(&asks), &order), Some(Code::SelfTrade));
    book(&asks).when(matched(order)).then([first()]);

    let order = with(SelfTradePrevention::ExpireMaker);
    assert_eq!(ends(book(&asks), &order), None);
    book(&asks).when(matched(order)).then([
        first(),
        unbooked("own", Code::SelfTrade),
        traded(2, "b", Buy, "101", "1", "0"),
        rests(Buy, "101", "0.5"),
    ]);

    let order = with(SelfTradePrevention::ExpireBoth);
    assert_eq!(ends(book(&asks), &order), Some(Code::SelfTrade));
    book(&asks).when(matched(order)).then([first(), unbooked("own", Code::SelfTrade)]);
}

#[test]
fn an_order_of_a_frozen_account_leaves_the_book_instead_of_trading() {
    let asks = [("frozen", "bob", Sell, "99", "1"), ("b", "eve", Sell, "100", "1")];
    let market = book(&asks)
        .when(barring(incoming(Buy, "100", "1"), &["frozen"]))
        .then([unbooked("frozen", Code::AccountFrozen), traded(1, "b", Buy, "100", "1", "0")]);
    assert!(state(market).book.is_empty());
}

#[test]
fn those_it_would_meet_are_known_before_anything_is_decided() {
    let asks = [
        ("a", "bob", Sell, "99", "1"),
        ("own", "ada", Sell, "100", "1"),
        ("b", "eve", Sell, "100", "1"),
        ("c", "eve", Sell, "101", "1"),
    ];
    let order = IncomingOrder {
        self_trade_prevention: SelfTradePrevention::ExpireMaker,
        ..incoming(Buy, "101", "2")
    };
    let names = |barred: &[&str]| -> Vec<String> {
        let barred = barred.iter().map(|name| read(name)).collect();
        let makers = state(book(&asks)).makers_for(&order, &barred).expect("few");
        makers.into_iter().map(|(order, account, folio)| format!("{order} {account} {folio}")).collect()
    };
    let (a, own) = ("a cash-bob folio-bob", "own cash-ada folio-ada");
    let (b, c) = ("b cash-eve folio-eve", "c cash-eve folio-eve");
    assert_eq!(names(&[]), [a, own, b]);
    assert_eq!(names(&["a"]), [a, own, b, c], "whom it meets instead of a barred one is asked for next");
}

#[test]
fn an_order_that_would_meet_too_many_is_refused() {
    let crowd = |count: usize| {
        let orders =
            (0..count).map(|n| booked(&format!("m{n}"), "bob", Sell, "100", "0.00001")).collect::<Vec<_>>();
        given([registered()]).and(orders)
    };
    let many = crowd(MAX_MET_ORDERS + 1);
    let all = IncomingOrder { quantity: btc("0.01001"), ..incoming(Buy, "100", "1") };
    let many = many.when(matched(all)).then_refused(Code::Overloaded);
    let most = IncomingOrder { quantity: btc("0.01"), ..incoming(Buy, "100", "1") };
    assert_eq!(many.when(matched(most)).events().len(), MAX_MET_ORDERS);
}

#[test]
fn a_level_never_holds_more_than_can_be_written_down() {
    let most = Quantity::from_units(read("BTC"), domain::amount::MAX_UNITS).expect("the largest");
    let order = IncomingOrder { quantity: most, ..incoming(Buy, "0.01", "1") };
    given([registered()])
        .when(matched(order.clone()))
        .then([Event::OrderBooked {
            order_id: read("new"),
            portfolio_id: read("folio-ada"),
            account_id: read("cash-ada"),
            owner: "ada".into(),
            side: Buy,
            price: read("0.01"),
            quantity: most,
        }])
        .when(matched(IncomingOrder { order_id: read("another"), ..order }))
        .then_refused(Code::AmountOutOfRange);
}

// ---- by quote quantity

#[test]
fn a_buy_by_quote_quantity_spends_at_most_that_fees_included() {
    // 0.002 of fee: 1 BTC at 100 costs 100.2; of the 59.8 left, 0.59089 BTC at 101 cost 59.67989 and 0.11935978 of fee.
    let order = by_quote(Buy, "105", "160");
    let asks = || book(&[("a", "bob", Sell, "100", "1"), ("b", "bob", Sell, "101", "1")]);
    asks()
        .when(matched(order.clone()))
        .then([traded(1, "a", Buy, "100", "1", "0"), traded(2, "b", Buy, "101", "0.59089", "0.40911")]);
    assert_eq!(ends(asks(), &order), None);
}

#[test]
fn a_buy_by_quote_quantity_takes_the_last_lot_that_it_can_pay_to_the_smallest_unit() {
    // One lot of 0.00001 BTC at 100 costs 0.001 and 0.000002 of fee.
    let market = || book(&[("a", "bob", Sell, "100", "1")]);
    market()
        .when(matched(by_quote(Buy, "100", "0.001002")))
        .then([traded(1, "a", Buy, "100", "0.00001", "0.99999")]);
    market().when(matched(by_quote(Buy, "100", "0.00100199"))).then_nothing();
    assert_eq!(ends(market(), &by_quote(Buy, "100", "0.00100199")), Some(Code::NoLiquidity));
}

#[test]
fn a_buy_by_quote_quantity_that_finds_too_little_ends_for_want_of_liquidity() {
    let order = by_quote(Buy, "105", "160");
    let market = || book(&[("a", "bob", Sell, "100", "1")]);
    assert_eq!(ends(market(), &order), Some(Code::NoLiquidity));
    market().when(matched(order)).then([traded(1, "a", Buy, "100", "1", "0")]);
}

#[test]
fn a_sale_by_quote_quantity_ends_when_the_next_lot_would_bring_more() {
    let bids = || book(&[("a", "bob", Buy, "100", "1"), ("b", "bob", Buy, "99", "1")]);
    let order = by_quote(Sell, "95", "150.0005");
    bids()
        .when(matched(order.clone()))
        .then([traded(1, "a", Sell, "100", "1", "0"), traded(2, "b", Sell, "99", "0.50505", "0.49495")]);
    assert_eq!(ends(bids(), &order), None);
    assert_eq!(ends(bids(), &by_quote(Sell, "95", "1000")), Some(Code::NoLiquidity));
    bids().when(matched(by_quote(Sell, "95", "0.0009"))).then_nothing();
}

#[test]
fn a_sale_by_quote_quantity_sells_no_more_than_was_reserved() {
    let order = IncomingOrder { quantity: btc("0.4"), ..by_quote(Sell, "95", "150") };
    let market = || book(&[("a", "bob", Buy, "100", "1")]);
    assert_eq!(ends(market(), &order), None);
    market().when(matched(order)).then([traded(1, "a", Sell, "100", "0.4", "0.6")]);
}

// ---- the state

#[test]
fn a_copy_of_the_state_is_left_alone_by_what_happens_to_the_original() {
    let before = book(&[("a", "bob", Sell, "100", "1"), ("b", "bob", Sell, "101", "1")]).state();
    let mut after = before.clone();
    Decider::apply(&mut after, &unbooked("a", Code::CanceledByUser));
    assert_eq!(before.registered().expect("registered").book.best_ask(), Some(read("100")));
    assert_eq!(after.registered().expect("registered").book.best_ask(), Some(read("101")));
}

#[test]
fn a_free_market_charges_nothing_against_a_budget() {
    let order = IncomingOrder { taker_fee: Rate::ZERO, ..by_quote(Buy, "100", "100") };
    let market = book(&[("a", "bob", Sell, "100", "1")])
        .when(matched(order))
        .then([traded(1, "a", Buy, "100", "1", "0")]);
    assert!(state(market).book.get(&OrderId::new("a")).is_none());
}
