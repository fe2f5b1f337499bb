//! The database: a server that was named, or the embedded one of a data folder, running or not.

use std::str::FromStr as _;

use anyhow::Context as _;
use event_store::embedded::{Cluster, Role};
use event_store::{Log, check_schema};
use projections::read::ReadModels;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::args::Args;

/// An open database.
pub struct Database {
    pub pool: PgPool,
    pub log: Log,
    cluster: Option<Cluster>,
}

impl Database {
    pub async fn open(args: &Args) -> anyhow::Result<Self> {
        // An empty setting is none.
        let given = args.database_url.as_deref().filter(|url| !url.is_empty());
        let (options, cluster) = match given {
            Some(url) => {
                // The error of a malformed URL may repeat its password.
                let options = PgConnectOptions::from_str(url)
                    .map_err(|_| anyhow::anyhow!("DATABASE_URL is not a PostgreSQL connection URL"))?;
                (options, None)
            }
            None => {
                let cluster = Cluster::attach(&args.data_dir).await?;
                (cluster.connect_options(Role::App), Some(cluster))
            }
        };
        match Self::connect(options).await {
            Ok((pool, log)) => Ok(Self { pool, log, cluster }),
            Err(error) => {
                stop(cluster).await;
                Err(error)
            }
        }
    }

    async fn connect(options: PgConnectOptions) -> anyhow::Result<(PgPool, Log)> {
        let pool = PgPoolOptions::new()
            .max_connections(6)
            .acquire_timeout(std::time::Duration::from_secs(10))
            .connect_with(options.application_name("replay-tool"))
            .await
            .context("cannot connect to PostgreSQL")?;
        check_schema(&pool).await?;
        let log = Log::open(pool.clone()).await?;
        Ok((pool, log))
    }

    pub fn read_models(&self) -> ReadModels {
        ReadModels::open(self.pool.clone(), self.log.clone())
    }

    /// Stops what was started for this.
    pub async fn close(self) {
        drop(self.log);
        self.pool.close().await;
        stop(self.cluster).await;
    }
}

async fn stop(cluster: Option<Cluster>) {
    if let Some(cluster) = cluster {
        cluster.stop().await;
    }
}
