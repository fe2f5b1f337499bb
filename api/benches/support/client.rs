//! What a caller does: mutations over HTTP, one request after the other on connections that stay open.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::ids::AccountId;
use event_store::LogPosition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const DEPOSIT: &str =
    "mutation ($input: MoneyInput!) { deposit(input: $input) { logPosition errors { code } } }";
const TRANSFERS: &str =
    "mutation ($inputs: [TransferInput!]!) { transfers(inputs: $inputs) { logPosition errors { code } } }";

const AMOUNT: &str = "1.00";

/// After this a connection is not used again. The server closes one that has been idle for 30 s; what is sent at that very
/// moment is lost.
const IDLE: Duration = Duration::from_secs(15);

/// Longer than any machine takes that is not broken.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// What a deposit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deposited {
    /// It is durable.
    Accepted,
    /// The server was busy or could not tell; the same key would settle it.
    Unavailable,
}

// What is sent and read is typed, and so costs the machine, which the server shares, little.

#[derive(Serialize)]
struct Question<V> {
    query: &'static str,
    variables: V,
}

#[derive(Serialize)]
struct Input<V> {
    input: V,
}

#[derive(Serialize)]
struct Inputs<'a, V> {
    inputs: &'a [V],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MoneyInput<'a> {
    idempotency_key: Uuid,
    account_id: &'a AccountId,
    amount: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TransferInput<'a> {
    idempotency_key: Uuid,
    from: &'a AccountId,
    to: &'a AccountId,
    amount: &'static str,
}

#[derive(Deserialize)]
struct Answer<D> {
    data: Option<D>,
    #[serde(default)]
    errors: Vec<Value>,
}

#[derive(Deserialize)]
struct DepositData {
    deposit: Payload,
}

#[derive(Deserialize)]
struct TransfersData {
    transfers: Vec<Payload>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    log_position: Option<String>,
    errors: Vec<Refused>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    code: String,
}

impl Payload {
    /// Whether asking again with the same key settles it.
    fn is_unknown(&self) -> bool {
        self.errors.iter().any(|error| error.code == "UNAVAILABLE")
    }
}

impl Client {
    /// Talks to the address of `/graphql` with an admin's key.
    pub fn new(url: String, key: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { http, url, key })
    }

    /// A deposit of 1.00.
    ///
    /// # Errors
    /// When it is refused, or the answer is not one of a working server.
    pub async fn deposit(&self, account: &AccountId) -> anyhow::Result<Deposited> {
        let input = MoneyInput { idempotency_key: Uuid::now_v7(), account_id: account, amount: AMOUNT };
        let (status, answer) = self.ask::<DepositData>(DEPOSIT, Input { input }).await?;
        match answer.data {
            Some(data) if status != 503 && answer.errors.is_empty() => {
                accepted(&data.deposit)?;
                Ok(Deposited::Accepted)
            }
            _ => Ok(Deposited::Unavailable),
        }
    }

    /// Transfers of 1.00 in one request; all are accepted. What a busy server could not tell in time is asked again with the
    /// same keys.
    ///
    /// # Errors
    /// When one is refused, or not settled in a minute.
    pub async fn transfers<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a AccountId, &'a AccountId)>,
    ) -> anyhow::Result<()> {
        let input = |(from, to)| TransferInput { idempotency_key: Uuid::now_v7(), from, to, amount: AMOUNT };
        let inputs: Vec<TransferInput<'_>> = pairs.map(input).collect();
        let begun = Instant::now();
        loop {
            let (status, answer) = self.ask::<TransfersData>(TRANSFERS, Inputs { inputs: &inputs }).await?;
            ensure!(status == 200 && answer.errors.is_empty(), "transfers: {status} {:?}", answer.errors);
            let payloads = answer.data.context("no data")?.transfers;
            ensure!(payloads.len() == inputs.len(), "{} answers to {}", payloads.len(), inputs.len());
            if begun.elapsed() > SETTLED_WITHIN || !payloads.iter().any(Payload::is_unknown) {
                return payloads.iter().try_for_each(accepted);
            }
        }
    }

    /// A read that waits for the position.
    ///
    /// # Errors
    /// When it is not visible yet.
    pub async fn read_at_least(&self, head: LogPosition) -> anyhow::Result<()> {
        let query = "query ($head: LogPosition!) { trialBalance(atLeast: $head) { asset } }";
        let (status, answer) = self.ask::<Value>(query, json!({"head": head.to_string()})).await?;
        ensure!(status == 200 && answer.errors.is_empty(), "{status} {:?}", answer.errors);
        Ok(())
    }

    async fn ask<D: DeserializeOwned>(
        &self,
        query: &'static str,
        variables: impl Serialize,
    ) -> anyhow::Result<(u16, Answer<D>)> {
        let request = self.http.post(&self.url).bearer_auth(&self.key);
        let answer = request.json(&Question { query, variables }).send().await?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await?;
        let answer = serde_json::from_slice(&body)
            .with_context(|| format!("{status} {}", String::from_utf8_lossy(&body)))?;
        Ok((status, answer))
    }
}

fn accepted(payload: &Payload) -> anyhow::Result<()> {
    ensure!(payload.log_position.is_some() && payload.errors.is_empty(), "refused: {:?}", payload.errors);
    Ok(())
}
