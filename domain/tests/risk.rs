//! What a market's filters refuse and what the two stages of risk reject, each with its figures.

mod common;

use std::collections::BTreeMap;

use common::{read, replay};
use domain::account::{Account, AccountEvent, AccountKind};
use domain::ids::{AccountId, Party};
use domain::market::{Instrument, Market, MarketEvent, Registered, Venue};
use domain::order::{OrderSide, OrderTicket, OrderType, SelfTradePrevention, TimeInForce};
use domain::portfolio::{Portfolio, PortfolioEvent};
use domain::quote::{BestLevel, Quote};
use domain::risk::{MarketPrices, Verdict, instrument_stage, market_order_bound, portfolio_stage};
use domain::{Asset, Code, Money, Price, Quantity};
use rstest::rstest;

use OrderSide::{Buy, Sell};

// ---- words

fn btc(number: &str) -> Quantity {
    read(&format!("{number} BTC"))
}
fn usdt(number: &str) -> Money {
    read(&format!("{number} USDT"))
}
fn instrument(venue: Venue) -> Instrument {
    Instrument {
        symbol: read("BTC-USDT"),
        base: read("BTC"),
        quote: read("USDT"),
        venue,
        tick_size: read("0.01"),
        lot_size: btc("0.001"),
        min_quantity: btc("0.002"),
        max_quantity: btc("100"),
        min_notional: usdt("5"),
        maker_fee: read("0.001"),
        taker_fee: read("0.002"),
        price_band: Some(read("0.2")),
    }
}
fn market(events: impl IntoIterator<Item = MarketEvent>) -> Registered {
    on(instrument(Venue::Internal), events)
}
fn on(instrument: Instrument, events: impl IntoIterator<Item = MarketEvent>) -> Registered {
    let registered = MarketEvent::InstrumentRegistered { instrument };
    replay::<Market>([registered].into_iter().chain(events)).registered().expect("registered").clone()
}
fn rests(name: &str, side: OrderSide, price: &str) -> MarketEvent {
    MarketEvent::OrderBooked {
        order_id: read(name),
        portfolio_id: read("other-folio"),
        account_id: read("other-cash"),
        owner: "bob".into(),
        side,
        price: read(price),
        quantity: btc("1"),
    }
}
fn limit(side: OrderSide, price: &str, quantity: &str) -> OrderTicket {
    OrderTicket {
        owner: "ada".into(),
        portfolio_id: read("folio"),
        account_id: read("cash"),
        symbol: read("BTC-USDT"),
        venue: Venue::Internal,
        base: read("BTC"),
        quote: read("USDT"),
        lot_size: btc("0.001"),
        side,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        quantity: Some(btc(quantity)),
        quote_quantity: None,
        limit_price: Some(read(price)),
        self_trade_prevention: SelfTradePrevention::ExpireTaker,
        client_order_id: None,
    }
}
fn at_market(side: OrderSide, quantity: &str) -> OrderTicket {
    OrderTicket {
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        limit_price: None,
        ..limit(side, "1", quantity)
    }
}
fn by_quote(side: OrderSide, budget: &str) -> OrderTicket {
    OrderTicket { quantity: None, quote_quantity: Some(usdt(budget)), ..at_market(side, "1") }
}
fn maker(ticket: OrderTicket) -> OrderTicket {
    OrderTicket { order_type: OrderType::LimitMaker, ..ticket }
}
fn figure<'a>(figures: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    figures.get(name).unwrap_or_else(|| panic!("no {name} in {figures:?}"))
}
#[track_caller]
fn passes(verdict: Verdict) -> BTreeMap<String, String> {
    match verdict {
        Verdict::Pass { figures } => figures,
        Verdict::Reject { code, message, .. } => panic!("rejected: {code}: {message}"),
    }
}
#[track_caller]
fn rejected(verdict: Verdict, expected: Code) -> BTreeMap<String, String> {
    match verdict {
        Verdict::Reject { code, message, figures } => {
            assert_eq!(code, expected, "{message}");
            assert!(!message.is_empty());
            figures
        }
        Verdict::Pass { figures } => panic!("expected {expected}, but it passed: {figures:?}"),
    }
}

// ---- filters

