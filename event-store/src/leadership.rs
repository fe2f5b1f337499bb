//! Which node decides: a lease in the head's row, with an epoch that every append names.
//!
//! The lease is timed by PostgreSQL's clock alone. Safety does not rest on it: a new leader raises the epoch, and from
//! then on no append of an earlier one changes a row. What a frozen or cut off leader leaves behind in PostgreSQL, a lock
//! on the head or rows that are not committed, its successor removes by ending those server processes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgPool, Row};
use thiserror::Error;

use crate::LogPosition;
use crate::append::APPLICATION_NAME;

/// SQLSTATE `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A node whose clock is further off PostgreSQL's does not lead: its clock stamps events.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_millis(500);

/// Why a node does not lead, beside another node leading.
#[derive(Debug, Error)]
pub enum LeadershipError {
    /// This node's clock is too far off.
    #[error(
        "this node's clock is {skew_ms} ms off PostgreSQL's, more than 500 ms; synchronise the clocks (NTP) so that it can lead"
    )]
    ClockSkew {
        /// Positive when this node's clock is ahead.
        skew_ms: i64,
    },
    /// Another node has taken over.
    #[error("another node leads the log now")]
    Deposed,
    /// PostgreSQL did not answer.
    #[error("the lease cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

/// The right to append under one epoch, and what was true of the log when it was acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    node: String,
    ttl: Duration,
    epoch: i64,
    secret: Option<Secret>,
    /// The head when the lease was acquired; nobody else moves it while the lease holds.
    pub head: LogPosition,
    /// When the newest batch was recorded: batches to come are stamped no earlier. Absent in an empty log.
    pub last_recorded_at: Option<DateTime<Utc>>,
}

impl Lease {
    /// Names this time of leading; each one is greater than all before.
    pub fn epoch(&self) -> u64 {
        self.epoch.unsigned_abs()
    }

    pub(crate) fn epoch_sql(&self) -> i64 {
        self.epoch
    }

    /// How long it holds without being renewed. Renew it after a third of this.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The node that holds it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// With what other nodes come in; absent when it was acquired without an address.
    pub fn secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }
}

/// What only the nodes of a log know, because only they read its database. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where the leader takes other nodes' commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderContact {
    /// Host and port.
    pub address: String,
    /// Both sides prove that they know it. New with every lease.
    pub secret: Secret,
}

/// Who leads, as anybody can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// Name of the node; absent when none leads.
    pub node: Option<String>,
    /// The newest epoch.
    pub epoch: u64,
    /// By PostgreSQL's clock; absent when none leads.
    pub lease_until: Option<DateTime<Utc>>,
    /// Whether the lease holds now.
    pub holds: bool,
    /// The newest log position.
    pub head: LogPosition,
    /// Where the holder of the newest epoch takes commands; absent when it takes none.
    pub contact: Option<LeaderContact>,
}

type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Acquires, renews and releases the lease.
#[derive(Clone)]
pub struct Leadership {
    pool: PgPool,
    clock: Clock,
    address: Option<String>,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").finish_non_exhaustive()
    }
}

impl Leadership {
    /// Works through the application's pool and checks the system's clock.
    pub fn new(pool: PgPool) -> Self {
        Self::with_clock(pool, Utc::now)
    }

    /// [`Leadership::new`] with another clock to check: the one that will stamp the events.
    pub fn with_clock(pool: PgPool, clock: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        Self { pool, clock: Arc::new(clock), address: None }
    }

