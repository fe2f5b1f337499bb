//! `POST /graphql`, rule by rule.

use std::sync::Arc;

use api::graphql::mutation::Mutation;
use api::graphql::query::Query;
use api::graphql::subscription::Subscription;
use api::http::HttpLimits;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::{ServerResult, Value as GraphqlValue};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use commands::Role;
use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

use crate::server::{TestServer, open_account, send};

#[tokio::test]
async fn a_query_is_answered_in_the_media_type_that_is_accepted() {
    let server = TestServer::start().await;
    for (accept, content_type) in [
        ("application/json", "application/json; charset=utf-8"),
        ("*/*", "application/json; charset=utf-8"),
        ("application/graphql-response+json", "application/graphql-response+json; charset=utf-8"),
    ] {
        let answer =
            send(server.post().header(ACCEPT, accept).body(json!({"query": "{ head }"}).to_string())).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, content_type));
        assert_eq!(answer.json(), json!({"data": {"head": "0"}}));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let answer = send(server.post().header(ACCEPT, "text/html").body("{}")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_ACCEPTABLE, "BAD_REQUEST"));
}

#[tokio::test]
async fn only_post_carries_requests() {
    let server = TestServer::start().await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"] {
        let path = "/graphql?query=mutation%20%7B%20__typename%20%7D";
        let answer =
            send(server.request(method, path).header(AUTHORIZATION, server.bearer(Role::Admin))).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, "POST"),
            "{method}"
        );
        if method != "HEAD" {
            assert_eq!(answer.code(), "BAD_REQUEST");
        }
    }
}

#[tokio::test]
async fn what_a_foreign_page_could_send_unasked_is_not_read() {
    let server = TestServer::start().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "",
    ] {
        let body = open_account("k", "demo").to_string();
        let request = server
            .request("POST", "/graphql")
            .header(AUTHORIZATION, server.bearer(Role::Admin))
            .header(CONTENT_TYPE, content_type);
        let answer = send(request.body(body)).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert_eq!(answer.code(), "BAD_REQUEST");
    }
    assert_eq!(server.head().await, 0);
}

#[rstest]
#[case::no_json("{")]
#[case::empty("")]
#[case::not_utf_8_escapes("{\"query\": \"\\ud800\"}")]
#[case::a_batch("[{\"query\": \"{ head }\"}]")]
#[case::no_query("{}")]
#[case::query_of_a_number("{\"query\": 1}")]
#[case::variables_of_a_list("{\"query\": \"{ head }\", \"variables\": []}")]
#[case::operation_name_of_a_number("{\"query\": \"{ head }\", \"operationName\": 1}")]
#[case::extensions_of_a_text("{\"query\": \"{ head }\", \"extensions\": \"x\"}")]
#[tokio::test]
async fn what_is_no_request_is_told_so(#[case] body: &'static str) {
    let server = TestServer::start().await;
    for accept in ["application/json", "application/graphql-response+json"] {
        let answer = send(server.post().header(ACCEPT, accept).body(body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "BAD_REQUEST"));
        assert!(answer.header("content-type").starts_with(accept));
        assert!(answer.json().get("data").is_none());
    }
}

