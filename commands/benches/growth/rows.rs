//! Rows to fill the log with: copies of those that the bus writes for a transfer, with other accounts and ids in them.

use std::sync::Arc;

use anyhow::{Context, ensure};
use commands::testing::transfer;
use domain::ids::AccountId;
use event_store::{CommandWrite, KeyRow, NewEvent, RecordedEvent, StreamId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::ours::Ours;
use crate::support::spread::Spread;

/// Transfers without end, between accounts drawn evenly. Streams go on where the bus has left them.
pub struct Transfers {
    template: Template,
    accounts: Vec<AccountId>,
    /// The newest event of each account.
    sequences: Vec<u64>,
    drawn: usize,
}

/// What the bus has written for one transfer.
struct Template {
    events: Vec<RecordedEvent>,
    outcome: String,
    from: AccountId,
    to: AccountId,
    /// The movement's number in the payer's stream, as the end of its id.
    movement: String,
    command_id: String,
    correlation_id: String,
}

impl Transfers {
    /// Lets the bus make one transfer and copies its rows from then on.
    pub async fn like_one_of(
        ours: &Ours,
        superuser: &PgPool,
        accounts: Vec<AccountId>,
    ) -> anyhow::Result<Self> {
        let before = ours.log.head();
        ours.accepted([transfer(&accounts[0], &accounts[1], "1.00")].into_iter()).await?;
        let events = ours.log.read(before, 2).await?;
        ensure!(events.len() == 2, "a transfer has two events");
        let outcome: String =
            sqlx::query_scalar("SELECT outcome::text FROM log.idempotency_keys WHERE log_position > $1")
                .bind(i64::try_from(before.0)?)
                .fetch_one(superuser)
                .await?;
        let metadata: event_store::Metadata = serde_json::from_str(&events[0].metadata)?;
        let of = |name: &str| metadata.get(name).cloned().with_context(|| format!("metadata has {name}"));
        let template = Template {
            from: accounts[0].clone(),
            to: accounts[1].clone(),
            movement: movement(&outcome, &accounts[0]).context("a movement's id in the outcome")?,
            command_id: of("command_id")?,
            correlation_id: of("correlation_id")?,
            events,
            outcome,
        };
        let opened = template.events[0].sequence - 1;
        let mut sequences = vec![opened; accounts.len()];
        sequences[0] += 1;
        sequences[1] += 1;
        Ok(Self { template, accounts, sequences, drawn: 0 })
    }

    /// The rows of the next transfer.
    pub fn next(&mut self) -> CommandWrite {
        let (from, to) = Spread::Even.indexes(self.accounts.len(), 0, self.drawn);
        self.drawn += 1;
        self.sequences[from] += 1;
        self.sequences[to] += 1;
        let ids = Ids {
            from: &self.accounts[from],
            to: &self.accounts[to],
            movement: format!(".m{}", self.sequences[from]),
            command: Uuid::now_v7().to_string(),
            correlation: Uuid::now_v7().to_string(),
        };
        let events = self.template.events.iter().zip([from, to]).map(|(event, account)| NewEvent {
            stream: StreamId::new("account", self.accounts[account].as_str()),
            sequence: self.sequences[account],
            event_id: Uuid::now_v7(),
            event_type: event.event_type.clone(),
            event_version: event.event_version.clone(),
            payload: self.template.filled(&event.payload, &ids),
            metadata: self.template.filled(&event.metadata, &ids),
        });
        let events = events.collect();
        let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
        let mut command_hash = [0; 32];
        command_hash[..16].copy_from_slice(first.as_bytes());
        command_hash[16..].copy_from_slice(second.as_bytes());
        let key = KeyRow {
            principal: "admin".into(),
            key: Uuid::now_v7().to_string(),
            command_hash,
            outcome: self.template.filled(&self.template.outcome, &ids).to_string(),
        };
        CommandWrite { keys: vec![key], events }
    }
}

/// What is another one in every transfer.
struct Ids<'a> {
    from: &'a AccountId,
    to: &'a AccountId,
    movement: String,
    command: String,
    correlation: String,
}

impl Template {
    fn filled(&self, text: &str, ids: &Ids<'_>) -> Arc<str> {
        text.replace(&self.movement, &ids.movement)
            .replace(self.from.as_str(), ids.from.as_str())
            .replace(self.to.as_str(), ids.to.as_str())
            .replace(&self.command_id, &ids.command)
            .replace(&self.correlation_id, &ids.correlation)
            .into()
    }
}

/// The end of a movement's id in the text: what follows the account's id up to the next quote.
fn movement(text: &str, account: &AccountId) -> Option<String> {
    let start = text.find(&format!("{account}.m"))? + account.as_str().len();
    let length = text[start..].find('"')?;
    Some(text[start..start + length].to_owned())
}
