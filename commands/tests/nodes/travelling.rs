//! A request on its way to the leader: what arrives is what was sent, and has the same idempotency hash.

use chrono::DateTime;
use commands::request::*;
use commands::{Command, Principal, Request, Role};
use domain::account::AccountKind;
use domain::ids::{AccountId, HoldId, OrderId, PortfolioId, Symbol, TradeId};
use domain::market::Venue;
use domain::order::{Evidence, LevelUsed, Liquidity, OrderSide, OrderType, SelfTradePrevention, TimeInForce};
use domain::quote::{BestLevel, ObservedWindow, TradedWindow};
use domain::{Asset, Code, Decimal, Money, Price, Quantity, Timestamp};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use uuid::Uuid;

fn decimal() -> impl Strategy<Value = Decimal> {
    let units = prop_oneof![any::<i128>(), Just(i128::MAX), Just(i128::MIN), -1_000_000..1_000_000i128];
    (units, 0..=18u8).prop_map(|(units, scale)| Decimal::new(units, scale))
}

/// Anything that JSON has to escape, and what it has not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z \"\\\\/\u{8}\u{1f}\u{7f}ü한\u{1f4d3}]{0,40}"]
}

fn moment() -> impl Strategy<Value = Timestamp> {
    // The years 1 to 9999.
    (-62_135_596_800..253_402_300_799i64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos).unwrap())
}

fn asset() -> impl Strategy<Value = Asset> {
    prop_oneof![Just("EUR".to_owned()), Just("JPY".to_owned()), "[A-Z0-9]{1,12}"]
        .prop_map(|code| code.parse().unwrap())
}

fn id() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,96}"
}

fn price() -> impl Strategy<Value = Price> {
    (0..1_000_000_000_000i128, 0..=8u8)
        .prop_map(|(units, scale)| Decimal::new(units, scale).to_string().parse::<Price>())
        .prop_filter_map("a price", Result::ok)
}

fn quantity() -> impl Strategy<Value = Quantity> {
    (asset(), 0..1_000_000_000_000i128).prop_map(|(asset, units)| Quantity::from_units(asset, units).unwrap())
}

fn money() -> impl Strategy<Value = Money> {
    (asset(), -1_000_000_000_000..1_000_000_000_000i128)
        .prop_map(|(asset, units)| Money::from_units(asset, units).unwrap())
}

fn account() -> impl Strategy<Value = AccountId> {
    id().prop_map(AccountId::new)
}

fn portfolio() -> impl Strategy<Value = PortfolioId> {
    id().prop_map(PortfolioId::new)
}

fn order() -> impl Strategy<Value = OrderId> {
    id().prop_map(OrderId::new)
}

fn symbol() -> impl Strategy<Value = Symbol> {
    id().prop_map(Symbol::new)
}

fn movement() -> impl Strategy<Value = MoneyMovement> {
    (account(), decimal(), of(text()), of(moment())).prop_map(
        |(account_id, amount, reference, effective_at)| MoneyMovement {
            account_id,
            amount,
            reference,
            effective_at,
        },
    )
}

fn asset_movement() -> impl Strategy<Value = AssetMovement> {
    (portfolio(), asset(), decimal(), of(decimal()), of(text())).prop_map(
        |(portfolio_id, asset, quantity, unit_cost, reference)| AssetMovement {
            portfolio_id,
            asset,
            quantity,
            unit_cost,
            reference,
        },
    )
}

fn account_change() -> impl Strategy<Value = AccountStatusChange> {
    (account(), text()).prop_map(|(account_id, reason)| AccountStatusChange { account_id, reason })
}

fn market_change() -> impl Strategy<Value = MarketStatusChange> {
    (symbol(), text()).prop_map(|(symbol, reason)| MarketStatusChange { symbol, reason })
}

fn window() -> impl Strategy<Value = ObservedWindow> {
    let level = || (price(), quantity()).prop_map(|(price, quantity)| BestLevel { price, quantity });
    let traded = (price(), price(), price(), price(), quantity(), money(), any::<u32>()).prop_map(
        |(open, high, low, close, volume, quote_volume, trade_count)| TradedWindow {
            open,
            high,
            low,
            close,
            volume,
            quote_volume,
            trade_count,
        },
    );
    (symbol(), text(), any::<u64>(), moment(), any::<u32>(), of(level()), of(level()), of(traded)).prop_map(
        |(symbol, feed, pass, opened_at, length_ms, bid, ask, traded)| ObservedWindow {
            symbol,
            feed,
            pass,
            opened_at,
            length_ms,
            bid,
            ask,
            traded,
        },
    )
}

