//! The database behind the server: a private cluster in the data folder, or one that is given.

use std::time::Duration;

use anyhow::Context as _;
use event_store::embedded::{Cluster, Options, Role};
use event_store::{check_application_role, check_durability, check_schema, migrate};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tokio::time::Instant;

use crate::settings::StoreSettings;

/// Connections that the server uses for queries; the appender, the projections and listeners have their own.
const MAX_CONNECTIONS: u32 = 24;
/// How long a query waits for one of them.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// The pause before a database that is just starting is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// The database, ready to be used as the application.
#[derive(Debug)]
pub struct Store {
    /// Connections as the application.
    pub pool: PgPool,
    cluster: Option<Cluster>,
}

impl Store {
    /// Opens the database to serve from it: makes the private cluster if it is missing, brings the schema up to date
    /// where it may, and checks the role.
    ///
    /// # Errors
    /// Says what to do.
    pub async fn open(settings: &StoreSettings, allow_unsafe_role: bool) -> anyhow::Result<Self> {
        let Some(url) = settings.database_url() else {
            let cluster = Cluster::open_or_create(&settings.data_dir, Options::default()).await?;
            migrate(&cluster.connect_options(Role::Migrator)).await?;
            let store = Self::connect(cluster.connect_options(Role::App), Some(cluster)).await?;
            check_application_role(&store.pool).await?;
            return Ok(store);
        };
        if let Some(migration_url) = settings.migration_url() {
            migrate(&parse_url("DAYBOOK_MIGRATION_URL", migration_url)?).await?;
        }
        let store = Self::connect(parse_url("DATABASE_URL", url)?, None).await?;
        check_schema(&store.pool).await?;
        check_durability(&store.pool).await?;
        if let Err(error) = check_application_role(&store.pool).await {
            anyhow::ensure!(
                allow_unsafe_role,
                "{error}; or start with --allow-unsafe-role, and nothing but a backup then proves what was recorded"
            );
            tracing::warn!(%error, "starting all the same, as told");
        }
        Ok(store)
    }

    /// Finds the database of a server that may be running, for a short errand.
    ///
    /// # Errors
    /// Says what to do.
    pub async fn attach(settings: &StoreSettings) -> anyhow::Result<Self> {
        let store = match settings.database_url() {
            Some(url) => Self::connect(parse_url("DATABASE_URL", url)?, None).await?,
            None => {
                let cluster = Cluster::attach(&settings.data_dir).await?;
                Self::connect(cluster.connect_options(Role::App), Some(cluster)).await?
            }
        };
        check_schema(&store.pool).await?;
        Ok(store)
    }

    async fn connect(options: PgConnectOptions, cluster: Option<Cluster>) -> anyhow::Result<Self> {
        let options = options.application_name("daybook").options([("client_min_messages", "warning")]);
        reach(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_LIMIT)
            .connect_with(options)
            .await
            .context("the database cannot be reached; is it running, and is DATABASE_URL right?")?;
        Ok(Self { pool, cluster })
    }

    /// Whether it is the private cluster.
    pub fn is_embedded(&self) -> bool {
        self.cluster.is_some()
    }

    /// Where the database is, for people.
    pub fn place(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!("private PostgreSQL in {}", cluster.home().display()),
            None => {
                let options = self.pool.connect_options();
                let database = options.get_database().unwrap_or("?");
                format!("PostgreSQL {}:{}/{database}", options.get_host(), options.get_port())
            }
        }
    }

    /// Closes the connections and stops the private cluster, if this process runs it.
    pub async fn close(self) {
        self.pool.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
    }
}

/// Connects once, because a pool says no more than that its time is up. One that is just starting is waited for.
async fn reach(options: &PgConnectOptions) -> anyhow::Result<()> {
    let place = format!("PostgreSQL at {}:{}", options.get_host(), options.get_port());
    let deadline = Instant::now() + ACQUIRE_LIMIT;
    loop {
        let error = match tokio::time::timeout_at(deadline, options.connect()).await {
            Ok(Ok(connection)) => {
                // The pool makes its own.
                let _ = connection.close().await;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => anyhow::bail!(
                "{place} does not answer; is it the right host and port in DATABASE_URL, and does a firewall let us through?"
            ),
        };
        let is_starting = match &error {
            sqlx::Error::Io(cause) => cause.kind() == std::io::ErrorKind::ConnectionRefused,
            // It says itself that it is starting up.
            sqlx::Error::Database(answer) => answer.code().as_deref() == Some("57P03"),
            _ => false,
        };
        if is_starting && Instant::now() + PAUSE < deadline {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        anyhow::bail!(match error {
            sqlx::Error::Database(answer) => format!(
                "{place} does not let us in: {}; are role, password and database right in DATABASE_URL?",
                answer.message()
            ),
            error => format!(
                "{place} cannot be reached: {error}; is it running, and are host and port right in DATABASE_URL?"
            ),
        })
    }
}

/// The connection options in a URL.
///
/// # Errors
/// Names the setting, never its value: it holds a password.
pub fn parse_url(setting: &str, url: &str) -> anyhow::Result<PgConnectOptions> {
    let is_ours = url.starts_with("postgresql://") || url.starts_with("postgres://");
    url.parse().ok().filter(|_| is_ours).with_context(|| {
        format!("{setting} cannot be read; it looks like postgresql://role:password@host:5432/database")
    })
}
