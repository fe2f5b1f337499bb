//! Readers of the bank: they look at it all the time, and every snapshot must have the same total.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::asking::look;
use crate::findings::Check;
use crate::load::Load;
use crate::scene::{ACCOUNTS, BANK, TOTAL};

/// Readers at the same time.
const READERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(15);

const LOOK: &str = "query($at: LogPosition, $owner: String) {
    accounts(owner: $owner, first: 50, atLeast: $at) { edges { node {
        id balance held available overdraftLimit logPosition } } }
    trialBalance(atLeast: $at) { asset debits credits difference }
}";

/// What an account has, in cents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    pub id: String,
    pub balance: i128,
    pub held: i128,
}

/// The bank at one position of the log.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub read_at: u64,
    /// Ordered by id.
    pub accounts: Vec<Standing>,
}

/// Lets the readers begin. They end with the load.
pub fn start(load: &Load) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for number in 0..READERS {
        let load = load.clone();
        readers.spawn(async move {
            let mut round = number;
            while !load.is_stopped() {
                round += 1;
                // Every second time with the newest write that anybody was told of.
                let at_least = (round % 2 == 0).then(|| load.newest()).filter(|at| *at > 0);
                let _ = snapshot(&load, load.addresses.of(round), at_least).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    readers
}

/// The bank's accounts in one snapshot. `None` if they could not be read.
pub async fn snapshot(load: &Load, address: SocketAddr, at_least: Option<u64>) -> Option<Snapshot> {
    let variables = json!({"owner": BANK, "at": at_least.map(|at| at.to_string())});
    let data = look(&load.client, address, LOOK, variables, &load.findings).await.ok()?;
    let (mut accounts, mut newest) = (Vec::new(), None);
    for edge in data["accounts"]["edges"].as_array()? {
        let account = &edge["node"];
        let read_at: u64 = account["logPosition"].as_str()?.parse().ok()?;
        load.findings.expect(at_least.is_none_or(|at| read_at >= at), Check::ReadsOwnWrites, || {
            format!("asked for at least {at_least:?}, got {account}")
        });
        load.findings.expect(*newest.get_or_insert(read_at) == read_at, Check::Snapshots, || {
            format!("one snapshot, read at {newest:?} and, for {account}, at {read_at}")
        });
        load.findings
            .expect(is_available(account)?, Check::Available, || format!("it does not add up: {account}"));
        accounts.push(Standing {
            id: account["id"].as_str()?.to_owned(),
            balance: cents(account["balance"].as_str()?),
            held: cents(account["held"].as_str()?),
        });
    }
    let total: i128 = accounts.iter().map(|account| account.balance).sum();
    load.findings.expect(accounts.len() == ACCOUNTS && total == TOTAL, Check::Snapshots, || {
        format!("the bank of {TOTAL} cents has {total}: {accounts:?}")
    });
    for line in data["trialBalance"].as_array()? {
        let is_zero = line["difference"].as_str()?.chars().all(|digit| matches!(digit, '0' | '.'));
        load.findings.expect(is_zero && line["debits"] == line["credits"], Check::Snapshots, || {
            format!("the books do not balance: {line}")
        });
    }
    accounts.sort();
    Some(Snapshot { read_at: newest?, accounts })
}

/// Whether what is available follows from the rest, and there is something of it or nothing, but no less.
pub fn is_available(account: &Value) -> Option<bool> {
    let of = |field: &str| account[field].as_str().map(cents);
    let available = of("available")?;
    Some(available == of("balance")? - of("held")? + of("overdraftLimit")? && available >= 0)
}

/// An amount such as `12.50` or `12.50 EUR` in cents.
pub fn cents(amount: &str) -> i128 {
    let digits: String = amount.chars().filter(|digit| digit.is_ascii_digit() || *digit == '-').collect();
    digits.parse().unwrap()
}

/// The cents of an amount in an event.
pub fn cents_of(amount: &Value) -> i128 {
    cents(amount.as_str().unwrap())
}
