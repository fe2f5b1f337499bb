//! The leader is killed, frozen, cut off from PostgreSQL, or its clock is set: another node takes over within seconds,
//! nothing is lost and nothing happens twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use commands::testing::{TestBus, admin, deposit, request, withdraw};
use commands::{BusSettings, Failure};
use domain::Code;
use domain::ids::AccountId;
use event_store::embedded::Role;
use event_store::embedded::testing::TestDatabase;
use sqlx::{ConnectOptions, Connection, Executor, PgPool};

use crate::journal::{Entry, Load};
use crate::node::{Node, Wire};
use crate::{LIMIT, answer, code};

/// From the fault to the first acknowledgement of the next leader.
const TAKE_OVER: Duration = Duration::from_secs(5);
const CLIENTS: usize = 16;

/// Three nodes of which the first leads, and two accounts with and without money.
pub struct Scene {
    pub database: TestDatabase,
    pub nodes: Vec<Node>,
    pub rich: AccountId,
    pub poor: AccountId,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    async fn with(change: fn(usize, &mut commands::BusContext)) -> Self {
        let database = TestDatabase::create().await.unwrap();
        let mut nodes = Vec::new();
        for number in 0..3 {
            let name = format!("node-{number}");
            nodes
                .push(Node::start_with(&database, &name, None, move |context| change(number, context)).await);
        }
        Self::of(database, nodes).await
    }

    pub async fn of(database: TestDatabase, nodes: Vec<Node>) -> Self {
        assert!(nodes[0].leads());
        let ask =
            async |key: &str, command| answer(&nodes[1].bus.execute(request(&admin(), key, command)).await);
        let open = |owner| commands::testing::open_account(owner, "EUR");
        let rich = ask("rich", open("alice")).await.account_id.unwrap();
        let poor = ask("poor", open("bob")).await.account_id.unwrap();
        ask("salary", deposit(&rich, "1000000.00")).await;
        Self { database, nodes, rich, poor }
    }

    fn load(&self, nodes: &[&Node]) -> Load {
        let nodes: Vec<_> = nodes.iter().map(|node| &node.bus).collect();
        Load::start(CLIENTS, &nodes, &self.rich, &self.poor)
    }

