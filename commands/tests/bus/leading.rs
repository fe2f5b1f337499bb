//! Leading: who decides, what a deposed bus does, limits, stopping, and the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, open_account, request, withdraw};
use commands::{Bus, BusContext, Failure};
use domain::ids::AccountId;
use event_store::embedded::Role;
use futures::future::join_all;
use sqlx::{Connection, Executor, PgConnection};

use crate::{answer, append_waits, count, count_of, hold_head, set_head, until};

async fn comes_to_lead(bus: &Bus) {
    tokio::time::timeout(Duration::from_secs(20), bus.leads().wait_for(|leads| *leads))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_deposed_bus_appends_nothing_answers_unavailable_and_comes_back_when_it_can() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let epoch = house.bus.epoch().borrow().unwrap();
    let (events, keys) = (count(&house, "events").await, count(&house, "idempotency_keys").await);

    set_head(&house, "epoch = epoch + 1, leader = 'node-2', lease_until = now() + interval '1 hour'").await;
    let asked = request(&admin(), "salary", deposit(&account, "10.00"));
    assert_eq!(house.bus.execute(asked.clone()).await, Err(Failure::Unavailable));
    assert!(!*house.bus.leads().borrow());
    assert_eq!(house.bus.execute(asked.clone()).await, Err(Failure::Unavailable));
    assert_eq!((count(&house, "events").await, count(&house, "idempotency_keys").await), (events, keys));

    set_head(&house, "leader = NULL, lease_until = NULL").await;
    comes_to_lead(&house.bus).await;
    assert!(house.bus.epoch().borrow().unwrap() > epoch);
    assert!(!house.bus.execute(asked).await.unwrap().replayed);
}

/// The account of a leader that does not hear in time that its lease is lost; another one has paid 5.00 into it since.
async fn deposed_unheard() -> (TestBus, AccountId) {
    let settings = BusSettings { lease_ttl: Duration::from_secs(3600), ..BusSettings::default() };
    let house = TestBus::start_with(settings).await;
    let account = house.open_account("alice", "EUR").await;
    house.deposit(&account, "10.00").await;
    set_head(&house, "leader = NULL, lease_until = NULL").await;
    let other = TestBus::on(house.database.clone(), "node-2", BusSettings::default()).await;
    other.deposit(&account, "5.00").await;
    other.bus.stop().await;
    (house, account)
}

#[tokio::test]
async fn what_the_other_leader_wrote_is_what_a_returning_one_decides_on() {
    // A refusal leaves the stream in memory. After what would have had events it is loaded again with what is new in it:
    // that is no defect of this node.
    for amount in ["15.00", "1.00"] {
        let (house, account) = deposed_unheard().await;
        let refused = house.execute(&admin(), withdraw(&account, amount)).await;
        assert_eq!(refused, Err(Failure::Unavailable), "{amount}");
        comes_to_lead(&house.bus).await;
        house.accepted(&admin(), withdraw(&account, "15.00")).await;
    }
}

#[tokio::test]
async fn a_second_node_waits_and_leads_when_the_first_has_stopped() {
    let house = TestBus::start().await;
    let other = TestBus::on(house.database.clone(), "node-2", BusSettings::default()).await;
    assert!(!*other.bus.leads().borrow());
    assert_eq!(other.execute(&admin(), open_account("bob", "EUR")).await, Err(Failure::Unavailable));
    house.bus.stop().await;
    comes_to_lead(&other.bus).await;
    other.open_account("bob", "EUR").await;
}

#[tokio::test]
async fn rows_that_a_vanished_leader_was_copying_in_do_not_hold_the_next_one_up() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    // What PostgreSQL has of a leader whose machine is gone in the middle of a copy: a session that waits for more.
    let options =
        house.database.connect_options(Role::App).await.unwrap().application_name("daybook appender");
    let mut vanished = PgConnection::connect_with(&options).await.unwrap();
    vanished.execute("BEGIN").await.unwrap();
    let mut copy = vanished.copy_in_raw("COPY log.events FROM STDIN").await.unwrap();
    let row: String = sqlx::query_scalar(
        "SELECT concat_ws(E'\\t', log_position + 1, 2, recorded_at, gen_random_uuid(), 0, aggregate_type, aggregate_id, \
         'AccountFrozen', '1', '{}', '{}') FROM log.events",
    )
    .fetch_one(house.pool())
    .await
    .unwrap();
    // So much that PostgreSQL has stored a part of it.
    let rows: Vec<String> =
        (0..2_000).map(|n| row.replacen("2\t2", &format!("{}\t{}", n + 2, n + 2), 1)).collect();
    copy.send((rows.join("\n") + "\n").into_bytes()).await.unwrap();
    until(
        &house.database.superuser,
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'transactionid' \
         AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY log.events FROM STDIN%')",
    )
    .await;

    set_head(&house, "leader = NULL, lease_until = NULL").await;
    let begun = Instant::now();
    let next = TestBus::on(house.database.clone(), "node-2", BusSettings::default()).await;
    next.deposit(&account, "1.00").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(copy.finish().await.is_err(), "it has been ended");
}

