//! Fresh databases for tests, many in one cluster, since a cluster a test would be slow.
//!
//! ```no_run
//! # async fn example() -> Result<(), event_store::embedded::EmbeddedError> {
//! use event_store::embedded::testing::TestDatabase;
//!
//! let database = TestDatabase::create().await?;
//! sqlx::query("SELECT 1").execute(&database.app).await?;
//! # Ok(()) }
//! ```

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::OnceCell;

use super::{Cluster, EmbeddedError, Role, TemporaryCluster};

/// A database of its own in the test process's shared cluster, migrated, with a pool for each role.
///
/// Connections are made on demand. The cluster and all its databases go with the test process.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    name: String,
    /// As `daybook_app`.
    pub app: PgPool,
    /// As `daybook_migrator`.
    pub migrator: PgPool,
    /// As the superuser.
    pub superuser: PgPool,
}

impl TestDatabase {
    /// Makes a database with roles, schemas and all migrations.
    pub async fn create() -> Result<Self, EmbeddedError> {
        let database = Self::create_unmigrated().await?;
        crate::migrate(&database.connect_options(Role::Migrator).await?).await?;
        Ok(database)
    }

    /// Makes a database with roles and schemas alone.
    pub async fn create_unmigrated() -> Result<Self, EmbeddedError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let cluster = shared_cluster().await?;
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        cluster.set_up(&name).await?;
        let pool = |role| {
            PgPoolOptions::new().max_connections(8).connect_lazy_with(cluster.options_for(role, &name))
        };
        Ok(Self {
            app: pool(Role::App),
            migrator: pool(Role::Migrator),
            superuser: pool(Role::Superuser),
            name,
        })
    }

    /// The database's name in the shared cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to connect to it as `role`.
    pub async fn connect_options(&self, role: Role) -> Result<PgConnectOptions, EmbeddedError> {
        Ok(shared_cluster().await?.options_for(role, &self.name))
    }
}

/// The one cluster of this test process.
pub async fn shared_cluster() -> Result<&'static TemporaryCluster, EmbeddedError> {
    static CLUSTER: OnceCell<TemporaryCluster> = OnceCell::const_new();
    CLUSTER.get_or_try_init(Cluster::start_temporary).await
}