#[tokio::test]
async fn documents_and_texts_of_every_bad_kind_are_refused_before_anything_runs() {
    let server = TestServer::start().await;
    let nested = format!("{}head{}", "{a".repeat(1_000), "}".repeat(1_000));
    for (query, code) in [
        ("{", "BAD_REQUEST"),
        ("", "BAD_REQUEST"),
        ("{ nothingOfTheKind }", "BAD_REQUEST"),
        ("query A { head } query B { head }", "BAD_REQUEST"),
        (nested.as_str(), "QUERY_TOO_COMPLEX"),
    ] {
        // In plain JSON a status other than 200 could be an intermediary's.
        let plain = server.graphql(json!({"query": query})).await;
        assert_eq!((plain.status, plain.code().as_str()), (StatusCode::OK, code), "{query:.40}");
        let telling = server.graphql_response(json!({"query": query})).await;
        assert_eq!((telling.status, telling.code().as_str()), (StatusCode::BAD_REQUEST, code), "{query:.40}");
        assert!(telling.json().get("data").is_none());
    }
    let deep =
        format!("{{\"query\":\"{{ head }}\",\"variables\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(send(server.post().body(deep)).await.code(), "BAD_REQUEST");
}

#[tokio::test]
async fn a_missing_variable_stops_the_mutation_before_it_too() {
    let server = TestServer::start().await;
    let query = "mutation($second: OpenAccountInput!) { \
        a: openAccount(input: {idempotencyKey: \"a\", owner: \"demo\", currency: \"EUR\"}) { account { id } } \
        b: openAccount(input: $second) { account { id } } }";
    assert_eq!(server.graphql(json!({"query": query})).await.code(), "BAD_REQUEST");
    assert_eq!(server.head().await, 0);
}

#[tokio::test]
async fn nobody_gets_in_without_a_valid_key() {
    let server = TestServer::start().await;
    let revoked = server.keys.create("gone", Role::Admin, None).await.unwrap();
    server.keys.revoke("gone").await.unwrap();
    let revoked = format!("Bearer {}", revoked.reveal());
    let forged = format!("Bearer dbk_{}", "A".repeat(43));
    for authorization in
        [None, Some(""), Some("Bearer nonsense"), Some("Basic YTpi"), Some(&forged), Some(&revoked)]
    {
        let mut request = server.request("POST", "/graphql").header(CONTENT_TYPE, "application/json");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let answer = send(request.body(open_account("k", "demo").to_string())).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"daybook\"");
    }
    let twice = server.post().header(AUTHORIZATION, server.bearer(Role::Admin)).body("{}");
    assert_eq!(send(twice).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(server.head().await, 0);
}

#[tokio::test]
async fn a_role_that_may_not_is_told_so() {
    let server = TestServer::start().await;
    let request = server
        .request("POST", "/graphql")
        .header(AUTHORIZATION, server.bearer(Role::Trader))
        .header(CONTENT_TYPE, "application/json");
    let answer = send(request.body(json!({"query": "{ trialBalance { currency } }"}).to_string())).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "FORBIDDEN"));
}

#[tokio::test]
async fn a_subscription_over_post_is_sent_to_the_socket() {
    let server = TestServer::start().await;
    let answer = server.graphql(json!({"query": "subscription { events { logPosition } }"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "BAD_REQUEST"));
    assert!(answer.text.contains("graphql-transport-ws"));
}

#[tokio::test]
async fn a_request_id_is_given_back_and_ties_the_events_to_the_request() {
    let server = TestServer::start().await;
    let id = Uuid::now_v7();
    let request = server.post().header("x-request-id", id.to_string());
    let answer = send(request.body(open_account("k", "demo").to_string())).await;
    assert_eq!(answer.header("x-request-id"), id.to_string());
    let event = server.bus.log.event(event_store::LogPosition(1)).await.unwrap().unwrap();
    assert_eq!(event.metadata().unwrap()["correlation_id"], id.to_string());

    for other in ["not-a-uuid", "", "1; DROP TABLE"] {
        let answer = send(server.request("GET", "/livez").header("x-request-id", other)).await;
        assert!(Uuid::try_parse(answer.header("x-request-id")).is_ok());
    }
}

/// Makes the resolver of `logId` panic.
struct Panicking;

impl ExtensionFactory for Panicking {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Panicking)
    }
}

#[async_trait::async_trait]
impl Extension for Panicking {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<GraphqlValue>> {
        assert_ne!(info.name, "logId", "secret words of a panic");
        next.run(ctx, info).await
    }
}

pub async fn panicking_server() -> TestServer {
    TestServer::start_with_schema(HttpLimits::default(), |services| {
        async_graphql::Schema::build(Query, Mutation, Subscription)
            .data(services)
            .extension(api::graphql::gate::Gate)
            .extension(Panicking)
            .finish()
    })
    .await
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_its_words() {
    let server = panicking_server().await;
    let answer = server.graphql(json!({"query": "{ logId }"})).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"));
    assert!(!answer.text.contains("secret words"));
    assert_eq!(server.graphql(json!({"query": "{ head }"})).await.json(), json!({"data": {"head": "0"}}));
}
