//! Orders on an internal market: filters, risk, matching and settlement.

use commands::request::{
    AccountStatusChange, AssetMovement, CancelOrder, MarketStatusChange, PlaceOrder, SetRiskLimits,
};
use commands::{Command, Role};
use domain::ids::{OrderId, Symbol};
use domain::market::Venue;
use domain::order::{OrderSide, OrderStatus, OrderType, SelfTradePrevention, TimeInForce};
use domain::{Asset, Code};

use crate::{House, Trader, dec, limit, market, of_role};

const ACME: &str = "ACME-USDT";

fn house() -> (House, Trader, Trader) {
    let mut house = House::new();
    house.register(ACME, Venue::Internal);
    let buyer = house.open_trader("alice", "USDT", "1000");
    let seller = house.open_trader("bob", "USDT", "0");
    house.give(&seller, "ACME", "10", "8");
    (house, buyer, seller)
}

fn place(house: &mut House, trader: &Trader, order: PlaceOrder) -> OrderId {
    house.run(&trader.principal, Command::PlaceOrder(order)).unwrap().order_id.unwrap()
}

fn rejected(house: &mut House, trader: &Trader, order: PlaceOrder) -> Code {
    let (account, portfolio) = (house.account(&trader.account), house.portfolio(&trader.portfolio));
    let answer = house.run(&trader.principal, Command::PlaceOrder(order)).unwrap();
    assert_eq!(house.order(&answer.order_id.unwrap()).status, OrderStatus::Rejected);
    assert_eq!(house.account(&trader.account), account, "a rejected order changes no cash");
    assert_eq!(house.portfolio(&trader.portfolio), portfolio, "a rejected order changes no position");
    answer.rejection.unwrap().code
}

#[test]
fn a_trade_moves_cash_and_asset_of_both_sides_in_one_unit() {
    let (mut house, buyer, seller) = house();
    let resting = place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    let before = house.events.len();
    let taking = place(&mut house, &buyer, limit(&buyer, ACME, OrderSide::Buy, "2", "11"));

    // The maker's price is the trade's; the taker pays 0.1 %, the maker 0.05 % of 20.
    assert_eq!(house.account(&buyer.account).balance.to_string(), "979.98000000 USDT");
    assert_eq!(house.account(&seller.account).balance.to_string(), "19.99000000 USDT");
    assert!(house.account(&buyer.account).held.is_zero(), "a finished order holds nothing");
    let (bought, sold) = (house.portfolio(&buyer.portfolio), house.portfolio(&seller.portfolio));
    let acme: Asset = "ACME".parse().unwrap();
    assert_eq!(bought.positions[&acme].quantity.to_string(), "2.00000000 ACME");
    assert_eq!(bought.positions[&acme].cost.to_string(), "20.02000000 USDT");
    assert_eq!(sold.positions[&acme].quantity.to_string(), "8.00000000 ACME");
    assert_eq!(sold.positions[&acme].realized_pnl.to_string(), "3.99000000 USDT");
    assert!(bought.open_orders.is_empty() && sold.open_orders.is_empty());
    assert_eq!(house.order(&resting).status, OrderStatus::Filled);
    assert_eq!(house.order(&taking).status, OrderStatus::Filled);
    assert!(house.events[before..].iter().any(|event| event.event.name() == "TradeExecuted"));
}

#[test]
fn what_an_open_buy_holds_follows_what_remains_of_it() {
    let (mut house, buyer, seller) = house();
    let id = place(&mut house, &buyer, limit(&buyer, ACME, OrderSide::Buy, "3", "10"));
    // 30 and 0.1 % of it.
    assert_eq!(house.account(&buyer.account).held.to_string(), "30.03000000 USDT");
    place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "1", "9"));
    // 20 remain; the first fill was charged as maker.
    assert_eq!(house.order(&id).cash_required().unwrap(), house.account(&buyer.account).held);
    assert_eq!(house.account(&buyer.account).held.to_string(), "20.02000000 USDT");
    house.run(&buyer.principal, Command::CancelOrder(CancelOrder { order_id: id.clone() })).unwrap();
    assert!(house.account(&buyer.account).held.is_zero());
    assert_eq!(house.order(&id).status, OrderStatus::Canceled);
    let again = Command::CancelOrder(CancelOrder { order_id: id });
    assert_eq!(house.refused(&buyer.principal, again), Code::OrderNotOpen);
}

