//! The peer: the same aggregate and the same deposits through `postgres-es`, on tables of its own and without keys.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateError, CqrsFramework};
use domain::account::{Account, AccountCommand};
use domain::ids::AccountId;
use postgres_es::{PostgresCqrs, PostgresEventRepository};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::load::{Load, own_account};
use crate::support::open_loop::{Latencies, OpenLoop};

/// The library's own pool has 10; more make it quicker.
pub const CONNECTIONS: u32 = 64;

/// The library's tables, as it ships them.
const TABLES: &str = "
    CREATE SCHEMA peer;
    CREATE TABLE peer.events (
        aggregate_type text                         NOT NULL,
        aggregate_id   text                         NOT NULL,
        sequence       bigint CHECK (sequence >= 0) NOT NULL,
        event_type     text                         NOT NULL,
        event_version  text                         NOT NULL,
        payload        json                         NOT NULL,
        metadata       json                         NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    );
    INSERT INTO peer.events
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata FROM log.events;
";

pub struct Peer {
    framework: Arc<PostgresCqrs<Account>>,
}

impl Peer {
    /// Takes over the accounts that are open in the log.
    pub async fn start(superuser: &PgPool, pool: PgPool) -> anyhow::Result<Self> {
        sqlx::raw_sql(TABLES).execute(superuser).await?;
        let repository = PostgresEventRepository::new(pool).with_tables("peer.events", "peer.snapshots");
        let store = PersistedEventStore::new_event_store(repository);
        Ok(Self { framework: Arc::new(CqrsFramework::new(store, Vec::new(), ())) })
    }

    /// Durable deposits a second.
    pub async fn measure(&self, accounts: &Arc<[AccountId]>, load: Load) -> anyhow::Result<f64> {
        let (framework, accounts) = (Arc::clone(&self.framework), Arc::clone(accounts));
        let answered = load
            .run(move |client, number| {
                let account = own_account(&accounts, load.clients, client, number).clone();
                let framework = Arc::clone(&framework);
                async move { deposit(&framework, &account).await }
            })
            .await?;
        Ok(answered.rate)
    }

    /// How long deposits take that come at a rate.
    pub async fn latencies(
        &self,
        accounts: &Arc<[AccountId]>,
        open_loop: OpenLoop,
    ) -> anyhow::Result<Latencies> {
        let (framework, accounts) = (Arc::clone(&self.framework), Arc::clone(accounts));
        open_loop
            .run(move |number| {
                let account = own_account(&accounts, 1, 0, number).clone();
                let framework = Arc::clone(&framework);
                async move { deposit(&framework, &account).await }
            })
            .await
    }
}

async fn deposit(framework: &PostgresCqrs<Account>, account: &AccountId) -> anyhow::Result<()> {
    let amount = "1.00".parse()?;
    let command = AccountCommand::Deposit { amount, reference: None, effective_at: None };
    let metadata = HashMap::from([
        ("actor".to_owned(), "admin".to_owned()),
        ("command_id".to_owned(), Uuid::now_v7().to_string()),
        ("correlation_id".to_owned(), Uuid::now_v7().to_string()),
    ]);
    match framework.execute_with_metadata(account.as_str(), (command, Utc::now()), metadata).await {
        Ok(()) => Ok(()),
        Err(AggregateError::UserError(refusal)) => anyhow::bail!(refusal),
        Err(error) => anyhow::bail!("postgres-es failed: {error}"),
    }
}
