//! `kill -9` of the server, of PostgreSQL and of both: what was acknowledged is there, once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::daybook::{Daybook, LIMIT, demo_account, folder};

/// Deposits of one unit under numbered keys.
async fn deposit_all(daybook: &Daybook, account: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(daybook.deposit(account, &format!("deposit {number}")).await);
    }
    positions
}

/// Every deposit is there once: the balance, the answers under the same keys, the trial balance.
async fn settle(daybook: &Daybook, account: &str, acknowledged: &[String]) {
    let count = u32::try_from(acknowledged.len()).unwrap();
    assert_eq!(deposit_all(daybook, account, 0..count).await, acknowledged);
    let distinct: BTreeSet<_> = acknowledged.iter().collect();
    assert_eq!(distinct.len(), acknowledged.len());
    assert_eq!(demo_account(daybook).await.1, format!("{}.00000000", 100_000 + count));
    let head = daybook.data("auditor", "{ head }", json!({})).await["head"].clone();
    let query = "query ($head: LogPosition!) { trialBalance(atLeast: $head) { difference } }";
    let lines = daybook.data("auditor", query, json!({"head": head})).await;
    for line in lines["trialBalance"].as_array().unwrap() {
        assert_eq!(line["difference"], "0.00000000");
    }
}

#[tokio::test]
async fn after_the_death_of_postgresql_the_same_server_goes_on() {
    let folder = folder();
    let daybook = Daybook::start(&folder.path().join("data"));
    let (account, _) = demo_account(&daybook).await;
    let mut acknowledged = deposit_all(&daybook, &account, 0..10).await;
    let killed = daybook.postmaster();
    let more = async {
        daybook.kill_postgres();
        deposit_all(&daybook, &account, 10..40).await
    };
    acknowledged.extend(more.await);
    assert_ne!(daybook.postmaster(), killed);
    daybook.ready().await;
    settle(&daybook, &account, &acknowledged).await;
}

#[tokio::test]
async fn while_postgresql_is_away_the_server_lives_and_is_not_ready() {
    let folder = folder();
    let daybook = Daybook::start(&folder.path().join("data"));
    daybook.ready().await;
    // A server that hangs is away for as long as the test wants.
    let postmaster = daybook.postmaster();
    let backends = children_of(postmaster);
    for process in backends.iter().chain([&postmaster]) {
        rustix::process::kill_process(*process, rustix::process::Signal::STOP).unwrap();
    }
    let begun = Instant::now();
    while daybook.status("/readyz").await != 503 {
        assert!(begun.elapsed() < LIMIT, "it stays ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(daybook.status("/livez").await, 200);
    for process in backends.iter().chain([&postmaster]) {
        rustix::process::kill_process(*process, rustix::process::Signal::CONT).unwrap();
    }
    daybook.ready().await;
}

fn children_of(parent: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let number = parent.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap();
    list.split_whitespace().filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?)).collect()
}

#[tokio::test]
async fn after_the_death_of_the_server_the_next_one_goes_on() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = Daybook::start(&data);
    let (account, _) = demo_account(&daybook).await;
    let acknowledged = deposit_all(&daybook, &account, 0..20).await;
    daybook.kill();
    let daybook = Daybook::start(&data);
    settle(&daybook, &account, &acknowledged).await;
}

#[tokio::test]
async fn after_the_death_of_both_the_next_start_goes_on() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = Daybook::start(&data);
    let (account, _) = demo_account(&daybook).await;
    let acknowledged = deposit_all(&daybook, &account, 0..20).await;
    daybook.kill_postgres();
    daybook.kill();
    let daybook = Daybook::start(&data);
    settle(&daybook, &account, &acknowledged).await;
}
