//! All processes on a real log: recorded markets play, orders fill with evidence, nothing happens twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use commands::bus::BusContext;
use commands::request::*;
use commands::{Bus, Principal, Role};
use domain::account::{AccountEvent, AccountKind};
use domain::decider::Decider;
use domain::event::AnyEvent;
use domain::ids::{AccountId, OrderId, PortfolioId, Symbol};
use domain::market::Venue;
use domain::order::{
    Evidence, Liquidity, Order, OrderEvent, OrderSide, OrderStatus, OrderType, SelfTradePrevention,
    TimeInForce,
};
use domain::quote::QuoteEvent;
use domain::{Code, Decimal, Price, Quantity};
use event_store::embedded::testing::TestDatabase;
use event_store::{Log, LogPosition, RecordedEvent};
use futures::StreamExt;
use processes::feed::recording::BTC_USDT;
use processes::feed::{MarketData, Recording};
use processes::observed_book::ObservedBook;
use processes::{ProcessContext, ProcessSettings, ProcessState, RunningProcesses};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn btc_usdt() -> Symbol {
    Symbol::new("BTC-USDT")
}

/// A leading node with both recorded markets, and a trader with a million.
struct House {
    database: TestDatabase,
    log: Log,
    bus: Bus,
    account: AccountId,
    portfolio: PortfolioId,
}

impl House {
    async fn open() -> Self {
        // Shown for tests that fail.
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
            .try_init();
        let database = TestDatabase::create().await.unwrap();
        let log = Log::open(database.app.clone()).await.unwrap();
        let bus = Bus::start(BusContext::new("test", log.clone())).await;
        let mut house =
            Self { database, log, bus, account: AccountId::new("none"), portfolio: PortfolioId::new("none") };
        for (base, lot) in [("BTC", "0.00001"), ("ETH", "0.0001")] {
            house
                .done(Command::RegisterMarket(RegisterMarket {
                    symbol: Symbol::new(format!("{base}-USDT")),
                    base: base.parse().unwrap(),
                    quote: "USDT".parse().unwrap(),
                    venue: Venue::Paper,
                    tick_size: number("0.01"),
                    lot_size: number(lot),
                    min_quantity: number(lot),
                    max_quantity: number("9000"),
                    min_notional: number("5"),
                    maker_fee_bps: number("2"),
                    taker_fee_bps: number("10"),
                    price_band: None,
                }))
                .await;
        }
        let opened = house
            .done(Command::OpenAccount(OpenAccount {
                owner: "demo".to_owned(),
                currency: "USDT".parse().unwrap(),
                kind: AccountKind::Brokerage,
                overdraft_limit: Decimal::ZERO,
            }))
            .await;
        house.account = opened.account_id.unwrap();
        house
            .done(Command::Deposit(MoneyMovement {
                account_id: house.account.clone(),
                amount: number("1000000"),
                reference: None,
                effective_at: None,
            }))
            .await;
        let opened = house
            .done(Command::OpenPortfolio(OpenPortfolio {
                owner: "demo".to_owned(),
                name: "main".to_owned(),
                cash_account_id: house.account.clone(),
            }))
            .await;
        house.portfolio = opened.portfolio_id.unwrap();
        house
    }

    async fn ask(&self, command: Command) -> Receipt {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let principal = Principal { name: "boss".into(), role: Role::Admin, owner: None };
        let idempotency_key = format!("k{}", KEYS.fetch_add(1, Ordering::Relaxed));
        let request = Request { principal, idempotency_key, correlation_id: Uuid::now_v7(), command };
        self.bus.execute(request).await.unwrap()
    }

