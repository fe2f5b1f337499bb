//! Several servers on one `DATABASE_URL`: commands on any of them, and what clients see when the one that leads is killed,
//! frozen, or stopped.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use commands::Role as KeyRole;
use event_store::embedded::{Cluster, Role, TemporaryCluster};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use crate::daybook::{Daybook, command, folder, printed};
use crate::support::{Client, code_of, soon};

/// From the fault to the first acknowledgement of the next leader.
pub const TAKE_OVER: Duration = Duration::from_secs(5);
const CLIENTS: usize = 8;
const TRANSFER: &str =
    "mutation($input: TransferInput!) { transfer(input: $input) { errors { code } logPosition replayed } }";

/// A database and the servers on it.
pub struct House {
    folder: tempfile::TempDir,
    pub cluster: TemporaryCluster,
    keys: HashMap<String, String>,
}

impl House {
    pub async fn new() -> Self {
        let (folder, cluster) = (folder(), Cluster::start_temporary().await.unwrap());
        let mut house = Self { folder, cluster, keys: HashMap::new() };
        let migrated = house
            .command("keys")
            .env("DAYBOOK_MIGRATION_URL", house.cluster.connection_uri(Role::Migrator))
            .arg("migrate")
            .output()
            .unwrap();
        printed(&migrated);
        for role in KeyRole::OF_KEYS.into_iter().filter(|role| *role != KeyRole::Trader) {
            let made = house
                .command("keys")
                .args(["keys", "create", role.as_str(), "--role", role.as_str()])
                .output();
            house.keys.insert(role.as_str().to_owned(), printed(&made.unwrap()));
        }
        house
    }

    fn place(&self, server: &str) -> PathBuf {
        self.folder.path().join(server)
    }

    fn command(&self, server: &str) -> std::process::Command {
        let mut command = command(&self.place(server));
        command.env("DATABASE_URL", self.cluster.connection_uri(Role::App));
        command
    }

    pub async fn start(&self, server: &str) -> Daybook {
        let daybook = Daybook::start_by(self.command(server), &self.place(server));
        daybook.ready().await;
        daybook
    }

    pub fn client(&self, daybook: &Daybook) -> Client {
        let address = daybook.url.trim_start_matches("http://").parse().unwrap();
        Client::new(address, self.keys.clone())
    }

    /// How often the leader has changed.
    pub async fn epoch(&self) -> i64 {
        let options = self.cluster.connect_options(Role::App);
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        sqlx::query_scalar("SELECT epoch FROM log.log_head").fetch_one(&mut connection).await.unwrap()
    }

    /// What the server has logged.
    pub fn log(&self, server: &str) -> String {
        std::fs::read_to_string(self.place(server).with_extension("log")).unwrap()
    }
}

/// What the servers wrote says why a test has failed.
impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let files =
            std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten().map(|file| file.path());
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "log")) {
            let log = std::fs::read_to_string(&file).unwrap_or_default();
            println!("== {}\n{log}", file.display());
        }
    }
}

