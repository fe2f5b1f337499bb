//! Health and metrics.

use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use commands::Role;
use serde_json::json;

use crate::server::{TestServer, send, soon};

#[tokio::test]
async fn a_server_that_can_work_says_so() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/livez").await.json(), json!({"status": "alive"}));
    let ready = soon("readiness", async {
        loop {
            let answer = server.get("/readyz").await;
            if answer.status == StatusCode::OK {
                break answer.json();
            }
        }
    });
    let checks = json!({"server": "ok", "database": "ok", "bus": "ok", "projections": "ok"});
    assert_eq!(ready.await, json!({"status": "ready", "checks": checks}));
}

#[tokio::test]
async fn a_server_that_does_not_lead_or_stops_is_not_ready() {
    let server = TestServer::start().await;
    server.bus.bus.stop().await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["checks"]["bus"], "reaches no node that leads the log");

    server.shutdown.cancel();
    assert_eq!(server.get("/readyz").await.json()["checks"]["server"], "stopping");
    assert_eq!(server.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_without_its_database_is_not_ready() {
    let server = TestServer::start().await;
    server.bus.pool().close().await;
    let answer = server.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["checks"]["database"], "does not answer");
    assert_eq!(server.get("/livez").await.status, StatusCode::OK);
    // Keys that cannot be looked up are no wrong keys.
    let answer = server.graphql(json!({"query": "{ head }"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"));
}

#[tokio::test]
async fn metrics_are_for_those_who_run_and_audit_it() {
    let server = TestServer::start().await;
    server.graphql(json!({"query": "{ head }"})).await;
    assert_eq!(server.get("/internal/metrics").await.status, StatusCode::UNAUTHORIZED);
    for role in Role::OF_KEYS {
        let request = server.request("GET", "/internal/metrics").header(AUTHORIZATION, server.bearer(role));
        let answer = send(request).await;
        if matches!(role, Role::Operator | Role::Auditor | Role::Admin) {
            assert_eq!(answer.status, StatusCode::OK);
            let counted = "daybook_http_requests_total{route=\"/graphql\",method=\"POST\",status=\"200\"}";
            assert!(answer.text.contains(counted), "{}", answer.text);
        } else {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::FORBIDDEN, "FORBIDDEN"),
                "{role:?}"
            );
        }
    }
}