#[rstest]
#[case::a_limit_order(limit(Buy, "100", "1"))]
#[case::a_limit_maker(maker(limit(Sell, "100.01", "0.05")))]
#[case::a_market_order(at_market(Buy, "1"))]
#[case::a_market_order_by_quote_quantity(by_quote(Sell, "5"))]
#[case::the_least_notional(limit(Buy, "5", "1"))]
#[case::the_greatest_quantity(limit(Buy, "5", "100"))]
fn what_keeps_to_the_filters_goes_on(#[case] ticket: OrderTicket) {
    market([]).check_filters(&ticket).expect("keeps to the filters");
}

fn changed(ticket: OrderTicket, change: impl FnOnce(&mut OrderTicket)) -> OrderTicket {
    let mut ticket = ticket;
    change(&mut ticket);
    ticket
}

#[rstest]
#[case::limit_without_price(
    changed(limit(Buy, "100", "1"), |t| t.limit_price = None), Code::InvalidOrder, Some("limitPrice"))]
#[case::limit_without_quantity(
    changed(limit(Buy, "100", "1"), |t| t.quantity = None), Code::InvalidOrder, Some("quantity"))]
#[case::limit_by_quote_quantity(
    changed(limit(Buy, "100", "1"), |t| t.quote_quantity = Some(usdt("100"))), Code::InvalidOrder, Some("quoteQuantity"))]
#[case::maker_without_price(
    changed(maker(limit(Buy, "100", "1")), |t| t.limit_price = None), Code::InvalidOrder, Some("limitPrice"))]
#[case::maker_that_is_immediate(
    changed(maker(limit(Buy, "100", "1")), |t| t.time_in_force = TimeInForce::Ioc), Code::InvalidOrder, Some("timeInForce"))]
#[case::market_with_price(
    changed(at_market(Buy, "1"), |t| t.limit_price = Some(read("1"))), Code::InvalidOrder, Some("limitPrice"))]
#[case::market_with_both_quantities(
    changed(at_market(Buy, "1"), |t| t.quote_quantity = Some(usdt("9"))), Code::InvalidOrder, Some("quantity"))]
#[case::market_without_quantity(
    changed(at_market(Buy, "1"), |t| t.quantity = None), Code::InvalidOrder, Some("quantity"))]
#[case::market_that_rests(
    changed(at_market(Buy, "1"), |t| t.time_in_force = TimeInForce::Gtc), Code::InvalidOrder, Some("timeInForce"))]
#[case::quantity_in_another_asset(
    changed(at_market(Buy, "1"), |t| t.quantity = Some(read("1 ETH"))), Code::InvalidOrder, Some("quantity"))]
#[case::quote_quantity_in_another_asset(
    changed(by_quote(Buy, "9"), |t| t.quote_quantity = Some(read("9 USD"))), Code::InvalidOrder, Some("quoteQuantity"))]
#[case::of_another_market(
    changed(limit(Buy, "100", "1"), |t| t.symbol = read("ETH-USDT")), Code::InvalidOrder, None)]
#[case::of_another_venue(
    changed(limit(Buy, "100", "1"), |t| t.venue = Venue::Paper), Code::InvalidOrder, None)]
#[case::off_the_tick(limit(Buy, "100.001", "1"), Code::TickSize, Some("limitPrice"))]
#[case::off_the_lot(limit(Buy, "100", "1.0005"), Code::LotSize, Some("quantity"))]
#[case::below_the_least_quantity(limit(Buy, "10000", "0.001"), Code::LotSize, Some("quantity"))]
#[case::above_the_greatest_quantity(limit(Buy, "100", "100.001"), Code::LotSize, Some("quantity"))]
#[case::market_off_the_lot(at_market(Sell, "1.0005"), Code::LotSize, Some("quantity"))]
#[case::nothing(limit(Buy, "100", "0"), Code::AmountNotPositive, Some("quantity"))]
#[case::less_than_nothing(limit(Buy, "100", "-1"), Code::AmountNotPositive, Some("quantity"))]
#[case::no_quote_quantity(by_quote(Buy, "0"), Code::AmountNotPositive, Some("quoteQuantity"))]
#[case::below_the_least_notional(limit(Buy, "4.99", "1"), Code::MinNotional, Some("quantity"))]
#[case::below_the_least_notional_by_quote(
    by_quote(Buy, "4.99999999"),
    Code::MinNotional,
    Some("quoteQuantity")
)]
fn what_breaks_a_filter_is_refused(
    #[case] ticket: OrderTicket,
    #[case] code: Code,
    #[case] field: Option<&str>,
) {
    let refusal = market([]).check_filters(&ticket).expect_err("breaks a filter");
    assert_eq!(refusal.code, code, "{refusal}");
    let expected = field.map(|field| vec!["input".to_owned(), field.to_owned()]);
    assert_eq!(refusal.field, expected);
}

