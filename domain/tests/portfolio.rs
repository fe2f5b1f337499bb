//! Portfolios: every command and every refusal, given / when / then.

mod common;

use common::{Given, noon, read};
use domain::ids::{MovementId, OrderId, Party, TradeId};
use domain::portfolio::{
    MAX_OPEN_ORDERS, OpenOrder, OpenedPortfolio, Portfolio, PortfolioCommand as Command,
    PortfolioEvent as Event,
};
use domain::{Asset, Code, Decimal, Money, Quantity};

// ---- words

fn btc(number: &str) -> Quantity {
    read(&format!("{number} BTC"))
}
fn usdt(number: &str) -> Money {
    read(&format!("{number} USDT"))
}
fn number(text: &str) -> Decimal {
    read(text)
}
fn asset(code: &str) -> Asset {
    read(code)
}
fn order(name: &str) -> OrderId {
    read(name)
}
fn trade() -> TradeId {
    read("BTC-USDT.1")
}
fn movement(n: u64) -> MovementId {
    MovementId::nth("folio", n)
}

fn opened() -> Event {
    Event::PortfolioOpened {
        portfolio_id: read("folio"),
        owner: "demo".into(),
        name: "Trading".into(),
        cash_account_id: read("cash"),
        currency: asset("USDT"),
    }
}
fn deposited(n: u64, quantity: &str, cost: &str) -> Event {
    Event::AssetDeposited {
        movement_id: movement(n),
        from: Party::WORLD,
        quantity: read(quantity),
        cost: usdt(cost),
        reference: None,
    }
}
fn withdrawn(n: u64, quantity: &str, cost_removed: &str) -> Event {
    Event::AssetWithdrawn {
        movement_id: movement(n),
        to: Party::WORLD,
        quantity: read(quantity),
        cost_removed: usdt(cost_removed),
        reference: None,
    }
}
fn committed(name: &str, notional: &str) -> Event {
    Event::BuyCommitted { order_id: order(name), asset: asset("BTC"), notional: usdt(notional) }
}
fn reserved(name: &str, quantity: &str) -> Event {
    Event::QuantityReserved { order_id: order(name), quantity: btc(quantity) }
}
fn increased(name: &str, quantity: &str, cost: &str, committed: &str) -> Event {
    Event::PositionIncreased {
        trade_id: trade(),
        order_id: order(name),
        from: Party::PAPER_VENUE,
        quantity: btc(quantity),
        cost: usdt(cost),
        committed: usdt(committed),
    }
}
/// Quantity, proceeds, removed cost, profit, and what stays reserved.
fn reduced(name: &str, [quantity, proceeds, cost_removed, profit, reserved]: [&str; 5]) -> Event {
    Event::PositionReduced {
        trade_id: trade(),
        order_id: order(name),
        to: Party::PAPER_VENUE,
        quantity: btc(quantity),
        proceeds: usdt(proceeds),
        cost_removed: usdt(cost_removed),
        realized_pnl: usdt(profit),
        reserved: btc(reserved),
    }
}

fn open_in(currency: &str) -> Command {
    Command::Open {
        portfolio_id: read("folio"),
        owner: "demo".into(),
        name: "Trading".into(),
        cash_account_id: read("cash"),
        currency: asset(currency),
    }
}
fn deposit(code: &str, quantity: &str, unit_cost: Option<&str>) -> Command {
    Command::DepositAsset {
        asset: asset(code),
        quantity: number(quantity),
        unit_cost: unit_cost.map(number),
        reference: None,
    }
}
fn withdraw(code: &str, quantity: &str) -> Command {
    Command::WithdrawAsset { asset: asset(code), quantity: number(quantity), reference: None }
}
fn commit(name: &str, notional: &str) -> Command {
    Command::CommitBuy { order_id: order(name), asset: asset("BTC"), notional: read(notional) }
}
fn reserve(name: &str, quantity: &str) -> Command {
    Command::Reserve { order_id: order(name), quantity: read(quantity) }
}
fn increase(name: &str, quantity: &str, cost: &str, committed: &str) -> Command {
    Command::Increase {
        trade_id: trade(),
        order_id: order(name),
        from: Party::PAPER_VENUE,
        quantity: read(quantity),
        cost: read(cost),
        committed: read(committed),
    }
}
fn reduce(name: &str, quantity: &str, proceeds: &str) -> Command {
    Command::Reduce {
        trade_id: trade(),
        order_id: order(name),
        to: Party::PAPER_VENUE,
        quantity: read(quantity),
        proceeds: read(proceeds),
    }
}
fn release(name: &str) -> Command {
    Command::ReleaseOrder { order_id: order(name) }
}

