//! Streams: what is loaded from the log equals what was in memory, under eviction, snapshots and concurrency.

use commands::aggregates::Kept;
use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, request, transfer, withdraw};
use domain::account::{Account, AccountEvent};
use domain::ids::AccountId;
use domain::{Code, Decider};

use crate::{answer, code, until};

/// The fold of the account's events, up to a sequence.
async fn fold(house: &TestBus, id: &AccountId, up_to: usize) -> Account {
    let events = Account::events_after(house.pool(), id.as_str(), 0).await.unwrap();
    let mut account = Account::default();
    for event in events.into_iter().take(up_to) {
        account.apply(&serde_json::from_value::<AccountEvent>(event.payload).unwrap());
    }
    account
}

async fn balance(house: &TestBus, id: &AccountId) -> i128 {
    fold(house, id, usize::MAX).await.opened().unwrap().balance.units()
}

#[tokio::test]
async fn a_cold_load_equals_what_was_in_memory() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    for _ in 0..7 {
        house.deposit(&account, "1.00").await;
    }
    let house = house.restart(BusSettings::default()).await;
    assert_eq!(house.refused(&admin(), withdraw(&account, "7.01")).await, Code::InsufficientFunds);
    house.accepted(&admin(), withdraw(&account, "7.00")).await;
    assert_eq!(house.refused(&admin(), withdraw(&account, "0.01")).await, Code::InsufficientFunds);
}

#[tokio::test]
async fn a_snapshot_and_the_tail_after_it_equal_the_whole_stream() {
    let settings = || BusSettings { snapshot_every: 5, ..BusSettings::default() };
    let house = TestBus::start_with(settings()).await;
    let account = house.open_account("alice", "EUR").await;
    for _ in 0..12 {
        house.deposit(&account, "1.00").await;
    }
    until(house.pool(), "SELECT count(*) = 1 FROM log.snapshots WHERE sequence = 10").await;
    let state: String =
        sqlx::query_scalar("SELECT state::text FROM log.snapshots").fetch_one(house.pool()).await.unwrap();
    assert_eq!(serde_json::from_str::<Account>(&state).unwrap(), fold(&house, &account, 10).await);
    // Only the snapshot knows of this, so it is what the load begins with.
    let other = state.replace("\"9.00 EUR\"", "\"9.50 EUR\"");
    assert_ne!(other, state, "the balance stands in {state}");
    sqlx::query("UPDATE log.snapshots SET state = $1::json").bind(other).execute(house.pool()).await.unwrap();
    let house = house.restart(settings()).await;
    house.accepted(&admin(), withdraw(&account, "12.50")).await;
}

#[tokio::test]
async fn an_unreadable_or_older_snapshot_is_passed_over() {
    let settings = || BusSettings { snapshot_every: 2, ..BusSettings::default() };
    let house = TestBus::start_with(settings()).await;
    let account = house.open_account("alice", "EUR").await;
    house.deposit(&account, "3.00").await;
    until(house.pool(), "SELECT count(*) = 1 FROM log.snapshots").await;
    for (column, value) in [("state", "'[]'"), ("state_version", "state_version + 1")] {
        let sql = format!("UPDATE log.snapshots SET {column} = {value}");
        sqlx::query(&sql).execute(house.pool()).await.unwrap();
        let other = TestBus { ..house.clone() }.restart(settings()).await;
        other.accepted(&admin(), withdraw(&account, "1.00")).await;
        other.bus.stop().await;
    }
}

#[tokio::test]
async fn an_event_of_an_unknown_version_stops_the_command_and_not_the_bus() {
    let house = TestBus::start().await;
    let account = house.open_account("alice", "EUR").await;
    let other = house.open_account("bob", "EUR").await;
    house.bus.stop().await;
    sqlx::query(
        "INSERT INTO log.events SELECT log_position + 1, 2, recorded_at, gen_random_uuid(), 0, aggregate_type, $1, \
         'FundsTeleported', '7', '{\"FundsTeleported\":{}}', metadata FROM log.events ORDER BY log_position DESC LIMIT 1",
    )
    .bind(account.as_str())
    .execute(house.pool())
    .await
    .unwrap();
    crate::set_head(&house, "log_position = log_position + 1").await;
    let house = house.restart(BusSettings::default()).await;
    assert_eq!(house.refused(&admin(), deposit(&account, "1.00")).await, Code::Internal);
    house.deposit(&other, "1.00").await;
}

