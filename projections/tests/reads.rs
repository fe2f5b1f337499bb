//! Queries: pages under writes, reading one's own writes, and sums that an independent count confirms.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DurationRound as _, TimeDelta};
use common::Writer;
use common::house::{House, INTERNAL, PAPER};
use domain::account::AccountCommand;
use domain::ids::{AccountId, Symbol};
use domain::{AnyEvent, Code, Money, Price, Quantity, Timestamp};
use event_store::LogPosition;
use projections::read::{
    Candle, CandleInterval, CandleRange, Cursor, FillsOf, IndexFilter, PageRequest, ReadError, ReadModels,
    StatsWindow,
};
use projections::{Changed, read::MAX_PAGE};

#[tokio::test(flavor = "multi_thread")]
async fn paging_under_writes_shows_every_row_once_in_a_stable_order() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(41);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let mut head = writer.append(house.now, house.live(150)).await;
    let account = AccountId::new(house.books.accounts.keys().next().unwrap().as_str());

    for newest_first in [false, true] {
        let models = projecting.models.at_least(Some(head));
        let there_at_first = all_entries(&models, &account, newest_first).await;
        let mut page = PageRequest { first: 7, after: None, newest_first };
        let mut shown = Vec::new();
        loop {
            let found = projecting.models.entries(&account, &page).await.unwrap().value;
            shown.extend(found.edges.iter().map(|edge| edge.cursor.clone()));
            head = writer.append(house.now, house.live(5)).await;
            projecting.reach(head).await;
            let Some(last) = found.edges.last() else { break };
            page.after = Some(last.cursor.clone());
            if !found.has_next {
                break;
            }
        }
        let distinct: BTreeSet<_> = shown.iter().map(ToString::to_string).collect();
        assert_eq!(distinct.len(), shown.len(), "a row was shown twice");
        assert!(
            there_at_first.iter().all(|cursor| distinct.contains(&cursor.to_string())),
            "a row was missed"
        );
        let in_order = all_entries(&projecting.models.at_least(Some(head)), &account, newest_first).await;
        let in_order: Vec<_> = in_order.into_iter().filter(|cursor| shown.contains(cursor)).collect();
        assert_eq!(in_order, shown);
    }
    projecting.stop().await;
}

