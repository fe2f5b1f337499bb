//! A private PostgreSQL cluster in a data folder, for everybody who has no server of their own.
//!
//! [`Cluster::open_or_create`] makes it on the first start and starts it on every other;
//! [`Cluster::attach`] finds the one that another process runs, or starts it while it is down. It
//! listens on a Unix socket alone, in a folder of mode 0700 that belongs to the user it runs as:
//! whoever may enter that folder (this user and root) needs no password, and nobody else gets in.
//!
//! The server ends with the [`Cluster`], and with the process when that is killed. What a crash
//! leaves behind is ended by the next opening; a server that dies is brought back.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sqlx::{
    Connection, Executor, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::sync::watch;

mod account;
mod binaries;
mod error;
mod home;
mod initdb;
mod processes;
mod settings;
mod supervisor;
#[cfg(any(test, feature = "testing"))]
mod temporary;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use error::EmbeddedError;
pub use supervisor::ServerState;
#[cfg(any(test, feature = "testing"))]
pub use temporary::TemporaryCluster;

use home::{Home, Ownership};
use supervisor::{Ending, Plan, Supervisor};

/// The database that Daybook keeps everything in.
pub const DATABASE: &str = "daybook";
/// The cluster's superuser, used to set it up and never to serve.
const SUPERUSER: &str = "postgres";
/// How long an attaching program waits for a server that another one is starting.
const ATTACH_PATIENCE: Duration = Duration::from_secs(30);

/// As whom to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `daybook_app`: serves; can neither change nor delete an event.
    App,
    /// `daybook_migrator`: changes the schema.
    Migrator,
    /// The superuser: sets the cluster up.
    Superuser,
}

impl Role {
    /// The role's name in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::App => "daybook_app",
            Self::Migrator => "daybook_migrator",
            Self::Superuser => SUPERUSER,
        }
    }
}

/// How to open a cluster. The default is right for serving.
#[derive(Debug, Clone, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
    /// A stopped data directory to copy instead of running `initdb`.
    template: Option<PathBuf>,
    /// Nobody will read the data again, so the server need not write it out at the end.
    disposable: bool,
}

impl Options {
    /// Replaces one of our settings of PostgreSQL, for example what a measurement is about.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// An open cluster: one that this process runs, or one that it found running.
#[derive(Debug)]
pub struct Cluster {
    home: Home,
    sockets: PathBuf,
    server: Server,
}

#[derive(Debug)]
enum Server {
    /// Field order is drop order: the server ends before the folder is given free.
    Ours {
        supervisor: Supervisor,
        _ownership: Ownership,
    },
    Theirs {
        state: watch::Sender<ServerState>,
    },
}

impl Cluster {
    /// Starts the cluster of a data folder, making folder and cluster when they are missing.
    ///
    /// It is ready for connections of every [`Role`]; the schema is the migrations' matter. What a
    /// crash left is cleaned up first, and a recovery is waited for.
    pub async fn open_or_create(folder: impl AsRef<Path>, options: Options) -> Result<Self, EmbeddedError> {
        let folder = folder.as_ref().to_path_buf();
        let cluster = blocking(move || {
            let folder = home::prepare_data_folder(&folder)?;
            match Ownership::take(&folder)? {
                Ok(ownership) => Self::start(&folder, ownership, &options),
                Err(holder) => Err(EmbeddedError::InUse { folder, holder }),
            }
        })
        .await?;
        cluster.set_up(DATABASE).await?;
        Ok(cluster)
    }