/// Clients of one server that transfer a cent again and again, and write down what they were told.
pub struct Load {
    acknowledged: Arc<Mutex<Vec<(Instant, Value, Value)>>>,
    errors: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(client: &Client, name: &str, from: &str, to: &str) -> Self {
        let (acknowledged, errors) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (stop, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let clients = (0..CLIENTS)
            .map(|_| {
                let (client, acknowledged, errors) = (client.clone(), acknowledged.clone(), errors.clone());
                let (stop, number) = (stop.clone(), number.clone());
                let (name, from, to) = (name.to_owned(), from.to_owned(), to.to_owned());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let key = format!("{name}-{}", number.fetch_add(1, Ordering::Relaxed));
                        let input = json!({"idempotencyKey": key, "from": from, "to": to, "amount": "0.01"});
                        loop {
                            let mut answer = client.gql("admin", TRANSFER, json!({"input": input})).await;
                            let code = code_of(&answer);
                            if code.is_empty() {
                                let payload = answer["data"]["transfer"].take();
                                acknowledged.lock().unwrap().push((Instant::now(), input, payload));
                                break;
                            }
                            assert_eq!(code, "UNAVAILABLE", "{answer}");
                            errors.lock().unwrap().push(code);
                        }
                    }
                })
            })
            .collect();
        Self { acknowledged, errors, stop, clients }
    }

    pub async fn goes_on(&self, more: usize) {
        let wanted = self.acknowledged.lock().unwrap().len() + more;
        soon("acknowledgements", async {
            while self.acknowledged.lock().unwrap().len() < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    pub fn told(&self, fault: &str, then: Instant) {
        let mut last = then;
        let mut longest = Duration::ZERO;
        for (at, ..) in self.acknowledged.lock().unwrap().iter().filter(|(at, ..)| *at > then) {
            longest = longest.max(at.duration_since(last));
            last = *at;
        }
        println!("{fault}: {} ms without an acknowledgement", longest.as_millis());
        assert!(longest < TAKE_OVER, "{fault}: {longest:?}");
        assert_eq!(*self.errors.lock().unwrap(), Vec::<String>::new(), "{fault}");
    }

    /// Stops, and asks again of another server for a part of what was acknowledged. How many there were.
    pub async fn settles(self, client: &Client) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for running in self.clients {
            running.await.unwrap();
        }
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        for (_, input, first) in acknowledged.iter().step_by(9) {
            let again = client.data("admin", TRANSFER, json!({"input": input})).await["transfer"].take();
            assert_eq!((&again["replayed"], &again["logPosition"]), (&json!(true), &first["logPosition"]));
        }
        acknowledged.len()
    }
}

async fn metrics(client: &Client) -> String {
    let request = reqwest::Client::new().get(client.url("/internal/metrics"));
    let answer = request.header("authorization", client.bearer("operator")).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_one_database_forward_to_the_one_that_leads_and_take_over_from_it() {
    let house = House::new().await;
    let first = house.start("first").await;
    let second = house.start("second").await;
    let (on_first, on_second) = (house.client(&first), house.client(&second));
    // Both are ready, and one of them leads.
    let epoch = house.epoch().await;
    assert!(house.log("first").contains("this node leads"), "{}", house.log("first"));
    assert!(!house.log("second").contains("this node leads"), "{}", house.log("second"));

    let from = on_second.funded("alice", "EUR", "10000.00").await;
    let to = on_first.open_account("bob", "EUR").await;
    assert_eq!(
        on_second.refused("admin", "withdraw", json!({"accountId": to, "amount": "1.00"})).await,
        "INSUFFICIENT_FUNDS"
    );

    // Killed.
    let load = Load::start(&on_second, "killed", &from, &to);
    load.goes_on(50).await;
    let then = Instant::now();
    first.kill();
    load.goes_on(50).await;
    load.told("kill -9", then);
    assert_eq!(house.epoch().await, epoch + 1);
    // What runs once over all servers runs there now.
    soon("processes", async {
        loop {
            let metrics = metrics(&on_second).await;
            let has = |line: &str| metrics.lines().any(|metric| metric == line);
            if has("daybook_bus_leads 1") && has("daybook_process_running{process=\"hold-expiry\"} 1") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    println!("kill -9: processes run after {} ms", then.elapsed().as_millis());
    assert!(then.elapsed() < TAKE_OVER * 2);
    let third = house.start("third").await;
    let on_third = house.client(&third);
    let mut transfers = load.settles(&on_third).await;

    // Frozen, and woken when another leads.
    let load = Load::start(&on_third, "frozen", &from, &to);
    load.goes_on(50).await;
    let then = Instant::now();
    second.signal(Signal::STOP);
    load.goes_on(50).await;
    load.told("SIGSTOP", then);
    second.signal(Signal::CONT);
    // It answers what it is asked, from the truth.
    let cents = on_third.balances(&to).await[0].replace('.', "").parse::<usize>().unwrap();
    assert!(cents >= transfers + 50);
    on_second.done("admin", "transfer", json!({"from": to, "to": from, "amount": "0.01"}), "").await;
    on_second.done("admin", "transfer", json!({"from": from, "to": to, "amount": "0.01"}), "").await;
    transfers += load.settles(&on_second).await;

    // Stopped in order.
    let load = Load::start(&on_second, "stopped", &from, &to);
    load.goes_on(50).await;
    let then = Instant::now();
    third.signal(Signal::TERM);
    let (status, _) = third.ended();
    assert!(status.success(), "{status}");
    load.goes_on(50).await;
    load.told("stopped in order", then);
    transfers += load.settles(&on_second).await;

    let paid = format!("{}.{:02}", transfers / 100, transfers % 100);
    assert_eq!(on_second.balances(&to).await[0], paid, "transfers were lost or doubled");
    on_second.books_balance().await;
}
