//! Sizes, times and numbers of requests.

use std::time::Duration;

use api::http::HttpLimits;
use axum::http::StatusCode;
use axum::http::header::ACCEPT_ENCODING;
use commands::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{TestServer, send, soon};

#[tokio::test]
async fn as_many_transfers_as_one_request_may_have_fit_with_the_longest_texts() {
    let server = TestServer::start().await;
    let from = server.open_account("from", "demo").await;
    let to = server.open_account("to", "demo").await;
    let transfer = |number: usize| {
        json!({
            "idempotencyKey": format!("{number:0>128}"), "from": from, "to": to, "amount": "99999999999999999.99",
            "reference": "r".repeat(256), "effectiveAt": "2026-01-01T00:00:00.000000Z",
        })
    };
    let inputs: Vec<Value> = (0..8_190).map(transfer).collect();
    let query = "mutation($inputs: [TransferInput!]!) { transfers(inputs: $inputs) { errors { code } } }";
    let body = json!({"query": query, "variables": {"inputs": inputs}}).to_string();
    eprintln!("8,190 transfers have {} bytes", body.len());
    assert!(body.len() < HttpLimits::default().body_bytes);

    let answer = send(server.post().body(body)).await;

    let json = answer.json();
    let answers = json["data"]["transfers"].as_array().unwrap_or_else(|| panic!("{:.300}", answer.text));
    assert_eq!(answers.len(), 8_190);
    assert!(answers.iter().all(|answer| answer["errors"][0]["code"] == "INSUFFICIENT_FUNDS"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_words() {
    let server = TestServer::start().await;
    let large = vec![b' '; 100 * 1024 * 1024];

    let declared = send(server.post().body(large.clone())).await;
    assert_eq!((declared.status, declared.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST"));

    let chunks = futures::stream::iter(
        large.chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let streamed = send(server.post().body(reqwest::Body::wrap_stream(chunks))).await;
    assert_eq!((streamed.status, streamed.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "BAD_REQUEST"));

    assert_eq!(server.graphql(json!({"query": "{ head }"})).await.status, StatusCode::OK);
}

/// A request whose body never comes.
async fn unfinished(server: &TestServer, more_headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: daybook\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\n{more_headers}\r\n",
        server.bearer(Role::Admin)
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn work_beyond_the_limit_is_shed_at_once_and_health_is_still_told() {
    let server = TestServer::start_with(HttpLimits { concurrent_requests: 1, ..Default::default() }).await;
    let mut held = unfinished(&server, "expect: 100-continue\r\n").await;
    let mut answer = [0; 25];
    soon("the invitation to send the body", held.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");

    let answer = server.graphql(json!({"query": "{ head }"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"));
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(server.get("/livez").await.status, StatusCode::OK);

    drop(held);
    soon("the end of the first", async {
        while server.graphql(json!({"query": "{ head }"})).await.status != StatusCode::OK {}
    })
    .await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits = HttpLimits { request_timeout: Duration::from_millis(50), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let mut stream = unfinished(&server, "").await;
    let mut answer = String::new();
    soon("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"UNAVAILABLE\""), "{answer}");
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_ask_and_short_ones_are_not() {
    let server = TestServer::start().await;
    let query = json!({"query": "{ __schema { types { name description } } }"}).to_string();
    let plain = send(server.post().body(query.clone())).await;
    assert_eq!(plain.header("content-encoding"), "");
    let response = server.post().header(ACCEPT_ENCODING, "gzip").body(query).send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert!(response.bytes().await.unwrap().len() < plain.text.len() / 2);

    let short = json!({"query": "{ __typename }"}).to_string();
    let response = server.post().header(ACCEPT_ENCODING, "gzip").body(short).send().await.unwrap();
    assert!(!response.headers().contains_key("content-encoding"), "one packet is one packet");
}