#[test]
fn a_canceled_order_is_not_met_any_more() {
    let (mut house, buyer, seller) = house();
    let resting = place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    house.run(&seller.principal, Command::CancelOrder(CancelOrder { order_id: resting })).unwrap();
    let taking = place(&mut house, &buyer, limit(&buyer, ACME, OrderSide::Buy, "2", "10"));
    assert_eq!(house.order(&taking).status, OrderStatus::New);
    let reserved = house.portfolio(&seller.portfolio).positions[&"ACME".parse::<Asset>().unwrap()].reserved;
    assert!(reserved.is_zero());
}

#[test]
fn risk_turns_down_what_cannot_be_paid_or_delivered() {
    let (mut house, buyer, seller) = house();
    let too_dear = limit(&buyer, ACME, OrderSide::Buy, "100", "10");
    assert_eq!(rejected(&mut house, &buyer, too_dear), Code::InsufficientFunds);
    let too_much = limit(&seller, ACME, OrderSide::Sell, "10.0001", "10");
    assert_eq!(rejected(&mut house, &seller, too_much), Code::InsufficientPosition);
    let blind = market(&buyer, ACME, OrderSide::Buy, "1");
    assert_eq!(rejected(&mut house, &buyer, blind), Code::NoReferencePrice);
}

#[test]
fn risk_limits_turn_orders_down() {
    let (mut house, buyer, _) = house();
    let mut limits = SetRiskLimits {
        portfolio_id: buyer.portfolio.clone(),
        max_order_notional: Some(dec("100")),
        max_position_notional: None,
        max_exposure: Some(dec("150")),
        max_open_orders: Some(2),
    };
    let set = Command::SetRiskLimits(limits.clone());
    assert_eq!(house.refused(&buyer.principal, set.clone()), Code::Forbidden);
    house.run(&of_role(Role::Risk), set).unwrap();
    let order = |quantity: &str| limit(&buyer, ACME, OrderSide::Buy, quantity, "10");
    assert_eq!(rejected(&mut house, &buyer, order("10.0001")), Code::MaxOrderNotional);
    place(&mut house, &buyer, order("10"));
    assert_eq!(rejected(&mut house, &buyer, order("6")), Code::MaxExposure);
    place(&mut house, &buyer, order("1"));
    assert_eq!(rejected(&mut house, &buyer, order("1")), Code::MaxOpenOrders);
    limits.max_open_orders = None;
    limits.max_position_notional = Some(dec("115"));
    house.run(&of_role(Role::Risk), Command::SetRiskLimits(limits)).unwrap();
    assert_eq!(rejected(&mut house, &buyer, order("1")), Code::MaxPositionNotional);
}

#[test]
fn a_frozen_maker_leaves_the_book_instead_of_trading() {
    let (mut house, buyer, seller) = house();
    let other = house.open_trader("carol", "USDT", "0");
    house.give(&other, "ACME", "5", "8");
    let frozen = place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    let behind = place(&mut house, &other, limit(&other, ACME, OrderSide::Sell, "2", "11"));
    let change = AccountStatusChange { account_id: seller.account.clone(), reason: "inquiry".into() };
    house.run(&of_role(Role::Compliance), Command::FreezeAccount(change)).unwrap();

    place(&mut house, &buyer, limit(&buyer, ACME, OrderSide::Buy, "2", "11"));
    assert_eq!(house.order(&frozen).status, OrderStatus::Expired);
    assert_eq!(house.order(&behind).status, OrderStatus::Filled);
    assert!(house.account(&seller.account).balance.is_zero());
    let own = limit(&seller, ACME, OrderSide::Sell, "1", "10");
    assert_eq!(rejected(&mut house, &seller, own), Code::AccountFrozen);
}

