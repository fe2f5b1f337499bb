//! A client over real HTTP with verbs for what callers do. Every answer it gets is searched for internals.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::socket::{Live, PATIENCE};

/// What no answer may hold.
const INTERNALS: [&str; 18] = [
    "panicked",
    "RUST_BACKTRACE",
    "sqlx",
    "tokio",
    "async_graphql",
    "SELECT ",
    "INSERT INTO",
    "relation \\\"",
    "log.events",
    "auth.api_keys",
    "/src/",
    ".rs:",
    "/tmp/",
    "/var/",
    "root/",
    "::",
    "Err(",
    "Some(",
];

/// Panics if an answer tells what is nobody's business outside.
pub fn leaks_nothing(text: &str) {
    for internal in INTERNALS {
        assert!(!text.contains(internal), "an answer tells {internal:?}: {text:.2000}");
    }
}

/// An idempotency key that no other call has used.
pub fn fresh_key() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("key-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:.2000}", self.text))
    }

    /// The code of the first GraphQL error, or of the first of the payload's errors; empty if there is none.
    pub fn code(&self) -> String {
        code_of(&self.json())
    }
}

/// The code of the first GraphQL error, or of the first error of any payload; empty if there is none.
pub fn code_of(answer: &Value) -> String {
    if let Some(error) = answer["errors"].get(0) {
        return error["extensions"]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("an error without a code: {answer}"))
            .to_owned();
    }
    let payloads = answer["data"].as_object().into_iter().flat_map(|data| data.values());
    let errors = payloads.filter_map(|payload| payload.get("errors")?.get(0));
    errors.filter_map(|error| error["code"].as_str()).next().unwrap_or_default().to_owned()
}

/// A client with keys by name.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub keys: HashMap<String, String>,
    http: reqwest::Client,
}

