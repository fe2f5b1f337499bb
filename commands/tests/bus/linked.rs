//! Linked sets: all of it or nothing, and the same answers when it is sent again.

use commands::bus::MAX_REQUESTS;
use commands::testing::{TestBus, admin, deposit, request, transfer, withdraw};
use commands::{Failure, Request};
use domain::Code;
use domain::ids::AccountId;
use event_store::LogPosition;

use crate::{answer, code, count, count_of};

fn set(commands: impl IntoIterator<Item = commands::Command>) -> Vec<Request> {
    commands
        .into_iter()
        .enumerate()
        .map(|(place, command)| request(&admin(), &format!("set-{place}"), command))
        .collect()
}

async fn two_accounts(house: &TestBus) -> (AccountId, AccountId) {
    (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await)
}

#[tokio::test]
async fn an_accepted_set_is_one_commit_of_which_each_sees_the_one_before() {
    let house = TestBus::start().await;
    let (alice, bob) = two_accounts(&house).await;
    let asked = set([deposit(&alice, "10.00"), transfer(&alice, &bob, "7.00"), withdraw(&bob, "7.00")]);
    let replies = house.bus.execute_linked(asked.clone()).await;
    for reply in &replies {
        answer(reply);
        assert_eq!(reply.as_ref().unwrap().log_position, Some(LogPosition(6)));
    }
    let remaining: Vec<i16> =
        sqlx::query_scalar("SELECT remaining FROM log.events WHERE log_position > 2 ORDER BY log_position")
            .fetch_all(house.pool())
            .await
            .unwrap();
    assert_eq!(remaining, [3, 2, 1, 0]);
    let again = house.bus.execute_linked(asked).await;
    for (first, again) in replies.iter().zip(&again) {
        let (first, again) = (first.as_ref().unwrap(), again.as_ref().unwrap());
        assert!(again.replayed);
        assert_eq!((&first.outcome, first.log_position), (&again.outcome, again.log_position));
    }
    assert_eq!(count(&house, "events").await, 6);
}

#[tokio::test]
async fn a_refusal_undoes_the_set_and_only_what_was_refused_is_remembered() {
    let house = TestBus::start().await;
    let (alice, bob) = two_accounts(&house).await;
    let (events, keys) = (count(&house, "events").await, count(&house, "idempotency_keys").await);
    let asked = set([
        deposit(&alice, "10.00"),
        transfer(&alice, &bob, "11.00"),
        transfer(&alice, &bob, "1.00"),
        transfer(&alice, &alice, "1.00"),
    ]);
    for _ in 0..2 {
        let codes: Vec<Code> = house.bus.execute_linked(asked.clone()).await.iter().map(code).collect();
        use Code::{InsufficientFunds, LinkedFailed, SameAccount};
        assert_eq!(codes, [LinkedFailed, InsufficientFunds, LinkedFailed, SameAccount]);
    }
    assert_eq!(count(&house, "events").await, events);
    assert_eq!(count(&house, "idempotency_keys").await, keys + 2);
    let free_key = house.bus.execute(asked[0].clone()).await.unwrap();
    assert!(!free_key.replayed);
}

#[tokio::test]
async fn a_set_that_is_partly_a_replay_is_a_conflict() {
    let house = TestBus::start().await;
    let (alice, bob) = two_accounts(&house).await;
    let asked = set([deposit(&alice, "10.00"), deposit(&bob, "10.00")]);
    answer(&house.bus.execute(asked[1].clone()).await);
    for reply in house.bus.execute_linked(asked.clone()).await {
        assert_eq!(code(&reply), Code::IdempotencyConflict);
    }
    answer(&house.bus.execute(asked[0].clone()).await);
    for reply in house.bus.execute_linked(asked).await {
        assert_eq!(code(&reply), Code::IdempotencyConflict, "alone and in a set are different requests");
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
}

#[tokio::test]
async fn a_key_twice_in_a_set_is_a_conflict() {
    let house = TestBus::start().await;
    let (alice, _) = two_accounts(&house).await;
    let twice = request(&admin(), "twice", deposit(&alice, "10.00"));
    for reply in house.bus.execute_linked(vec![twice.clone(), twice]).await {
        assert_eq!(code(&reply), Code::IdempotencyConflict);
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, 0);
}

#[tokio::test]
async fn equal_sets_at_once_have_one_effect() {
    let house = TestBus::start().await;
    let (alice, bob) = two_accounts(&house).await;
    let asked = set([deposit(&alice, "10.00"), deposit(&bob, "10.00")]);
    let sets = (0..16).map(|_| house.bus.execute_linked(asked.clone()));
    let replies = futures::future::join_all(sets).await;
    assert_eq!(replies.iter().filter(|set| !set[0].as_ref().unwrap().replayed).count(), 1);
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
}

#[tokio::test]
async fn the_largest_set_is_accepted_and_a_larger_one_is_not() {
    let house = TestBus::start().await;
    let (alice, bob) = two_accounts(&house).await;
    house.deposit(&alice, "100000.00").await;
    let asked = set((0..=MAX_REQUESTS).map(|_| transfer(&alice, &bob, "0.01")));
    for reply in house.bus.execute_linked(asked.clone()).await {
        assert_eq!(reply, Err(Failure::Overloaded));
    }
    for reply in house.bus.execute_linked(asked[1..].to_vec()).await {
        answer(&reply);
    }
    assert_eq!(count_of(&house, "TransferSent").await, MAX_REQUESTS as i64);
}
