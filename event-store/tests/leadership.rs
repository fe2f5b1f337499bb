//! The lease: one leader at a time, its epoch on every append, clocks that agree.

mod common;

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use common::{TTL, Writer, event, lead, one};
use event_store::embedded::testing::TestDatabase;
use event_store::{AppendError, Appender, Leadership, LeadershipError, LogPosition};

async fn leadership() -> (TestDatabase, Leadership) {
    let database = TestDatabase::create().await.unwrap();
    let leadership = Leadership::new(database.app.clone());
    (database, leadership)
}

/// Ends the lease by PostgreSQL's clock, as waiting would.
async fn let_lease_run_out(database: &TestDatabase) {
    sqlx::query("UPDATE log.log_head SET lease_until = clock_timestamp()")
        .execute(&database.app)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_one_node_holds_the_lease_until_it_runs_out() {
    let (database, leadership) = leadership().await;
    let first = leadership.acquire("node-1", TTL).await.unwrap().expect("nobody held it");
    assert_eq!(leadership.acquire("node-2", TTL).await.unwrap(), None);
    assert_eq!(leadership.current().await.unwrap().node.as_deref(), Some("node-1"));

    let_lease_run_out(&database).await;
    let second = leadership.acquire("node-2", TTL).await.unwrap().expect("it has run out");
    assert!(second.epoch() > first.epoch());
    assert!(matches!(leadership.renew(&first).await, Err(LeadershipError::Deposed)));
    leadership.renew(&second).await.unwrap();
}

#[tokio::test]
async fn of_many_nodes_that_reach_for_it_at_once_one_gets_it() {
    let (_database, leadership) = leadership().await;
    let attempts = (0..8).map(|node| {
        let leadership = leadership.clone();
        async move { leadership.acquire(&format!("node-{node}"), TTL).await.unwrap() }
    });
    let leases = futures::future::join_all(attempts).await;
    assert_eq!(leases.iter().flatten().count(), 1);
}

#[tokio::test]
async fn a_renewed_lease_holds_longer_and_a_released_one_is_free_at_once() {
    let (_database, leadership) = leadership().await;
    let lease = leadership.acquire("node-1", Duration::from_secs(1)).await.unwrap().unwrap();
    let before = leadership.current().await.unwrap().lease_until.unwrap();
    leadership.renew(&lease).await.unwrap();
    assert!(leadership.current().await.unwrap().lease_until.unwrap() > before);

    leadership.release(lease).await.unwrap();
    assert_eq!(leadership.current().await.unwrap().node, None);
    assert!(leadership.acquire("node-2", TTL).await.unwrap().is_some());
}

/// A node may be frozen while PostgreSQL still works on what it has sent.
#[tokio::test]
async fn what_has_waited_extends_the_lease_from_when_it_was_sent() {
    let mut writer = Writer::start().await;
    let leadership = Leadership::new(writer.database.app.clone());
    let waits = Duration::from_secs(1);
    for what in ["renewal", "one statement", "commit"] {
        let batch = writer.batch(vec![one(vec![event(what, 1)])]);
        if what == "commit" {
            writer.appender.stage(&batch).await.unwrap();
        }
        let_lease_run_out(&writer.database).await;
        let mut head = writer.database.superuser.begin().await.unwrap();
        sqlx::query("UPDATE log.log_head SET epoch = epoch").execute(&mut *head).await.unwrap();
        let watcher = writer.database.clone();
        let sent = async {
            match what {
                "renewal" => leadership.renew(&writer.lease).await.unwrap(),
                "one statement" => drop(writer.appender.append(&batch).await.unwrap()),
                _ => writer.appender.commit(&batch).await.unwrap(),
            }
        };
        let ((), locked_until) = tokio::join!(sent, async {
            common::until_a_backend_waits_for_a_lock(&watcher).await;
            let waiting = Utc::now();
            tokio::time::sleep(waits).await;
            head.commit().await.unwrap();
            waiting
        });
        let until = leadership.current().await.unwrap().lease_until.unwrap();
        assert!(until > locked_until, "{what}: it is extended");
        assert!(until <= locked_until + TTL, "{what}: {until} is more than {TTL:?} after {locked_until}");
    }
}

#[tokio::test]
async fn releasing_after_a_takeover_changes_nothing() {
    let (database, leadership) = leadership().await;
    let first = leadership.acquire("node-1", TTL).await.unwrap().unwrap();
    let_lease_run_out(&database).await;
    let second = leadership.acquire("node-2", TTL).await.unwrap().unwrap();
    leadership.release(first).await.unwrap();
    leadership.renew(&second).await.unwrap();
}

#[tokio::test]
async fn a_restarted_node_gets_its_own_lease_back_under_a_new_epoch() {
    let (_database, leadership) = leadership().await;
    let before = leadership.acquire("node-1", TTL).await.unwrap().unwrap();
    let after = leadership.acquire("node-1", TTL).await.unwrap().expect("it is its own");
    assert!(after.epoch() > before.epoch());
}

#[tokio::test]
async fn a_lease_tells_the_head_and_the_newest_time() {
    let mut writer = Writer::start().await;
    assert_eq!(writer.lease.head, LogPosition::ZERO);
    assert_eq!(writer.lease.last_recorded_at, None);
    let batch = writer.batch(vec![one(vec![event("a", 1), event("a", 2)])]);
    writer.appender.append(&batch).await.unwrap();
    let lease = lead(&writer.database, "node-2").await;
    assert_eq!(lease.head, LogPosition(2));
    assert_eq!(lease.last_recorded_at, Some(batch.recorded()[0].recorded_at));
}

#[tokio::test]
async fn a_node_whose_clock_is_off_does_not_lead() {
    let (database, leadership) = leadership().await;
    for (off_ms, leads) in
        [(5_000, false), (-5_000, false), (700, false), (-700, false), (100, true), (-100, true)]
    {
        let off = TimeDelta::milliseconds(off_ms);
        let node = Leadership::with_clock(database.app.clone(), move || Utc::now() + off);
        match node.acquire("node-1", TTL).await {
            Ok(lease) => assert!(leads && lease.is_some(), "{off_ms} ms"),
            Err(LeadershipError::ClockSkew { skew_ms }) => {
                assert!(!leads && skew_ms.signum() == off_ms.signum(), "{off_ms} ms: {skew_ms}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let lease = leadership.acquire("node-1", TTL).await.unwrap().unwrap();
    let stepped = Leadership::with_clock(database.app.clone(), || Utc::now() + TimeDelta::seconds(2));
    assert!(matches!(stepped.renew(&lease).await, Err(LeadershipError::ClockSkew { .. })));
}

#[tokio::test]
async fn a_deposed_leader_appends_nothing() {
    let mut writer = Writer::start().await;
    writer.append(vec![one(vec![event("a", 1)])]).await;
    let successor = lead(&writer.database, "node-2").await;

    let late = writer.batch(vec![common::keyed("k", vec![event("a", 2)])]);
    assert!(matches!(writer.appender.append(&late).await, Err(AppendError::Deposed(_))));
    let empty = writer.batch(vec![]);
    assert!(matches!(writer.appender.append(&empty).await, Err(AppendError::Deposed(_))));
    assert_eq!(writer.count("events").await, 1);
    assert_eq!(writer.count("idempotency_keys").await, 0);

    let log = writer.open_log().await;
    let mut appender = Appender::connect(&log, &successor).await.unwrap();
    assert_eq!(appender.append(&late).await, Ok(LogPosition(2)), "the successor may");
    appender.close().await;
}

#[tokio::test]
async fn a_released_lease_appends_nothing() {
    let mut writer = Writer::start().await;
    let leadership = Leadership::new(writer.database.app.clone());
    leadership.release(writer.lease.clone()).await.unwrap();
    let late = writer.batch(vec![one(vec![event("a", 1)])]);
    assert!(matches!(writer.appender.append(&late).await, Err(AppendError::Deposed(_))));
    assert_eq!(writer.count("events").await, 0);
}

#[tokio::test]
async fn an_append_that_waits_while_another_node_takes_over_writes_nothing() {
    let mut writer = Writer::start().await;
    let mut takeover = writer.database.app.begin().await.unwrap();
    sqlx::query("UPDATE log.log_head SET epoch = epoch + 1, leader = 'node-2'")
        .execute(&mut *takeover)
        .await
        .unwrap();
    let late = writer.batch(vec![one(vec![event("a", 1)])]);
    let watcher = writer.database.clone();
    let (appended, ()) = tokio::join!(writer.appender.append(&late), async {
        common::until_a_backend_waits_for_a_lock(&watcher).await;
        takeover.commit().await.unwrap();
    });
    assert!(matches!(appended, Err(AppendError::Deposed(_))));
    assert_eq!(writer.count("events").await, 0);
}