async fn all_entries(models: &ReadModels, account: &AccountId, newest_first: bool) -> Vec<Cursor> {
    let mut page = PageRequest { first: MAX_PAGE, after: None, newest_first };
    let mut cursors = Vec::new();
    loop {
        let found = models.entries(account, &page).await.unwrap().value;
        cursors.extend(found.edges.into_iter().map(|edge| edge.cursor));
        page.after = cursors.last().cloned();
        if !found.has_next {
            return cursors;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_with_at_least_includes_the_write_or_refuses() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(43);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let id = house.books.accounts.keys().next().unwrap().clone();
    let account_id = AccountId::new(id.as_str());
    for _ in 0..50 {
        let deposit = house.command(|house| {
            let amount = "1.5".parse().unwrap();
            let command = AccountCommand::Deposit { amount, reference: None, effective_at: None };
            house.execute::<domain::account::Account>(&id, &command).map(drop)
        });
        let head = writer.append(house.now, vec![deposit.unwrap()]).await;
        let read = projecting.models.at_least(Some(head)).account(&account_id).await.unwrap();
        assert!(read.log_position >= head);
        let expected = house.state::<domain::account::Account>(&id).opened().unwrap().balance;
        assert_eq!(read.value.unwrap().balance, expected);
    }

    let head = writer.log.head();
    let beyond = projecting.models.at_least(Some(head.next())).account(&account_id).await.unwrap_err();
    assert!(matches!(beyond, ReadError::BeyondHead { head: at, .. } if at == head));
    assert_eq!(beyond.code(), Code::BeyondHead);

    projecting.stop().await;
    let head = writer.append(house.now, house.live(1)).await;
    let alone = ReadModels::open(writer.database.app.clone(), writer.log.clone());
    let late = alone
        .at_least(Some(head))
        .with_patience(Duration::from_millis(50))
        .account(&account_id)
        .await
        .unwrap_err();
    assert!(matches!(late, ReadError::NotYetVisible { projection: "accounts", .. }), "{late}");
    assert_eq!(late.code(), Code::NotYetVisible);
    assert!(alone.account(&account_id).await.unwrap().value.is_some(), "without a position it answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_no_row_moves_the_position_that_is_read_all_the_same() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(47);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    house.now += TimeDelta::seconds(2);
    let observed = house.observe().unwrap();
    let head = writer.append(house.now, vec![observed]).await;
    let balance = projecting.models.at_least(Some(head)).trial_balance().await.unwrap();
    assert_eq!(balance.log_position, head);
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_of_every_length_are_the_sums_of_what_was_traded() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(53);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let mut head = LogPosition::ZERO;
    // Across minutes, hours and a day, with pauses.
    for pause in [1, 30, 90, 600, 3_700, 50_000, 20_000, 7_300, 5, 61] {
        head = writer.append(house.now, house.live(70)).await;
        house.now += TimeDelta::seconds(pause);
    }
    let trades = traded(&writer, head).await;
    let models = projecting.models.at_least(Some(head));
    let lengths = [
        (CandleInterval::S1, 1),
        (CandleInterval::M1, 60),
        (CandleInterval::M5, 300),
        (CandleInterval::M15, 900),
        (CandleInterval::H1, 3_600),
        (CandleInterval::H4, 14_400),
        (CandleInterval::D1, 86_400),
    ];
    for symbol in [PAPER, INTERNAL] {
        let traded = &trades[symbol];
        assert!(traded.len() > 10, "{symbol} was idle");
        for (interval, seconds) in lengths {
            let expected = candles_of(traded, TimeDelta::seconds(seconds));
            let symbol = Symbol::new(symbol);
            let all = models.candles(&symbol, interval, CandleRange::default()).await.unwrap().value;
            assert_eq!(all, expected, "{symbol} {interval:?}");
            let last = CandleRange { last: Some(2), ..CandleRange::default() };
            let last = models.candles(&symbol, interval, last).await.unwrap().value;
            assert_eq!(last, expected[expected.len().saturating_sub(2)..]);
            let middle = expected[expected.len() / 2].open_time;
            let range = CandleRange { from: Some(middle), ..CandleRange::default() };
            let since = models.candles(&symbol, interval, range).await.unwrap().value;
            assert_eq!(since, expected[expected.len() / 2..]);
            let range = CandleRange { to: Some(middle), ..CandleRange::default() };
            let until = models.candles(&symbol, interval, range).await.unwrap().value;
            assert_eq!(until, expected[..expected.len() / 2]);
        }
        let now = traded.last().unwrap().open_time + TimeDelta::milliseconds(700);
        for (window, seconds) in [
            (StatsWindow::M1, 60),
            (StatsWindow::M5, 300),
            (StatsWindow::H1, 3_600),
            (StatsWindow::H24, 86_400),
        ] {
            let stats = models.stats(&Symbol::new(symbol), window, now).await.unwrap().value.unwrap();
            let from = now - TimeDelta::seconds(seconds);
            let within: Vec<_> = traded
                .iter()
                .filter(|trade| trade.open_time.duration_trunc(TimeDelta::seconds(1)).unwrap() >= from)
                .collect();
            assert_eq!(stats.trade_count, within.iter().map(|trade| trade.trade_count).sum::<u64>());
            assert_eq!(stats.open, within.first().map(|trade| trade.open));
            assert_eq!(stats.high, within.iter().map(|trade| trade.high).max());
            assert_eq!(stats.low, within.iter().map(|trade| trade.low).min());
            let volume: i128 = within.iter().map(|trade| trade.volume.units()).sum();
            assert_eq!(stats.volume.units(), volume);
        }
    }
    writer.verify_all().await;
    projecting.stop().await;
}

/// Every trade and window of the log as a candle of its own.
async fn traded(writer: &Writer, head: LogPosition) -> BTreeMap<&'static str, Vec<Candle>> {
    let mut traded = BTreeMap::from([(PAPER, Vec::new()), (INTERNAL, Vec::new())]);
    let events = writer.log.read(LogPosition::ZERO, 50_000).await.unwrap();
    assert_eq!(events.last().unwrap().log_position, head);
    for event in events {
        let decoded =
            AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload);
        match decoded.unwrap() {
            AnyEvent::Quote(domain::quote::QuoteEvent::PriceObserved { window }) => {
                let Some(part) = window.traded else { continue };
                traded.get_mut(PAPER).unwrap().push(Candle {
                    open_time: window.opened_at,
                    open: part.open,
                    high: part.high,
                    low: part.low,
                    close: part.close,
                    volume: part.volume,
                    quote_volume: part.quote_volume,
                    trade_count: u64::from(part.trade_count),
                });
            }
            AnyEvent::Market(domain::market::MarketEvent::TradeExecuted { price, quantity, .. }) => {
                traded.get_mut(INTERNAL).unwrap().push(trade(event.recorded_at, price, quantity));
            }
            _ => {}
        }
    }
    traded
}

fn trade(at: Timestamp, price: Price, quantity: Quantity) -> Candle {
    let quote_volume =
        price.notional(quantity, "USDT".parse().unwrap(), domain::price::Rounding::Exact).unwrap();
    Candle {
        open_time: at,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: quantity,
        quote_volume,
        trade_count: 1,
    }
}

fn candles_of(parts: &[Candle], length: TimeDelta) -> Vec<Candle> {
    let mut candles: Vec<Candle> = Vec::new();
    for part in parts {
        let open_time = part.open_time.duration_trunc(length).unwrap();
        match candles.last_mut().filter(|candle| candle.open_time == open_time) {
            Some(candle) => {
                candle.high = candle.high.max(part.high);
                candle.low = candle.low.min(part.low);
                candle.close = part.close;
                candle.volume = candle.volume.plus(part.volume).unwrap();
                candle.quote_volume = candle.quote_volume.plus(part.quote_volume).unwrap();
                candle.trade_count += part.trade_count;
            }
            None => candles.push(Candle { open_time, ..part.clone() }),
        }
    }
    candles
}

#[tokio::test(flavor = "multi_thread")]
async fn books_markets_fills_and_values_are_those_of_the_house() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(59);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let head = writer.append(house.now, house.live(400)).await;
    let models = projecting.models.at_least(Some(head));

    let symbol = Symbol::new(INTERNAL);
    let market = house.state::<domain::market::Market>(INTERNAL);
    let market = market.registered().unwrap();
    let depth = models.depth(&symbol, 1_000).await.unwrap().value;
    let expected = market.book.depth(1_000);
    let levels = |levels: &[projections::read::Level]| -> Vec<(Price, i128)> {
        levels.iter().map(|level| (level.price, level.quantity.units())).collect()
    };
    assert_eq!(levels(&depth.bids), book_levels(&expected.bids));
    assert_eq!(levels(&depth.asks), book_levels(&expected.asks));
    let read = models.market(&symbol).await.unwrap().value.unwrap();
    assert_eq!(read.instrument, market.instrument);
    assert_eq!(read.last_price, market.last_price);
    assert_eq!(read.bid.map(|level| level.price), market.book.best_bid());
    assert_eq!(read.ask.map(|level| level.price), market.book.best_ask());
    let symbols: Vec<_> =
        models.markets().await.unwrap().value.into_iter().map(|market| market.instrument.symbol).collect();
    assert_eq!(symbols, [Symbol::new(INTERNAL), Symbol::new(PAPER)]);

    let trades = models.trades(&symbol, None, None, &PageRequest::forward(200, None)).await.unwrap().value;
    assert_eq!(trades.edges.len() as u64, market.trade_count.min(200));

    for (id, (portfolio, _)) in &house.books.portfolios {
        let portfolio = portfolio.opened().unwrap();
        let read = models.portfolio(&portfolio.portfolio_id).await.unwrap().value.unwrap();
        let mut total = read.cash_account.balance;
        let mut unrealized = Money::zero(portfolio.currency);
        let mut realized = Money::zero(portfolio.currency);
        for position in &read.positions {
            let price = models
                .market(&Symbol::new(format!("{}-USDT", position.asset)))
                .await
                .unwrap()
                .value
                .unwrap()
                .last_price
                .unwrap();
            let value = price
                .notional(position.quantity, portfolio.currency, domain::price::Rounding::HalfEven)
                .unwrap();
            total = total.plus(value).unwrap();
            unrealized = unrealized.plus(value.minus(position.cost).unwrap()).unwrap();
            realized = realized.plus(position.realized_pnl).unwrap();
        }
        assert_eq!(read.total_value, Some(total), "{id}");
        assert_eq!(read.unrealized_pnl, Some(unrealized));
        assert_eq!(read.realized_pnl, realized);

        let mut fills = 0;
        let mut page = PageRequest::forward(200, None);
        let mut realized_by_fills = Money::zero(portfolio.currency);
        loop {
            let found =
                models.fills(&FillsOf::Portfolio(portfolio.portfolio_id.clone()), &page).await.unwrap().value;
            for edge in &found.edges {
                fills += 1;
                if let Some(realized) = edge.node.realized_pnl {
                    realized_by_fills = realized_by_fills.plus(realized).unwrap();
                }
            }
            page.after = found.edges.last().map(|edge| edge.cursor.clone());
            if !found.has_next {
                break;
            }
        }
        let counted: u64 = house
            .books
            .orders
            .values()
            .filter_map(|(order, _)| order.placed().ok())
            .filter(|order| order.ticket.portfolio_id == portfolio.portfolio_id)
            .map(|order| order.fill_count)
            .sum();
        assert_eq!(fills, counted);
        assert_eq!(realized_by_fills, realized);
    }
    projecting.stop().await;
}