#[test]
fn a_market_order_is_immediate_and_a_limit_maker_rests_whatever_was_asked() {
    for asked in [TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok] {
        assert_eq!(OrderType::Limit.time_in_force(asked), asked);
        assert_eq!(OrderType::Market.time_in_force(asked), TimeInForce::Ioc);
        assert_eq!(OrderType::LimitMaker.time_in_force(asked), TimeInForce::Gtc);
    }
}

// ---- the instrument stage

fn instrument_verdict(market: &Registered, ticket: &OrderTicket) -> Verdict {
    let prices = MarketPrices::of(market, &Quote::default(), ticket);
    instrument_stage(market, &prices, ticket).expect("a verdict")
}

#[test]
fn a_halted_market_rejects_every_order() {
    let halted = market([MarketEvent::TradingHalted { reason: "news".into() }]);
    let figures = rejected(instrument_verdict(&halted, &limit(Buy, "100", "1")), Code::MarketHalted);
    assert_eq!(figure(&figures, "status"), "HALTED");
    rejected(instrument_verdict(&halted, &at_market(Buy, "1")), Code::MarketHalted);
}

#[rstest]
#[case(at_market(Buy, "1"))]
#[case(by_quote(Sell, "100"))]
fn a_market_order_needs_a_price(#[case] ticket: OrderTicket) {
    rejected(instrument_verdict(&market([]), &ticket), Code::NoReferencePrice);
}

#[test]
fn a_market_order_is_bound_by_the_collar_around_the_best_opposite_price() {
    let market = market([rests("a", Sell, "100.1"), rests("b", Buy, "90.01")]);
    let buy = passes(instrument_verdict(&market, &at_market(Buy, "1")));
    assert_eq!(figure(&buy, "bestOppositePrice"), "100.1");
    assert_eq!(figure(&buy, "priceBound"), "105.11");
    let sale = passes(instrument_verdict(&market, &at_market(Sell, "1")));
    assert_eq!(figure(&sale, "priceBound"), "85.5");
    let ticket = limit(Buy, "100", "1");
    let prices = MarketPrices::of(&market, &Quote::default(), &ticket);
    assert_eq!(prices.bound(&market, &ticket), Ok(None), "a limit is bound by itself");
}

#[rstest]
#[case(Buy, "100", "105")]
#[case(Buy, "100.01", "105.02")]
#[case(Sell, "100.01", "95")]
#[case(Sell, "0.01", "0.01")]
#[case(Buy, "0.01", "0.02")]
fn the_collar_is_five_percent_to_the_tick(#[case] side: OrderSide, #[case] best: &str, #[case] bound: &str) {
    let tick = read("0.01");
    assert_eq!(market_order_bound(side, read(best), tick), Ok(read(bound)));
}

#[test]
fn with_an_empty_side_the_last_trade_stands_in() {
    let market = market([
        rests("a", Sell, "100"),
        MarketEvent::TradeExecuted {
            trade_id: read("BTC-USDT.1"),
            maker_order_id: read("a"),
            taker_order_id: read("x"),
            taker_side: Buy,
            price: read("100"),
            quantity: btc("1"),
            maker_remaining: btc("0"),
        },
    ]);
    let figures = passes(instrument_verdict(&market, &at_market(Buy, "1")));
    assert_eq!(figure(&figures, "referencePrice"), "100");
    assert_eq!(figure(&figures, "priceBound"), "105");
    assert!(!figures.contains_key("bestOppositePrice"));
}

#[test]
fn a_market_order_worth_too_little_at_the_best_price_is_rejected() {
    let market = market([rests("a", Sell, "100")]);
    let figures = rejected(instrument_verdict(&market, &at_market(Buy, "0.049")), Code::MinNotional);
    assert_eq!(figure(&figures, "notional"), "4.90000000 USDT");
    passes(instrument_verdict(&market, &at_market(Buy, "0.05")));
}

#[test]
fn a_quote_quantity_that_comes_to_too_little_or_too_much_is_rejected() {
    let market = market([rests("a", Sell, "10000")]);
    let figures = rejected(instrument_verdict(&market, &by_quote(Buy, "19.99")), Code::LotSize);
    assert_eq!(figure(&figures, "quantity"), "0.00100000 BTC");
    passes(instrument_verdict(&market, &by_quote(Buy, "20")));
    passes(instrument_verdict(&market, &by_quote(Buy, "1000009.99")));
    rejected(instrument_verdict(&market, &by_quote(Buy, "1000010")), Code::LotSize);
}

