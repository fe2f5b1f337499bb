//! One request over GraphQL, and what its answer means to whoever sent it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::findings::{Check, Findings};
use crate::journal::{Request, Told};
use crate::support::Client;

/// Failures of machinery that a fault explains. They leave open what became of a command; its key settles it.
const OPEN: [&str; 2] = ["UNAVAILABLE", "OVERLOADED"];
/// The same for a read.
const OPEN_READ: [&str; 3] = ["UNAVAILABLE", "OVERLOADED", "NOT_YET_VISIBLE"];

const RECEIPT: &str = "errors { code } logPosition replayed";
/// The same with the hold that it is about.
const HOLD_RECEIPT: &str = "hold { id status } errors { code } logPosition replayed";

/// Every code that docs/errors.md names.
static DOCUMENTED: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let rows = include_str!("../../../docs/errors.md").lines();
    rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect()
});

/// The answer to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub told: Told,
    pub replayed: bool,
    /// The hold that it is about, if it is about one and the hold was visible.
    pub hold: Option<String>,
}

impl Answer {
    /// One that leaves open what became of the request.
    pub fn open(why: impl Into<String>) -> Self {
        Self { told: Told::Unknown(why.into()), replayed: false, hold: None }
    }

    /// Whether both tell the same of the same request.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let same_hold = self.hold.is_none() || other.hold.is_none() || self.hold == other.hold;
        self.told == other.told && same_hold
    }
}

/// Sends requests, several in one mutation if they are transfers; an answer each, in their order.
pub async fn send(
    client: &Client,
    address: SocketAddr,
    requests: &[Request],
    findings: &Findings,
) -> Vec<Answer> {
    let first = &requests[0];
    let (query, variables, field) = if requests.len() == 1 {
        let (input, receipt) = match first.field {
            "transfer" => ("TransferInput", RECEIPT),
            "deposit" => ("MoneyInput", RECEIPT),
            "placeOrder" => ("PlaceOrderInput", RECEIPT),
            "placeHold" => ("PlaceHoldInput", HOLD_RECEIPT),
            "captureHold" => ("CaptureHoldInput", HOLD_RECEIPT),
            "releaseHold" => ("ReleaseHoldInput", HOLD_RECEIPT),
            other => panic!("the input of {other} is not known here"),
        };
        let field = first.field;
        let query = format!("mutation($input: {input}!) {{ {field}(input: $input) {{ {receipt} }} }}");
        (query, json!({"input": first.input}), field)
    } else {
        let query =
            format!("mutation($inputs: [TransferInput!]!) {{ transfers(inputs: $inputs) {{ {RECEIPT} }} }}");
        let inputs: Vec<&Value> = requests.iter().map(|request| &request.input).collect();
        (query, json!({"inputs": inputs}), "transfers")
    };
    let data = match ask(client, address, first.who, &query, variables, &OPEN, findings).await {
        Ok(data) => data,
        Err(why) => return vec![Answer::open(why); requests.len()],
    };
    match &data[field] {
        Value::Array(payloads) => payloads.iter().map(|payload| read(field, payload, findings)).collect(),
        payload => vec![read(field, payload, findings)],
    }
}

/// The data of a read, or why there is none.
pub async fn look(
    client: &Client,
    address: SocketAddr,
    query: &str,
    variables: Value,
    findings: &Findings,
) -> Result<Value, String> {
    ask(client, address, "auditor", query, variables, &OPEN_READ, findings).await
}

/// Asks, and looks at errors: each has a documented code that a fault explains.
async fn ask(
    client: &Client,
    address: SocketAddr,
    who: &str,
    query: &str,
    variables: Value,
    explained: &[&str],
    findings: &Findings,
) -> Result<Value, String> {
    let body = json!({"query": query, "variables": variables}).to_string();
    let reply = match client.at(address).try_send(Some(who), body.into_bytes()).await {
        Ok(reply) => reply,
        Err(error) if error.is_timeout() => return Err("no answer in time".to_owned()),
        Err(_) => return Err("the connection broke".to_owned()),
    };
    let Ok(mut answer) = serde_json::from_str::<Value>(&reply.text) else {
        findings.note(Check::Classified, format!("{} without JSON: {}", reply.status, reply.text));
        return Err("not JSON".to_owned());
    };
    if let Some(error) = answer["errors"].get(0) {
        let code = error["extensions"]["code"].as_str().unwrap_or_default().to_owned();
        findings.expect(DOCUMENTED.contains(code.as_str()), Check::Classified, || {
            format!("an error without a documented code: {answer}")
        });
        // What a receipt is about is read; if it cannot be, the receipt stands.
        let receipt_stands = error["path"][1] == "hold";
        let explained = if receipt_stands { &OPEN_READ } else { explained };
        findings.expect(explained.contains(&code.as_str()), Check::Classified, || {
            format!("an error that no fault explains: {answer}")
        });
        if !receipt_stands {
            return Err(code);
        }
    }
    Ok(answer["data"].take())
}

/// A payload is an answer for good.
pub fn read(field: &str, payload: &Value, findings: &Findings) -> Answer {
    let replayed = payload["replayed"] == true;
    if let Some(position) = payload["logPosition"].as_str() {
        let hold = payload["hold"]["id"].as_str().map(str::to_owned);
        let ended = match field {
            "captureHold" => Some("CAPTURED"),
            "releaseHold" => Some("RELEASED"),
            _ => None,
        };
        let shows_it = hold.is_none() || ended.is_none_or(|status| payload["hold"]["status"] == status);
        findings.expect(shows_it, Check::ReadsOwnWrites, || format!("{field} is not seen in {payload}"));
        return Answer { told: Told::Accepted(position.parse().unwrap()), replayed, hold };
    }
    let code = payload["errors"][0]["code"].as_str().unwrap_or_default();
    findings.expect(DOCUMENTED.contains(code), Check::Classified, || {
        format!("a refusal without a code: {payload}")
    });
    // Among many transfers, one that failed does not hide what became of the others: it is in its payload.
    if OPEN.contains(&code) {
        return Answer::open(code);
    }
    Answer { told: Told::Refused(code.to_owned()), replayed, hold: None }
}