impl Client {
    pub fn new(address: SocketAddr, keys: HashMap<String, String>) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self { address, keys, http }
    }

    /// The same callers, who wait no longer for an answer than this.
    pub fn with_patience(&self, patience: Duration) -> Self {
        let http = reqwest::Client::builder().timeout(patience).build().unwrap();
        Self { http, ..self.clone() }
    }

    /// The same callers at another address.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn bearer(&self, who: &str) -> String {
        format!("Bearer {}", self.keys.get(who).unwrap_or_else(|| panic!("{who} has no key")))
    }

    /// Waits until the server says that it can work.
    pub async fn ready(&self) {
        let waiting = async {
            while !self.is_ready().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        super::soon("readiness", waiting).await;
    }

    pub async fn is_ready(&self) -> bool {
        match self.http.get(self.url("/readyz")).send().await {
            Ok(answer) => answer.status() == StatusCode::OK,
            Err(_) => false,
        }
    }

    /// Sends bytes as they are; an error is one of the connection.
    pub async fn try_send(&self, who: Option<&str>, body: Vec<u8>) -> reqwest::Result<Reply> {
        let mut request = self
            .http
            .post(self.url("/graphql"))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(body);
        if let Some(who) = who {
            request = request.header("authorization", self.bearer(who));
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        leaks_nothing(&text);
        Ok(Reply { status, text })
    }

    /// Sends bytes as they are.
    pub async fn send(&self, who: Option<&str>, body: impl Into<Vec<u8>>) -> Reply {
        self.try_send(who, body.into()).await.expect("an answer")
    }

    /// The whole answer to a GraphQL request.
    pub async fn gql(&self, who: &str, query: &str, variables: Value) -> Value {
        self.send(Some(who), json!({"query": query, "variables": variables}).to_string()).await.json()
    }

    /// The data of the answer, without errors.
    pub async fn data(&self, who: &str, query: &str, variables: Value) -> Value {
        let mut answer = self.gql(who, query, variables).await;
        assert!(answer.get("errors").is_none(), "{query}: {answer}");
        answer["data"].take()
    }

    /// The code with which a request fails as a whole.
    pub async fn fails(&self, who: &str, query: &str, variables: Value) -> String {
        let answer = self.gql(who, query, variables).await;
        assert!(answer.get("errors").is_some(), "{query} did not fail: {answer}");
        code_of(&answer)
    }

    /// The whole answer to a mutation; a key is chosen unless the input has one.
    pub async fn ask(&self, who: &str, field: &str, input: Value, selection: &str) -> Value {
        self.gql(who, &mutation(field, selection), json!({"input": with_key(input)})).await
    }

    /// The payload of a mutation that answers, be it a refusal.
    pub async fn payload(&self, who: &str, field: &str, input: Value, selection: &str) -> Value {
        let mut answer = self.ask(who, field, input, selection).await;
        assert!(answer.get("errors").is_none(), "{field}: {answer}");
        answer["data"][field].take()
    }

    /// The payload of a mutation that is accepted.
    pub async fn done(&self, who: &str, field: &str, input: Value, selection: &str) -> Value {
        let payload = self.payload(who, field, input, selection).await;
        assert_eq!(payload["errors"], json!([]), "{field}: {payload}");
        assert!(payload["logPosition"].is_string(), "{field}: {payload}");
        payload
    }

    /// The code with which a mutation is refused, as a refusal or as an error.
    pub async fn refused(&self, who: &str, field: &str, input: Value) -> String {
        let answer = self.ask(who, field, input, "").await;
        let code = code_of(&answer);
        assert!(!code.is_empty(), "{field} was not refused: {answer}");
        assert_eq!(answer["data"][field]["logPosition"], Value::Null, "{field}: {answer}");
        code
    }

    pub async fn head(&self) -> u64 {
        text(&self.data("admin", "{ head }", json!({})).await["head"]).parse().unwrap()
    }

    /// Opens a current account of the owner.
    pub async fn open_account(&self, owner: &str, currency: &str) -> String {
        let input = json!({"owner": owner, "currency": currency});
        text(&self.done("admin", "openAccount", input, "account { id }").await["account"]["id"])
    }

    /// An account with money in it.
    pub async fn funded(&self, owner: &str, currency: &str, amount: &str) -> String {
        let account = self.open_account(owner, currency).await;
        self.deposit(&account, amount).await;
        account
    }

    pub async fn deposit(&self, account: &str, amount: &str) -> Value {
        let input = json!({"accountId": account, "amount": amount});
        self.done("operator", "deposit", input, "account { balance }").await
    }

    pub async fn open_portfolio(&self, owner: &str, cash_account: &str) -> String {
        let input = json!({"owner": owner, "name": format!("{owner}'s"), "cashAccountId": cash_account});
        text(&self.done("admin", "openPortfolio", input, "portfolio { id }").await["portfolio"]["id"])
    }

    /// `[balance, held, available]`.
    pub async fn balances(&self, account: &str) -> [String; 3] {
        let query =
            "query($id: ID!, $at: LogPosition) { account(id: $id, atLeast: $at) { balance held available } }";
        let variables = json!({"id": account, "at": self.head().await.to_string()});
        let account = &self.data("admin", query, variables).await["account"];
        ["balance", "held", "available"].map(|field| text(&account[field]))
    }

    /// Registers a market with a tick and a lot of 0.01 and fees of 10 and 20 basis points.
    pub async fn register_market(&self, symbol: &str, venue: &str) {
        let (base, quote) = symbol.split_once('-').unwrap();
        let input = json!({
            "symbol": symbol, "base": base, "quote": quote, "venue": venue, "tickSize": "0.01", "lotSize": "0.01",
            "minQuantity": "0.01", "maxQuantity": "1000", "minNotional": "1", "makerFeeBps": "10", "takerFeeBps": "20",
        });
        self.done("operator", "registerMarket", input, "").await;
    }

    /// Checks that every asset sums to zero as of the end of the log.
    pub async fn books_balance(&self) {
        let query =
            "query($at: LogPosition) { trialBalance(atLeast: $at) { asset debits credits difference } }";
        let head = self.head().await.to_string();
        let lines = self.data("auditor", query, json!({"at": head})).await["trialBalance"].take();
        assert!(!lines.as_array().unwrap().is_empty());
        for line in lines.as_array().unwrap() {
            let difference = text(&line["difference"]);
            assert!(difference.chars().all(|digit| matches!(digit, '0' | '.')), "{line}");
            assert_eq!(line["debits"], line["credits"], "{line}");
        }
    }

    /// A socket that was let in.
    pub async fn live(&self, who: &str) -> Live {
        Live::connect(self.address, &self.bearer(who)).await
    }
}

/// The text of a JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text but {value}")).to_owned()
}

fn with_key(mut input: Value) -> Value {
    if input.get("idempotencyKey").is_none() {
        input["idempotencyKey"] = fresh_key().into();
    }
    input
}

fn mutation(field: &str, selection: &str) -> String {
    let input = match field {
        "openAccount" => "OpenAccountInput",
        "deposit" | "withdraw" => "MoneyInput",
        "transfer" => "TransferInput",
        "placeHold" => "PlaceHoldInput",
        "captureHold" => "CaptureHoldInput",
        "releaseHold" => "ReleaseHoldInput",
        "freezeAccount" | "unfreezeAccount" | "closeAccount" => "AccountStatusInput",
        "setOverdraftLimit" => "OverdraftInput",
        "openPortfolio" => "OpenPortfolioInput",
        "depositAsset" | "withdrawAsset" => "AssetInput",
        "setRiskLimits" => "RiskLimitsInput",
        "placeOrder" => "PlaceOrderInput",
        "cancelOrder" => "CancelOrderInput",
        "registerMarket" => "RegisterMarketInput",
        "haltMarket" | "resumeMarket" => "MarketStatusInput",
        other => panic!("the input of {other} is not known here"),
    };
    format!(
        "mutation($input: {input}!) {{ {field}(input: $input) {{ {selection} errors {{ code message field }} \
         logPosition replayed }} }}"
    )
}
