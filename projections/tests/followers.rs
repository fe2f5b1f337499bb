//! Several nodes over one log: one folds, every other answers as soon, and one of them takes over when it is stopped,
//! frozen or cut off.

#[path = "../../event-store/tests/common/proxy.rs"]
mod proxy;

mod common;

use std::time::{Duration, Instant};

use common::house::House;
use common::{Projecting, Writer, one, raw_event};
use domain::Timestamp;
use domain::account::AccountCommand;
use domain::ids::AccountId;
use event_store::embedded::Role;
use event_store::embedded::testing::shared_cluster;
use event_store::{CommandWrite, Log, LogPosition};
use projections::read::ReadError;
use projections::{Changed, Settings};
use proxy::{Mode, Proxy};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);
/// Time in which a node has to take over, from the fault to the first read that includes a later write.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// What a loaded machine may add to it.
const LOADED: Duration = Duration::from_secs(5);

/// A node with a pool, a log and read models of its own.
struct Node {
    projecting: Projecting,
    pool: PgPool,
}

impl Node {
    async fn start(writer: &Writer) -> Self {
        Self::over(
            PgPoolOptions::new().connect_lazy_with(writer.database.connect_options(Role::App).await.unwrap()),
        )
        .await
    }

    /// A node whose every connection goes through a proxy.
    async fn behind(writer: &Writer, proxy: &Proxy) -> Self {
        let options = proxy.through(writer.database.connect_options(Role::App).await.unwrap());
        Self::over(PgPoolOptions::new().acquire_timeout(Duration::from_secs(1)).connect_lazy_with(options))
            .await
    }