    /// The address, host and port, at which this node takes other nodes' commands while it leads.
    #[must_use]
    pub fn reachable_at(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Acquires the lease when nobody holds it. `None` when another node does.
    ///
    /// A node that holds it already gets it again at once, under a new epoch: it was restarted. So names of nodes have
    /// to be unique.
    ///
    /// When the lease has run out and somebody still has the head locked, server processes of appenders that wait for
    /// their client in the middle of a transaction are ended: their node is frozen or cut off.
    ///
    /// # Errors
    /// [`LeadershipError::ClockSkew`], or when PostgreSQL does not answer.
    pub async fn acquire(&self, node: &str, ttl: Duration) -> Result<Option<Lease>, LeadershipError> {
        self.check_clock().await?;
        match self.try_acquire(node, ttl).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
                let ended = self.free_head().await?;
                tracing::warn!(ended, "the head was locked after its lease had run out");
                // If it is still locked, the next attempt comes soon enough.
                Ok(self.try_acquire(node, ttl).await?)
            }
            tried => Ok(tried?),
        }
    }

    async fn try_acquire(&self, node: &str, ttl: Duration) -> Result<Option<Lease>, sqlx::Error> {
        let row =
            sqlx::query("SELECT epoch, log_position, recorded_at, secret FROM log.acquire_lease($1, $2, $3)")
                .bind(node)
                .bind(milliseconds(ttl))
                .bind(self.address.as_deref())
                .fetch_optional(&self.pool)
                .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Lease {
            node: node.to_owned(),
            ttl,
            epoch: row.try_get("epoch")?,
            secret: row.try_get::<Option<Vec<u8>>, _>("secret")?.map(Secret),
            head: LogPosition::from_sql(row.try_get("log_position")?),
            last_recorded_at: row.try_get("recorded_at")?,
        }))
    }

    /// Ends appenders that are in the middle of a transaction and wait for their client, if the lease has run out. One
    /// that PostgreSQL itself keeps waiting, for its disk for example, is left alone.
    async fn free_head(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity AS a, log.log_head AS h \
             WHERE h.lease_until <= clock_timestamp() AND a.datname = current_database() \
               AND a.usename = current_user AND a.application_name = $1 \
               AND a.xact_start IS NOT NULL AND a.wait_event_type = 'Client'",
        )
        .bind(APPLICATION_NAME)
        .fetch_one(&self.pool)
        .await
    }

    /// Extends the lease by its time. Appends do so, too; renewing is for times without them.
    ///
    /// # Errors
    /// [`LeadershipError::Deposed`] or [`LeadershipError::ClockSkew`]: stop leading. When PostgreSQL does not answer: try
    /// again.
    pub async fn renew(&self, lease: &Lease) -> Result<(), LeadershipError> {
        self.check_clock().await?;
        let renewed: bool = sqlx::query_scalar("SELECT log.renew_lease($1, $2)")
            .bind(lease.epoch)
            .bind(milliseconds(lease.ttl))
            .fetch_one(&self.pool)
            .await?;
        if renewed { Ok(()) } else { Err(LeadershipError::Deposed) }
    }

    /// Gives the lease back, so that another node need not wait for its end. The epoch is raised: an append that is
    /// still on its way changes nothing any more. Does nothing when another node has taken over.
    ///
    /// # Errors
    /// When PostgreSQL does not answer; the lease then runs out by itself.
    pub async fn release(&self, lease: Lease) -> Result<(), LeadershipError> {
        sqlx::query(
            "UPDATE log.log_head SET epoch = epoch + 1, leader = NULL, lease_until = NULL WHERE epoch = $1",
        )
        .bind(lease.epoch)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Who leads.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn current(&self) -> Result<CurrentLeader, LeadershipError> {
        let row = sqlx::query(
            "SELECT leader, epoch, lease_until, log_position, address, secret, \
                    coalesce(lease_until > clock_timestamp(), false) AS holds \
             FROM log.log_head LEFT JOIN log.leader_contact USING (epoch)",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(CurrentLeader {
            node: row.try_get("leader")?,
            epoch: row.try_get::<i64, _>("epoch")?.unsigned_abs(),
            lease_until: row.try_get("lease_until")?,
            holds: row.try_get("holds")?,
            head: LogPosition::from_sql(row.try_get("log_position")?),
            contact: row
                .try_get::<Option<String>, _>("address")?
                .zip(row.try_get("secret")?)
                .map(|(address, secret)| LeaderContact { address, secret: Secret(secret) }),
        })
    }

    /// Compares the clocks, allowing for the time that the question and the answer took.
    async fn check_clock(&self) -> Result<(), LeadershipError> {
        let before = (self.clock)();
        let theirs: DateTime<Utc> =
            sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&self.pool).await?;
        let after = (self.clock)();
        let ahead = before - theirs;
        let behind = theirs - after;
        let skew = ahead.max(behind);
        if skew > TimeDelta::from_std(MAX_CLOCK_SKEW).unwrap_or(TimeDelta::MAX) {
            let skew_ms = if ahead > behind { skew } else { -skew }.num_milliseconds();
            return Err(LeadershipError::ClockSkew { skew_ms });
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
