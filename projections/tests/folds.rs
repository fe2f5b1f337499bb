//! A read model equals the fold of the log, whatever the batches, restarts, repeats and neighbours.

mod common;

use common::house::House;
use common::random::Random;
use common::{Writer, one, raw_event};
use domain::Decimal;
use event_store::LogPosition;
use projections::read::{OrderFilter, PageRequest, ProjectionState};

/// Fixed in the test run; `DAYBOOK_SEEDS=1000` runs as many others.
fn seeds() -> Vec<u64> {
    let more = std::env::var("DAYBOOK_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    [7, 20_260_105].into_iter().chain(1_000..1_000 + more).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_say_what_the_aggregates_say_after_any_batches_and_restarts() {
    for seed in seeds() {
        let mut writer = Writer::start().await;
        let (mut house, opening) = House::opened(seed);
        let mut random = Random::new(seed ^ 1);
        let mut projecting = writer.project().await;
        let mut head = writer.append(house.now, opening).await;
        for round in 0..6 {
            let mut commands = house.live(60);
            while !commands.is_empty() {
                let most = commands.len() as u64;
                let rest = commands.split_off(commands.len().min(1 + random.below(most) as usize));
                head = writer.append(house.now, commands).await;
                commands = rest;
            }
            if round % 2 == 0 {
                projecting.stop().await;
                projecting = writer.project().await;
            }
        }
        projecting.reach(head).await;
        writer.verify_all().await;

        let models = projecting.models.at_least(Some(head));
        let accounts = models.accounts(None, &PageRequest::forward(200, None)).await.unwrap();
        assert_eq!(accounts.log_position, head);
        assert_eq!(accounts.value.edges.len(), house.books.accounts.len());
        for edge in accounts.value.edges {
            let (account, sequence) = &house.books.accounts[edge.node.account_id.as_str()];
            let account = account.opened().unwrap();
            assert_eq!(edge.node.balance, account.balance);
            assert_eq!(edge.node.held, account.held);
            assert_eq!(edge.node.available, account.available().unwrap());
            assert_eq!(edge.node.overdraft_limit, account.overdraft_limit);
            assert_eq!(edge.node.sequence, *sequence);
            let open = models
                .holds(&edge.node.account_id, Some(true), &PageRequest::forward(200, None))
                .await
                .unwrap();
            let remaining: Vec<_> =
                open.value.edges.into_iter().map(|edge| (edge.node.hold_id, edge.node.remaining)).collect();
            assert_eq!(remaining.len(), account.holds.len());
            assert!(remaining.iter().all(|(id, remaining)| account.holds[id].remaining == *remaining));
            let newest =
                models.entries(&edge.node.account_id, &PageRequest::newest_first(1, None)).await.unwrap();
            assert_eq!(newest.value.edges[0].node.balance_after, account.balance);
        }
        let portfolios = models.portfolios(None, &PageRequest::forward(200, None)).await.unwrap();
        assert_eq!(portfolios.value.edges.len(), house.books.portfolios.len());
        for edge in portfolios.value.edges {
            let (portfolio, _) = &house.books.portfolios[edge.node.portfolio_id.as_str()];
            let portfolio = portfolio.opened().unwrap();
            assert_eq!(edge.node.positions.len(), portfolio.positions.len());
            for position in edge.node.positions {
                let expected = &portfolio.positions[&position.asset];
                assert_eq!(position.quantity, expected.quantity);
                assert_eq!(position.reserved, expected.reserved);
                assert_eq!(position.cost, expected.cost);
                assert_eq!(position.realized_pnl, expected.realized_pnl);
            }
        }
        let mut page = PageRequest::forward(50, None);
        let mut orders = 0;
        loop {
            let found = models.orders(&OrderFilter::default(), &page).await.unwrap().value;
            for edge in &found.edges {
                let (order, _) = &house.books.orders[edge.node.order_id.as_str()];
                let order = order.placed().unwrap();
                assert_eq!(edge.node.status, order.status);
                assert_eq!(edge.node.filled_quantity, order.filled_quantity);
                assert_eq!(edge.node.filled_notional, order.filled_notional);
                assert_eq!(edge.node.fees, order.fees);
                orders += 1;
            }
            page.after = found.edges.last().map(|edge| edge.cursor.clone());
            if !found.has_next {
                break;
            }
        }
        let placed = house.books.orders.values().filter(|(order, _)| order.placed().is_ok()).count();
        assert_eq!(orders, placed);
        assert!(orders > 20, "the exchange was idle");
        projecting.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_or_many_make_the_same_rows() {
    let (mut house, mut commands) = House::opened(3);
    commands.extend(house.live(150));
    let mut at_once = Writer::start().await;
    let mut one_by_one = Writer::start().await;
    let following = one_by_one.project().await;
    at_once.append(house.now, commands.clone()).await;
    let mut head = LogPosition::ZERO;
    for command in commands {
        head = one_by_one.append(house.now, vec![command]).await;
    }
    following.reach(head).await;
    let later = at_once.project().await;
    later.reach(head).await;
    assert_eq!(at_once.dump().await, one_by_one.dump().await);
    later.stop().await;
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_moved_by_somebody_else_is_noticed_and_nothing_is_folded_twice() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(11);
    let projecting = writer.project().await;
    let head = writer.append(house.now, opening).await;
    projecting.reach(head).await;
    sqlx::query("UPDATE read.live SET generation = generation + 1")
        .execute(&writer.database.app)
        .await
        .unwrap();
    let head = writer.append(house.now, house.live(40)).await;
    projecting.reach(head).await;
    writer.verify_all().await;
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_one_folds_and_the_other_takes_over() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(13);
    let first = writer.project().await;
    let head = writer.append(house.now, opening).await;
    first.reach(head).await;
    let second = writer.project().await;
    let head = writer.append(house.now, house.live(30)).await;
    second.reach(head).await;
    first.stop().await;
    let head = writer.append(house.now, house.live(30)).await;
    second.reach(head).await;
    writer.verify_all().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_the_log_stops_the_projections_it_concerns_and_no_other() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(17);
    let projecting = writer.project().await;
    let before = writer.append(house.now, opening).await;
    let payload = r#"{"AccountFrozen":{"reason":"nobody opened it"}}"#;
    let frozen = one(raw_event("account", "nobody", 1, "AccountFrozen", payload));
    writer.append(house.now, vec![frozen]).await;
    let head = writer.append(house.now, house.live(20)).await;

    projecting.models.wait(&["entries", "orders", "candles"], head, PATIENCE).await.unwrap();
    let status = projecting.models.status().await.unwrap();
    for projection in status {
        if projection.name == "accounts" {
            assert_eq!(projection.state, ProjectionState::Stopped);
            assert_eq!(projection.log_position, before);
            let error = projection.error.unwrap();
            assert!(error.contains("nobody"), "{error}");
        } else {
            assert_eq!(projection.state, ProjectionState::Live, "{}", projection.name);
            assert_eq!(projection.log_position, head);
        }
    }
    projecting.stop().await;
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_type_stops_the_projections_and_is_named() {
    let mut writer = Writer::start().await;
    let (house, opening) = House::opened(19);
    let projecting = writer.project().await;
    let before = writer.append(house.now, opening).await;
    let unknown = one(raw_event("loan", "loan-1", 1, "LoanWrittenOff", r#"{"LoanWrittenOff":{}}"#));
    writer.append(house.now, vec![unknown]).await;

    let mut status = projecting.models.status().await.unwrap();
    let begun = std::time::Instant::now();
    while status.iter().any(|projection| projection.state != ProjectionState::Stopped) {
        assert!(begun.elapsed() < PATIENCE, "not all projections have stopped: {status:?}");
        tokio::task::yield_now().await;
        status = projecting.models.status().await.unwrap();
    }
    for projection in status {
        assert_eq!(projection.log_position, before);
        let error = projection.error.unwrap();
        assert!(error.contains("LoanWrittenOff") && error.contains("loan"), "{error}");
    }
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trial_balance_is_zero_at_every_position_it_can_be_read_at() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(23);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let models = projecting.models.clone();
    let reading = tokio::spawn(async move {
        let mut positions = std::collections::BTreeSet::new();
        while positions.len() < 12 {
            let balance = models.trial_balance().await.unwrap();
            positions.insert(balance.log_position);
            for line in balance.value {
                assert_eq!(line.difference, Decimal::ZERO, "{line:?} at {}", balance.log_position);
                assert_eq!(line.debits, line.credits);
            }
        }
    });
    while !reading.is_finished() {
        let commands = house.live(3);
        let head = writer.append(house.now, commands).await;
        projecting.models.wait(&["accounts"], head, PATIENCE).await.unwrap();
    }
    reading.await.unwrap();
    projecting.stop().await;
}
