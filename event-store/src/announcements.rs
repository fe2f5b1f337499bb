//! What nodes tell each other through PostgreSQL's `NOTIFY`: a listener that knows when it may have missed something.
//!
//! An announcement is a hint: it says at once what its hearer would find by asking later. One that is sent while a
//! listener has no connection is lost to it, so each [`Heard::Listening`] is the moment to ask.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgPool};

/// PostgreSQL refuses payloads of 8,000 bytes or more.
pub const MAX_PAYLOAD_BYTES: usize = 7_999;

/// After so long without an announcement is looked whether the connection still lives: one that was cut off says nothing.
const SILENCE: Duration = Duration::from_secs(3);
/// How long the answer to that, or a new connection, is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before another attempt to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// What a listener has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// From now on it hears everything; before, it may have missed some.
    Listening {
        /// The process of its connection in PostgreSQL.
        backend: i32,
    },
    /// An announcement.
    Said(String),
    /// The connection is lost: it hears nothing until it is listening again.
    Lost,
}

/// Listens to one channel over a connection of its own, for ever.
#[derive(Debug)]
pub struct Listener {
    options: PgConnectOptions,
    channel: &'static str,
    listener: Option<PgListener>,
    failed: bool,
}

impl Listener {
    /// A listener that connects as the pool does, under a name that `pg_stat_activity` shows.
    pub fn new(pool: &PgPool, channel: &'static str, application_name: &str) -> Self {
        let options = pool.connect_options().as_ref().clone().application_name(application_name);
        Self { options, channel, listener: None, failed: false }
    }

    /// What is heard next; it waits for a connection as long as it takes.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(listener) = &mut self.listener {
                match tokio::time::timeout(SILENCE, listener.try_recv()).await {
                    Ok(Ok(Some(notification))) => return Heard::Said(notification.payload().to_owned()),
                    Ok(Ok(None) | Err(_)) => return self.lose(),
                    Err(_) => {
                        // Listening once more changes nothing but has to be answered.
                        let again = format!("LISTEN {}", self.channel);
                        let answered = sqlx::query(&again).execute(listener);
                        if !matches!(tokio::time::timeout(PATIENCE, answered).await, Ok(Ok(_))) {
                            return self.lose();
                        }
                        continue;
                    }
                }
            }
            if self.failed {
                tokio::time::sleep(PAUSE).await;
            }
            self.failed = true;
            match tokio::time::timeout(PATIENCE, self.connect()).await {
                Ok(Ok((listener, backend))) => {
                    self.listener = Some(listener);
                    self.failed = false;
                    return Heard::Listening { backend };
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, channel = self.channel, "cannot listen, trying again");
                }
                Err(_) => tracing::debug!(channel = self.channel, "cannot listen in time, trying again"),
            }
        }
    }

    fn lose(&mut self) -> Heard {
        self.listener = None;
        tracing::debug!(channel = self.channel, "a listener has lost its connection");
        Heard::Lost
    }

    async fn connect(&self) -> Result<(PgListener, i32), sqlx::Error> {
        // A connection of its own: one of the caller's pool would be missing there, and would go back to it in the
        // middle of a message when this is dropped.
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&own).await?;
        listener.eager_reconnect(false);
        let backend = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut listener).await?;
        listener.listen(self.channel).await?;
        Ok((listener, backend))
    }
}

/// Announces something to all who listen to the channel, once the connection's transaction, if any, has committed.
///
/// # Errors
/// When PostgreSQL does not answer, or the payload has more than [`MAX_PAYLOAD_BYTES`].
pub async fn announce(
    connection: &mut PgConnection,
    channel: &str,
    payload: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(payload).execute(connection).await?;
    Ok(())
}

/// Announces several things in this order; all of them or none.
///
/// # Errors
/// As [`announce`].
pub async fn announce_all(
    connection: &mut PgConnection,
    channel: &str,
    payloads: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT pg_notify($1, payload) FROM unnest($2) WITH ORDINALITY AS p (payload, place) ORDER BY place",
    )
    .bind(channel)
    .bind(payloads)
    .execute(connection)
    .await?;
    Ok(())
}

/// The sessions that listen under a name, but for one's own. It costs no write, so one can look often and say nothing
/// while nobody listens.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn listeners(
    connection: &mut PgConnection,
    application_name: &str,
    own: i32,
) -> Result<Vec<i32>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1 \
         AND pid <> $2 ORDER BY pid",
    )
    .bind(application_name)
    .bind(own)
    .fetch_all(connection)
    .await
}
