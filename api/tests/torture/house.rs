//! What is broken: servers and their PostgreSQL, in a folder of their own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use event_store::embedded::{Cluster, Options, Role, TemporaryCluster};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row as _};

use crate::clock::Clock;
use crate::daybook::{self, Daybook};
use crate::disk::SmallDisk;
use crate::support::Client;
use crate::wire::Wire;

/// Roles whose keys the clients use.
const ROLES: [&str; 3] = ["admin", "auditor", "operator"];

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// One server with its private cluster.
    Private,
    /// The same, on a file system that can be filled.
    SmallDisk,
    /// So many servers, each over a wire of its own, on one PostgreSQL that none of them owns.
    Outside(usize),
}

/// Where the servers are that can be asked; it changes when one starts anew. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<RwLock<Vec<SocketAddr>>>);

impl Addresses {
    pub fn all(&self) -> Vec<SocketAddr> {
        self.0.read().unwrap().clone()
    }

    /// The address of a server, any number; taken round.
    pub fn of(&self, number: usize) -> SocketAddr {
        let all = self.0.read().unwrap();
        all[number % all.len()]
    }
}

pub struct Node {
    data: PathBuf,
    daybook: Option<Daybook>,
    pub wire: Option<Wire>,
    pub clock: Option<Clock>,
}

pub struct House {
    pub folder: PathBuf,
    pub nodes: Vec<Node>,
    pub addresses: Addresses,
    pub client: Client,
    pub disk: Option<SmallDisk>,
    outside: Option<TemporaryCluster>,
}

impl House {
    /// Starts everything. Says why where this machine does not allow it.
    pub async fn start(setting: Setting, folder: &Path) -> Result<Self, String> {
        let disk = match setting {
            Setting::SmallDisk => Some(SmallDisk::mount(&folder.join("disk"), "1g")?),
            _ => None,
        };
        let outside = match setting {
            Setting::Outside(_) => Some(Cluster::start_temporary_with(Options::default()).await.unwrap()),
            _ => None,
        };
        let count = if let Setting::Outside(nodes) = setting { nodes } else { 1 };
        let nodes: Vec<Node> = (1..=count)
            .map(|number| Node {
                data: if disk.is_some() {
                    folder.join("disk/data")
                } else {
                    folder.join(format!("node-{number}"))
                },
                daybook: None,
                wire: outside.as_ref().map(|cluster| Wire::to(cluster.sockets())),
                clock: Clock::create(folder, &format!("node-{number}")),
            })
            .collect();
        let keys = match &outside {
            Some(cluster) => prepare(cluster, folder),
            None => HashMap::new(),
        };
        // Replaced when the first server is there.
        let client = Client::new(([127, 0, 0, 1], 1).into(), keys);
        let addresses = Addresses(Arc::new(RwLock::new(vec![client.address; count])));
        let mut house = Self { folder: folder.to_owned(), nodes, addresses, client, disk, outside };
        for number in 0..count {
            house.start_node(number).map_err(|log| format!("a server does not start: {log}"))?;
        }
        if house.outside.is_none() {
            house.client = house.nodes[0].daybook.as_ref().unwrap().client();
        }
        house.client.address = house.addresses.of(0);
        Ok(house)
    }

    /// Starts a server, the first time or again; its log if it does not start.
    pub fn start_node(&mut self, number: usize) -> Result<(), String> {
        let node = &mut self.nodes[number];
        let mut command = daybook::command(&node.data);
        command.env("DAYBOOK_DEMO", "false");
        if let Some(wire) = &node.wire {
            command.env("DATABASE_URL", wire.url());
        }
        if let Some(clock) = &node.clock {
            clock.give_to(&mut command);
        }
        // It waits for a line of the program.
        let daybook = tokio::task::block_in_place(|| Daybook::try_start_by(&mut command, &node.data))?;
        self.addresses.0.write().unwrap()[number] = daybook.address();
        self.client.address = daybook.address();
        node.daybook = Some(daybook);
        Ok(())
    }

    /// Whether PostgreSQL comes and goes without the servers.
    pub fn has_outside_database(&self) -> bool {
        self.outside.is_some()
    }

    pub fn is_down(&self, number: usize) -> bool {
        self.nodes[number].daybook.is_none()
    }

    pub fn kill_node(&mut self, number: usize) {
        if let Some(daybook) = self.nodes[number].daybook.take() {
            daybook.kill();
        }
    }

    /// How many servers run.
    pub fn running(&self) -> usize {
        self.nodes.iter().filter(|node| node.daybook.is_some()).count()
    }

    /// Stops a server in order; whether it ended well.
    pub fn stop_node(&mut self, number: usize) -> bool {
        let Some(daybook) = self.nodes[number].daybook.take() else { return true };
        daybook.signal(Signal::TERM);
        tokio::task::block_in_place(|| daybook.ended()).0.success()
    }

    pub fn signal_node(&self, number: usize, signal: Signal) {
        if let Some(daybook) = &self.nodes[number].daybook {
            daybook.signal(signal);
        }
    }