#[rstest]
#[case("80", None)]
#[case("79.99", Some(Code::PriceBand))]
#[case("120", None)]
#[case("120.01", Some(Code::PriceBand))]
fn a_limit_price_keeps_to_the_band(#[case] price: &str, #[case] code: Option<Code>) {
    let market = market([rests("a", Sell, "100")]);
    let verdict = instrument_verdict(&market, &limit(Buy, price, "1"));
    let figures = match code {
        Some(code) => rejected(verdict, code),
        None => passes(verdict),
    };
    assert_eq!((figure(&figures, "lowestPrice"), figure(&figures, "highestPrice")), ("80", "120"));
}

#[test]
fn without_a_reference_price_or_a_band_any_limit_passes() {
    passes(instrument_verdict(&market([]), &limit(Buy, "1000000", "1")));
    let unbanded = Instrument { price_band: None, ..instrument(Venue::Internal) };
    passes(instrument_verdict(&on(unbanded, [rests("a", Sell, "100")]), &limit(Buy, "1000000", "1")));
}

#[test]
fn a_limit_maker_that_would_take_is_rejected() {
    let market = market([rests("a", Sell, "100"), rests("b", Buy, "98")]);
    rejected(instrument_verdict(&market, &maker(limit(Buy, "100", "1"))), Code::WouldTake);
    rejected(instrument_verdict(&market, &maker(limit(Sell, "98", "1"))), Code::WouldTake);
    passes(instrument_verdict(&market, &maker(limit(Buy, "99.99", "1"))));
    passes(instrument_verdict(&market, &limit(Buy, "100", "1")));
}

#[test]
fn a_paper_market_is_judged_by_what_was_observed() {
    let market = on(instrument(Venue::Paper), []);
    let level = |price: &str| Some(BestLevel { price: read(price), quantity: btc("1") });
    let quote = Quote { bid: level("99"), ask: level("101"), ..Quote::default() };
    let ticket = OrderTicket { venue: Venue::Paper, ..at_market(Buy, "1") };
    let prices = MarketPrices::of(&market, &quote, &ticket);
    assert_eq!(prices, MarketPrices { reference: Some(read("100")), opposite: Some(read("101")) });
    let figures = passes(instrument_stage(&market, &prices, &ticket).expect("a verdict"));
    assert_eq!(figure(&figures, "priceBound"), "106.05");
}

// ---- the portfolio stage

fn account(events: impl IntoIterator<Item = AccountEvent>) -> Account {
    let opened = AccountEvent::AccountOpened {
        account_id: read("cash"),
        owner: "ada".into(),
        currency: read("USDT"),
        kind: AccountKind::Brokerage,
        overdraft_limit: usdt("0"),
    };
    let deposited = AccountEvent::FundsDeposited {
        movement_id: read("cash.m1"),
        from: Party::WORLD,
        amount: usdt("1000"),
        reference: None,
        effective_at: None,
    };
    replay([opened, deposited].into_iter().chain(events))
}
fn portfolio(events: impl IntoIterator<Item = PortfolioEvent>) -> Portfolio {
    let opened = PortfolioEvent::PortfolioOpened {
        portfolio_id: read("folio"),
        owner: "ada".into(),
        name: "Trading".into(),
        cash_account_id: AccountId::new("cash"),
        currency: read("USDT"),
    };
    replay([opened].into_iter().chain(events))
}
fn holds(quantity: &str, cost: &str) -> PortfolioEvent {
    PortfolioEvent::AssetDeposited {
        movement_id: read("folio.m1"),
        from: Party::WORLD,
        quantity: read(quantity),
        cost: usdt(cost),
        reference: None,
    }
}
fn buying(name: &str, asset: &str, notional: &str) -> PortfolioEvent {
    PortfolioEvent::BuyCommitted { order_id: read(name), asset: read(asset), notional: usdt(notional) }
}
fn selling(name: &str, quantity: &str) -> PortfolioEvent {
    PortfolioEvent::QuantityReserved { order_id: read(name), quantity: read(quantity) }
}
#[derive(Default)]
struct Limits<'a> {
    order: Option<&'a str>,
    position: Option<&'a str>,
    exposure: Option<&'a str>,
    open: Option<u32>,
}
fn limits(limits: &Limits<'_>) -> PortfolioEvent {
    PortfolioEvent::RiskLimitsSet {
        max_order_notional: limits.order.map(usdt),
        max_position_notional: limits.position.map(usdt),
        max_exposure: limits.exposure.map(usdt),
        max_open_orders: limits.open,
    }
}
fn priced(prices: &[(&str, &str)]) -> BTreeMap<Asset, Price> {
    prices.iter().map(|(asset, price)| (read(asset), read(price))).collect()
}
fn portfolio_verdict(
    portfolio: &Portfolio,
    account: &Account,
    prices: &[(&str, &str)],
    ticket: &OrderTicket,
) -> Verdict {
    let bound = ticket.limit_price.is_none().then(|| read("105"));
    let required = ticket.requirements(bound, read("0.001"), read("0.002")).expect("computed");
    portfolio_stage(portfolio, account, &priced(prices), ticket, &required).expect("a verdict")
}