fn given(events: impl IntoIterator<Item = Event>) -> Given<Portfolio> {
    common::given(events)
}
/// A portfolio with 3 BTC that have cost 100 USDT in all.
fn holding() -> Given<Portfolio> {
    given([opened(), deposited(1, "3.00000000 BTC", "100.00000000")])
}

fn look<T>(given: Given<Portfolio>, at: impl FnOnce(&OpenedPortfolio) -> T) -> T {
    let portfolio = given.state();
    at(portfolio.opened().expect("it is open"))
}
/// Quantity, reserved, cost and realised profit of the BTC position, in that order.
#[track_caller]
fn figures(given: Given<Portfolio>) -> [String; 4] {
    look(given, |portfolio| {
        let position = portfolio.position(asset("BTC")).expect("there is or was a holding");
        [
            position.quantity.to_decimal(),
            position.reserved.to_decimal(),
            position.cost.to_decimal(),
            position.realized_pnl.to_decimal(),
        ]
        .map(|number| number.to_string())
    })
}

/// The largest quantity, or amount of USDT, that there is.
const LARGEST: &str = "10000000000000000000";

// ---- opening and limits

#[test]
fn a_portfolio_is_opened_once() {
    given([]).when(open_in("USDT")).then([opened()]).when(open_in("USDT")).then_refused(Code::AlreadyExists);
}

#[test]
fn a_portfolio_is_kept_in_a_currency_by_someone_with_a_clean_name() {
    given([]).when(open_in("ACME")).then_refused(Code::UnknownAsset);
    let open_as = |owner: &str, name: &str| Command::Open {
        portfolio_id: read("folio"),
        owner: owner.into(),
        name: name.into(),
        cash_account_id: read("cash"),
        currency: asset("USD"),
    };
    given([])
        .when(open_as("", "Trading"))
        .then_refused_at(Code::InvalidText, "owner")
        .when(open_as("demo", " "))
        .then_refused_at(Code::InvalidText, "name")
        .when(open_as("demo", &"x".repeat(65)))
        .then_refused_at(Code::InvalidText, "name")
        .when(open_as("de\nmo", "Trading"))
        .then_refused_at(Code::InvalidText, "owner");
}

#[test]
fn nothing_can_be_asked_of_a_portfolio_that_was_never_opened() {
    for command in [
        Command::SetRiskLimits {
            max_order_notional: None,
            max_position_notional: None,
            max_exposure: None,
            max_open_orders: None,
        },
        deposit("BTC", "1", None),
        withdraw("BTC", "1"),
        commit("buy", "1.00000000 USDT"),
        reserve("sell", "1.00000000 BTC"),
        increase("buy", "1.00000000 BTC", "1.00000000 USDT", "0.00000000 USDT"),
        reduce("sell", "1.00000000 BTC", "1.00000000 USDT"),
        release("sell"),
    ] {
        given([]).when(command).then_refused(Code::PortfolioNotFound);
    }
}

