//! Orders on a paper market: the venue reports, and the order, account and portfolio decide whether it stands.

use commands::request::{
    AccountStatusChange, CancelOrder, MarketStatusChange, ObservePrices, PlaceOrder, ReportExecution,
    VenueFill,
};
use commands::{Command, Principal, Role};
use domain::Code;
use domain::ids::{OrderId, Symbol, TradeId};
use domain::market::Venue;
use domain::order::{Evidence, Liquidity, OrderSide, OrderStatus};
use domain::quote::{BestLevel, ObservedWindow};

use crate::{House, Trader, limit, market, of_role};

const BTC: &str = "BTC-USDT";

fn venue() -> Principal {
    Principal::system("paper-venue")
}

fn house() -> (House, Trader) {
    let mut house = House::new();
    house.register(BTC, Venue::Paper);
    let trader = house.open_trader("alice", "USDT", "100000");
    let level =
        |price: &str| Some(BestLevel { price: price.parse().unwrap(), quantity: "1 BTC".parse().unwrap() });
    let window = ObservedWindow {
        symbol: Symbol::new(BTC),
        feed: "test".into(),
        pass: 1,
        opened_at: house.now,
        length_ms: 1000,
        bid: level("59999.99"),
        ask: level("60000"),
        traded: None,
    };
    house.run(&venue(), Command::ObservePrices(ObservePrices { windows: vec![window] })).unwrap();
    (house, trader)
}

fn place(house: &mut House, trader: &Trader, order: PlaceOrder) -> OrderId {
    house.run(&trader.principal, Command::PlaceOrder(order)).unwrap().order_id.unwrap()
}

fn report(order_id: &OrderId, fills: &[(u64, &str, &str)], expired: Option<Code>) -> Command {
    let fills = fills.iter().map(|(n, price, quantity)| VenueFill {
        trade_id: TradeId::new(format!("{order_id}.f{n}")),
        price: price.parse().unwrap(),
        quantity: format!("{quantity} BTC").parse().unwrap(),
        liquidity: Liquidity::Taker,
        evidence: Evidence {
            feed: "test".into(),
            pass: 1,
            update_id: Some(7),
            trade_id: None,
            ahead: None,
            levels: Vec::new(),
        },
    });
    Command::ReportExecution(ReportExecution { order_id: order_id.clone(), fills: fills.collect(), expired })
}

#[test]
fn fills_and_the_end_of_an_order_are_one_unit() {
    let (mut house, trader) = house();
    let id = place(&mut house, &trader, market(&trader, BTC, OrderSide::Buy, "0.5"));
    assert_eq!(house.order(&id).status, OrderStatus::New);
    house
        .run(&venue(), report(&id, &[(1, "60000", "0.2"), (2, "60001", "0.1")], Some(Code::NoLiquidity)))
        .unwrap();
    let order = house.order(&id);
    assert_eq!(order.status, OrderStatus::Expired);
    // 12000 and 6000.10, and 0.1 % of both.
    assert_eq!(order.fees.to_string(), "18.00010000 USDT");
    assert_eq!(house.account(&trader.account).balance.to_string(), "81981.89990000 USDT");
    assert!(house.account(&trader.account).held.is_zero());
}

#[test]
fn a_fill_beyond_the_order_changes_nothing() {
    let (mut house, trader) = house();
    let id = place(&mut house, &trader, limit(&trader, BTC, OrderSide::Buy, "0.5", "60000"));
    let before = house.account(&trader.account);
    let worse = report(&id, &[(1, "60000.01", "0.5")], None);
    assert_eq!(house.refused(&venue(), worse), Code::FillOutOfBounds);
    let more = report(&id, &[(1, "60000", "0.4"), (2, "60000", "0.2")], None);
    assert_eq!(house.refused(&venue(), more), Code::FillOutOfBounds);
    assert_eq!(house.account(&trader.account), before);

    house.run(&venue(), report(&id, &[(1, "60000", "0.4")], None)).unwrap();
    let twice = report(&id, &[(1, "60000", "0.1")], None);
    assert_eq!(house.refused(&venue(), twice), Code::DuplicateFill);
}

#[test]
fn a_cancel_before_the_fill_wins() {
    let (mut house, trader) = house();
    let id = place(&mut house, &trader, limit(&trader, BTC, OrderSide::Buy, "0.5", "60000"));
    house.run(&trader.principal, Command::CancelOrder(CancelOrder { order_id: id.clone() })).unwrap();
    let fill = report(&id, &[(1, "60000", "0.5")], None);
    assert_eq!(house.refused(&venue(), fill), Code::OrderNotOpen);
    assert_eq!(house.account(&trader.account).balance.to_string(), "100000.00000000 USDT");
}

#[test]
fn no_fill_while_the_market_is_halted_or_the_account_frozen() {
    let (mut house, trader) = house();
    let id = place(&mut house, &trader, limit(&trader, BTC, OrderSide::Buy, "0.5", "60000"));
    let fill = report(&id, &[(1, "60000", "0.5")], None);
    let halt = MarketStatusChange { symbol: Symbol::new(BTC), reason: "news".into() };
    house.run(&of_role(Role::Operator), Command::HaltMarket(halt.clone())).unwrap();
    assert_eq!(house.refused(&venue(), fill.clone()), Code::MarketHalted);
    house.run(&of_role(Role::Operator), Command::ResumeMarket(halt)).unwrap();

    let freeze = AccountStatusChange { account_id: trader.account.clone(), reason: "inquiry".into() };
    house.run(&of_role(Role::Compliance), Command::FreezeAccount(freeze.clone())).unwrap();
    assert_eq!(house.refused(&venue(), fill.clone()), Code::AccountFrozen);
    house.run(&of_role(Role::Compliance), Command::UnfreezeAccount(freeze)).unwrap();
    house.run(&venue(), fill).unwrap();
    assert_eq!(house.order(&id).status, OrderStatus::Filled);
}

#[test]
fn only_daybook_itself_reports_for_a_venue() {
    let (mut house, trader) = house();
    let id = place(&mut house, &trader, limit(&trader, BTC, OrderSide::Buy, "0.5", "60000"));
    for principal in [trader.principal.clone(), of_role(Role::Operator), of_role(Role::Admin)] {
        assert_eq!(house.refused(&principal, report(&id, &[(1, "1", "0.5")], None)), Code::Forbidden);
    }
}
