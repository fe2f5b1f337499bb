//! The pages and what they need.

use axum::http::StatusCode;
use axum::http::header::IF_NONE_MATCH;

use crate::server::{TestServer, send};

#[tokio::test]
async fn the_pages_come_from_the_binary_with_all_they_name() {
    let server = TestServer::start().await;
    for page in ["/", "/graphiql"] {
        let answer = server.get(page).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::OK, "text/html; charset=utf-8")
        );
        let named = answer
            .text
            .split('"')
            .filter(|text| text.starts_with("/assets/") || text.starts_with("/vendor/"));
        let named: Vec<_> = named.collect();
        assert!(named.len() >= 2, "{page} names {named:?}");
        for path in named {
            let file = server.get(path).await;
            assert_eq!(file.status, StatusCode::OK, "{path}");
            let kind = if path.ends_with(".css") {
                "text/css; charset=utf-8"
            } else {
                "text/javascript; charset=utf-8"
            };
            assert_eq!(file.header("content-type"), kind, "{path}");
        }
        assert!(!answer.text.contains("https://"), "{page} loads from elsewhere");
    }
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let server = TestServer::start().await;
    let first = server.get("/assets/graphql.js").await;
    assert_eq!(first.header("cache-control"), "no-cache");
    let tag = first.header("etag");
    assert!(tag.starts_with("W/\""));
    for known in [tag.to_owned(), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = send(server.request("GET", "/assets/graphql.js").header(IF_NONE_MATCH, known)).await;
        assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(again.header("etag"), tag);
    }
    let other = send(server.request("GET", "/assets/graphql.js").header(IF_NONE_MATCH, "W/\"x\"")).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn browsers_are_told_to_keep_pages_in_their_place() {
    let server = TestServer::start().await;
    for path in ["/", "/graphiql", "/livez", "/nothing"] {
        let answer = server.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(policy.contains("script-src 'self';"), "{policy}");
        assert_eq!(policy.contains("unsafe"), path == "/graphiql", "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
}

#[tokio::test]
async fn there_is_nothing_elsewhere() {
    let server = TestServer::start().await;
    for path in [
        "/nothing",
        "/assets/nothing.js",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e/index.html",
        "/vendor/",
        "/index.html",
        "/internal",
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "BAD_REQUEST"), "{path}");
    }
    let answer = send(server.request("POST", "/livez")).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "BAD_REQUEST"));
    assert_eq!(answer.header("allow"), "GET,HEAD");
}