#[tokio::test]
async fn over_the_limit_a_request_is_refused_at_once_and_may_be_sent_again() {
    let house = TestBus::start_with(BusSettings { queue: 4, ..BusSettings::default() }).await;
    let account = house.open_account("alice", "EUR").await;
    let head = hold_head(&house).await;
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let (bus, account) = (house.bus.clone(), account.clone());
            tokio::spawn(async move {
                bus.execute(request(&admin(), &format!("key-{n}"), deposit(&account, "1.00"))).await
            })
        })
        .collect();
    append_waits(&house).await;
    let one_more = request(&admin(), "one-more", deposit(&account, "1.00"));
    let begun = Instant::now();
    assert_eq!(house.bus.execute(one_more.clone()).await, Err(Failure::Overloaded));
    assert!(begun.elapsed() < Duration::from_millis(500));
    head.rollback().await.unwrap();
    for reply in join_all(waiting).await {
        answer(&reply.unwrap());
    }
    assert!(!house.bus.execute(one_more).await.unwrap().replayed);
    assert_eq!(count_of(&house, "FundsDeposited").await, 5);
}

#[tokio::test]
async fn stopping_finishes_what_has_begun_and_gives_the_lease_back() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let head = hold_head(&house).await;
    let (bus, asked) = (house.bus.clone(), request(&admin(), "salary", deposit(&account, "10.00")));
    let waiting = tokio::spawn(async move { bus.execute(asked).await });
    append_waits(&house).await;
    let stopping = tokio::spawn({
        let bus = house.bus.clone();
        async move { bus.stop().await }
    });
    head.rollback().await.unwrap();
    answer(&waiting.await.unwrap());
    stopping.await.unwrap();
    assert_eq!(house.execute(&admin(), deposit(&account, "1.00")).await, Err(Failure::Unavailable));
    let leader: Option<String> =
        sqlx::query_scalar("SELECT leader FROM log.log_head").fetch_one(house.pool()).await.unwrap();
    assert_eq!(leader, None);
}

#[tokio::test]
async fn a_node_whose_clock_is_off_does_not_lead() {
    let house = TestBus::start().await;
    house.bus.stop().await;
    let mut context = BusContext::new("node-2", house.log.clone());
    context.clock = Arc::new(|| Utc::now() + TimeDelta::seconds(2));
    let fast = Bus::start(context).await;
    assert!(!*fast.leads().borrow());
    fast.stop().await;
}

#[tokio::test]
async fn recorded_at_never_moves_backward_when_the_clock_does() {
    let house = TestBus::start().await;
    house.bus.stop().await;
    let offset_ms = Arc::new(AtomicI64::new(0));
    let offset = Arc::clone(&offset_ms);
    let mut context = BusContext::new("node-2", house.log.clone());
    context.clock = Arc::new(move || Utc::now() + TimeDelta::milliseconds(offset.load(Ordering::SeqCst)));
    let house = TestBus { bus: Bus::start(context).await, ..house };
    let account = house.open_account("alice", "EUR").await;
    offset_ms.store(-450, Ordering::SeqCst);
    for _ in 0..5 {
        house.deposit(&account, "1.00").await;
    }
    let backward: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM log.events AS a JOIN log.events AS b ON b.log_position = a.log_position + 1 \
         WHERE b.recorded_at < a.recorded_at",
    )
    .fetch_one(house.pool())
    .await
    .unwrap();
    assert_eq!(backward, 0);
}

#[tokio::test]
async fn old_keys_are_deleted_and_may_be_used_again() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let asked = request(&admin(), "salary", deposit(&account, "10.00"));
    house.bus.execute(asked.clone()).await.unwrap();
    let settings = BusSettings { key_retention: Duration::ZERO, ..BusSettings::default() };
    let house = house.restart(settings).await;
    crate::until(house.pool(), "SELECT count(*) = 0 FROM log.idempotency_keys").await;
    assert!(!house.bus.execute(asked).await.unwrap().replayed);
}