#[test]
fn a_frozen_or_closed_account_places_no_order() {
    let frozen = account([AccountEvent::AccountFrozen { reason: "review".into() }]);
    let ticket = limit(Buy, "100", "1");
    rejected(portfolio_verdict(&portfolio([]), &frozen, &[], &ticket), Code::AccountFrozen);
    rejected(
        portfolio_verdict(&portfolio([holds("5 BTC", "1")]), &frozen, &[], &limit(Sell, "100", "1")),
        Code::AccountFrozen,
    );
    let closed = account([AccountEvent::AccountClosed { reason: "moved".into() }]);
    rejected(portfolio_verdict(&portfolio([]), &closed, &[], &ticket), Code::AccountClosed);
}

#[test]
fn a_buy_needs_its_cash_and_the_worst_fee() {
    let figures = passes(portfolio_verdict(&portfolio([]), &account([]), &[], &limit(Buy, "99.8", "10")));
    assert_eq!(figure(&figures, "requiredCash"), "999.99600000 USDT");
    assert_eq!(figure(&figures, "availableCash"), "1000.00000000 USDT");
    let figures = rejected(
        portfolio_verdict(&portfolio([]), &account([]), &[], &limit(Buy, "99.81", "10")),
        Code::InsufficientFunds,
    );
    assert_eq!(figure(&figures, "requiredCash"), "1000.09620000 USDT");
    passes(portfolio_verdict(&portfolio([]), &account([]), &[], &by_quote(Buy, "1000")));
    rejected(
        portfolio_verdict(&portfolio([]), &account([]), &[], &by_quote(Buy, "1000.00000001")),
        Code::InsufficientFunds,
    );
}

#[test]
fn a_sale_needs_its_quantity_free() {
    let folio = portfolio([holds("2 BTC", "100"), selling("o", "0.5 BTC")]);
    passes(portfolio_verdict(&folio, &account([]), &[], &limit(Sell, "100", "1.5")));
    let verdict = portfolio_verdict(&folio, &account([]), &[], &limit(Sell, "100", "1.501"));
    let figures = rejected(verdict, Code::InsufficientPosition);
    assert_eq!(figure(&figures, "freeQuantity"), "1.50000000 BTC");
    assert_eq!(figure(&figures, "requiredQuantity"), "1.50100000 BTC");
    rejected(
        portfolio_verdict(&portfolio([]), &account([]), &[], &limit(Sell, "100", "1")),
        Code::InsufficientPosition,
    );
    // At the bound of 105 a quote quantity of 157.5 needs exactly 1.5.
    passes(portfolio_verdict(&folio, &account([]), &[], &by_quote(Sell, "157.5")));
    rejected(
        portfolio_verdict(&folio, &account([]), &[], &by_quote(Sell, "157.605")),
        Code::InsufficientPosition,
    );
}

#[test]
fn only_so_many_orders_are_open() {
    let of = |open| limits(&Limits { open: Some(open), ..Limits::default() });
    let busy =
        |open| portfolio([of(open), buying("o", "BTC", "1"), holds("1 BTC", "1"), selling("p", "1 BTC")]);
    let figures = rejected(
        portfolio_verdict(&busy(2), &account([]), &[], &limit(Buy, "100", "1")),
        Code::MaxOpenOrders,
    );
    assert_eq!((figure(&figures, "openOrders"), figure(&figures, "maxOpenOrders")), ("2", "2"));
    passes(portfolio_verdict(&busy(3), &account([]), &[], &limit(Buy, "100", "1")));
}