    /// Finds the running cluster of a data folder, or starts it while this value lives.
    ///
    /// Never makes one: a folder without a cluster is [`EmbeddedError::NoCluster`].
    pub async fn attach(folder: impl AsRef<Path>) -> Result<Self, EmbeddedError> {
        let folder = folder.as_ref().to_path_buf();
        blocking(move || {
            if !folder.is_dir() {
                return Err(EmbeddedError::NoCluster { folder });
            }
            let folder = home::existing_data_folder(&folder)?;
            let Some(home) = Home::recorded(&folder)? else {
                return Err(EmbeddedError::NoCluster { folder });
            };
            let begun = Instant::now();
            loop {
                match Ownership::take(&folder)? {
                    Ok(_) if home.version()?.is_none() => {
                        return Err(EmbeddedError::NoCluster { folder });
                    }
                    Ok(ownership) => return Self::start(&folder, ownership, &Options::default()),
                    Err(holder) => {
                        let ready = supervisor::postmaster_status(&home.data())
                            .is_some_and(|(_, status)| status == "ready");
                        if let Some(sockets) = home.recorded_sockets()?.filter(|_| ready) {
                            let (state, _) = watch::channel(ServerState::Running);
                            return Ok(Self { home, sockets, server: Server::Theirs { state } });
                        }
                        if begun.elapsed() > ATTACH_PATIENCE {
                            let waited_seconds = ATTACH_PATIENCE.as_secs();
                            return Err(EmbeddedError::NotReady { folder, holder, waited_seconds });
                        }
                    }
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        })
        .await
    }

    /// Starts an owned folder's cluster; blocks.
    fn start(folder: &Path, ownership: Ownership, options: &Options) -> Result<Self, EmbeddedError> {
        let (home, account) = Home::find_or_choose(folder)?;
        let version = home.version()?;
        let binaries = binaries::find(&home.data(), version.as_deref())?;
        processes::end_leftovers(&home.data())?;
        if version.is_none() {
            tracing::info!(folder = %home.path().display(), user = account.name, postgres = binaries.version, "creating the database");
            initdb::create_data(&home, &account, &binaries, options.template.as_deref())?;
        }
        let has_lz4 = binaries.accept("wal_compression", "lz4");
        let settings = settings::as_file(&settings::settings(&options.settings, has_lz4));
        let file = home.data().join("daybook.conf");
        std::fs::write(&file, settings).map_err(|error| EmbeddedError::io("write", &file, error))?;
        account.take(&file)?;
        let sockets = home.prepare_sockets(&account)?;
        let (signal_on_death, ending) =
            if options.disposable { ("QUIT", Ending::Immediate) } else { ("INT", Ending::Fast) };
        let plan = Plan { binaries, account, home: home.clone(), sockets: sockets.clone(), signal_on_death };
        let supervisor = Supervisor::start(plan, ending)?;
        Ok(Self { home, sockets, server: Server::Ours { supervisor, _ownership: ownership } })
    }

    /// Makes a database with its roles and schemas, or adds to it what is missing.
    async fn set_up(&self, database: &str) -> Result<(), EmbeddedError> {
        let mut connection =
            PgConnection::connect_with(&self.options_for(Role::Superuser, SUPERUSER)).await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(database)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            connection.execute(format!(r#"CREATE DATABASE "{database}""#).as_str()).await?;
        }
        connection.close().await?;
        let mut connection = PgConnection::connect_with(&self.options_for(Role::Superuser, database)).await?;
        crate::bootstrap(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    /// How to connect to [`DATABASE`] as `role`. Options are good for the cluster's whole life, restarts included.
    pub fn connect_options(&self, role: Role) -> PgConnectOptions {
        self.options_for(role, DATABASE)
    }

    fn options_for(&self, role: Role, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.sockets)
            .port(5432)
            .username(role.name())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The same as a connection URI, for programs like `psql`.
    pub fn connection_uri(&self, role: Role) -> String {
        let host: String = self
            .sockets
            .to_string_lossy()
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        format!("postgresql://{}@{host}:5432/{DATABASE}", role.name())
    }

    /// The data folder, canonical.
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// Where the cluster's files are: in the data folder, or elsewhere when PostgreSQL's user cannot reach that.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The folder of the server's socket.
    pub fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Whether this process runs the server (and stops it), or only found it.
    pub fn is_ours(&self) -> bool {
        matches!(self.server, Server::Ours { .. })
    }

    /// What the server is doing, now and from now on. One that was only found always says `Running`.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        match &self.server {
            Server::Ours { supervisor, .. } => supervisor.state(),
            Server::Theirs { state } => state.subscribe(),
        }
    }

    /// Stops the server in order, within seconds; one that another process runs is left alone.
    ///
    /// Open transactions are rolled back, so close the pools first.
    pub async fn stop(self) {
        if let Server::Ours { supervisor, _ownership } = self.server {
            let stop = move || {
                supervisor.stop(Ending::Fast);
                drop(_ownership);
                Ok(())
            };
            if let Err(error) = blocking(stop).await {
                tracing::warn!(%error, "cannot stop the embedded PostgreSQL");
            }
        }
    }
}

/// Runs what waits for processes and disks on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(EmbeddedError::io("finish work on", "the embedded cluster", std::io::Error::other(error)))
        }
    }
}