    async fn done(&self, command: Command) -> Answer {
        match self.ask(command).await.outcome {
            Outcome::Accepted(answer) => answer,
            Outcome::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }

    async fn processes(&self, speed: Option<&str>) -> RunningProcesses {
        let settings = ProcessSettings {
            feed_speed: speed.map(|speed| speed.parse().unwrap()),
            window_length_ms: 100,
            ..ProcessSettings::default()
        };
        processes::start(ProcessContext {
            bus: self.bus.clone(),
            log: self.log.clone(),
            pool: self.database.app.clone(),
            settings,
            shutdown: CancellationToken::new(),
        })
        .await
        .unwrap()
    }

    async fn place(
        &self,
        side: OrderSide,
        kind: (OrderType, TimeInForce),
        quantity: &str,
        limit: Option<&str>,
    ) -> OrderId {
        let placed = self
            .done(Command::PlaceOrder(PlaceOrder {
                portfolio_id: self.portfolio.clone(),
                symbol: btc_usdt(),
                side,
                order_type: kind.0,
                time_in_force: kind.1,
                quantity: Some(number(quantity)),
                quote_quantity: None,
                limit_price: limit.map(number),
                self_trade_prevention: SelfTradePrevention::None,
                client_order_id: None,
            }))
            .await;
        assert_eq!(placed.rejection, None);
        placed.order_id.unwrap()
    }

    /// Reads the log from its beginning until an event gives an answer.
    async fn until<T>(&self, mut answer: impl FnMut(&RecordedEvent, AnyEvent) -> Option<T>) -> T {
        let mut events = self.log.subscribe(LogPosition::ZERO);
        let search = async {
            loop {
                for event in events.next().await.unwrap().unwrap() {
                    if let Some(found) = answer(&event, decode(&event)) {
                        return found;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the log never says what is waited for")
    }

    async fn until_priced(&self) {
        self.until(|event, _| {
            (&*event.aggregate_id == "BTC-USDT" && event.event_type == "PriceObserved").then_some(())
        })
        .await;
    }

    /// The orders as they are when none of these is open any more.
    async fn until_ended(&self, ids: &[OrderId]) -> BTreeMap<OrderId, Order> {
        let mut orders: BTreeMap<OrderId, Order> = BTreeMap::new();
        let mut left = ids.len();
        self.until(|event, decoded| {
            let AnyEvent::Order(decoded) = decoded else { return None };
            let id = OrderId::new(&*event.aggregate_id);
            let order = orders.entry(id.clone()).or_default();
            let was_open = order.placed().is_ok_and(|placed| placed.is_open());
            order.apply(&decoded);
            if was_open && !order.placed().unwrap().is_open() && ids.contains(&id) {
                left -= 1;
            }
            (left == 0).then(|| std::mem::take(&mut orders))
        })
        .await
    }

    async fn all_events(&self) -> Vec<(RecordedEvent, AnyEvent)> {
        let mut all: Vec<(RecordedEvent, AnyEvent)> = Vec::new();
        loop {
            let after = all.last().map_or(LogPosition::ZERO, |(event, _)| event.log_position);
            let events = self.log.read(after, 5_000).await.unwrap();
            if events.is_empty() {
                return all;
            }
            all.extend(events.into_iter().map(|event| (event.clone(), decode(&event))));
        }
    }
}

fn decode(event: &RecordedEvent) -> AnyEvent {
    AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload).unwrap()
}

fn fills(events: &[(RecordedEvent, AnyEvent)]) -> Vec<(OrderId, Price, Quantity, Liquidity, Evidence)> {
    let fill = |(event, decoded): &(RecordedEvent, AnyEvent)| match decoded {
        AnyEvent::Order(OrderEvent::OrderFilled { price, quantity, liquidity, evidence, .. }) => Some((
            OrderId::new(&*event.aggregate_id),
            *price,
            *quantity,
            *liquidity,
            evidence.clone().expect("a paper fill has evidence"),
        )),
        _ => None,
    };
    events.iter().filter_map(fill).collect()
}

/// The recorded book after an update, from the file alone.
fn book_after(recording: &Recording, update_id: u64) -> ObservedBook {
    let mut book = ObservedBook::new();
    for line in recording.read().unwrap() {
        match line.unwrap().1 {
            MarketData::Snapshot(snapshot) => drop(book.start_from(&snapshot).unwrap()),
            MarketData::Depth(update) => drop(book.update(&update).unwrap()),
            _ => {}
        }
        if book.last_update_id() == Some(update_id) {
            return book;
        }
    }
    panic!("the recording has no update {update_id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_market_order_fills_at_levels_that_the_recording_shows() {
    let house = House::open().await;
    let processes = house.processes(Some("20")).await;
    house.until_priced().await;
    let id = house.place(OrderSide::Buy, (OrderType::Market, TimeInForce::Ioc), "3", None).await;
    let orders = house.until_ended(std::slice::from_ref(&id)).await;
    assert_eq!(orders[&id].placed().unwrap().status, OrderStatus::Filled);

    let events = house.all_events().await;
    let fills = fills(&events);
    assert!(!fills.is_empty());
    for (_, price, quantity, liquidity, evidence) in &fills {
        assert_eq!(*liquidity, Liquidity::Taker);
        assert_eq!((evidence.feed.as_str(), evidence.levels.len()), (BTC_USDT.name, 1));
        assert_eq!((evidence.levels[0].price, evidence.levels[0].quantity), (*price, quantity.to_decimal()));
        let book = book_after(&BTC_USDT, evidence.update_id.unwrap());
        let observed = book.quantity_at(OrderSide::Sell, *price).unwrap();
        assert!(!observed.is_less_than(*quantity).unwrap());
    }
    // All fills of the arrival, their movements and the end are one command.
    let commit: Vec<_> =
        events.iter().filter(|(e, _)| e.event_type == "OrderFilled").map(|(e, _)| e).collect();
    let commands: std::collections::BTreeSet<_> =
        commit.iter().map(|e| e.metadata().unwrap()["command_id"].clone()).collect();
    assert_eq!(commands.len(), 1);
    assert_eq!(commit[0].metadata().unwrap()["actor"], "paper-venue");
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resting_order_fills_when_the_observed_market_reaches_it() {
    let house = House::open().await;
    let processes = house.processes(Some("100")).await;
    house.until_priced().await;
    // The recorded market trades between 61,600 and 61,900: whichever way it goes, it passes here within a pass.
    let id = house.place(OrderSide::Buy, (OrderType::Limit, TimeInForce::Gtc), "0.5", Some("61700")).await;
    let orders = house.until_ended(std::slice::from_ref(&id)).await;
    assert_eq!(orders[&id].placed().unwrap().status, OrderStatus::Filled);
    for (_, price, quantity, liquidity, evidence) in fills(&house.all_events().await) {
        if liquidity == Liquidity::Taker {
            continue;
        }
        assert_eq!(price, "61700".parse().unwrap());
        let trade_id = evidence.trade_id.unwrap();
        let trade = BTC_USDT
            .read()
            .unwrap()
            .find_map(|line| match line.unwrap().1 {
                MarketData::Trade(trade) if trade.trade_id == trade_id => Some(trade),
                _ => None,
            })
            .unwrap();
        assert!(trade.price <= price);
        assert!(trade.price < price || !trade.quantity.is_less_than(quantity).unwrap());
    }
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_restarts_in_the_middle_every_order_ends_once() {
    let house = House::open().await;
    let mut ids = Vec::new();
    let mut processes = house.processes(Some("50")).await;
    house.until_priced().await;
    for round in 0..4 {
        for n in 0..10 {
            let kind = match n % 3 {
                0 => (OrderType::Market, TimeInForce::Ioc, None),
                1 => (OrderType::Limit, TimeInForce::Gtc, Some("62500")),
                _ => (OrderType::Limit, TimeInForce::Fok, Some("62500")),
            };
            ids.push(house.place(OrderSide::Buy, (kind.0, kind.1), "0.1", kind.2).await);
        }
        // Stopped with orders on their way, whatever state they are in.
        processes.stop().await;
        assert!(processes.status().iter().all(|status| status.state == ProcessState::Stopped));
        if round % 2 == 1 {
            // As after a crash before the first save: the venue reads the whole log again.
            let forget = sqlx::query("DELETE FROM log.process_states WHERE name = 'paper-venue'");
            assert_eq!(forget.execute(&house.database.app).await.unwrap().rows_affected(), 1);
        }
        processes = house.processes(Some("50")).await;
    }
    let orders = house.until_ended(&ids).await;
    for id in &ids {
        let placed = orders[id].placed().unwrap();
        assert_eq!(placed.status, OrderStatus::Filled, "{id}");
        assert_eq!(placed.filled_quantity.number(), "0.10000000");
    }
    // Each fill stands once in the log, numbered without gap.
    let mut filled: BTreeMap<OrderId, usize> = BTreeMap::new();
    for (id, ..) in fills(&house.all_events().await) {
        *filled.entry(id).or_default() += 1;
    }
    assert!(ids.iter().all(|id| filled[id] as u64 == orders[id].placed().unwrap().fill_count));
    // Passes never repeat: each start has its own, so prices of a second one come, if late.
    let mut first = None;
    house
        .until(|_, decoded| match decoded {
            AnyEvent::Quote(QuoteEvent::PriceObserved { window }) if window.symbol == btc_usdt() => {
                (*first.get_or_insert(window.pass) != window.pass).then_some(())
            }
            _ => None,
        })
        .await;
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_order_is_not_filled_and_an_open_one_survives_a_restart() {
    let house = House::open().await;
    let processes = house.processes(Some("50")).await;
    house.until_priced().await;
    let gtc = (OrderType::Limit, TimeInForce::Gtc);
    let far = house.place(OrderSide::Buy, gtc, "0.1", Some("50000")).await;
    let canceled = house.place(OrderSide::Buy, gtc, "0.1", Some("50000")).await;
    house.done(Command::CancelOrder(CancelOrder { order_id: canceled.clone() })).await;
    processes.stop().await;

    let processes = house.processes(Some("50")).await;
    let near = house.place(OrderSide::Buy, (OrderType::Limit, TimeInForce::Ioc), "0.1", Some("62500")).await;
    let orders = house.until_ended(std::slice::from_ref(&near)).await;
    assert_eq!(orders[&near].placed().unwrap().status, OrderStatus::Filled);
    assert_eq!(orders[&far].placed().unwrap().status, OrderStatus::New);
    assert_eq!(orders[&canceled].placed().unwrap().status, OrderStatus::Canceled);
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sell_order_that_would_take_as_a_maker_expires_with_its_reason() {
    let house = House::open().await;
    let processes = house.processes(Some("20")).await;
    house.until_priced().await;
    house
        .done(Command::DepositAsset(AssetMovement {
            portfolio_id: house.portfolio.clone(),
            asset: "BTC".parse().unwrap(),
            quantity: number("1"),
            unit_cost: None,
            reference: None,
        }))
        .await;
    let maker = (OrderType::LimitMaker, TimeInForce::Gtc);
    let id = house.place(OrderSide::Sell, maker, "1", Some("60000")).await;
    let reason = house
        .until(|event, decoded| match decoded {
            AnyEvent::Order(OrderEvent::OrderExpired { code }) if &*event.aggregate_id == id.as_str() => {
                Some(code)
            }
            _ => None,
        })
        .await;
    assert_eq!(reason, Code::WouldTake);
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_market_is_halted_nothing_fills_and_afterwards_it_does() {
    let house = House::open().await;
    let processes = house.processes(Some("100")).await;
    house.until_priced().await;
    let id = house.place(OrderSide::Buy, (OrderType::Limit, TimeInForce::Gtc), "2", Some("61650")).await;
    let change = || MarketStatusChange { symbol: btc_usdt(), reason: "test".to_owned() };
    house.done(Command::HaltMarket(change())).await;
    // More than a whole pass goes by.
    let halted = house.all_events().await.len();
    let mut passes = std::collections::BTreeSet::new();
    house
        .until(|event, decoded| {
            if let AnyEvent::Quote(QuoteEvent::PriceObserved { window }) = decoded
                && window.symbol == btc_usdt()
                && event.log_position.0 > halted as u64
            {
                passes.insert(window.pass);
            }
            (passes.len() >= 3).then_some(())
        })
        .await;
    let filled_since = |events: &[(RecordedEvent, AnyEvent)]| {
        events
            .iter()
            .filter(|(e, _)| e.event_type == "OrderFilled" && e.log_position.0 > halted as u64)
            .count()
    };
    assert_eq!(filled_since(&house.all_events().await), 0);
    house.done(Command::ResumeMarket(change())).await;
    house.until_ended(&[id]).await;
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_archive_holds_a_whole_pass_trade_by_trade_and_the_book_can_be_read() {
    let house = House::open().await;
    let processes = house.processes(Some("100")).await;
    let mut live = processes.tick_archive().subscribe(&btc_usdt()).unwrap();
    let third_pass = async { while live.recv().await.unwrap().pass < 3 {} };
    tokio::time::timeout(PATIENCE, third_pass).await.unwrap();
    let depth = processes.observed_markets().depth(&btc_usdt(), 5);
    assert!(depth.is_none_or(|depth| depth.bids.len() == 5 && depth.bids[0].price < depth.asks[0].price));
    assert!(processes.status().iter().all(|s| s.state == ProcessState::Running && s.restarts == 0));
    processes.stop().await;

    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = processes.tick_archive().trades(&btc_usdt(), None, None, after, 1_000).await.unwrap();
        after = page.ticks.last().map(|tick| tick.key());
        ids.extend(page.ticks.iter().filter(|tick| tick.pass == 2).map(|tick| tick.trade_id));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(ids.len(), 9_757);
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_a_window_writes_the_prices_of_all_markets_down() {
    let house = House::open().await;
    let processes = house.processes(Some("10")).await;
    let mut windows: BTreeMap<i64, std::collections::BTreeSet<String>> = BTreeMap::new();
    house
        .until(|event, decoded| {
            let AnyEvent::Quote(QuoteEvent::PriceObserved { window }) = decoded else { return None };
            assert_eq!(window.opened_at.timestamp_subsec_millis() % 100, 0);
            let commands = windows.entry(window.opened_at.timestamp_millis()).or_default();
            commands.insert(event.metadata().unwrap()["command_id"].clone());
            (windows.len() > 20).then_some(())
        })
        .await;
    assert!(windows.values().all(|commands| commands.len() == 1));
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_hold_of_an_idle_account_is_swept_also_after_a_restart() {
    let house = House::open().await;
    let processes = house.processes(None).await;
    let hold = |millis| {
        Command::PlaceHold(PlaceHold {
            account_id: house.account.clone(),
            amount: number("10"),
            expires_at: Some(Utc::now() + TimeDelta::milliseconds(millis)),
            reference: None,
        })
    };
    let first = house.done(hold(300)).await.hold_id.unwrap();
    let second = house.done(hold(1_500)).await.hold_id.unwrap();
    let expired = |id: domain::ids::HoldId| {
        house.until(move |event, decoded| match decoded {
            AnyEvent::Account(AccountEvent::HoldExpired { hold_id, .. }) if hold_id == id => {
                Some(event.recorded_at)
            }
            _ => None,
        })
    };
    expired(first).await;
    processes.stop().await;
    let processes = house.processes(None).await;
    expired(second).await;
    processes.stop().await;
    house.bus.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_stop_within_two_seconds() {
    let house = House::open().await;
    let processes = house.processes(Some("100")).await;
    house.until_priced().await;
    tokio::time::timeout(Duration::from_secs(2), processes.stop()).await.expect("they stop in time");
    house.bus.stop().await;
}