    async fn over(pool: PgPool) -> Self {
        let log = Log::open(pool.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let settings = Settings { patience: LIMIT };
        let running = projections::start(pool.clone(), log, settings, shutdown.clone()).await.unwrap();
        Self { projecting: Projecting::new(running, shutdown), pool }
    }

    /// What is read of the account is at least as new as the position. Returns its balance in smallest units.
    async fn balance(&self, id: &AccountId, at_least: LogPosition) -> i128 {
        let models = self.projecting.models.at_least(Some(at_least));
        let read = models.account(id).await.unwrap();
        assert!(read.log_position >= at_least);
        read.value.unwrap().balance.units()
    }
}

/// A house whose opening both nodes have, the one that folds and the one that does not.
async fn folder_and_follower(writer: &mut Writer, seed: u64) -> (House, Node, Node) {
    let (house, opening) = House::opened(seed);
    let head = writer.append(house.now, opening).await;
    let folder = Node::start(writer).await;
    folder.projecting.reach(head).await;
    let follower = Node::start(writer).await;
    follower.projecting.reach(head).await;
    (house, folder, follower)
}

async fn proxy() -> Proxy {
    Proxy::start(shared_cluster().await.unwrap().sockets())
}

fn deposit(house: &mut House, id: &str) -> CommandWrite {
    let amount = "3".parse().unwrap();
    let command = AccountCommand::Deposit { amount, reference: None, effective_at: None };
    house
        .command(|house| house.execute::<domain::account::Account>(id, &command).map(drop))
        .expect("a deposit")
}

fn some_account(house: &House) -> (String, AccountId) {
    let id = house.books.accounts.keys().next().unwrap().clone();
    let account = AccountId::new(id.as_str());
    (id, account)
}

fn print_percentiles(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
    at(50)
}

/// Returns when the sessions of so many other nodes listen for what is folded, and the folder knows it.
async fn until_listening(writer: &Writer, sessions: i64) {
    let begun = Instant::now();
    loop {
        let listening: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'daybook projections listener' AND query LIKE 'LISTEN%'",
        )
        .fetch_one(&writer.database.superuser)
        .await
        .unwrap();
        if listening == sessions {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{listening} of {sessions} sessions listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_fold_reads_a_write_at_once() {
    let mut writer = Writer::start().await;
    let (mut house, folder, follower) = folder_and_follower(&mut writer, 101).await;
    until_listening(&writer, 2).await;
    let (id, account) = some_account(&house);

    let (mut on_folder, mut on_follower) = (Vec::new(), Vec::new());
    for round in 0..200 {
        let command = deposit(&mut house, &id);
        let head = writer.append(house.now, vec![command]).await;
        let begun = Instant::now();
        let (first, then) = if round % 2 == 0 { (&folder, &follower) } else { (&follower, &folder) };
        let balance = first.balance(&account, head).await;
        let took = begun.elapsed();
        if round % 2 == 0 {
            on_folder.push(took)
        } else {
            on_follower.push(took)
        }
        assert_eq!(then.balance(&account, head).await, balance);
    }
    print_percentiles("commit to read on the node that folds", on_folder);
    let median = print_percentiles("commit to read on another node", on_follower);
    // Asking the database now and then would take 250 ms.
    assert!(median < Duration::from_millis(150), "{median:?}");
    follower.projecting.stop().await;
    folder.projecting.stop().await;
    writer.verify_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_fold_reads_at_once_what_changes_no_row() {
    let mut writer = Writer::start().await;
    // Nobody offers, nobody asks, nobody trades.
    let nothing = r#"{"PriceObserved":{"window":{"symbol":"BTC-USDT","feed":"test","pass":1,"opened_at":"2030-01-01T00:00:00Z","length_ms":1000,"bid":null,"ask":null,"traded":null}}}"#;
    let folder = Node::start(&writer).await;
    let follower = Node::start(&writer).await;
    until_listening(&writer, 2).await;
    let mut times = Vec::new();
    for sequence in 1..=100 {
        let quiet = raw_event("quote", "BTC-USDT", sequence, "PriceObserved", nothing);
        let head = writer.append(Timestamp::UNIX_EPOCH, vec![one(quiet)]).await;
        let begun = Instant::now();
        // Less than the checkpoint in the database may stay behind.
        let models = follower.projecting.models.at_least(Some(head)).with_patience(Duration::from_secs(5));
        let read = models.markets().await.unwrap();
        times.push(begun.elapsed());
        assert!(read.log_position >= head);
        assert_eq!(read.value, []);
    }
    let stored: i64 = sqlx::query_scalar("SELECT log_position FROM read.live")
        .fetch_one(&writer.database.app)
        .await
        .unwrap();
    assert!(stored < 100, "the checkpoint was stored each time");
    let median = print_percentiles("idle: commit to read on another node", times);
    assert!(median < Duration::from_millis(150), "{median:?}");
    let status = follower.projecting.models.status().await.unwrap();
    assert!(status.iter().all(|one| one.lag == 0), "{status:?}");
    follower.projecting.stop().await;
    folder.projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_on_a_node_that_does_not_fold_hears_of_every_change_after_it_can_be_read() {
    let mut writer = Writer::start().await;
    let (mut house, folder, follower) = folder_and_follower(&mut writer, 107).await;
    until_listening(&writer, 2).await;
    let (id, account) = some_account(&house);
    let mut changes = follower.projecting.running.changes();
    for _ in 0..20 {
        let command = deposit(&mut house, &id);
        let head = writer.append(house.now, vec![command]).await;
        loop {
            let told = tokio::time::timeout(LIMIT, changes.recv()).await.unwrap().unwrap();
            let is_it = told.changed.contains(&Changed::Account(account.clone()))
                || told.changed.contains(&Changed::Unknown);
            if told.log_position >= head && is_it {
                break;
            }
        }
        let patient = follower.projecting.models.with_patience(Duration::ZERO);
        assert!(patient.account(&account).await.unwrap().log_position >= head);
    }
    follower.projecting.stop().await;
    folder.projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_while_another_folds_leaves_the_read_models_as_they_are() {
    let mut writer = Writer::start().await;
    let (mut house, folder, follower) = folder_and_follower(&mut writer, 108).await;
    let generation = || sqlx::query_scalar::<_, i64>("SELECT generation FROM read.live");
    let before = generation().fetch_one(&writer.database.app).await.unwrap();
    // While the newcomer waits for the lock under which tables are made, the log and the read models go on.
    let mut making_tables = writer.database.superuser.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(0x6461_7962_6f6f_6b01_i64)
        .execute(&mut *making_tables)
        .await
        .unwrap();
    let options = writer.database.connect_options(Role::App).await.unwrap();
    let starting = tokio::spawn(Node::over(PgPoolOptions::new().connect_lazy_with(options)));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
    let begun = Instant::now();
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&writer.database.superuser).await.unwrap() == 0 {
        assert!(begun.elapsed() < LIMIT, "the newcomer does not wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (id, account) = some_account(&house);
    for _ in 0..3 {
        let command = deposit(&mut house, &id);
        let head = writer.append(house.now, vec![command]).await;
        folder.balance(&account, head).await;
    }
    // The checkpoint in the database may stay behind for a while when only little changes.
    let stored = "SELECT log_position FROM read.live";
    while sqlx::query_scalar::<_, i64>(stored).fetch_one(&writer.database.app).await.unwrap()
        < writer.log.head().to_sql()
    {
        assert!(begun.elapsed() < LIMIT, "the checkpoint does not move");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    making_tables.commit().await.unwrap();
    let newcomer = starting.await.unwrap();
    assert_eq!(generation().fetch_one(&writer.database.app).await.unwrap(), before, "they were begun anew");
    newcomer.balance(&account, writer.log.head()).await;
    for node in [newcomer, follower, folder] {
        node.projecting.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_announcements_are_lost_asks_the_database() {
    let mut writer = Writer::start().await;
    let (mut house, folder, follower) = folder_and_follower(&mut writer, 109).await;
    let (id, account) = some_account(&house);
    for round in 0..10 {
        if round % 2 == 0 {
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'daybook projections listener'",
            )
            .execute(&writer.database.superuser)
            .await
            .unwrap();
        }
        let command = deposit(&mut house, &id);
        let head = writer.append(house.now, vec![command]).await;
        let balance = follower.balance(&account, head).await;
        assert_eq!(folder.balance(&account, head).await, balance);
    }
    follower.projecting.stop().await;
    folder.projecting.stop().await;
}

/// What happens to the node that folds.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its sessions stay and say nothing; new ones cannot be made either.
    Frozen,
    /// Its sessions stay and say nothing; it can make new ones.
    CutOff,
    /// Its sessions end.
    Killed,
}

/// The folder is struck while it folds; another node takes over, both read the same afterwards, and what the first one
/// had under way changes nothing.
async fn survives(fault: Fault) {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(113);
    let proxy = proxy().await;
    let struck = Node::behind(&writer, &proxy).await;
    let mut head = writer.append(house.now, opening).await;
    struck.projecting.reach(head).await;
    let other = Node::start(&writer).await;
    other.projecting.reach(head).await;
    until_listening(&writer, 2).await;
    let (id, account) = some_account(&house);

    // In the middle of its work.
    for _ in 0..20 {
        head = writer.append(house.now, house.live(20)).await;
    }
    match fault {
        Fault::Frozen => proxy.set(Mode::HoldRequests(usize::MAX)),
        Fault::CutOff => proxy.hold_requests(),
        Fault::Killed => {
            proxy.set(Mode::HoldRequests(usize::MAX));
            proxy.cut_clients();
            sqlx::query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'daybook projections'",
            )
            .execute(&writer.database.superuser)
            .await
            .unwrap();
        }
    }
    let begun = Instant::now();
    let mut balance = None;
    for _ in 0..20 {
        let mut commands = house.live(20);
        commands.push(deposit(&mut house, &id));
        head = writer.append(house.now, commands).await;
        balance = Some(other.balance(&account, head).await);
        if balance.is_some() && begun.elapsed() > TAKE_OVER {
            break;
        }
    }
    let took = begun.elapsed();
    println!("{fault:?}: the other node had read all within {took:?}");
    assert!(took < TAKE_OVER + LOADED, "{took:?}");

    // What it had sent arrives late; then it goes on as one that follows.
    proxy.set(Mode::Pass);
    let models = struck.projecting.models.at_least(Some(head));
    let begun = Instant::now();
    loop {
        match models.account(&account).await {
            Ok(read) => {
                assert!(read.log_position >= head);
                assert_eq!(Some(read.value.unwrap().balance.units()), balance);
                break;
            }
            Err(error @ (ReadError::Database(_) | ReadError::Log(_) | ReadError::NotYetVisible { .. })) => {
                assert!(begun.elapsed() < LIMIT, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{fault:?}: the struck node reads again after {:?}", begun.elapsed());
    head = writer.append(house.now, house.live(50)).await;
    assert_eq!(struck.balance(&account, head).await, other.balance(&account, head).await);
    struck.projecting.stop().await;
    other.projecting.stop().await;
    struck.pool.close().await;
    writer.verify_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_frozen_is_succeeded_and_changes_nothing_when_it_wakes() {
    survives(Fault::Frozen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_cut_off_is_succeeded_and_goes_on_over_new_connections() {
    survives(Fault::CutOff).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_killed_is_succeeded() {
    survives(Fault::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folding_is_handed_over_again_and_again_and_the_models_stay_those_of_the_log() {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(127);
    let mut head = writer.append(house.now, opening).await;
    let mut folder = Node::start(&writer).await;
    for _ in 0..6 {
        let next = Node::start(&writer).await;
        for _ in 0..10 {
            head = writer.append(house.now, house.live(10)).await;
        }
        let begun = Instant::now();
        folder.projecting.stop().await;
        head = writer.append(house.now, house.live(10)).await.max(head);
        next.projecting.reach(head).await;
        println!("handed over in {:?}", begun.elapsed());
        assert!(begun.elapsed() < TAKE_OVER);
        folder = next;
    }
    folder.projecting.stop().await;
    writer.verify_all().await;
}
