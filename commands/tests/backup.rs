//! A backup that is taken while clients write: the bus on the restored log knows what it had acknowledged.

#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, request, transfer, withdraw};
use commands::{Failure, Outcome, Receipt, Request};
use domain::Code;
use domain::ids::AccountId;
use event_store::LogPosition;
use event_store::backup::{BackupOptions, RestoreOptions, backup, restore};
use event_store::embedded::testing::TestDatabase;
use tokio::sync::Mutex;

const CLIENTS: usize = 16;

/// What a client asked and what it was answered, in the order of the answers.
type Journal = Arc<Mutex<Vec<(Request, Receipt)>>>;

/// Transfers in a circle and asks for more than there is, until it is told to stop.
async fn client(
    house: TestBus,
    number: usize,
    accounts: Vec<AccountId>,
    journal: Journal,
    stop: Arc<AtomicBool>,
) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        let from = &accounts[(number + turn) % accounts.len()];
        let to = &accounts[(number + turn + 1) % accounts.len()];
        let command = if turn % 5 == 4 { withdraw(from, "1000000.00") } else { transfer(from, to, "0.01") };
        let asked = request(&admin(), &format!("client-{number}-{turn}"), command);
        let receipt = house.bus.execute(asked.clone()).await.unwrap();
        journal.lock().await.push((asked, receipt));
        turn += 1;
    }
}

/// How many sides of transfers there are.
async fn sides(house: &TestBus) -> (i64, i64) {
    let of = |event_type: &'static str| {
        sqlx::query_scalar("SELECT count(*) FROM log.events WHERE event_type = $1")
            .bind(event_type)
            .fetch_one(house.pool())
    };
    (of("TransferSent").await.unwrap(), of("TransferReceived").await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_of_a_restored_log_get_the_answers_that_were_acknowledged_before_the_backup_began() {
    let house = TestBus::start().await;
    let mut accounts = Vec::new();
    for owner in ["alice", "bob", "carol", "dave"] {
        let account = house.open_account(owner, "EUR").await;
        house.deposit(&account, "1000.00").await;
        accounts.push(account);
    }
    let (journal, stop) = (Journal::default(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (house, accounts) = (house.clone(), accounts.clone());
            tokio::spawn(client(house, number, accounts, Arc::clone(&journal), Arc::clone(&stop)))
        })
        .collect();
    house.log.wait_for(LogPosition(400), Duration::from_secs(30)).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("backup");
    let acknowledged = journal.lock().await.clone();
    let options = BackupOptions { events_a_file: 50, ..BackupOptions::default() };
    let manifest = backup(house.pool(), &name, &options, &|_| {}).await.unwrap();
    // What is acknowledged after the head was read is not in it.
    house.log.wait_for(manifest.log_position.advance(40), Duration::from_secs(30)).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    house.bus.stop().await;
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());

    let target = TestDatabase::create().await.unwrap();
    restore(&target.app, &name, &RestoreOptions::default(), &|_| {}).await.unwrap();
    let restored = TestBus::on(target, "node-2", BusSettings::default()).await;
    assert_ne!(restored.log.log_id(), house.log.log_id());
    assert_eq!(restored.log.head(), manifest.log_position);
    let (sent, received) = sides(&restored).await;
    assert_eq!(sent, received, "no transfer is there by half");

    for (asked, before) in &acknowledged {
        let after = restored.bus.execute(asked.clone()).await.unwrap();
        assert!(after.replayed, "{} is not in the backup", asked.idempotency_key);
        assert_eq!((&after.outcome, after.log_position), (&before.outcome, before.log_position));
    }
    assert_eq!(restored.log.head(), manifest.log_position, "asking again has no effect");

    // What came too late for the backup is there once after its client has asked again, and again.
    let all = journal.lock().await.clone();
    let too_late: Vec<_> =
        all.iter().filter(|(_, before)| before.log_position > Some(manifest.log_position)).collect();
    assert!(!too_late.is_empty());
    for (asked, before) in &too_late {
        assert!(matches!(before.outcome, Outcome::Accepted(_)));
        let first: Result<Receipt, Failure> = restored.bus.execute(asked.clone()).await;
        assert!(!first.as_ref().unwrap().replayed, "{}", asked.idempotency_key);
        assert!(restored.bus.execute(asked.clone()).await.unwrap().replayed);
    }
    let (sent, received) = sides(&restored).await;
    let transfers = all.iter().filter(|(_, receipt)| receipt.log_position.is_some()).count();
    assert_eq!((sent, received), (i64::try_from(transfers).unwrap(), sent));
    // Nothing else has come or gone: exactly what was deposited can be withdrawn.
    for (from, to) in accounts.iter().skip(1).map(|from| (from, &accounts[0])) {
        let balance = balance(&restored, from).await;
        restored.accepted(&admin(), transfer(from, to, &balance)).await;
    }
    assert_eq!(restored.refused(&admin(), withdraw(&accounts[0], "4000.01")).await, Code::InsufficientFunds);
    restored.accepted(&admin(), withdraw(&accounts[0], "4000.00")).await;
    restored.accepted(&admin(), deposit(&accounts[0], "1.00")).await;
}

/// The account's balance as the events of its stream give it: what was deposited, and a cent for each transfer.
async fn balance(house: &TestBus, account: &AccountId) -> String {
    let cents: i64 = sqlx::query_scalar(
        "SELECT 100000 + sum(CASE event_type WHEN 'TransferReceived' THEN 1 WHEN 'TransferSent' THEN -1 ELSE 0 END) \
         FROM log.events WHERE aggregate_id = $1",
    )
    .bind(account.to_string())
    .fetch_one(house.pool())
    .await
    .unwrap();
    format!("{}.{:02}", cents / 100, cents % 100)
}