fn fill() -> impl Strategy<Value = VenueFill> {
    let level = (price(), decimal()).prop_map(|(price, quantity)| LevelUsed { price, quantity });
    let evidence = (
        text(),
        any::<u64>(),
        of(any::<u64>()),
        of(any::<u64>()),
        of(decimal()),
        prop::collection::vec(level, 0..3),
    )
        .prop_map(|(feed, pass, update_id, trade_id, ahead, levels)| Evidence {
            feed,
            pass,
            update_id,
            trade_id,
            ahead,
            levels,
        });
    (id(), price(), quantity(), select(vec![Liquidity::Maker, Liquidity::Taker]), evidence).prop_map(
        |(trade_id, price, quantity, liquidity, evidence)| VenueFill {
            trade_id: TradeId::new(trade_id),
            price,
            quantity,
            liquidity,
            evidence,
        },
    )
}

fn place_order() -> impl Strategy<Value = PlaceOrder> {
    (
        (portfolio(), symbol(), select(vec![OrderSide::Buy, OrderSide::Sell])),
        select(vec![OrderType::Limit, OrderType::Market, OrderType::LimitMaker]),
        select(vec![TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok]),
        (of(decimal()), of(decimal()), of(decimal())),
        select(vec![
            SelfTradePrevention::None,
            SelfTradePrevention::ExpireTaker,
            SelfTradePrevention::ExpireMaker,
            SelfTradePrevention::ExpireBoth,
        ]),
        of(text()),
    )
        .prop_map(
            |(what, order_type, time_in_force, numbers, self_trade_prevention, client_order_id)| PlaceOrder {
                portfolio_id: what.0,
                symbol: what.1,
                side: what.2,
                order_type,
                time_in_force,
                quantity: numbers.0,
                quote_quantity: numbers.1,
                limit_price: numbers.2,
                self_trade_prevention,
                client_order_id,
            },
        )
}

fn register_market() -> impl Strategy<Value = RegisterMarket> {
    (
        (symbol(), asset(), asset(), select(vec![Venue::Internal, Venue::Paper])),
        (decimal(), decimal(), decimal(), decimal(), decimal(), decimal(), decimal()),
        of(decimal()),
    )
        .prop_map(|(what, numbers, price_band)| RegisterMarket {
            symbol: what.0,
            base: what.1,
            quote: what.2,
            venue: what.3,
            tick_size: numbers.0,
            lot_size: numbers.1,
            min_quantity: numbers.2,
            max_quantity: numbers.3,
            min_notional: numbers.4,
            maker_fee_bps: numbers.5,
            taker_fee_bps: numbers.6,
            price_band,
        })
}

fn bank_command() -> impl Strategy<Value = Command> {
    let open = (text(), asset(), decimal()).prop_map(|(owner, currency, overdraft_limit)| OpenAccount {
        owner,
        currency,
        kind: AccountKind::Brokerage,
        overdraft_limit,
    });
    let transfer = (account(), account(), decimal(), of(text()), of(moment())).prop_map(
        |(from, to, amount, reference, effective_at)| Transfer { from, to, amount, reference, effective_at },
    );
    let hold = (account(), decimal(), of(moment()), of(text())).prop_map(
        |(account_id, amount, expires_at, reference)| PlaceHold { account_id, amount, expires_at, reference },
    );
    let capture = (id(), account(), of(decimal())).prop_map(|(hold_id, to, amount)| CaptureHold {
        hold_id: HoldId::new(hold_id),
        to,
        amount,
    });
    let overdraft = (account(), decimal(), of(text()))
        .prop_map(|(account_id, limit, reason)| SetOverdraftLimit { account_id, limit, reason });
    prop_oneof![
        open.prop_map(Command::OpenAccount),
        movement().prop_map(Command::Deposit),
        movement().prop_map(Command::Withdraw),
        transfer.prop_map(Command::Transfer),
        hold.prop_map(Command::PlaceHold),
        capture.prop_map(Command::CaptureHold),
        id().prop_map(|id| Command::ReleaseHold(ReleaseHold { hold_id: HoldId::new(id) })),
        account_change().prop_map(Command::FreezeAccount),
        account_change().prop_map(Command::UnfreezeAccount),
        account_change().prop_map(Command::CloseAccount),
        overdraft.prop_map(Command::SetOverdraftLimit),
        account().prop_map(|account_id| Command::ExpireHolds(ExpireHolds { account_id })),
    ]
}