#[test]
fn a_halted_market_takes_no_order_but_lets_them_be_canceled() {
    let (mut house, buyer, seller) = house();
    let resting = place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    let change = MarketStatusChange { symbol: Symbol::new(ACME), reason: "news".into() };
    house.run(&of_role(Role::Operator), Command::HaltMarket(change.clone())).unwrap();
    let order = limit(&buyer, ACME, OrderSide::Buy, "2", "10");
    assert_eq!(rejected(&mut house, &buyer, order.clone()), Code::MarketHalted);
    house.run(&seller.principal, Command::CancelOrder(CancelOrder { order_id: resting })).unwrap();
    house.run(&of_role(Role::Operator), Command::ResumeMarket(change)).unwrap();
    place(&mut house, &buyer, order);
}

#[test]
fn filters_refuse_before_anything_is_written() {
    let (mut house, buyer, _) = house();
    let order = |quantity: &str, price: &str| {
        Command::PlaceOrder(limit(&buyer, ACME, OrderSide::Buy, quantity, price))
    };
    let principal = buyer.principal.clone();
    assert_eq!(house.refused(&principal, order("1", "10.001")), Code::TickSize);
    assert_eq!(house.refused(&principal, order("1.00001", "10")), Code::LotSize);
    assert_eq!(house.refused(&principal, order("9000.0001", "10")), Code::LotSize);
    assert_eq!(house.refused(&principal, order("0.4999", "10")), Code::MinNotional);
    assert_eq!(house.refused(&principal, order("0", "10")), Code::AmountNotPositive);
    assert_eq!(house.refused(&principal, order("0.123456789", "10")), Code::TooManyDecimals);
    let mut nowhere = limit(&buyer, ACME, OrderSide::Buy, "1", "10");
    nowhere.symbol = Symbol::new("NO-WHERE");
    assert_eq!(house.refused(&principal, Command::PlaceOrder(nowhere)), Code::MarketNotFound);
    house.register("ACME-BTC", Venue::Internal);
    let elsewhere = Command::PlaceOrder(limit(&buyer, "ACME-BTC", OrderSide::Buy, "1", "10"));
    assert_eq!(house.refused(&principal, elsewhere), Code::QuoteAssetMismatch);
}

#[test]
fn a_client_order_id_is_used_once_by_a_portfolio() {
    let (mut house, buyer, seller) = house();
    let named = |trader: &Trader, side| PlaceOrder {
        client_order_id: Some("first".into()),
        ..limit(trader, ACME, side, "1", "10")
    };
    let id = place(&mut house, &buyer, named(&buyer, OrderSide::Buy));
    let again = Command::PlaceOrder(named(&buyer, OrderSide::Buy));
    assert_eq!(house.refused(&buyer.principal, again), Code::DuplicateClientOrderId);
    let other = place(&mut house, &seller, named(&seller, OrderSide::Sell));
    assert_ne!(id, other);
}

#[test]
fn fill_or_kill_and_immediate_or_cancel_do_not_rest() {
    let (mut house, buyer, seller) = house();
    place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    let with = |time_in_force| PlaceOrder { time_in_force, ..limit(&buyer, ACME, OrderSide::Buy, "3", "10") };

    let killed = place(&mut house, &buyer, with(TimeInForce::Fok));
    assert_eq!(house.order(&killed).status, OrderStatus::Expired);
    assert!(house.order(&killed).filled_quantity.is_zero());
    let canceled = place(&mut house, &buyer, with(TimeInForce::Ioc));
    assert_eq!(house.order(&canceled).status, OrderStatus::Expired);
    assert_eq!(house.order(&canceled).filled_quantity.to_string(), "2.00000000 ACME");
    assert!(house.account(&buyer.account).held.is_zero());
    assert!(house.portfolio(&buyer.portfolio).open_orders.is_empty());
}

#[test]
fn a_limit_maker_that_would_take_is_rejected() {
    let (mut house, buyer, seller) = house();
    place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    let maker = |price: &str| PlaceOrder {
        order_type: OrderType::LimitMaker,
        ..limit(&buyer, ACME, OrderSide::Buy, "1", price)
    };
    assert_eq!(rejected(&mut house, &buyer, maker("10")), Code::WouldTake);
    let resting = place(&mut house, &buyer, maker("9.99"));
    assert_eq!(house.order(&resting).status, OrderStatus::New);
}