#[test]
fn an_order_keeps_to_its_limit() {
    let folio = portfolio([limits(&Limits { order: Some("200"), ..Limits::default() }), holds("9 BTC", "1")]);
    passes(portfolio_verdict(&folio, &account([]), &[], &limit(Buy, "100", "2")));
    let figures = rejected(
        portfolio_verdict(&folio, &account([]), &[], &limit(Buy, "100.01", "2")),
        Code::MaxOrderNotional,
    );
    assert_eq!(figure(&figures, "orderNotional"), "200.02000000 USDT");
    assert_eq!(figure(&figures, "maxOrderNotional"), "200.00000000 USDT");
    rejected(portfolio_verdict(&folio, &account([]), &[], &by_quote(Buy, "200.01")), Code::MaxOrderNotional);
    rejected(portfolio_verdict(&folio, &account([]), &[], &at_market(Buy, "2")), Code::MaxOrderNotional);
}

#[test]
fn a_sale_below_the_market_is_valued_at_the_market() {
    let folio = portfolio([limits(&Limits { order: Some("200"), ..Limits::default() }), holds("9 BTC", "1")]);
    let sale = limit(Sell, "50", "3");
    passes(portfolio_verdict(&folio, &account([]), &[], &sale));
    rejected(portfolio_verdict(&folio, &account([]), &[("BTC", "100")], &sale), Code::MaxOrderNotional);
}

#[test]
fn a_position_with_its_open_buys_keeps_to_its_limit() {
    let of = Limits { position: Some("500"), ..Limits::default() };
    let folio =
        portfolio([limits(&of), holds("2 BTC", "150"), buying("o", "BTC", "50"), buying("p", "ETH", "900")]);
    let two = limit(Buy, "100", "2");
    // At cost 150 + 50 + 200; at a price of 125, 250 + 50 + 200; at 126, over the limit.
    assert_eq!(
        figure(&passes(portfolio_verdict(&folio, &account([]), &[], &two)), "positionNotional"),
        "400.00000000 USDT"
    );
    passes(portfolio_verdict(&folio, &account([]), &[("BTC", "125")], &two));
    let verdict = portfolio_verdict(&folio, &account([]), &[("BTC", "125.01")], &two);
    assert_eq!(
        figure(&rejected(verdict, Code::MaxPositionNotional), "maxPositionNotional"),
        "500.00000000 USDT"
    );
    passes(portfolio_verdict(&folio, &account([]), &[("BTC", "1000")], &limit(Sell, "100", "1")));
}

#[test]
fn all_positions_with_all_open_buys_keep_to_the_exposure() {
    let of = Limits { exposure: Some("1000"), ..Limits::default() };
    let eth = PortfolioEvent::AssetDeposited {
        movement_id: read("folio.m2"),
        from: Party::WORLD,
        quantity: read("10 ETH"),
        cost: usdt("300"),
        reference: None,
    };
    let folio = portfolio([limits(&of), holds("2 BTC", "150"), eth, buying("o", "ACME", "350")]);
    let two = limit(Buy, "100", "2");
    let figures = passes(portfolio_verdict(&folio, &account([]), &[], &two));
    assert_eq!(figure(&figures, "exposure"), "1000.00000000 USDT");
    rejected(portfolio_verdict(&folio, &account([]), &[], &limit(Buy, "100.01", "2")), Code::MaxExposure);
    rejected(portfolio_verdict(&folio, &account([]), &[("ETH", "30.01")], &two), Code::MaxExposure);
    passes(portfolio_verdict(&folio, &account([]), &[("ETH", "3000")], &limit(Sell, "100", "2")));
}

#[test]
fn what_is_not_open_refuses_instead_of_rejecting() {
    let ticket = limit(Buy, "100", "1");
    let required = ticket.requirements(None, read("0"), read("0")).expect("computed");
    let no_prices = BTreeMap::new();
    let refusal = portfolio_stage(&Portfolio::default(), &account([]), &no_prices, &ticket, &required);
    assert_eq!(refusal.map_err(|refusal| refusal.code), Err(Code::PortfolioNotFound));
    let refusal = portfolio_stage(&portfolio([]), &Account::default(), &no_prices, &ticket, &required);
    assert_eq!(refusal.map_err(|refusal| refusal.code), Err(Code::AccountNotFound));
}
