//! GraphQL over WebSocket, rule by rule of `graphql-transport-ws`.

use std::time::Duration;

use api::http::HttpLimits;
use axum::http::StatusCode;
use commands::Role;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::rules::panicking_server;
use crate::server::{TestServer, TestSocket, code_of, open_account};

const ACK: &str = "connection_ack";

#[tokio::test]
async fn a_key_in_the_payload_or_in_the_header_lets_in() {
    let server = TestServer::start().await;
    for name in ["authorization", "Authorization"] {
        let mut socket = server.connect().await;
        socket
            .send(json!({"type": "connection_init", "payload": {name: server.bearer(Role::Auditor)}}))
            .await;
        assert_eq!(socket.receive().await["type"], ACK);
    }
    let mut upgrade = server.upgrade();
    upgrade.headers_mut().insert("authorization", server.bearer(Role::Auditor).parse().unwrap());
    let mut socket = TestSocket { stream: connect_async(upgrade).await.unwrap().0 };
    socket.send(json!({"type": "connection_init"})).await;
    assert_eq!(socket.receive().await["type"], ACK);
}

#[tokio::test]
async fn a_wrong_key_closes_with_4403_and_is_refused_in_the_header() {
    let server = TestServer::start().await;
    let forged = format!("Bearer dbk_{}", "A".repeat(43));
    for init in [
        json!({"type": "connection_init"}),
        json!({"type": "connection_init", "payload": {"authorization": "Bearer nonsense"}}),
        json!({"type": "connection_init", "payload": {"authorization": forged}}),
    ] {
        let mut socket = server.connect().await;
        socket.send(init).await;
        assert_eq!(socket.closed().await, 4403);
    }
    let mut upgrade = server.upgrade();
    upgrade.headers_mut().insert("authorization", forged.parse().unwrap());
    let Err(Error::Http(answer)) = connect_async(upgrade).await else { panic!("let in") };
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn another_subprotocol_closes_with_4406() {
    let server = TestServer::start().await;
    let mut upgrade = server.upgrade();
    upgrade.headers_mut().remove("sec-websocket-protocol");
    let mut socket = TestSocket { stream: connect_async(upgrade).await.unwrap().0 };
    assert_eq!(socket.closed().await, 4406);
}

#[tokio::test]
async fn a_page_from_elsewhere_may_not_connect() {
    let server = TestServer::start().await;
    let mut upgrade = server.upgrade();
    upgrade.headers_mut().insert("origin", "http://elsewhere.test".parse().unwrap());
    let Err(Error::Http(answer)) = connect_async(upgrade).await else { panic!("let in") };
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);

    let mut upgrade = server.upgrade();
    upgrade.headers_mut().insert("origin", format!("http://{}", server.address).parse().unwrap());
    connect_async(upgrade).await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_is_closed_with_4408() {
    let limits = HttpLimits { init_timeout: Duration::from_secs(2), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let mut socket = server.connect().await;
    socket.init(&server.bearer(Role::Auditor)).await;
    assert_eq!(socket.receive().await["type"], ACK);
    assert_eq!(server.connect().await.closed().await, 4408);
    // One that was let in before stays.
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn a_second_init_closes_with_4429() {
    let server = TestServer::start().await;
    let mut socket = server.socket(Role::Auditor).await;
    socket.init(&server.bearer(Role::Auditor)).await;
    assert_eq!(socket.closed().await, 4429);
}

#[tokio::test]
async fn an_operation_before_the_acknowledgement_closes_with_4401() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    socket.subscribe("1", "{ head }").await;
    assert_eq!(socket.closed().await, 4401);
}

#[tokio::test]
async fn an_id_in_use_closes_with_4409() {
    let server = TestServer::start().await;
    let mut socket = server.socket(Role::Auditor).await;
    for _ in 0..2 {
        socket.subscribe("1", "subscription { events { logPosition } }").await;
    }
    assert_eq!(socket.closed().await, 4409);
}

#[tokio::test]
async fn what_is_not_of_the_protocol_closes_with_4400() {
    let server = TestServer::start().await;
    for text in [
        "nonsense",
        "{}",
        r#"{"type":"start","id":"1","payload":{"query":"{ head }"}}"#,
        r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
        r#"{"type":"subscribe","payload":{"query":"{ head }"}}"#,
    ] {
        let mut socket = server.socket(Role::Auditor).await;
        socket.send_text(text).await;
        assert_eq!(socket.closed().await, 4400, "{text}");
    }
    let mut socket = server.socket(Role::Auditor).await;
    futures::SinkExt::send(&mut socket.stream, Message::binary(&b"{}"[..])).await.unwrap();
    assert_eq!(socket.closed().await, 4400);
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_also_before_the_acknowledgement() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    socket.send(json!({"type": "ping", "payload": {"at": 1}})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong", "payload": {"at": 1}}));
    // An unasked pong is fine.
    socket.send(json!({"type": "pong"})).await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong"}));
}

#[tokio::test]
async fn queries_and_mutations_are_answered_once_and_their_ids_are_free_again() {
    let server = TestServer::start().await;
    let mut socket = server.socket(Role::Admin).await;
    for _ in 0..2 {
        socket.subscribe("1", "{ logId }").await;
        let next = socket.receive().await;
        assert_eq!((&next["type"], &next["id"]), (&json!("next"), &json!("1")));
        assert!(next["payload"]["data"]["logId"].is_string(), "{next}");
        assert_eq!(socket.receive().await, json!({"type": "complete", "id": "1"}));
    }
    socket.send(json!({"type": "subscribe", "id": "m", "payload": open_account("k", "demo")})).await;
    let next = socket.receive().await;
    assert!(next["payload"]["data"]["openAccount"]["account"]["id"].is_string(), "{next}");
    assert_eq!(socket.receive().await, json!({"type": "complete", "id": "m"}));
    assert!(server.head().await > 0);
}

#[tokio::test]
async fn events_come_as_they_happen_until_the_client_has_enough() {
    let server = TestServer::start().await;
    let mut socket = server.socket(Role::Auditor).await;
    socket.subscribe("e", "subscription { events(after: \"0\") { logPosition type } }").await;
    server.open_account("first", "demo").await;
    let next = socket.receive().await;
    let expected = json!({"events": {"logPosition": "1", "type": "AccountOpened"}});
    assert_eq!(next, json!({"type": "next", "id": "e", "payload": {"data": expected}}));

    socket.send(json!({"type": "complete", "id": "e"})).await;
    // The answer to a later message shows that the earlier one was heard.
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await["type"], "pong");
    server.open_account("second", "demo").await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await["type"], "pong", "something came after the end");
    // An end that crosses another is no fault, and the id is free.
    socket.send(json!({"type": "complete", "id": "e"})).await;
    socket.subscribe("e", "subscription { events(after: \"1\") { logPosition } }").await;
    let next = socket.receive().await;
    assert_eq!(next["payload"]["data"]["events"]["logPosition"], "2");
}

#[tokio::test]
async fn what_is_refused_as_a_whole_is_an_error_and_over() {
    let server = TestServer::start().await;
    let mut socket = server.socket(Role::Trader).await;
    let deep = format!("{}head{}", "{a".repeat(1_000), "}".repeat(1_000));
    for (query, code) in [
        ("{", "BAD_REQUEST"),
        ("{ nothingOfTheKind }", "BAD_REQUEST"),
        ("query($n: Int!) { markets { candles(interval: M1, last: $n) { open } } }", "BAD_REQUEST"),
        ("subscription { events { logPosition } }", "FORBIDDEN"),
        ("subscription { account(id: \"acc_none\") { id } }", "ACCOUNT_NOT_FOUND"),
        (deep.as_str(), "QUERY_TOO_COMPLEX"),
    ] {
        socket.subscribe("1", query).await;
        let error = socket.receive().await;
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("1")), "{query:.60}: {error}");
        assert_eq!(code_of(&error["payload"]), code, "{query:.60}");
    }
    // The connection goes on, and nothing follows an error.
    socket.subscribe("1", "{ head }").await;
    assert_eq!(socket.receive().await["payload"]["data"]["head"], "0");
}

#[tokio::test]
async fn a_panic_ends_its_operation_and_nothing_else() {
    let server = panicking_server().await;
    let mut socket = server.socket(Role::Auditor).await;
    socket.subscribe("s", "subscription { events { logPosition } }").await;
    socket.subscribe("p", "{ logId }").await;
    let error: Value = socket.receive().await;
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("p")));
    assert_eq!(code_of(&error["payload"]), "INTERNAL");
    server.open_account("k", "demo").await;
    assert_eq!(socket.receive().await["id"], "s");
}