#[test]
fn risk_limits_are_amounts_of_the_currency_and_replace_the_ones_before() {
    let set =
        |order: Option<&str>, position: Option<&str>, exposure: Option<&str>, count| Command::SetRiskLimits {
            max_order_notional: order.map(number),
            max_position_notional: position.map(number),
            max_exposure: exposure.map(number),
            max_open_orders: count,
        };
    let after = given([opened()])
        .when(set(Some("1000"), Some("5000.5"), None, Some(3)))
        .then([Event::RiskLimitsSet {
            max_order_notional: Some(usdt("1000.00000000")),
            max_position_notional: Some(usdt("5000.50000000")),
            max_exposure: None,
            max_open_orders: Some(3),
        }])
        .when(set(None, None, Some("0"), None))
        .then([Event::RiskLimitsSet {
            max_order_notional: None,
            max_position_notional: None,
            max_exposure: Some(usdt("0.00000000")),
            max_open_orders: None,
        }])
        .when(set(Some("-1"), None, None, None))
        .then_refused_at(Code::AmountNotPositive, "maxOrderNotional")
        .when(set(None, Some("0.000000001"), None, None))
        .then_refused_at(Code::TooManyDecimals, "maxPositionNotional")
        .when(set(None, None, Some("99999999999999999999999999999"), None))
        .then_refused_at(Code::AmountOutOfRange, "maxExposure");
    let limits = look(after, |portfolio| portfolio.limits.clone());
    assert_eq!((limits.max_order_notional, limits.max_exposure), (None, Some(usdt("0.00000000"))));
}

// ---- assets from the world and to it

#[test]
fn an_asset_comes_in_with_what_it_has_cost() {
    let after = given([opened()])
        .when(deposit("BTC", "0.5", Some("61837.63")))
        .then([deposited(1, "0.50000000 BTC", "30918.81500000")])
        .when(deposit("BTC", "0.25", None))
        .then([deposited(2, "0.25000000 BTC", "0.00000000")])
        .when(deposit("ACME", "10", Some("0")))
        .then([deposited(3, "10.00000000 ACME", "0.00000000")]);
    assert_eq!(figures(after), ["0.75", "0", "30918.815", "0"]);
}

#[test]
fn what_a_deposit_has_cost_is_rounded_half_even_to_the_currency() {
    // 0.00000001 × 0.5 and × 1.5 lie half-way between two smallest units.
    for (unit_cost, cost) in [("0.5", "0.00000000"), ("1.5", "0.00000002"), ("0.500000000001", "0.00000001")]
    {
        given([opened()]).when(deposit("BTC", "0.00000001", Some(unit_cost))).then([deposited(
            1,
            "0.00000001 BTC",
            cost,
        )]);
    }
}

#[test]
fn an_asset_goes_out_with_its_share_of_the_cost_and_the_last_takes_what_is_left() {
    let after = holding()
        .when(withdraw("BTC", "1"))
        .then([withdrawn(2, "1.00000000 BTC", "33.33333333")])
        .when(withdraw("BTC", "1"))
        .then([withdrawn(3, "1.00000000 BTC", "33.33333334")])
        .when(withdraw("BTC", "1"))
        .then([withdrawn(4, "1.00000000 BTC", "33.33333333")])
        .when(withdraw("BTC", "0.00000001"))
        .then_refused_at(Code::InsufficientPosition, "quantity");
    assert_eq!(figures(after), ["0", "0", "0", "0"]);
}

#[test]
fn only_what_is_free_can_be_withdrawn() {
    holding()
        .when(withdraw("ETH", "1"))
        .then_refused(Code::InsufficientPosition)
        .when(reserve("sell", "2.00000000 BTC"))
        .then([reserved("sell", "2.00000000")])
        .when(withdraw("BTC", "1.00000001"))
        .then_refused_at(Code::InsufficientPosition, "quantity")
        .when(withdraw("BTC", "1"))
        .then([withdrawn(2, "1.00000000 BTC", "33.33333333")]);
}