fn brokerage_command() -> impl Strategy<Value = Command> {
    let open = (text(), text(), account()).prop_map(|(owner, name, cash_account_id)| OpenPortfolio {
        owner,
        name,
        cash_account_id,
    });
    let limits = (portfolio(), of(decimal()), of(decimal()), of(decimal()), of(any::<u32>())).prop_map(
        |(portfolio_id, max_order_notional, max_position_notional, max_exposure, max_open_orders)| {
            SetRiskLimits {
                portfolio_id,
                max_order_notional,
                max_position_notional,
                max_exposure,
                max_open_orders,
            }
        },
    );
    let report = (order(), prop::collection::vec(fill(), 0..3), of(select(Code::ALL)))
        .prop_map(|(order_id, fills, expired)| ReportExecution { order_id, fills, expired });
    prop_oneof![
        open.prop_map(Command::OpenPortfolio),
        asset_movement().prop_map(Command::DepositAsset),
        asset_movement().prop_map(Command::WithdrawAsset),
        limits.prop_map(Command::SetRiskLimits),
        place_order().prop_map(Command::PlaceOrder),
        order().prop_map(|order_id| Command::CancelOrder(CancelOrder { order_id })),
        register_market().prop_map(Command::RegisterMarket),
        market_change().prop_map(Command::HaltMarket),
        market_change().prop_map(Command::ResumeMarket),
        prop::collection::vec(window(), 0..3)
            .prop_map(|windows| Command::ObservePrices(ObservePrices { windows })),
        report.prop_map(Command::ReportExecution),
    ]
}

/// Does not compile when a command is added: it belongs into one of the two strategies then.
fn is_generated(command: &Command) -> bool {
    match command {
        Command::OpenAccount(_)
        | Command::Deposit(_)
        | Command::Withdraw(_)
        | Command::Transfer(_)
        | Command::PlaceHold(_)
        | Command::CaptureHold(_)
        | Command::ReleaseHold(_)
        | Command::FreezeAccount(_)
        | Command::UnfreezeAccount(_)
        | Command::CloseAccount(_)
        | Command::SetOverdraftLimit(_)
        | Command::OpenPortfolio(_)
        | Command::DepositAsset(_)
        | Command::WithdrawAsset(_)
        | Command::SetRiskLimits(_)
        | Command::PlaceOrder(_)
        | Command::CancelOrder(_)
        | Command::RegisterMarket(_)
        | Command::HaltMarket(_)
        | Command::ResumeMarket(_)
        | Command::ObservePrices(_)
        | Command::ReportExecution(_)
        | Command::ExpireHolds(_) => true,
    }
}

fn any_request() -> impl Strategy<Value = Request> {
    let role = select([Role::OF_KEYS.as_slice(), &[Role::System]].concat());
    let command = prop_oneof![bank_command(), brokerage_command()];
    (text(), role, of(text()), "[ -~]{1,128}", any::<u128>(), command).prop_map(
        |(name, role, owner, idempotency_key, correlation_id, command)| Request {
            principal: Principal { name: name.into(), role, owner: owner.map(Into::into) },
            idempotency_key,
            correlation_id: Uuid::from_u128(correlation_id),
            command,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_240_808),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_request_arrives_as_it_was_sent_and_its_command_has_the_same_bytes(request in any_request()) {
        prop_assert!(is_generated(&request.command));
        let sent = serde_json::to_vec(&request).unwrap();
        let arrived: Request = serde_json::from_slice(&sent).unwrap();
        prop_assert_eq!(&arrived, &request);
        // The idempotency hash covers these.
        prop_assert_eq!(
            serde_json::to_string(&arrived.command).unwrap(),
            serde_json::to_string(&request.command).unwrap()
        );
    }
}