    /// Servers that have ended by themselves.
    pub fn dead_nodes(&mut self) -> Vec<usize> {
        let runs = |node: &mut Node| node.daybook.as_mut().is_none_or(Daybook::runs);
        (0..self.nodes.len()).filter(|number| !runs(&mut self.nodes[*number])).collect()
    }

    /// Stops the servers in order; whether all ended well.
    pub fn stop_nodes(&mut self) -> bool {
        let unwell = (0..self.nodes.len()).filter(|number| !self.stop_node(*number)).count();
        unwell == 0
    }

    /// Connections around the servers: not over their wires.
    pub async fn connect(&self, role: Role) -> Result<Database, String> {
        let attached = match &self.outside {
            Some(_) => None,
            None => Some(Cluster::attach(&self.nodes[0].data).await.map_err(|error| error.to_string())?),
        };
        let options = match (&self.outside, &attached) {
            (Some(cluster), _) => cluster.connect_options(role),
            (None, Some(cluster)) => cluster.connect_options(role),
            (None, None) => unreachable!("one of them is there"),
        };
        let pool = PgPoolOptions::new()
            .max_connections(3)
            .connect_with(options.application_name("torture"))
            .await
            .map_err(|error| error.to_string())?;
        Ok(Database { pool, attached })
    }

    /// The first process of PostgreSQL, if it runs.
    pub fn postmaster(&self) -> Option<Pid> {
        let data = match &self.outside {
            Some(cluster) => cluster.home().join("data"),
            None => self.nodes[0].data.join("postgres/data"),
        };
        let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// All processes of PostgreSQL, the first one first.
    pub fn postgres(&self) -> Vec<Pid> {
        let Some(postmaster) = self.postmaster() else { return Vec::new() };
        let number = postmaster.as_raw_nonzero();
        let list =
            std::fs::read_to_string(format!("/proc/{number}/task/{number}/children")).unwrap_or_default();
        let children = list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        [postmaster].into_iter().chain(children).collect()
    }

    /// PostgreSQL's processes that a query picks, such as those that append.
    pub async fn backends(&self, which: &str) -> Vec<Pid> {
        let Ok(database) = self.connect(Role::Superuser).await else { return Vec::new() };
        let sql = format!("SELECT pid FROM pg_stat_activity WHERE {which}");
        let rows = sqlx::query(&sql).fetch_all(&database.pool).await.unwrap_or_default();
        database.close().await;
        rows.iter().filter_map(|row| Pid::from_raw(row.get("pid"))).collect()
    }

    /// How far the newest event's time is ahead of PostgreSQL's clock, for people.
    pub async fn log_ahead_of_clock(&self) -> String {
        let Ok(database) = self.connect(Role::App).await else { return "cannot be read".to_owned() };
        let sql = "SELECT round(extract(epoch FROM recorded_at - clock_timestamp()), 1)::text || ' s ahead' FROM log.log_head";
        let ahead = sqlx::query_scalar(sql).fetch_one(&database.pool).await;
        database.close().await;
        ahead.unwrap_or_else(|error| error.to_string())
    }

    /// The server that leads the log, or seems to: the one that appends.
    pub fn leader(&self) -> usize {
        let leads = |node: &Node| node.daybook.is_some() && node.wire.as_ref().is_some_and(Wire::appends);
        self.nodes.iter().position(leads).unwrap_or_default()
    }

    /// Keeps what is needed to look into a failure; where that is.
    pub fn keep(&mut self) -> PathBuf {
        if self.disk.is_some() {
            let _ = std::fs::copy(self.nodes[0].data.with_extension("log"), self.folder.join("node-1.log"));
        }
        let kept = self.folder.join("postgres");
        let from = match &self.outside {
            Some(cluster) => Some(cluster.home().to_owned()),
            None if self.disk.is_some() => Some(self.nodes[0].data.join("postgres")),
            None => None,
        };
        if let Some(from) = from {
            let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(&kept).status();
            println!("PostgreSQL's files: {} ({copied:?})", kept.display());
        }
        self.folder.clone()
    }
}

/// A way into the database beside the servers.
pub struct Database {
    pub pool: PgPool,
    /// Keeps a cluster running whose server is down.
    attached: Option<Cluster>,
}

impl Database {
    pub async fn close(self) {
        self.pool.close().await;
        if let Some(cluster) = self.attached {
            cluster.stop().await;
        }
    }
}

/// Brings an empty database up to date and makes the clients' keys.
fn prepare(cluster: &Cluster, folder: &Path) -> HashMap<String, String> {
    let run = |arguments: &[&str]| {
        let mut command = daybook::command(&folder.join("prepare"));
        command
            .env("DATABASE_URL", cluster.connection_uri(Role::App))
            .env("DAYBOOK_MIGRATION_URL", cluster.connection_uri(Role::Migrator));
        daybook::printed(&command.args(arguments).output().unwrap())
    };
    run(&["migrate"]);
    ROLES.iter().map(|role| ((*role).to_owned(), run(&["keys", "create", role, "--role", role]))).collect()
}

/// Sends a signal to processes; those that are gone already are none.
pub fn signal(processes: &[Pid], signal: Signal) {
    for process in processes {
        let _ = kill_process(*process, signal);
    }
}
