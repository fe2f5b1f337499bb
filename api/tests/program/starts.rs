//! First start, second start, stop, and what is said when it does not start.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use event_store::embedded::{Cluster, Options, Role};
use rustix::process::Signal;
use serde_json::json;
use sqlx::{ConnectOptions, Executor};

use crate::daybook::{DEPOSIT, Daybook, command, demo_account, folder, printed, refusal};
use crate::support::{Client, fresh_key, soon};

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

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_order_while_it_is_asked_and_watched() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut command = command(&data);
    command.env("DAYBOOK_FEED_SPEED", "5");
    let daybook = Daybook::start_by(command, &data);
    daybook.ready().await;
    let client = daybook.client();
    let account = client.funded("demo", "EUR", "10").await;
    let mut live = client.live("auditor").await;
    live.subscribe("1", "subscription { events { logPosition } }", json!({})).await;
    let asking = tokio::spawn({
        let (client, account) = (client.clone(), account.clone());
        async move {
            let mut done: u64 = 0;
            loop {
                let input = json!({"idempotencyKey": fresh_key(), "accountId": account, "amount": "1"});
                let body = json!({"query": DEPOSIT, "variables": {"input": input}}).to_string();
                match client.try_send(Some("operator"), body.into_bytes()).await {
                    Ok(reply) if reply.json()["data"]["deposit"]["logPosition"].is_string() => done += 1,
                    _ => return done,
                }
            }
        }
    });
    for _ in 0..20 {
        live.next("events").await;
    }
    daybook.signal(Signal::TERM);
    let (status, took) = daybook.ended();
    assert!(status.success(), "{status}");
    assert!(took < STOP, "it took {took:?}");
    soon("the end of the socket", async { while live.try_receive().await.is_some() {} }).await;
    let done = asking.await.unwrap();

    let daybook = Daybook::start(&data);
    daybook.ready().await;
    let balance = daybook.client().balances(&account).await[0].clone();
    let balance: u64 = balance.strip_suffix(".00").unwrap().parse().unwrap();
    // One may have been carried out whose answer came too late.
    assert!(balance == 10 + done || balance == 11 + done, "{balance} after {done}");
}

#[tokio::test]
async fn it_serves_when_nobody_reads_what_it_prints() {
    let folder = folder();
    let data = folder.path().join("data");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let log = std::fs::File::create(data.with_extension("log")).unwrap();
    let mut child =
        command(&data).env("DAYBOOK_LISTEN", address.to_string()).stdout(writer).stderr(log).spawn().unwrap();
    Client::new(address, Default::default()).ready().await;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn it_serves_when_its_log_cannot_be_written() {
    let folder = folder();
    let data = folder.path().join("data");
    let mut command = command(&data);
    command.env("DAYBOOK_LOG", "debug").stderr(std::fs::File::create("/dev/full").unwrap());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut banner = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    while !banner.contains("Ctrl-C") {
        assert_ne!(std::io::BufRead::read_line(&mut stdout, &mut banner).unwrap(), 0, "it ended: {banner}");
    }
    let url = banner.split_whitespace().find_map(|word| word.strip_suffix("/graphql")).unwrap();
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    Client::new(address, Default::default()).ready().await;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn help_tells_every_setting_and_command() {
    let folder = folder();
    let run = |arguments: &[&str]| command(folder.path()).args(arguments).output().unwrap();
    let help = printed(&run(&["--help"]));
    for told in [
        "DAYBOOK_LISTEN",
        "DAYBOOK_DATA_DIR",
        "DATABASE_URL",
        "DAYBOOK_FEED_SPEED",
        "DAYBOOK_TICK_RETENTION",
        "DAYBOOK_LOG_FORMAT",
        "serve",
        "keys",
        "migrate",
    ] {
        assert!(help.contains(told), "{told} is not told: {help}");
    }
    let keys = printed(&run(&["keys", "--help"]));
    assert!(["create", "list", "revoke"].iter().all(|told| keys.contains(told)), "{keys}");
    printed(&run(&["--version"]));
    for wrong in [
        &["--nonsense"][..],
        &["--listen", "here"],
        &["--feed-speed", "fast"],
        &["--tick-retention", "long"],
        &["keys", "create", "x", "--role", "king"],
    ] {
        let refused = run(wrong);
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains(wrong[wrong.len() - 1]) && !told.contains("panicked"), "{told}");
    }
}
