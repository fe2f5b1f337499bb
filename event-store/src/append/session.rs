//! A session of PostgreSQL that appends, and how it is told apart from all others.

use std::io;

use sqlx::postgres::PgConnectOptions;

use super::wire::{Wire, WireError};

/// By which PostgreSQL shows the connections that append. By it a successor finds what a frozen leader has left behind.
pub(crate) const APPLICATION_NAME: &str = "daybook appender";

/// Limits on the server's side are shorter than on this one, so that a frozen node cannot keep the head locked.
pub(super) const SETTINGS: &str = "SET synchronous_commit = on; \
     SET default_transaction_isolation = 'read committed'; \
     SET statement_timeout = '10s'; \
     SET lock_timeout = '3s'; \
     SET idle_in_transaction_session_timeout = '3s'";

#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) backend: Backend,
}

/// Names a server process; with its start, because process ids come again.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pid: String,
    /// As PostgreSQL writes it.
    started: String,
}

impl Session {
    pub(super) async fn open(options: &PgConnectOptions) -> Result<Self, WireError> {
        let mut wire = Wire::connect(options).await?;
        let own = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let rows = wire.query(&format!("{SETTINGS}; {own}")).await?;
        match rows.into_iter().next().and_then(|row| <[_; 2]>::try_from(row).ok()) {
            Some([Some(pid), Some(started)]) => Ok(Self { wire, backend: Backend { pid, started } }),
            _ => Err(WireError::Broken(io::Error::other("the session does not find itself"))),
        }
    }

    /// Ends a server process, and waits until it has ended.
    pub(super) async fn end(&mut self, Backend { pid, started }: &Backend) -> Result<(), WireError> {
        let rows = self
            .wire
            .query(&format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                 WHERE pid = {pid} AND backend_start = '{started}'"
            ))
            .await?;
        match rows.first().and_then(|row| row.first()?.as_deref()) {
            Some("f") => Err(WireError::Broken(io::Error::other("the lost server process does not end"))),
            _ => Ok(()),
        }
    }

    /// Ends the appending connections of all others, if the lease of `epoch` is still the newest. Says how many.
    pub(super) async fn end_others(&mut self, epoch: i64) -> Result<usize, WireError> {
        let ended = self
            .wire
            .query(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity, log.log_head \
                 WHERE datname = current_database() AND usename = current_user \
                 AND application_name = '{APPLICATION_NAME}' AND pid <> pg_backend_pid() AND epoch = {epoch}"
            ))
            .await?;
        Ok(ended.len())
    }
}
