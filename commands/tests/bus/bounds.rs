//! Limits: over them a request is refused at once, what waits stays within them, and afterwards all is as fast as before.

use std::task::Poll;
use std::time::{Duration, Instant};

use commands::bus::{BusSettings, MAX_REQUESTS};
use commands::request::MoneyMovement;
use commands::testing::{TestBus, admin, deposit, request, transfer};
use commands::{Command, Failure, Request};
use domain::ids::AccountId;
use futures::future::{FutureExt, join_all};
use futures::poll;

use crate::{answer, append_waits, count_of, hold_head};

const QUEUE: usize = 512;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_peak_is_refused_at_once_and_full_speed_is_back_within_seconds() {
    let house = TestBus::start_with(BusSettings { queue: QUEUE, ..BusSettings::default() }).await;
    let account = house.open_account("alice", "EUR").await;
    // The first round finds everything cold.
    throughput(&house, &account).await;
    let before = throughput(&house, &account).await;

    let head = hold_head(&house).await;
    let burst: Vec<Request> = (0..10 * QUEUE)
        .map(|n| request(&admin(), &format!("burst-{n}"), deposit(&account, "0.01")))
        .collect();
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for asked in &burst {
        let mut asked = house.bus.execute(asked.clone()).boxed();
        match poll!(&mut asked) {
            Poll::Ready(reply) => {
                assert_eq!(reply, Err(Failure::Overloaded));
                refused += 1;
            }
            Poll::Pending => waiting.push(asked),
        }
    }
    assert_eq!((waiting.len(), refused), (QUEUE, 9 * QUEUE), "all places are taken, and no more");
    append_waits(&house).await;
    head.rollback().await.unwrap();
    join_all(waiting).await.iter().for_each(|reply| drop(answer(reply)));

    let released = Instant::now();
    let mut best = 0.0_f64;
    while best < before / 2.0 {
        assert!(released.elapsed() < Duration::from_secs(5), "{before} commands/s before, {best} after");
        best = best.max(throughput(&house, &account).await);
    }
}

/// Commands a second of clients that fill half the queue, each waiting for its answer.
async fn throughput(house: &TestBus, account: &AccountId) -> f64 {
    const EACH: usize = 8;
    let begun = Instant::now();
    let clients = (0..QUEUE / 2).map(async |_| {
        for _ in 0..EACH {
            house.deposit(account, "0.01").await;
        }
    });
    join_all(clients).await;
    (QUEUE / 2 * EACH) as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test]
async fn long_commands_fill_the_queue_by_their_bytes() {
    // Each of nearly 2 KiB: the longest text there is, and what every request counts for.
    let settings = BusSettings { queue_bytes: 10 * 2 * 1024, ..BusSettings::default() };
    let house = TestBus::start_with(settings).await;
    let account = house.open_account("alice", "EUR").await;
    let long = |n: usize| {
        let deposit = MoneyMovement {
            account_id: account.clone(),
            amount: "1.00".parse().unwrap(),
            reference: Some("€".repeat(256)),
            effective_at: None,
        };
        request(&admin(), &format!("long-{n}"), Command::Deposit(deposit))
    };
    let head = hold_head(&house).await;
    let mut waiting = Vec::new();
    for n in 0..100 {
        let mut asked = house.bus.execute(long(n)).boxed();
        match poll!(&mut asked) {
            Poll::Ready(reply) => assert_eq!(reply, Err(Failure::Overloaded)),
            Poll::Pending => waiting.push(asked),
        }
    }
    assert!((9..=12).contains(&waiting.len()), "{} wait", waiting.len());
    // A call is refused whole, and what it would have taken is free again.
    let call: Vec<Request> = (100..112).map(long).collect();
    let refused = house.bus.execute_all(call).await;
    assert!(refused.iter().all(|reply| *reply == Err(Failure::Overloaded)));
    head.rollback().await.unwrap();
    let waited = waiting.len();
    join_all(waiting).await.iter().for_each(|reply| drop(answer(reply)));
    let call: Vec<Request> = (200..209).map(long).collect();
    house.bus.execute_all(call).await.iter().for_each(|reply| drop(answer(reply)));
    assert_eq!(count_of(&house, "FundsDeposited").await as usize, waited + 9);
}

#[tokio::test]
async fn a_unit_with_too_many_events_is_refused_whole_and_not_remembered() {
    let settings = || BusSettings { unit_events: 4, ..BusSettings::default() };
    let house = TestBus::start_with(settings()).await;
    let (alice, bob) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    house.deposit(&alice, "10.00").await;
    let set = |count: usize| -> Vec<Request> {
        (0..count).map(|n| request(&admin(), &format!("set-{n}"), transfer(&alice, &bob, "1.00"))).collect()
    };
    for reply in house.bus.execute_linked(set(3)).await {
        assert_eq!(reply, Err(Failure::Overloaded));
    }
    assert_eq!(count_of(&house, "TransferSent").await, 0);
    for reply in house.bus.execute_linked(set(2)).await {
        assert!(!reply.clone().unwrap().replayed);
        answer(&reply);
    }
}

#[tokio::test]
async fn a_call_with_too_many_requests_is_refused_at_once() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let call = (0..=MAX_REQUESTS).map(|n| request(&admin(), &format!("key-{n}"), deposit(&account, "1.00")));
    let replies = house.bus.execute_all(call.collect()).await;
    assert!(replies.iter().all(|reply| *reply == Err(Failure::Overloaded)));
    assert_eq!(count_of(&house, "FundsDeposited").await, 0);
}
