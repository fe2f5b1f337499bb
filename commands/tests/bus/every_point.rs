//! A fault at every single message between the appender and PostgreSQL: whatever it hits, what was acknowledged is there
//! exactly once, what is unknown settles by its key, and what is in memory is the fold of the log.
//!
//! The run with the fault at message n is followed by that at n + 1, until one ends before its message comes.

use std::time::{Duration, Instant};

use commands::bus::BusSettings;
use commands::testing::{TestBus, admin, deposit, request, transfer, withdraw};
use commands::{Failure, Receipt, Request};
use domain::Code;
use domain::ids::AccountId;
use futures::future::join_all;

use crate::failures::{poison, refuse_poison};
use crate::wire::{Fault, Wire, house_on_a_wire};
use crate::{answer, code, kill_appender};

/// Writes go on this soon after a fault: mostly within a tenth of a second, but the machine may be busy with other tests.
const RECOVERY: Duration = Duration::from_secs(15);

/// What is sent in one run.
#[derive(Clone, Copy)]
struct Load {
    settings: fn() -> BusSettings,
    /// Calls at the same time, and requests in each.
    calls: usize,
    each: usize,
    /// One request is what the database refuses.
    poisoned: bool,
    /// The appender's connections are gone when the run begins, so faults meet the recovery.
    cut_off: bool,
    /// Faults strike each message of so many.
    step: usize,
}

/// Batches that go in one message each.
const ONE_MESSAGE: Load = Load {
    settings: || BusSettings { batch_commands: 8, ..BusSettings::default() },
    calls: 3,
    each: 8,
    poisoned: false,
    cut_off: false,
    step: 1,
};

