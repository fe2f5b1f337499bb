//! The server's log: every line of a request says whose it is, in both formats, and none tells a secret.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::daybook::{Daybook, LIMIT, command, demo_account, folder};

const DEPOSIT: &str =
    "mutation($input: MoneyInput!) { deposit(input: $input) { logPosition errors { code } } }";

/// A request that was sent, and the log position it was told.
struct Sent {
    correlation_id: Uuid,
    key: String,
    log_position: Option<String>,
}

async fn start(data: &Path, format: &str) -> Daybook {
    let mut command = command(data);
    command.env("DAYBOOK_LOG", "info,api=debug,commands=debug").env("DAYBOOK_LOG_FORMAT", format);
    let daybook = Daybook::start_by(command, data);
    daybook.ready().await;
    daybook
}

/// Deposits and refused deposits, at the same time.
async fn send(daybook: &Daybook) -> Vec<Sent> {
    let key = daybook.keys().remove("operator").unwrap();
    let (account, _) = demo_account(daybook).await;
    let client = reqwest::Client::new();
    let requests = (0..12).map(async |n| {
        let correlation_id = Uuid::now_v7();
        let idempotency_key = format!("whose-secret-{n}");
        let amount = if n % 3 == 0 { "0" } else { "1" };
        let input = json!({"idempotencyKey": idempotency_key, "accountId": account, "amount": amount});
        let request = client
            .post(format!("{}/graphql", daybook.url))
            .header("x-request-id", correlation_id.to_string())
            .bearer_auth(&key)
            .json(&json!({"query": DEPOSIT, "variables": {"input": input}}));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let log_position = answer["data"]["deposit"]["logPosition"].as_str().map(str::to_owned);
        assert_eq!(log_position.is_none(), n % 3 == 0, "{answer}");
        Sent { correlation_id, key: idempotency_key, log_position }
    });
    futures::future::join_all(requests).await
}

/// What was written to the log after its first bytes, once every request has its last line.
async fn lines_of(data: &Path, after: usize, sent: &[Sent]) -> Vec<String> {
    let complete = async {
        loop {
            let text = std::fs::read_to_string(data.with_extension("log")).unwrap();
            let lines: Vec<String> = text[after..].lines().map(str::to_owned).collect();
            let is_told = |sent: &Sent| {
                let id = sent.correlation_id.to_string();
                lines.iter().any(|line| line.contains(&id) && line.contains("took_us"))
            };
            if sent.iter().all(is_told) {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, complete).await.expect("a line for every request")
}

fn length(data: &Path) -> usize {
    std::fs::read_to_string(data.with_extension("log")).unwrap().len()
}

fn tells_no_secret(lines: &[String], daybook: &Daybook, sent: &[Sent]) {
    for line in lines {
        assert!(sent.iter().all(|sent| !line.contains(&sent.key)), "an idempotency key: {line}");
        assert!(daybook.keys().values().all(|key| !line.contains(key.as_str())), "an API key: {line}");
    }
}

#[tokio::test]
async fn every_line_of_a_request_has_its_correlation_id_as_json() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = start(&data, "json").await;
    let before = length(&data);
    let sent = send(&daybook).await;
    let lines = lines_of(&data, before, &sent).await;
    tells_no_secret(&lines, &daybook, &sent);
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids_of = |line: &Value| -> Vec<String> {
        let spans = line["spans"].as_array().into_iter().flatten();
        let places = spans.chain([&line["span"], line]);
        places.filter_map(|place| place["correlation_id"].as_str()).map(str::to_owned).collect()
    };
    for line in &parsed {
        let target = line["target"].as_str().unwrap();
        if target.starts_with("api") || target.starts_with("commands") {
            let ids = ids_of(line);
            assert!(!ids.is_empty() && ids.iter().all(|id| *id == ids[0]), "whose is it? {line}");
        }
    }
    for sent in &sent {
        let id = sent.correlation_id.to_string();
        let told: Vec<&Value> = parsed
            .iter()
            .filter(|line| line["message"] == "a command is answered" && ids_of(line).contains(&id))
            .collect();
        let [line] = told[..] else { panic!("{} lines for {id}", told.len()) };
        let span = &line["span"];
        assert_eq!(span["name"], "command", "{line}");
        assert_eq!(span["command"], "Deposit");
        assert_eq!(span["key"].as_str().unwrap().len(), 16);
        let position = span["log_position"].as_u64().map(|position| position.to_string());
        assert_eq!(position, sent.log_position, "{line}");
        assert_eq!(span["outcome"] == "ACCEPTED", position.is_some(), "{line}");
        for duration in ["queued_us", "decide_us", "commit_us"] {
            assert!(span[duration].is_u64(), "{duration}: {line}");
        }
        let parents: Vec<_> = line["spans"].as_array().unwrap().iter().map(|span| &span["name"]).collect();
        assert_eq!(parents, ["request", "command"], "from the request to the commit: {line}");
    }
}

#[tokio::test]
async fn every_line_of_a_request_has_its_correlation_id_as_text() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = start(&data, "people").await;
    let before = length(&data);
    let sent = send(&daybook).await;
    let lines = lines_of(&data, before, &sent).await;
    tells_no_secret(&lines, &daybook, &sent);
    for line in lines.iter().filter(|line| line.contains("answered")) {
        assert!(line.contains("correlation_id="), "whose is it? {line}");
    }
    for sent in &sent {
        let own = |line: &&String| line.contains(&format!("correlation_id={}", sent.correlation_id));
        let told: Vec<_> = lines.iter().filter(own).collect();
        assert!(told.iter().any(|line| line.contains("a command is answered")), "{told:?}");
        assert!(told.iter().any(|line| line.contains("took_us")), "{told:?}");
    }
}
