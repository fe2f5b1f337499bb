//! Keys: the same request is one effect and one answer, whatever happens in between.

use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, open_account, request, trader, transfer, withdraw};
use commands::{Failure, Principal, Role};
use domain::Code;
use event_store::LogPosition;
use futures::future::join_all;

use crate::{answer, append_waits, code, count, count_of, hold_head};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_equal_requests_at_once_have_one_effect_and_one_answer() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let asked = request(&admin(), "salary", deposit(&account, "10.00"));
    let replies = join_all((0..64).map(|_| {
        let (bus, asked) = (house.bus.clone(), asked.clone());
        tokio::spawn(async move { bus.execute(asked).await })
    }))
    .await;
    let replies: Vec<_> = replies.into_iter().map(|reply| reply.unwrap().unwrap()).collect();
    assert_eq!(count_of(&house, "FundsDeposited").await, 1);
    assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
    for reply in &replies {
        assert_eq!(reply.outcome, replies[0].outcome);
        assert_eq!(reply.log_position, Some(LogPosition(2)));
    }
}

#[tokio::test]
async fn twins_in_one_queue_get_the_first_ones_answer() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let asked = request(&admin(), "salary", deposit(&account, "10.00"));
    let replies = house.bus.execute_all(vec![asked.clone(), asked.clone(), asked]).await;
    assert_eq!(answer(&replies[0]), answer(&replies[2]));
    let replayed: Vec<bool> = replies.into_iter().map(|reply| reply.unwrap().replayed).collect();
    assert_eq!(replayed, [false, true, true]);
    assert_eq!(count_of(&house, "FundsDeposited").await, 1);
}

#[tokio::test]
async fn two_equal_requests_with_different_keys_are_two_effects() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    house.deposit(&account, "10.00").await;
    house.deposit(&account, "10.00").await;
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
}

#[tokio::test]
async fn a_key_with_another_command_is_a_conflict_without_event() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let first = request(&admin(), "salary", deposit(&account, "10.00"));
    let other = request(&admin(), "salary", deposit(&account, "10.01"));
    let together = house.bus.execute_all(vec![first.clone(), other.clone()]).await;
    answer(&together[0]);
    assert_eq!(code(&together[1]), Code::IdempotencyConflict);
    assert_eq!(code(&house.bus.execute(other).await), Code::IdempotencyConflict);
    assert!(house.bus.execute(first).await.unwrap().replayed, "a conflict is not remembered");
    assert_eq!(count_of(&house, "FundsDeposited").await, 1);
}

#[tokio::test]
async fn the_keys_of_two_principals_never_meet() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let other = Principal { name: "admin-2".into(), role: Role::Admin, owner: None };
    for principal in [admin(), other] {
        let reply = house.bus.execute(request(&principal, "salary", deposit(&account, "10.00"))).await;
        assert!(!reply.unwrap().replayed);
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
}

#[tokio::test]
async fn a_refusal_is_remembered_even_when_it_would_be_accepted_now() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let asked = request(&admin(), "rent", withdraw(&account, "5.00"));
    let first = house.bus.execute(asked.clone()).await;
    assert_eq!(code(&first), Code::InsufficientFunds);
    house.deposit(&account, "100.00").await;
    let again = house.bus.execute(asked).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.outcome, first.unwrap().outcome);
    assert_eq!(again.log_position, None);
}

#[tokio::test]
async fn missing_rights_are_not_remembered() {
    let house = TestBus::start().await;
    let (mine, yours) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    house.deposit(&yours, "10.00").await;
    let keys = count(&house, "idempotency_keys").await;
    let asked = request(&trader("alice"), "theft", transfer(&yours, &mine, "5.00"));
    for _ in 0..2 {
        let reply = house.bus.execute(asked.clone()).await;
        assert!(matches!(reply, Err(Failure::Forbidden(_))), "{reply:?}");
    }
    assert_eq!(
        code(&house.bus.execute(request(&trader("alice"), "x", deposit(&mine, "5"))).await),
        Code::Forbidden
    );
    assert_eq!(count(&house, "idempotency_keys").await, keys);
    let same_key = request(&trader("alice"), "theft", transfer(&mine, &yours, "5.00"));
    assert_eq!(code(&house.bus.execute(same_key).await), Code::InsufficientFunds, "the key is free");
}

#[tokio::test]
async fn a_malformed_key_is_refused_and_not_remembered() {
    let house = TestBus::start().await;
    for key in ["", "tab\t", "ключ", &"x".repeat(129)] {
        let reply = house.bus.execute(request(&admin(), key, open_account("alice", "EUR"))).await;
        assert_eq!(code(&reply), Code::InvalidIdempotencyKey);
    }
    assert_eq!(count(&house, "idempotency_keys").await, 0);
    let longest = request(&admin(), &"~".repeat(128), open_account("alice", "EUR"));
    answer(&house.bus.execute(longest).await);
}

#[tokio::test]
async fn a_restarted_bus_knows_the_keys() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let accepted = request(&admin(), "salary", deposit(&account, "10.00"));
    let refused = request(&admin(), "rent", withdraw(&account, "50.00"));
    let before = house.bus.execute_all(vec![accepted.clone(), refused.clone()]).await;
    let house = house.restart(BusSettings::default()).await;
    let after = house.bus.execute_all(vec![accepted, refused]).await;
    for (before, after) in before.into_iter().zip(after) {
        let (before, after) = (before.unwrap(), after.unwrap());
        assert!(after.replayed && !before.replayed);
        assert_eq!(before.outcome, after.outcome);
        assert_eq!(before.log_position, after.log_position);
    }
}

#[tokio::test]
async fn a_key_written_by_somebody_else_meanwhile_is_answered_with_what_is_stored() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let before = house.bus.execute(request(&admin(), "salary", deposit(&account, "10.00"))).await.unwrap();

    let mut head = hold_head(&house).await;
    let (bus, late) = (house.bus.clone(), request(&admin(), "pension", deposit(&account, "10.00")));
    let beside = request(&admin(), "beside", deposit(&account, "1.00"));
    let waiting = tokio::spawn(async move { bus.execute_all(vec![beside, late]).await });
    append_waits(&house).await;
    // Its key was looked up before this and was free.
    sqlx::query(
        "INSERT INTO log.idempotency_keys (recorded_at, log_position, principal, key, command_hash, outcome) \
         SELECT recorded_at, log_position, principal, 'pension', command_hash, outcome \
         FROM log.idempotency_keys WHERE key = 'salary'",
    )
    .execute(&mut *head)
    .await
    .unwrap();
    head.commit().await.unwrap();

    let replies = waiting.await.unwrap();
    assert!(!replies[0].as_ref().unwrap().replayed);
    let late = replies[1].as_ref().unwrap();
    assert!(late.replayed);
    assert_eq!((&late.outcome, late.log_position), (&before.outcome, before.log_position));
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
}