/// Batches whose rows go ahead at the same time.
const OVERLAPPED: Load = Load {
    settings: || BusSettings { batch_commands: 90, ..BusSettings::default() },
    calls: 1,
    each: 360,
    ..ONE_MESSAGE
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_one_alone_lost() {
    strike_each(ONE_MESSAGE, Fault::Lost).await;
    strike_each(Load { cut_off: true, ..ONE_MESSAGE }, Fault::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_one_alone_refused_orphaned_or_late() {
    for fault in [Fault::Refused, Fault::Orphaned, Fault::Late(Duration::from_millis(20))] {
        strike_each(ONE_MESSAGE, fault).await;
    }
    strike_each(Load { cut_off: true, ..ONE_MESSAGE }, Fault::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_overlapping_copies_lost() {
    strike_each(OVERLAPPED, Fault::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_overlapping_copies_refused_or_late() {
    strike_each(OVERLAPPED, Fault::Refused).await;
    strike_each(OVERLAPPED, Fault::Late(Duration::from_millis(20))).await;
    strike_each(Load { cut_off: true, step: 3, ..OVERLAPPED }, Fault::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_overlapping_copies_orphaned() {
    strike_each(Load { step: 2, ..OVERLAPPED }, Fault::Orphaned).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_lost_while_one_that_the_database_refuses_is_hunted() {
    strike_each(Load { poisoned: true, step: 4, ..ONE_MESSAGE }, Fault::Lost).await;
    strike_each(Load { poisoned: true, step: 9, ..OVERLAPPED }, Fault::Lost).await;
}

async fn strike_each(load: Load, fault: Fault) {
    let (house, wire) = house_on_a_wire((load.settings)()).await;
    refuse_poison(&house).await;
    let (mut at, mut runs, begun) = (1, 0, Instant::now());
    while let Some(struck) = run(&house, &wire, load, at, fault).await {
        at += load.step;
        runs += 1;
        assert!(at < 5_000, "it never ends: {struck}");
    }
    assert!(runs > 5, "no more than {runs} messages were struck by {fault:?}");
    println!("{fault:?} in {runs} runs up to message {at}, {:?}", begun.elapsed());
    check_log(&house).await;
}

/// One run with the fault at a message. Says what was struck.
async fn run(house: &TestBus, wire: &Wire, load: Load, at: usize, fault: Fault) -> Option<String> {
    let (rich, poor) = (house.open_account("alice", "EUR").await, house.open_account("bob", "EUR").await);
    house.deposit(&rich, "100.00").await;
    let calls: Vec<Vec<Request>> = (0..load.calls)
        .map(|call| {
            (0..load.each)
                .map(|n| {
                    let command = match n {
                        5 if call == 0 && load.poisoned => poison(&rich),
                        6 => withdraw(&poor, "1000.00"),
                        _ if n % 4 == 0 => deposit(&rich, "0.05"),
                        _ => transfer(&rich, &poor, "0.01"),
                    };
                    request(&admin(), &format!("{rich}-{call}-{n}"), command)
                })
                .collect()
        })
        .collect();
    if load.cut_off {
        kill_appender(house).await;
    }
    wire.strike(at, fault);
    let begun = Instant::now();
    let outcomes =
        tokio::time::timeout(RECOVERY, join_all(calls.iter().map(|call| settle(house, call)))).await;
    let struck = wire.struck();
    let told = format!("{fault:?} at {at}, {struck:?}, after {:?}", begun.elapsed());
    let outcomes = outcomes.unwrap_or_else(|_| panic!("no recovery: {told}"));

    let (mut deposited, mut transferred) = (0, 0);
    for (call, outcome) in calls.iter().zip(&outcomes) {
        for (n, receipt) in outcome.iter().enumerate() {
            let reply = Ok(receipt.clone());
            match n {
                5 if call[0].idempotency_key.contains("-0-") && is_poison(call, n) => {
                    assert_eq!(code(&reply), Code::MalformedInput, "{told}");
                }
                6 => assert_eq!(code(&reply), Code::InsufficientFunds, "{told}"),
                _ => {
                    answer(&reply);
                    *(if n % 4 == 0 { &mut deposited } else { &mut transferred }) += 1;
                }
            }
        }
        // Requests of one call are decided in their order.
        assert!(outcome.iter().filter_map(|receipt| receipt.log_position).is_sorted(), "{told}");
        // Whoever asks again gets the same answer.
        for (again, first) in settle(house, call).await.into_iter().zip(outcome) {
            assert_eq!(
                (again.outcome, again.log_position),
                (first.outcome.clone(), first.log_position),
                "{told}"
            );
            assert!(again.replayed, "{told}");
        }
    }
    assert_eq!(events_of(house, &rich).await, 2 + deposited + transferred, "{told}");
    assert_eq!(events_of(house, &poor).await, 1 + transferred, "{told}");
    // What is in memory decides as the log would.
    for (account, cents) in [(&rich, 10_000 + 5 * deposited - transferred), (&poor, transferred)] {
        let amount = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
        let refused = house.refused(&admin(), withdraw(account, &amount(cents + 1))).await;
        assert_eq!(refused, Code::InsufficientFunds, "{told}");
        house.accepted(&admin(), withdraw(account, &amount(cents))).await;
    }
    assert_eq!(house.log.head(), house.log.read_head().await.unwrap(), "{told}");
    struck
}

fn is_poison(call: &[Request], n: usize) -> bool {
    matches!(&call[n].command, commands::Command::Deposit(deposit) if deposit.reference.is_some())
}

/// Asks until every request has its answer. No answer is given twice as a first one.
async fn settle(house: &TestBus, asked: &[Request]) -> Vec<Receipt> {
    let mut settled: Vec<Option<Receipt>> = vec![None; asked.len()];
    loop {
        for (settled, reply) in settled.iter_mut().zip(house.bus.execute_all(asked.to_vec()).await) {
            match (reply, settled.as_ref()) {
                (Ok(receipt), None) => *settled = Some(receipt),
                (Ok(receipt), Some(_)) => assert!(receipt.replayed, "acknowledged twice"),
                (Err(failure), _) => assert_eq!(failure, Failure::Unavailable),
            }
        }
        if settled.iter().all(Option::is_some) {
            return settled.into_iter().flatten().collect();
        }
    }
}

async fn events_of(house: &TestBus, account: &AccountId) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM log.events WHERE aggregate_type = 'account' AND aggregate_id = $1",
    )
    .bind(account.as_str())
    .fetch_one(&house.database.app)
    .await
    .unwrap()
}

/// The whole log is dense, its streams too, no command is split, and time does not run backward.
async fn check_log(house: &TestBus) {
    let wrong = [
        "SELECT count(*) <> max(log_position) OR max(log_position) <> (SELECT log_position FROM log.log_head) \
         FROM log.events",
        "SELECT bool_or(newest <> events) FROM (SELECT max(sequence) AS newest, count(*) AS events FROM log.events \
         GROUP BY aggregate_type, aggregate_id) AS streams",
        "SELECT bool_or(wrong) FROM (SELECT recorded_at < lag(recorded_at) OVER log OR (lag(remaining) OVER log > 0 \
         AND remaining <> lag(remaining) OVER log - 1) AS wrong FROM log.events WINDOW log AS (ORDER BY log_position)) \
         AS pairs",
    ];
    for sql in wrong {
        let is_wrong: Option<bool> = sqlx::query_scalar(sql).fetch_one(&house.database.app).await.unwrap();
        assert_eq!(is_wrong, Some(false), "{sql}");
    }
    let outcomes: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM log.idempotency_keys AS k WHERE k.outcome::text LIKE '{\"accepted\"%' AND NOT EXISTS \
         (SELECT FROM log.events AS e WHERE e.log_position = k.log_position AND e.remaining = 0)",
    )
    .fetch_one(&house.database.app)
    .await
    .unwrap();
    assert_eq!(outcomes, 0, "accepted without its events");
}
