//! First start, second start, stop, and what is said when it does not start.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use event_store::embedded::{Cluster, Options, Role};
use rustix::process::Signal;
use serde_json::json;
use sqlx::{ConnectOptions, Executor};

use crate::daybook::{Daybook, command, demo_account, folder, refusal};

/// How long stopping may take.
const STOP: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_first_start_makes_keys_markets_and_a_trader_with_money() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = Daybook::start(&data);

    let file = data.join("api-keys.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(daybook.banner.contains(file.to_str().unwrap()), "{}", daybook.banner);
    let keys = daybook.keys();
    assert_eq!(
        keys.keys().collect::<Vec<_>>(),
        ["admin", "auditor", "compliance", "operator", "risk", "trader"]
    );
    for key in keys.values() {
        assert_eq!(daybook.ask(key, "{ head }", json!({})).await.unwrap().0, 200);
    }
    assert_eq!(daybook.ask("dbk_nobody", "{ head }", json!({})).await.unwrap().0, 401);
    for page in ["/", "/graphiql", "/livez"] {
        assert_eq!(daybook.status(page).await, 200, "{page}");
    }
    daybook.ready().await;

    assert_eq!(demo_account(&daybook).await.1, "100000.00000000");
    let query = "{ markets { symbol venue status tickSize lotSize minQuantity maxQuantity minNotional makerFee takerFee }
                   portfolios { edges { node { owner } } } }";
    let data = daybook.data("trader", query, json!({})).await;
    let market = |symbol: &str, lot: &str| {
        json!({
            "symbol": symbol, "venue": "PAPER", "status": "TRADING", "tickSize": "0.01", "lotSize": lot,
            "minQuantity": lot, "maxQuantity": "9000.00000000", "minNotional": "5.00000000",
            "makerFee": "0.001", "takerFee": "0.001"
        })
    };
    assert_eq!(data["markets"], json!([market("BTC-USDT", "0.00001000"), market("ETH-USDT", "0.00010000")]));
    assert_eq!(data["portfolios"]["edges"], json!([{"node": {"owner": "demo"}}]));
}

#[tokio::test]
async fn it_stops_within_seconds_and_the_next_start_goes_on() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = Daybook::start(&data);
    let (account, _) = demo_account(&daybook).await;
    daybook.deposit(&account, "before the stop").await;
    let (keys, log_id) = (daybook.keys(), daybook.data("auditor", "{ logId }", json!({})).await);
    let postmaster = daybook.postmaster();
    daybook.signal(Signal::TERM);
    let (status, took) = daybook.ended();
    assert!(status.success(), "{status}");
    assert!(took < STOP, "it took {took:?}");
    assert!(rustix::process::test_kill_process(postmaster).is_err(), "PostgreSQL is still there");

    let daybook = Daybook::start(&data);
    assert_eq!(daybook.keys(), keys);
    assert_eq!(daybook.data("auditor", "{ logId }", json!({})).await, log_id);
    assert_eq!(demo_account(&daybook).await, (account, "100001.00000000".to_owned()));
    daybook.signal(Signal::INT);
    assert!(daybook.ended().0.success());
}

#[test]
fn a_busy_port_is_told_before_anything_is_made() {
    let folder = folder();
    let data = folder.path().join("data");
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let told = refusal(&command(&data).env("DAYBOOK_LISTEN", &address).output().unwrap());
    assert!(told.contains(&address) && told.contains("DAYBOOK_LISTEN"), "{told}");
    assert!(!data.exists());
}

#[tokio::test]
async fn a_data_folder_has_one_server() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = Daybook::start(&data);
    let told = refusal(&command(&data).output().unwrap());
    assert!(told.contains("in use by daybook") && told.contains("DAYBOOK_DATA_DIR"), "{told}");
    assert_eq!(daybook.status("/livez").await, 200);
}

#[test]
fn without_postgresql_it_says_what_to_install() {
    let folder = folder();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let data = folder.path().join("data");
    let told = refusal(&command(&data).env("DAYBOOK_POSTGRES_BIN", &empty).output().unwrap());
    assert!(told.contains("DAYBOOK_POSTGRES_BIN") && told.contains("no initdb"), "{told}");
}

#[tokio::test]
async fn a_data_folder_of_a_newer_version_is_left_alone() {
    let folder = folder();
    let data = folder.path().join("data");
    let cluster = Cluster::open_or_create(&data, Options::default()).await.unwrap();
    let migrator = cluster.connect_options(Role::Migrator);
    event_store::migrate(&migrator).await.unwrap();
    let mut connection = migrator.connect().await.unwrap();
    let newer = "SET ROLE daybook_owner; \
        INSERT INTO log._sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (999999, 'of tomorrow', true, '', 0)";
    connection.execute(sqlx::raw_sql(newer)).await.unwrap();
    drop(connection);
    cluster.stop().await;
    let told = refusal(&command(&data).output().unwrap());
    assert!(told.contains("999999") && told.contains("start the newer version"), "{told}");
}
