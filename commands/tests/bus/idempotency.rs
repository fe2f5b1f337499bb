//! Keys: the same request is one effect and one answer, whatever happens in between.

use std::time::Duration;

use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, open_account, request, trader, transfer, withdraw};
use commands::{Failure, Outcome, Principal, Role};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_keys_are_cleaned_up_while_new_ones_come_in_and_none_of_those_is_lost() {
    const OLD: i64 = 9_000;
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    house.bus.stop().await;
    sqlx::query(
        "INSERT INTO log.idempotency_keys (recorded_at, log_position, principal, key, command_hash, outcome) \
         SELECT recorded_at - interval '2 hours', NULL, 'admin', 'old-' || n, command_hash, outcome \
         FROM log.idempotency_keys, generate_series(1, $1) AS n WHERE log_position = 1",
    )
    .bind(OLD)
    .execute(house.pool())
    .await
    .unwrap();
    let settings = BusSettings { key_retention: Duration::from_secs(3_600), ..BusSettings::default() };
    let house = TestBus::on(house.database, "node-1", settings).await;

    let mut asked = Vec::new();
    let is_clean = "SELECT count(*) = 0 FROM log.idempotency_keys WHERE key LIKE 'old-%'";
    let mut rounds = 0;
    while !sqlx::query_scalar::<_, bool>(is_clean).fetch_one(house.pool()).await.unwrap() || rounds < 3 {
        assert!(rounds < 2_000, "it is never clean");
        let new: Vec<_> = (0..20)
            .map(|n| request(&admin(), &format!("new-{rounds}-{n}"), deposit(&account, "0.01")))
            .collect();
        // Each is asked for twice at once, and one of those before again.
        let twice = [new.clone(), new.clone(), asked.iter().rev().take(20).cloned().collect()].concat();
        let replies = house.bus.execute_all(twice).await;
        assert!(replies[..20].iter().all(|reply| !reply.as_ref().unwrap().replayed));
        assert!(replies[20..].iter().all(|reply| reply.as_ref().unwrap().replayed));
        asked.extend(new);
        rounds += 1;
    }
    for again in asked.chunks(500) {
        for reply in house.bus.execute_all(again.to_vec()).await {
            assert!(reply.unwrap().replayed, "kept for an hour");
        }
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, rounds * 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_linked_sets_at_once_have_one_effect_and_one_answer_each() {
    let house = TestBus::start().await;
    let (alice, bob) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    house.deposit(&alice, "100.00").await;
    let set = |first: &str| {
        vec![
            request(&admin(), first, transfer(&alice, &bob, "1.00")),
            request(&admin(), "shared", transfer(&alice, &bob, "2.00")),
        ]
    };
    let sets = (0..32).map(|n| set(if n % 4 == 3 { "other" } else { "same" }));
    let replies = join_all(sets.map(|set| {
        let bus = house.bus.clone();
        tokio::spawn(async move { bus.execute_linked(set).await })
    }))
    .await;
    let (mut firsts, mut replays, mut conflicts) = (0, 0, 0);
    for replies in replies {
        match &replies.unwrap()[..] {
            [Ok(one), Ok(two)] if one.replayed && two.replayed => replays += 1,
            [Ok(one), _] if matches!(one.outcome, Outcome::Accepted(_)) => firsts += 1,
            both => {
                conflicts += 1;
                assert!(both.iter().all(|reply| code(reply) == Code::IdempotencyConflict));
            }
        }
    }
    // Whichever kind came first, its twins are replays, and the other kind shares a key with it.
    assert_eq!(firsts, 1);
    assert!((replays, conflicts) == (23, 8) || (replays, conflicts) == (7, 24), "{replays} {conflicts}");
    assert_eq!(count_of(&house, "TransferSent").await, 2);
}
