//! What a caller does: mutations over HTTP, one request after the other on connections that stay open.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use domain::ids::AccountId;
use event_store::LogPosition;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

const DEPOSIT: &str =
    "mutation ($input: MoneyInput!) { deposit(input: $input) { logPosition errors { code } } }";
const TRANSFERS: &str =
    "mutation ($inputs: [TransferInput!]!) { transfers(inputs: $inputs) { logPosition errors { code } } }";

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    log_position: Option<String>,
    errors: Vec<Value>,
}

impl Payload {
    /// Whether asking again with the same key settles it.
    fn is_unknown(&self) -> bool {
        self.errors.iter().any(|error| error["code"] == "UNAVAILABLE")
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
        let input = json!({"idempotencyKey": key(), "accountId": account, "amount": "1.00"});
        let (status, answer) = self.ask(DEPOSIT, json!({ "input": input })).await?;
        if status == 503 || answer.get("errors").is_some() {
            return Ok(Deposited::Unavailable);
        }
        accepted(serde_json::from_value(answer["data"]["deposit"].clone())?)?;
        Ok(Deposited::Accepted)
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
        let inputs: Vec<Value> = pairs
            .map(|(from, to)| json!({"idempotencyKey": key(), "from": from, "to": to, "amount": "1.00"}))
            .collect();
        let begun = Instant::now();
        loop {
            let (status, mut answer) = self.ask(TRANSFERS, json!({ "inputs": inputs })).await?;
            ensure!(status == 200 && answer.get("errors").is_none(), "transfers: {status} {answer}");
            let payloads: Vec<Payload> = serde_json::from_value(answer["data"]["transfers"].take())?;
            ensure!(payloads.len() == inputs.len(), "{} answers to {}", payloads.len(), inputs.len());
            if begun.elapsed() > SETTLED_WITHIN || !payloads.iter().any(Payload::is_unknown) {
                return payloads.into_iter().try_for_each(accepted);
            }
        }
    }

    /// A read that waits for the position.
    ///
    /// # Errors
    /// When it is not visible yet.
    pub async fn read_at_least(&self, head: LogPosition) -> anyhow::Result<()> {
        let query = "query ($head: LogPosition!) { trialBalance(atLeast: $head) { asset } }";
        let (status, answer) = self.ask(query, json!({"head": head.to_string()})).await?;
        ensure!(status == 200 && answer.get("errors").is_none(), "{status} {answer}");
        Ok(())
    }

    async fn ask(&self, query: &str, variables: Value) -> anyhow::Result<(u16, Value)> {
        let request = self.http.post(&self.url).bearer_auth(&self.key);
        let answer = request.json(&json!({"query": query, "variables": variables})).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }
}

fn key() -> String {
    Uuid::now_v7().to_string()
}

fn accepted(payload: Payload) -> anyhow::Result<()> {
    if payload.log_position.is_none() || !payload.errors.is_empty() {
        bail!("refused: {:?}", payload.errors);
    }
    Ok(())
}