#[tokio::test]
async fn a_cold_command_does_not_hold_up_others() {
    let house = TestBus::start().await;
    let (cold, hot) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    let house = house.restart(BusSettings::default()).await;
    house.deposit(&hot, "1.00").await;
    let mut blocked = house.database.superuser.begin().await.unwrap();
    sqlx::query("LOCK TABLE log.snapshots IN ACCESS EXCLUSIVE MODE").execute(&mut *blocked).await.unwrap();
    let (bus, asked) = (house.bus.clone(), request(&admin(), "cold", deposit(&cold, "1.00")));
    let waiting = tokio::spawn(async move { bus.execute(asked).await });
    until(
        &house.database.superuser,
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .await;
    house.deposit(&hot, "1.00").await;
    assert!(!waiting.is_finished());
    blocked.rollback().await.unwrap();
    answer(&waiting.await.unwrap());
}

#[tokio::test]
async fn requests_of_one_call_keep_their_order_over_cold_streams() {
    let house = TestBus::start().await;
    let (alice, bob) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    let house = house.restart(BusSettings::default()).await;
    house.accepted(&admin(), deposit(&bob, "0.01")).await;
    let steps = [deposit(&alice, "5.00"), transfer(&alice, &bob, "5.00"), withdraw(&bob, "5.01")];
    let asked = steps.into_iter().enumerate();
    let asked = asked.map(|(place, command)| request(&admin(), &format!("step-{place}"), command)).collect();
    for reply in house.bus.execute_all(asked).await {
        answer(&reply);
    }
}

#[tokio::test]
async fn an_unknown_account_is_refused() {
    let house = TestBus::start().await;
    let nobody = AccountId::new("0198c0de-0000-7000-8000-000000000000");
    assert_eq!(house.refused(&admin(), deposit(&nobody, "1.00")).await, Code::AccountNotFound);
}

/// Transfers among few accounts from many tasks at once: the sum stays, nobody goes below zero, and every answer is
/// what the log says.
async fn transfers_keep_the_sum(settings: BusSettings, accounts: usize) {
    let house = TestBus::start_with(settings).await;
    let mut ids = Vec::new();
    for n in 0..accounts {
        ids.push(house.open_account(&format!("owner-{n}"), "EUR").await);
        house.deposit(&ids[n], "3.00").await;
    }
    let tasks = (0..16usize).map(|task| {
        let (house, ids) = (house.clone(), ids.clone());
        tokio::spawn(async move {
            let mut accepted = 0;
            for round in 0..25usize {
                let from = (task * 7 + round * 3) % ids.len();
                let to = (from + 1 + (task + round) % (ids.len() - 1)) % ids.len();
                let amount = format!("{}.{:02}", round % 3, 1 + task);
                let reply = house.execute(&admin(), transfer(&ids[from], &ids[to], &amount)).await;
                match reply.as_ref().unwrap().log_position {
                    Some(_) => accepted += 1,
                    None => assert_eq!(code(&reply), Code::InsufficientFunds),
                }
            }
            accepted
        })
    });
    let accepted: i64 = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(crate::count_of(&house, "TransferSent").await, accepted);
    assert_eq!(crate::count_of(&house, "TransferReceived").await, accepted);
    assert!(accepted > 0 && accepted < 16 * 25, "both outcomes are met: {accepted}");
    let mut sum = 0;
    for id in &ids {
        let balance = balance(&house, id).await;
        assert!(balance >= 0);
        sum += balance;
    }
    assert_eq!(sum, 300 * accounts as i128);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_transfers_among_hot_accounts_keep_the_sum() {
    transfers_keep_the_sum(BusSettings::default(), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_transfers_keep_the_sum_while_nearly_everything_is_evicted() {
    let settings = BusSettings { cached_aggregates: 3, batch_commands: 4, ..BusSettings::default() };
    transfers_keep_the_sum(settings, 12).await;
}
