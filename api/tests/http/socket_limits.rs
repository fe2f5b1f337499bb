//! What bounds WebSockets: numbers, sizes, times, keys, the server's end.

use std::time::Duration;

use api::http::HttpLimits;
use axum::http::StatusCode;
use commands::Role;
use futures::SinkExt;
use serde_json::json;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::server::{TestServer, code_of, soon};

const EVENTS: &str = "subscription { events { logPosition } }";

#[tokio::test]
async fn too_many_operations_are_refused_one_by_one() {
    let server =
        TestServer::start_with(HttpLimits { subscriptions_per_socket: 2, ..Default::default() }).await;
    let mut socket = server.socket(Role::Auditor).await;
    for id in ["1", "2", "3"] {
        socket.subscribe(id, EVENTS).await;
    }
    let error = socket.receive().await;
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("3")));
    assert_eq!(code_of(&error["payload"]), "OVERLOADED");
    // Where one ends there is room for another.
    socket.send(json!({"type": "complete", "id": "1"})).await;
    socket.subscribe("3", "{ head }").await;
    assert_eq!(socket.receive().await["payload"]["data"]["head"], "0");
}

#[tokio::test]
async fn too_many_sockets_are_refused_until_one_ends() {
    let server = TestServer::start_with(HttpLimits { sockets: 1, ..Default::default() }).await;
    let mut first = server.socket(Role::Auditor).await;
    let Err(Error::Http(answer)) = connect_async(server.upgrade()).await else { panic!("let in") };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    first.stream.close(None).await.unwrap();
    soon("the end of the first", server.state.sockets_closed()).await;
    server.socket(Role::Auditor).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_closes_with_1009() {
    let server = TestServer::start_with(HttpLimits { body_bytes: 10_000, ..Default::default() }).await;
    let mut socket = server.socket(Role::Auditor).await;
    socket.send(json!({"type": "ping", "payload": {"text": "x".repeat(9_000)}})).await;
    assert_eq!(socket.receive().await["type"], "pong");
    socket.send(json!({"type": "ping", "payload": {"text": "x".repeat(11_000)}})).await;
    assert_eq!(socket.closed().await, 1009);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let limits = HttpLimits { send_timeout: Duration::from_millis(100), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let mut socket = server.socket(Role::Auditor).await;
    let ping = json!({"type": "ping", "payload": {"text": "x".repeat(1_000_000)}}).to_string();
    let flood = async {
        // Every ping asks for an answer of a megabyte that nobody reads.
        while socket.stream.send(Message::text(ping.clone())).await.is_ok() {}
    };
    soon("the disconnection", flood).await;
    soon("the end of the socket", server.state.sockets_closed()).await;
}

#[tokio::test]
async fn a_client_that_is_gone_without_a_word_is_disconnected() {
    let limits = HttpLimits { keep_alive: Duration::from_millis(30), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    // It does not read, so it does not answer pings either.
    let silent = server.socket(Role::Auditor).await;
    soon("the end of the socket", server.state.sockets_closed()).await;
    drop(silent);
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let limits = HttpLimits { keep_alive: Duration::from_millis(30), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let mut socket = server.socket(Role::Auditor).await;
    // Ten pings take three times as long as silence would be borne.
    for _ in 0..10 {
        let frame = soon("a ping", futures::StreamExt::next(&mut socket.stream)).await.unwrap().unwrap();
        assert!(matches!(frame, Message::Ping(_)), "{frame:?}");
        socket.stream.flush().await.unwrap();
    }
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await["type"], "pong");
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_began() {
    let limits = HttpLimits { key_check: Duration::from_millis(50), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let mut other = server.socket(Role::Auditor).await;
    let mut socket = server.socket(Role::Risk).await;
    socket.subscribe("1", EVENTS).await;
    server.keys.revoke(Role::Risk.as_str()).await.unwrap();
    let began = std::time::Instant::now();
    assert_eq!(socket.closed().await, 4403);
    assert!(began.elapsed() < Duration::from_secs(10));
    other.send(json!({"type": "ping"})).await;
    assert_eq!(other.receive().await["type"], "pong");
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye_with_1001() {
    let server = TestServer::start().await;
    let mut admitted = server.socket(Role::Auditor).await;
    admitted.subscribe("1", EVENTS).await;
    let mut stranger = server.connect().await;
    server.shutdown.cancel();
    assert_eq!(admitted.closed().await, 1001);
    assert_eq!(stranger.closed().await, 1001);
    drop((admitted, stranger));
    soon("the end of the sockets", server.state.sockets_closed()).await;
    let Err(Error::Http(answer)) = connect_async(server.upgrade()).await else { panic!("let in") };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}