#[test]
fn cash_goes_through_accounts() {
    for code in ["USD", "JPY", "USDT"] {
        holding()
            .when(deposit(code, "1", None))
            .then_refused_at(Code::AssetIsCash, "asset")
            .when(withdraw(code, "1"))
            .then_refused_at(Code::AssetIsCash, "asset");
    }
}

#[test]
fn quantities_and_costs_are_in_range_and_at_scale() {
    holding()
        .when(deposit("BTC", "0", None))
        .then_refused_at(Code::AmountNotPositive, "quantity")
        .when(deposit("BTC", "0.000000001", None))
        .then_refused_at(Code::TooManyDecimals, "quantity")
        .when(deposit("BTC", LARGEST, None))
        .then_refused(Code::AmountOutOfRange)
        .when(deposit("BTC", "1", Some("-1")))
        .then_refused_at(Code::AmountNotPositive, "unitCost")
        .when(deposit("BTC", "1", Some("0.0000000000001")))
        .then_refused_at(Code::TooManyDecimals, "unitCost")
        .when(deposit("ETH", LARGEST, Some("2")))
        .then_refused_at(Code::AmountOutOfRange, "unitCost")
        .when(deposit("ETH", "10", Some(LARGEST)))
        .then_refused_at(Code::AmountOutOfRange, "unitCost")
        .when(withdraw("BTC", "-1"))
        .then_refused_at(Code::AmountNotPositive, "quantity")
        .when(Command::DepositAsset {
            asset: asset("BTC"),
            quantity: number("1"),
            unit_cost: None,
            reference: Some("x".repeat(257)),
        })
        .then_refused_at(Code::InvalidText, "reference")
        .when(Command::WithdrawAsset {
            asset: asset("BTC"),
            quantity: number("1"),
            reference: Some("\0".into()),
        })
        .then_refused_at(Code::InvalidText, "reference");
    given([opened(), deposited(1, &format!("{LARGEST}.00000000 BTC"), &format!("{LARGEST}.00000000"))])
        .when(deposit("BTC", "0.00000001", None))
        .then_refused(Code::AmountOutOfRange)
        // The product of cost and quantity needs more than 128 bits.
        .when(withdraw("BTC", "0.00000001"))
        .then([withdrawn(2, "0.00000001 BTC", "0.00000001")]);
}

// ---- what orders set aside

#[test]
fn a_buy_order_commits_its_worst_notional() {
    let after = given([opened()])
        .when(commit("buy", "50.00000000 USDT"))
        .then([committed("buy", "50.00000000")])
        .when(commit("buy", "50.00000000 USDT"))
        .then_refused(Code::AlreadyExists)
        .when(commit("next", "7.00000000 USDT"))
        .then([committed("next", "7.00000000")])
        .when(commit("zero", "0.00000000 USDT"))
        .then_refused(Code::AmountNotPositive)
        .when(commit("euro", "1.00 EUR"))
        .then_refused(Code::CurrencyMismatch)
        .when(commit("huge", &format!("{LARGEST}.00000000 USDT")))
        .then_refused(Code::AmountOutOfRange);
    look(after, |portfolio| {
        assert_eq!(portfolio.committed_total(), usdt("57.00000000"));
        assert_eq!(portfolio.committed_on(asset("BTC")), usdt("57.00000000"));
        assert_eq!(portfolio.committed_on(asset("ETH")), usdt("0.00000000"));
        assert_eq!(portfolio.open_order_count(), 2);
    });
}

