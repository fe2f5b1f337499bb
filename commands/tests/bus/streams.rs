//! Streams: what is loaded from the log equals what was in memory, under eviction, snapshots and concurrency.

use std::time::Duration;

use commands::Failure;
use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, open_account, request, transfer, withdraw};
use domain::account::{Account, AccountEvent};
use domain::ids::AccountId;
use domain::{Code, Decider};
use event_store::StreamId;

use crate::{answer, code, until};

/// The fold of the account's events, up to a sequence.
async fn fold(house: &TestBus, id: &AccountId, up_to: usize) -> Account {
    let events = house.log.stream(&StreamId::new("account", id.as_str()), 0, up_to).await.unwrap();
    let mut account = Account::default();
    for event in events {
        account.apply(&event.decode::<AccountEvent>().unwrap());
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

/// Writes one more event into the account's stream, past the bus.
async fn damage(house: &TestBus, account: &AccountId, sequence: i64, event_type: &str) {
    sqlx::query(
        "INSERT INTO log.events SELECT log_position + 1, $2, recorded_at, gen_random_uuid(), 0, aggregate_type, $1, \
         $3, '7', json_build_object($3, '{}'::json), metadata FROM log.events ORDER BY log_position DESC LIMIT 1",
    )
    .bind(account.as_str())
    .bind(sequence)
    .bind(event_type)
    .execute(house.pool())
    .await
    .unwrap();
    crate::set_head(house, "log_position = log_position + 1").await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_stops_its_commands_and_no_others() {
    let house = TestBus::start().await;
    let (unknown, gap) = (house.open_account("alice", "EUR").await, house.open_account("anna", "EUR").await);
    let mut sound = Vec::new();
    for owner in ["bob", "carol", "dora"] {
        sound.push(house.open_account(owner, "EUR").await);
    }
    house.bus.stop().await;
    damage(&house, &unknown, 2, "FundsTeleported").await;
    damage(&house, &gap, 3, "FundsDeposited").await;
    // With one load at a time, the others wait for the first and are loaded together.
    let house = house.restart(BusSettings { loads: 1, ..BusSettings::default() }).await;
    let asked = [&sound[0], &unknown, &sound[1], &gap, &sound[2]];
    let asked = asked.into_iter().enumerate();
    let asked = asked.map(|(n, account)| request(&admin(), &format!("key-{n}"), deposit(account, "1.00")));
    let replies = house.bus.execute_all(asked.collect()).await;
    for (place, reply) in replies.iter().enumerate() {
        match place {
            1 | 3 => assert_eq!(reply, &Err(Failure::Internal)),
            _ => drop(answer(reply)),
        }
    }
    house.deposit(&sound[0], "1.00").await;
}

#[tokio::test]
async fn a_stream_whose_query_fails_does_not_keep_others_from_being_loaded() {
    let house = TestBus::start().await;
    let failing = house.open_account("alice", "EUR").await;
    let mut sound = Vec::new();
    for owner in ["bob", "carol"] {
        sound.push(house.open_account(owner, "EUR").await);
    }
    let sql = format!(
        "CREATE FUNCTION public.fail(id text) RETURNS boolean LANGUAGE plpgsql AS $$ \
         BEGIN IF id = '{failing}' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN true; END $$; \
         CREATE FUNCTION public.store() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN INSERT INTO log.stored_events VALUES (NEW.*); RETURN NEW; END $$; \
         ALTER TABLE log.events RENAME TO stored_events; \
         CREATE VIEW log.events AS SELECT * FROM log.stored_events WHERE public.fail(aggregate_id); \
         CREATE TRIGGER store INSTEAD OF INSERT ON log.events FOR EACH ROW EXECUTE FUNCTION public.store(); \
         GRANT SELECT, INSERT ON log.events TO daybook_app"
    );
    sqlx::raw_sql(&sql).execute(&house.database.superuser).await.unwrap();
    let patience = Duration::from_secs(5);
    let house = house.restart(BusSettings { loads: 1, patience, ..BusSettings::default() }).await;
    let asked = [&sound[0], &failing, &sound[1]];
    let replies = asked.map(|account| {
        let (house, account) = (house.clone(), account.clone());
        tokio::spawn(async move { house.execute(&admin(), deposit(&account, "1.00")).await })
    });
    let [first, failed, last] = replies;
    answer(&first.await.unwrap());
    answer(&last.await.unwrap());
    assert!(!failed.is_finished(), "it is tried again");
    assert_eq!(failed.await.unwrap(), Err(Failure::Unavailable));
}

#[tokio::test]
async fn more_cold_streams_than_one_load_takes_are_all_loaded() {
    let house = TestBus::start().await;
    let open = (0..150).map(|n| request(&admin(), &format!("open-{n}"), open_account("alice", "EUR")));
    let opened = house.bus.execute_all(open.collect()).await;
    let accounts: Vec<AccountId> = opened.iter().map(|reply| answer(reply).account_id.unwrap()).collect();
    let house = house.restart(BusSettings { loads: 2, ..BusSettings::default() }).await;
    let deposits = accounts.iter().enumerate();
    let deposits =
        deposits.map(|(n, account)| request(&admin(), &format!("key-{n}"), deposit(account, "1.00")));
    house.bus.execute_all(deposits.collect()).await.iter().for_each(|reply| drop(answer(reply)));
    for account in [&accounts[0], &accounts[77], &accounts[149]] {
        assert_eq!(balance(&house, account).await, 100);
    }
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
