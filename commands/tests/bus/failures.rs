//! When things break: commits that fail, answers that are lost, data the database refuses, a database that is gone.

use std::time::Duration;

use commands::bus::BusSettings;
use commands::request::MoneyMovement;
use commands::testing::{TestBus, admin, deposit, request, transfer, withdraw};
use commands::{Command, Failure};
use domain::Code;
use domain::ids::AccountId;
use event_store::embedded::Role;
use event_store::embedded::testing::shared_cluster;
use futures::future::join_all;
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::time::MissedTickBehavior;

use crate::wire::{Fault, house_on_a_wire};
use crate::{answer, append_waits, code, count, count_of, hold_head, kill_appender, set_head, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_nothing_is_twice_when_the_appender_is_killed_under_load() {
    let house = TestBus::start().await;
    let (rich, poor) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    house.deposit(&rich, "100000.00").await;
    let clients = (0..16usize).map(|client| {
        let (house, rich, poor) = (house.clone(), rich.clone(), poor.clone());
        tokio::spawn(async move {
            for n in 0..40 {
                let asked = request(&admin(), &format!("{client}-{n}"), transfer(&rich, &poor, "0.01"));
                loop {
                    match house.bus.execute(asked.clone()).await {
                        Err(Failure::Unavailable) => tokio::task::yield_now().await,
                        reply => {
                            answer(&reply);
                            break;
                        }
                    }
                }
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    for sent in [30, 100, 200, 300, 400, 500] {
        until(house.pool(), &format!("SELECT log_position >= 2 * {sent} FROM log.log_head")).await;
        kill_appender(&house).await;
    }
    join_all(clients).await.into_iter().for_each(|client| client.unwrap());
    assert_eq!(count_of(&house, "TransferSent").await, 16 * 40);
    assert_eq!(count_of(&house, "TransferReceived").await, 16 * 40);
    assert_eq!(count(&house, "idempotency_keys").await, 16 * 40 + 3);
    let head: i64 =
        sqlx::query_scalar("SELECT log_position FROM log.log_head").fetch_one(house.pool()).await.unwrap();
    assert_eq!(count(&house, "events").await, head);
    house.accepted(&admin(), withdraw(&poor, "6.40")).await;
    assert_eq!(house.refused(&admin(), withdraw(&poor, "0.01")).await, Code::InsufficientFunds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_between_two_kills_of_an_appender_that_is_killed_all_the_time() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    // Between two kills there is time for a connection and a batch, however busy the machine is.
    let mut pause = Duration::from_millis(30);
    let options = house.database.connect_options(Role::App).await.unwrap();
    for _ in 0..5 {
        let begun = std::time::Instant::now();
        options.connect().await.unwrap().close().await.unwrap();
        pause = pause.max(6 * begun.elapsed());
    }
    let killing = tokio::spawn({
        let house = house.clone();
        async move {
            let mut kills = tokio::time::interval(pause);
            kills.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                kills.tick().await;
                kill_appender(&house).await;
            }
        }
    });
    let writes = async {
        for n in 0..30 {
            let asked = request(&admin(), &format!("key-{n}"), deposit(&account, "1.00"));
            while house.bus.execute(asked.clone()).await == Err(Failure::Unavailable) {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), writes).await.unwrap();
    killing.abort();
    house.accepted(&admin(), withdraw(&account, "30.00")).await;
}

#[tokio::test]
async fn a_commit_that_was_killed_before_it_happened_is_decided_again() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let head = hold_head(&house).await;
    let (bus, asked) = (house.bus.clone(), request(&admin(), "salary", deposit(&account, "10.00")));
    let waiting = tokio::spawn(async move { bus.execute(asked).await });
    append_waits(&house).await;
    kill_appender(&house).await;
    head.rollback().await.unwrap();
    let reply = waiting.await.unwrap();
    answer(&reply);
    assert!(!reply.unwrap().replayed);
    assert_eq!(count_of(&house, "FundsDeposited").await, 1);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_and_answered() {
    let (house, wire) = house_on_a_wire(BusSettings::default()).await;
    let account = house.open_account("alice", "EUR").await;
    house.deposit(&account, "1.00").await;
    wire.strike(1, Fault::Unanswered);
    let reply = house.execute(&admin(), deposit(&account, "10.00")).await;
    assert!(wire.struck().is_some());
    answer(&reply);
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
    house.accepted(&admin(), withdraw(&account, "11.00")).await;
    assert_eq!(house.log.head(), house.log.read_head().await.unwrap());
}

/// A deposit that the database refuses after [`refuse_poison`].
pub fn poison(account: &AccountId) -> Command {
    Command::Deposit(MoneyMovement {
        account_id: account.clone(),
        amount: "1.00".parse().unwrap(),
        reference: Some("poison".into()),
        effective_at: None,
    })
}

/// Makes the database refuse every [`poison`].
pub async fn refuse_poison(house: &TestBus) {
    sqlx::query("ALTER TABLE log.events ADD CONSTRAINT no_poison CHECK (payload::text NOT LIKE '%poison%')")
        .execute(&house.database.superuser)
        .await
        .unwrap();
}

async fn refusing_poison() -> (TestBus, AccountId) {
    let house = TestBus::start().await;
    refuse_poison(&house).await;
    let account = house.open_account("alice", "EUR").await;
    (house, account)
}

#[tokio::test]
async fn what_the_database_refuses_is_refused_alone() {
    let (house, account) = refusing_poison().await;
    let asked: Vec<_> = (0..24)
        .map(|n| {
            let command = if n == 7 || n == 16 { poison(&account) } else { deposit(&account, "1.00") };
            request(&admin(), &format!("key-{n}"), command)
        })
        .collect();
    let replies = house.bus.execute_all(asked.clone()).await;
    for (n, reply) in replies.iter().enumerate() {
        if n == 7 || n == 16 {
            assert_eq!(code(reply), Code::MalformedInput);
        } else {
            answer(reply);
        }
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, 22);
    assert!(house.bus.execute(asked[7].clone()).await.unwrap().replayed, "the refusal is remembered");
    house.accepted(&admin(), withdraw(&account, "22.00")).await;
    assert_eq!(house.refused(&admin(), withdraw(&account, "0.01")).await, Code::InsufficientFunds);
}

#[tokio::test]
async fn a_set_that_the_database_refuses_leaves_nothing() {
    let (house, account) = refusing_poison().await;
    let asked = vec![
        request(&admin(), "fine", deposit(&account, "1.00")),
        request(&admin(), "bad", poison(&account)),
    ];
    for reply in house.bus.execute_linked(asked).await {
        assert_eq!(code(&reply), Code::MalformedInput);
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, 0);
}

#[tokio::test]
async fn an_outcome_that_cannot_be_kept_fails_alone() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    // Too long for the index of the keys, and too random to be compressed below its limit.
    let mut state = 88_172_645_463_325_252u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    });
    let name: String = noise.take(9_000).collect();
    let endless = commands::Principal { name: name.into(), ..admin() };
    let asked = vec![
        request(&admin(), "first", deposit(&account, "1.00")),
        request(&endless, "second", deposit(&account, "1.00")),
        request(&admin(), "third", deposit(&account, "1.00")),
    ];
    let replies = house.bus.execute_all(asked).await;
    answer(&replies[0]);
    assert_eq!(replies[1], Err(Failure::Internal));
    answer(&replies[2]);
    assert_eq!(count_of(&house, "FundsDeposited").await, 2);
}

#[tokio::test]
async fn while_the_database_is_gone_requests_are_unavailable_and_afterwards_they_are_not() {
    let settings = BusSettings { patience: Duration::from_millis(1_500), ..BusSettings::default() };
    let house = TestBus::start_with(settings).await;
    let account = house.open_account("alice", "EUR").await;
    let cluster = shared_cluster().await.unwrap();
    let elsewhere = cluster.connect_options(Role::Superuser).database("postgres");
    let elsewhere = PgPoolOptions::new().connect_with(elsewhere).await.unwrap();
    let name = house.database.name();
    let allow = async |allowed: bool| {
        let sql = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {allowed}");
        sqlx::query(&sql).execute(&elsewhere).await.unwrap();
    };
    allow(false).await;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(name)
        .execute(&elsewhere)
        .await
        .unwrap();
    let asked: Vec<_> =
        (0..4).map(|n| request(&admin(), &format!("key-{n}"), deposit(&account, "1.00"))).collect();
    let begun = std::time::Instant::now();
    for reply in join_all(asked.iter().map(|asked| house.bus.execute(asked.clone()))).await {
        assert_eq!(reply, Err(Failure::Unavailable));
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "the wait is bounded");
    allow(true).await;
    for asked in asked {
        let reply = loop {
            match house.bus.execute(asked.clone()).await {
                Err(Failure::Unavailable) => tokio::task::yield_now().await,
                reply => break reply,
            }
        };
        answer(&reply);
    }
    assert_eq!(count_of(&house, "FundsDeposited").await, 4);
}

#[tokio::test]
async fn a_sequence_taken_by_a_foreign_writer_is_never_written_over() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    // Somebody writes past the head, as only an intruder can.
    sqlx::query(
        "INSERT INTO log.events SELECT log_position + 1000, 2, recorded_at, gen_random_uuid(), 0, aggregate_type, \
         aggregate_id, 'AccountFrozen', '1', '{\"AccountFrozen\":{\"reason\":\"audit\"}}', metadata FROM log.events",
    )
    .execute(house.pool())
    .await
    .unwrap();
    assert_eq!(house.refused(&admin(), deposit(&account, "1.00")).await, Code::AccountFrozen);
    assert_eq!(count_of(&house, "FundsDeposited").await, 0);
}

#[tokio::test]
async fn an_append_at_another_position_than_expected_steps_down_and_begins_anew() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    sqlx::query(
        "INSERT INTO log.events SELECT log_position + 1, 2, recorded_at, gen_random_uuid(), 0, aggregate_type, \
         aggregate_id, 'AccountFrozen', '1', '{\"AccountFrozen\":{\"reason\":\"audit\"}}', metadata FROM log.events",
    )
    .execute(house.pool())
    .await
    .unwrap();
    set_head(&house, "log_position = log_position + 1").await;
    assert_eq!(house.execute(&admin(), deposit(&account, "1.00")).await, Err(Failure::Unavailable));
    house.bus.leads().wait_for(|leads| *leads).await.unwrap();
    assert_eq!(house.refused(&admin(), deposit(&account, "1.00")).await, Code::AccountFrozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_nothing_is_twice_when_batches_that_overlap_are_killed() {
    // Many small batches, several of them on their way at any time.
    let settings = BusSettings { batch_commands: 160, ..BusSettings::default() };
    let house = TestBus::start_with(settings).await;
    let (rich, poor) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    house.deposit(&rich, "100000.00").await;
    const CALLS: usize = 8;
    const EACH: usize = 600;
    let clients: Vec<_> = (0..CALLS)
        .map(|client| {
            let (house, rich, poor) = (house.clone(), rich.clone(), poor.clone());
            tokio::spawn(async move {
                let key = |n| format!("{client}-{n}");
                let asked: Vec<_> =
                    (0..EACH).map(|n| request(&admin(), &key(n), transfer(&rich, &poor, "0.01"))).collect();
                loop {
                    let replies = house.bus.execute_all(asked.clone()).await;
                    if !replies.contains(&Err(Failure::Unavailable)) {
                        break replies.iter().for_each(|reply| drop(answer(reply)));
                    }
                }
            })
        })
        .collect();
    for sent in [300, 1_000, 2_000, 3_000, 4_000] {
        until(house.pool(), &format!("SELECT log_position >= 2 * {sent} FROM log.log_head")).await;
        kill_appender(&house).await;
    }
    join_all(clients).await.into_iter().for_each(|client| client.unwrap());
    assert_eq!(count_of(&house, "TransferSent").await as usize, CALLS * EACH);
    assert_eq!(count_of(&house, "TransferReceived").await as usize, CALLS * EACH);
    assert_eq!(count(&house, "idempotency_keys").await as usize, CALLS * EACH + 3);
    assert_eq!(house.log.head(), house.log.read_head().await.unwrap());
    house.accepted(&admin(), withdraw(&poor, "48.00")).await;
    assert_eq!(house.refused(&admin(), withdraw(&poor, "0.01")).await, Code::InsufficientFunds);
}