#[test]
fn a_sell_order_reserves_what_is_free() {
    let after = holding()
        .when(reserve("sell", "2.00000000 BTC"))
        .then([reserved("sell", "2.00000000")])
        .when(reserve("sell", "1.00000000 BTC"))
        .then_refused(Code::AlreadyExists)
        .when(reserve("more", "1.00000001 BTC"))
        .then_refused(Code::InsufficientPosition)
        .when(reserve("none", "0.00000000 BTC"))
        .then_refused(Code::AmountNotPositive)
        .when(reserve("other", "1.00000000 ETH"))
        .then_refused(Code::InsufficientPosition);
    look(after, |portfolio| {
        assert_eq!(portfolio.free(asset("BTC")), btc("1.00000000"));
        let sell = OpenOrder::Sell { reserved: btc("2.00000000") };
        assert_eq!(portfolio.open_order(&order("sell")), Some(&sell));
    });
}

#[test]
fn open_orders_are_limited() {
    let full = (0..MAX_OPEN_ORDERS).map(|n| committed(&format!("buy-{n}"), "1.00000000"));
    given([opened(), deposited(1, "1.00000000 BTC", "0.00000000")])
        .and(full)
        .when(commit("one-more", "1.00000000 USDT"))
        .then_refused(Code::MaxOpenOrders)
        .when(reserve("one-more", "1.00000000 BTC"))
        .then_refused(Code::MaxOpenOrders);
}

#[test]
fn an_order_that_ends_gives_back_what_it_had_set_aside_once() {
    let after = holding()
        .and([committed("buy", "50.00000000"), reserved("sell", "2.00000000")])
        .when(release("buy"))
        .then([Event::CommitmentReleased { order_id: order("buy"), notional: usdt("50.00000000") }])
        .when(release("buy"))
        .then_nothing()
        .when(release("sell"))
        .then([Event::ReservationReleased { order_id: order("sell"), quantity: btc("2.00000000") }])
        .when(release("sell"))
        .then_nothing();
    look(after, |portfolio| {
        assert_eq!(portfolio.committed_total(), usdt("0.00000000"));
        assert_eq!(portfolio.free(asset("BTC")), btc("3.00000000"));
        assert_eq!(portfolio.open_order_count(), 0);
    });
}

// ---- fills

#[test]
fn a_purchase_raises_quantity_and_cost_and_lowers_the_commitment() {
    let after = given([opened(), committed("buy", "100.00000000")])
        .when(increase("buy", "0.50000000 BTC", "50.05000000 USDT", "40.00000000 USDT"))
        .then([increased("buy", "0.50000000", "50.05000000", "40.00000000")])
        .when(increase("buy", "0.40000000 BTC", "40.04000000 USDT", "0.00000000 USDT"))
        .then([increased("buy", "0.40000000", "40.04000000", "0.00000000")])
        .when(increase("buy", "0.40000000 BTC", "40.04000000 USDT", "0.00000000 USDT"))
        .then_refused(Code::OrderNotOpen)
        .when(release("buy"))
        .then_nothing();
    assert_eq!(figures(after), ["0.9", "0", "90.09", "0"]);
}

#[test]
fn a_purchase_fits_its_own_order() {
    let given = || holding().and([committed("buy", "100.00000000"), reserved("sell", "1.00000000")]);
    let one = "1.00000000 BTC";
    let (cost, none) = ("50.00000000 USDT", "0.00000000 USDT");
    for (name, quantity, cost, committed, code) in [
        ("nobody", one, cost, none, Code::OrderNotOpen),
        ("sell", one, cost, none, Code::OrderNotOpen),
        ("buy", "1.00000000 ETH", cost, none, Code::FillOutOfBounds),
        ("buy", one, cost, "100.00000001 USDT", Code::FillOutOfBounds),
        ("buy", one, cost, "-1.00000000 USDT", Code::FillOutOfBounds),
        ("buy", "0.00000000 BTC", cost, none, Code::AmountNotPositive),
        ("buy", one, "-0.00000001 USDT", none, Code::AmountNotPositive),
        ("buy", one, "1.00 USD", none, Code::CurrencyMismatch),
        ("buy", one, cost, "0.00 USD", Code::CurrencyMismatch),
    ] {
        given().when(increase(name, quantity, cost, committed)).then_refused(code);
    }
    let huge = format!("{LARGEST}.00000000");
    given()
        .when(increase("buy", &format!("{huge} BTC"), cost, none))
        .then_refused(Code::AmountOutOfRange)
        .when(increase("buy", one, &format!("{huge} USDT"), none))
        .then_refused(Code::AmountOutOfRange);
}