fn book_levels(levels: &[domain::market::DepthLevel]) -> Vec<(Price, i128)> {
    levels.iter().map(|level| (level.price, level.quantity.units())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_index_finds_the_events_of_a_command_and_leaves_observed_prices_out() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(61);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let head = writer.append(house.now, house.live(60)).await;
    let models = projecting.models.at_least(Some(head));
    let mut by_command: BTreeMap<String, Vec<LogPosition>> = BTreeMap::new();
    let mut by_actor = Vec::new();
    for event in writer.log.read(LogPosition::ZERO, 50_000).await.unwrap() {
        if event.aggregate_type != "quote" {
            let command = event.metadata().unwrap().remove("command_id").unwrap();
            by_command.entry(command).or_default().push(event.log_position);
            by_actor.push(event.log_position);
        }
    }
    for (command, positions) in by_command {
        for filter in [
            IndexFilter { command_id: Some(command.clone()), limit: 1_000, ..IndexFilter::default() },
            IndexFilter {
                correlation_id: Some(format!("request-{command}")),
                limit: 1_000,
                ..IndexFilter::default()
            },
        ] {
            assert_eq!(models.event_positions(&filter).await.unwrap().value.positions, positions);
        }
    }
    for newest_first in [false, true] {
        let mut filter = IndexFilter {
            actor: Some("tester".to_owned()),
            limit: 7,
            newest_first,
            ..IndexFilter::default()
        };
        let mut found = Vec::new();
        loop {
            let page = models.event_positions(&filter).await.unwrap().value;
            found.extend(page.positions);
            if !page.has_more {
                break;
            }
            let last = found.last().copied();
            if newest_first { filter.before = last } else { filter.after = last }
        }
        let mut expected = by_actor.clone();
        if newest_first {
            expected.reverse();
        }
        assert_eq!(found, expected);
    }
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_hears_of_every_change_after_it_can_be_read() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(67);
    let projecting = writer.project().await;
    let head = writer.append(house.now, opening).await;
    projecting.reach(head).await;
    let mut changes = projecting.running.changes();
    let id = house.books.accounts.keys().next().unwrap().clone();
    let deposit = house.command(|house| {
        let amount = "3".parse().unwrap();
        let command = AccountCommand::Deposit { amount, reference: None, effective_at: None };
        house.execute::<domain::account::Account>(&id, &command).map(drop)
    });
    let head = writer.append(house.now, vec![deposit.unwrap()]).await;
    let told = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await.unwrap().unwrap();
    assert_eq!(told.log_position, head);
    assert_eq!(*told.changed, [Changed::Account(AccountId::new(id.as_str()))]);
    let patient = projecting.models.with_patience(Duration::ZERO);
    let read = patient.account(&AccountId::new(id.as_str())).await.unwrap();
    assert!(read.log_position >= head);
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_list_is_refused() {
    let mut writer = Writer::start().await;
    let (house, opening) = House::opened(71);
    let projecting = writer.project().await;
    let head = writer.append(house.now, opening).await;
    projecting.reach(head).await;
    let models = &projecting.models;
    let account = models.accounts(None, &PageRequest::forward(1, None)).await.unwrap().value.edges.remove(0);
    let page = PageRequest::forward(5, Some(account.cursor));
    let refused = models.entries(&account.node.account_id, &page).await.unwrap_err();
    assert!(matches!(refused, ReadError::InvalidCursor));
    assert!("not base64 \u{0}".parse::<Cursor>().is_err());
    projecting.stop().await;
}