    /// Which of the nodes leads, in the end.
    async fn leader(&self) -> &Node {
        let led = async {
            loop {
                if let Some(node) = self.nodes.iter().find(|node| node.leads()) {
                    return node;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, led).await.expect("somebody leads")
    }

    /// What was acknowledged is there exactly once and is answered again by any node.
    pub async fn settles(&self, journal: Vec<Entry>) {
        self.settles_with(journal, 0).await;
    }

    /// As [`Scene::settles`], with so many keys beside those of the clients and of the scene.
    async fn settles_with(&self, journal: Vec<Entry>, more_keys: usize) {
        let pool = &self.database.app;
        let sent = one(pool, "SELECT count(*) FROM log.events WHERE event_type = 'TransferSent'").await;
        assert_eq!(sent as usize, journal.len(), "an acknowledged transfer is lost or there twice");
        let keys = one(pool, "SELECT count(*) FROM log.idempotency_keys").await;
        assert_eq!(keys as usize, journal.len() + 3 + more_keys);
        let (head, events) = (
            one(pool, "SELECT log_position FROM log.log_head").await,
            one(pool, "SELECT count(*) FROM log.events").await,
        );
        assert_eq!(head, events, "positions are dense");
        let backward = "SELECT count(*) FROM log.events AS a JOIN log.events AS b \
             ON b.log_position = a.log_position + 1 WHERE b.recorded_at < a.recorded_at";
        assert_eq!(one(pool, backward).await, 0);
        for (n, entry) in journal.into_iter().enumerate().step_by(7) {
            let again = self.nodes[n % self.nodes.len()].bus.execute(entry.request).await.unwrap();
            assert!(again.replayed);
            assert_eq!(
                (again.outcome, again.log_position),
                (entry.receipt.outcome, entry.receipt.log_position)
            );
        }
    }
}

pub async fn one(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

fn told(fault: &str, outage: Duration) {
    println!("{fault}: {} ms without an acknowledgement", outage.as_millis());
    assert!(outage < TAKE_OVER, "{fault}: {outage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_leader_is_followed_within_seconds_and_clients_of_other_nodes_see_no_error() {
    let mut scene = Scene::new().await;
    let load = scene.load(&[&scene.nodes[1], &scene.nodes[2]]);
    load.goes_on(200).await;
    let killed = Instant::now();
    scene.nodes.remove(0).kill();
    load.goes_on(200).await;
    told("killed", load.outage_since(killed));
    assert_eq!(load.errors(), Vec::<Failure>::new());
    scene.settles(load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_leader_is_followed_and_says_nothing_stale_when_it_wakes() {
    let scene = Scene::new().await;
    let (frozen, others) = (&scene.nodes[0], [&scene.nodes[1], &scene.nodes[2]]);
    let load = scene.load(&others);
    load.goes_on(200).await;
    let poor = answer(
        &frozen
            .bus
            .execute(request(&admin(), "empty", commands::testing::open_account("carol", "EUR")))
            .await,
    );
    let poor = poor.account_id.unwrap();

    let then = Instant::now();
    let thaw = frozen.freeze();
    load.goes_on(200).await;
    told("frozen", load.outage_since(then));
    assert_eq!(load.errors(), Vec::<Failure>::new());
    // On what the frozen node knows, this would be refused. It has taken it and does not know yet that it is deposed.
    assert!(frozen.leads());
    answer(&others[0].bus.execute(request(&admin(), "gift", deposit(&poor, "5.00"))).await);
    let (bus, asked) = (frozen.bus.clone(), request(&admin(), "rent", withdraw(&poor, "5.00")));
    let (twin_bus, twin) = (frozen.bus.clone(), request(&admin(), "gift", deposit(&poor, "5.00")));
    let late = tokio::spawn(async move { bus.execute(asked).await });
    let replay = tokio::spawn(async move { twin_bus.execute(twin).await });
    tokio::task::yield_now().await;
    drop(thaw);
    answer(&late.await.unwrap());
    assert!(replay.await.unwrap().unwrap().replayed);
    assert!(!frozen.leads() && frozen.bus.is_served());
    let poorer = frozen.bus.execute(request(&admin(), "more", withdraw(&poor, "0.01"))).await;
    assert_eq!(code(&poorer), Code::InsufficientFunds);

    // Beside the transfers: empty, gift, rent and more.
    scene.settles_with(load.stop().await, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_is_frozen_while_it_holds_the_head_is_followed() {
    let scene = Scene::new().await;
    let load = scene.load(&[&scene.nodes[1], &scene.nodes[2]]);
    load.goes_on(200).await;
    let then = Instant::now();
    let thaw = scene.nodes[0].freeze();
    // As it would be if it had been frozen in the middle of its transaction: the head locked, rows in the next places.
    let options = scene.database.connect_options(Role::App).await.unwrap();
    let mut appender = options.application_name("daybook appender").connect().await.unwrap();
    appender.execute("BEGIN; SELECT FROM log.log_head FOR NO KEY UPDATE").await.unwrap();
    appender
        .execute(
            "INSERT INTO log.events SELECT log_position + 1, sequence + 1, recorded_at, gen_random_uuid(), 0, \
             aggregate_type, aggregate_id, event_type, event_version, payload, metadata \
             FROM log.events ORDER BY log_position DESC LIMIT 1",
        )
        .await
        .unwrap();
    load.goes_on(200).await;
    told("frozen with the head", load.outage_since(then));
    assert!(appender.ping().await.is_err(), "its session was ended");
    drop(thaw);
    scene.settles(load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_is_cut_off_from_postgresql_is_followed_and_comes_back_as_a_follower() {
    let database = TestDatabase::create().await.unwrap();
    let wire = Wire::new().await;
    let patient = |context: &mut commands::BusContext| {
        // Shorter than the cut: its own clients are told.
        context.settings.patience = Duration::from_secs(2);
    };
    let mut nodes = vec![Node::start_with(&database, "node-0", Some(wire.sockets()), patient).await];
    for name in ["node-1", "node-2"] {
        nodes.push(Node::start(&database, name).await);
    }
    let scene = Scene::of(database, nodes).await;
    let load = scene.load(&[&scene.nodes[0], &scene.nodes[1], &scene.nodes[2]]);
    load.goes_on(200).await;
    let then = Instant::now();
    wire.cut();
    load.turn_to(&[&scene.nodes[1].bus, &scene.nodes[2].bus]);
    load.goes_on(200).await;
    told("cut off", load.outage_since(then));
    let mut leads = scene.nodes[0].bus.leads();
    let stepped_down = tokio::time::timeout(LIMIT, leads.wait_for(|leads| !*leads)).await;
    assert!(stepped_down.is_ok(), "it knows that its lease has run out");
    wire.mend();
    assert!(scene.nodes[0].bus.served_within(LIMIT).await);
    load.turn_to(&[&scene.nodes[0].bus]);
    load.goes_on(200).await;
    assert!(load.errors().iter().all(|failure| *failure == Failure::Unavailable));
    scene.settles(load.stop().await).await;
}

static CLOCK_MS: AtomicI64 = AtomicI64::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_whose_clock_is_set_gives_up_at_once_and_stamps_nothing_with_it() {
    let scene = Scene::with(|number, context| {
        if number == 0 {
            context.clock =
                Arc::new(|| Utc::now() + TimeDelta::milliseconds(CLOCK_MS.load(Ordering::SeqCst)));
        }
    })
    .await;
    let load = scene.load(&[&scene.nodes[0], &scene.nodes[1], &scene.nodes[2]]);
    load.goes_on(200).await;
    let then = Instant::now();
    CLOCK_MS.store(3_600_000, Ordering::SeqCst);
    load.goes_on(200).await;
    told("clock set", load.outage_since(then));
    assert!(!scene.nodes[0].leads(), "{}", scene.leader().await.name);
    assert_eq!(load.errors(), Vec::<Failure>::new());
    let ahead = "SELECT count(*) FROM log.events WHERE recorded_at > clock_timestamp() + interval '1 second'";
    assert_eq!(one(&scene.database.app, ahead).await, 0);
    scene.settles(load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_join_and_leave_under_load() {
    let mut scene = Scene::new().await;
    let load = scene.load(&scene.nodes.iter().collect::<Vec<_>>());
    for round in 0..3 {
        load.goes_on(100).await;
        let newcomer = Node::start(&scene.database, &format!("newcomer-{round}")).await;
        scene.nodes.push(newcomer);
        load.turn_to(&scene.nodes.iter().map(|node| &node.bus).collect::<Vec<_>>());
        load.goes_on(100).await;
        // The leader, in order.
        let leader = scene.leader().await.name.clone();
        let place = scene.nodes.iter().position(|node| node.name == leader).unwrap();
        let leaving = scene.nodes.remove(place);
        load.turn_to(&scene.nodes.iter().map(|node| &node.bus).collect::<Vec<_>>());
        let then = Instant::now();
        leaving.bus.stop().await;
        load.goes_on(100).await;
        told("left in order", load.outage_since(then));
    }
    assert_eq!(load.errors().iter().filter(|failure| **failure != Failure::Unavailable).count(), 0);
    scene.settles(load.stop().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_under_full_load_keeps_its_lease() {
    let scene = Scene::new().await;
    let epoch = one(&scene.database.app, "SELECT epoch FROM log.log_head").await;
    let nodes: Vec<_> = scene.nodes.iter().map(|node| &node.bus).collect();
    let load = Load::start(256, &nodes, &scene.rich, &scene.poor);
    let begun = Instant::now();
    while begun.elapsed() < BusSettings::default().lease_ttl * 2 {
        load.goes_on(500).await;
    }
    assert_eq!(one(&scene.database.app, "SELECT epoch FROM log.log_head").await, epoch);
    scene.settles(load.stop().await).await;
}

#[tokio::test]
async fn a_node_alone_is_as_unavailable_as_before() {
    let house = TestBus::start().await;
    house.bus.stop().await;
    let begun = Instant::now();
    let reply = house.execute(&admin(), commands::testing::open_account("a", "EUR")).await;
    assert_eq!(reply, Err(Failure::Unavailable));
    assert!(begun.elapsed() < Duration::from_secs(1));
}