#[test]
fn a_sale_takes_from_the_reservation_and_realises_profit_over_average_cost() {
    let after = holding()
        .and([reserved("sell", "2.00000000")])
        .when(reduce("sell", "1.50000000 BTC", "60.00000000 USDT"))
        .then([reduced("sell", ["1.50000000", "60.00000000", "50.00000000", "10.00000000", "0.50000000"])])
        .when(reduce("sell", "0.50000000 BTC", "10.00000000 USDT"))
        .then([reduced("sell", ["0.50000000", "10.00000000", "16.66666667", "-6.66666667", "0.00000000"])])
        .when(reduce("sell", "0.50000000 BTC", "10.00000000 USDT"))
        .then_refused(Code::OrderNotOpen);
    assert_eq!(figures(after), ["1", "0", "33.33333333", "3.33333333"]);
}

#[test]
fn a_position_that_is_sold_out_keeps_its_profit_and_no_cost() {
    let after = holding()
        .and([reserved("sell", "3.00000000")])
        .when(reduce("sell", "3.00000000 BTC", "0.00000000 USDT"))
        .then([reduced("sell", ["3.00000000", "0.00000000", "100.00000000", "-100.00000000", "0.00000000"])]);
    assert_eq!(figures(after), ["0", "0", "0", "-100"]);
}

#[test]
fn a_sale_fits_its_own_order() {
    let given = || holding().and([committed("buy", "100.00000000"), reserved("sell", "1.00000000")]);
    let (one, proceeds) = ("1.00000000 BTC", "50.00000000 USDT");
    for (name, quantity, proceeds, code) in [
        ("nobody", one, proceeds, Code::OrderNotOpen),
        ("buy", one, proceeds, Code::OrderNotOpen),
        ("sell", "1.00000001 BTC", proceeds, Code::FillOutOfBounds),
        ("sell", "1.00000000 ETH", proceeds, Code::FillOutOfBounds),
        ("sell", "0.00000000 BTC", proceeds, Code::AmountNotPositive),
        ("sell", one, "-0.00000001 USDT", Code::AmountNotPositive),
        ("sell", one, "1.00 USD", Code::CurrencyMismatch),
    ] {
        given().when(reduce(name, quantity, proceeds)).then_refused(code);
    }
}

#[test]
fn profit_beyond_the_largest_amount_is_refused() {
    let largest = format!("{LARGEST}.00000000");
    given([opened(), deposited(1, "2.00000000 BTC", "0.00000000"), reserved("sell", "2.00000000")])
        .when(reduce("sell", "1.00000000 BTC", &format!("{largest} USDT")))
        .then([reduced("sell", ["1.00000000", &largest, "0.00000000", &largest, "1.00000000"])])
        .when(reduce("sell", "1.00000000 BTC", "0.00000001 USDT"))
        .then_refused(Code::AmountOutOfRange);
}

// ---- the library's own kit

#[test]
fn the_test_framework_of_cqrs_es_tells_the_same() {
    let framework = || cqrs_es::test::TestFramework::<Portfolio>::with(());
    framework()
        .given(vec![opened(), deposited(1, "3.00000000 BTC", "100.00000000")])
        .when((withdraw("BTC", "3"), noon()))
        .then_expect_events(vec![withdrawn(2, "3.00000000 BTC", "100.00000000")]);
    framework().given(vec![opened()]).when((withdraw("BTC", "3"), noon())).then_expect_error_message(
        "INSUFFICIENT_POSITION: 0.00000000 BTC is free, which is less than 3.00000000 BTC",
    );
}