#[test]
fn orders_of_one_owner_do_not_trade_with_each_other_unless_they_may() {
    let (mut house, _, seller) = house();
    house.run(&of_role(Role::Operator), Command::Deposit(crate::movement(&seller.account, "500"))).unwrap();
    for (prevention, maker, taker) in [
        (SelfTradePrevention::ExpireTaker, OrderStatus::New, OrderStatus::Expired),
        (SelfTradePrevention::ExpireMaker, OrderStatus::Expired, OrderStatus::New),
        (SelfTradePrevention::ExpireBoth, OrderStatus::Expired, OrderStatus::Expired),
        (SelfTradePrevention::None, OrderStatus::Filled, OrderStatus::Filled),
    ] {
        let resting = place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "1", "10"));
        let incoming = PlaceOrder {
            self_trade_prevention: prevention,
            ..limit(&seller, ACME, OrderSide::Buy, "1", "10")
        };
        let taking = place(&mut house, &seller, incoming);
        assert_eq!(house.order(&resting).status, maker, "{prevention:?}");
        assert_eq!(house.order(&taking).status, taker, "{prevention:?}");
        for id in [resting, taking] {
            if house.order(&id).is_open() {
                let cancel = Command::CancelOrder(CancelOrder { order_id: id });
                house.run(&seller.principal, cancel).unwrap();
            }
        }
    }
}

#[test]
fn a_market_buy_by_quote_quantity_spends_at_most_that_with_fees() {
    let (mut house, buyer, seller) = house();
    place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "5", "10"));
    let order = PlaceOrder {
        quantity: None,
        quote_quantity: Some(dec("25")),
        ..market(&buyer, ACME, OrderSide::Buy, "1")
    };
    let id = place(&mut house, &buyer, order);
    let account = house.account(&buyer.account);
    let spent = 1_000_00000000 - account.balance.units();
    assert!(spent <= 25_00000000 && spent > 24_99000000, "spent {spent}");
    assert!(account.held.is_zero());
    assert!(!house.order(&id).is_open());
}

#[test]
fn an_order_of_another_owner_cannot_be_canceled() {
    let (mut house, buyer, seller) = house();
    let id = place(&mut house, &buyer, limit(&buyer, ACME, OrderSide::Buy, "1", "10"));
    let cancel = Command::CancelOrder(CancelOrder { order_id: id });
    assert_eq!(house.refused(&seller.principal, cancel.clone()), Code::Forbidden);
    house.run(&of_role(Role::Admin), cancel).unwrap();
    let unknown = Command::CancelOrder(CancelOrder { order_id: OrderId::new("none") });
    assert_eq!(house.refused(&seller.principal, unknown), Code::OrderNotFound);
}

#[test]
fn a_portfolio_whose_cash_account_is_closed_trades_no_more_and_its_assets_can_go() {
    let (mut house, buyer, seller) = house();
    let resting = place(&mut house, &seller, limit(&seller, ACME, OrderSide::Sell, "2", "10"));
    // It has no cash, so it is empty.
    let change = AccountStatusChange { account_id: seller.account.clone(), reason: "moved".into() };
    house.run(&seller.principal, Command::CloseAccount(change)).unwrap();

    place(&mut house, &buyer, limit(&buyer, ACME, OrderSide::Buy, "2", "10"));
    assert_eq!(house.order(&resting).status, OrderStatus::Expired);
    assert!(house.account(&seller.account).balance.is_zero());
    let own = limit(&seller, ACME, OrderSide::Sell, "1", "10");
    assert_eq!(rejected(&mut house, &seller, own), Code::AccountClosed);
    let all = AssetMovement {
        portfolio_id: seller.portfolio.clone(),
        asset: "ACME".parse().unwrap(),
        quantity: dec("10"),
        unit_cost: None,
        reference: None,
    };
    house.run(&of_role(Role::Operator), Command::WithdrawAsset(all)).unwrap();
}
