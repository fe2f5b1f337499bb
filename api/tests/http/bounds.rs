//! What a stranger's or a careless client's requests may cost, whatever they look like.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::graphql::{mutation::Mutation, query::Query, subscription::Subscription};
use api::http::HttpLimits;
use async_graphql::Response;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextExecute};
use axum::http::StatusCode;
use commands::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::server::{TestServer, code_of, soon};

#[tokio::test]
async fn a_head_that_comes_a_byte_at_a_time_is_not_waited_for() {
    let limits = HttpLimits { header_timeout: Duration::from_millis(300), ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let begun = Instant::now();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut from, mut to) = stream.split();
    let dripping = async {
        let head = b"GET / HTTP/1.1\r\nhost: daybook\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x'));
        let mut drops = tokio::time::interval(Duration::from_millis(10));
        for byte in head {
            drops.tick().await;
            if to.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await
    };
    let closed = async {
        let mut answer = Vec::new();
        // A reset is an end, too.
        let _ = from.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    };
    soon("the end of the connection", async {
        tokio::select! {
            () = dripping => {}
            () = closed => {}
        }
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(server.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_when_one_ends_there_is_room() {
    let server = TestServer::start_with(HttpLimits { connections: 2, ..Default::default() }).await;
    let held = async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: daybook\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.map(|_| stream)
    };
    let first = soon("the first", held()).await.unwrap();
    let _second = soon("the second", held()).await.unwrap();
    soon("the refusal", held()).await.unwrap_err();
    drop(first);
    soon("room", async { while held().await.is_err() {} }).await;
}

#[tokio::test]
async fn all_bodies_together_take_a_bounded_room() {
    let limits = HttpLimits { bodies_bytes: 100_000, ..Default::default() };
    let server = TestServer::start_with(limits).await;
    let mut held = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: daybook\r\nauthorization: {}\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: 80000\r\n\r\n",
        server.bearer(Role::Admin)
    );
    held.write_all(head.as_bytes()).await.unwrap();
    let mut invitation = [0; 25];
    soon("the invitation to send the body", held.read_exact(&mut invitation)).await.unwrap();

    let long = json!({"query": format!("{{ head }} # {}", "x".repeat(30_000))});
    let refused = server.graphql(long.clone()).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"));
    assert_eq!(server.graphql(json!({"query": "{ head }"})).await.status, StatusCode::OK, "a short one fits");
    drop(held);
    soon("room", async { while server.graphql(long.clone()).await.status != StatusCode::OK {} }).await;
}

#[tokio::test]
async fn thousands_of_errors_in_a_document_are_told_in_a_few_words() {
    let server = TestServer::start().await;
    let document = format!("{{ head {} }}", "@skip(if: false) ".repeat(30_000));
    let answer = server.graphql(json!({"query": document})).await;
    assert_eq!(answer.code(), "BAD_REQUEST");
    let errors = answer.json()["errors"].as_array().unwrap().len();
    assert!(errors <= 21 && answer.text.len() < 8_000, "{errors} errors of {} bytes", answer.text.len());
}

#[tokio::test]
async fn one_request_has_a_hundred_mutations_at_most() {
    let server = TestServer::start().await;
    let mutations = |count: usize| -> Value {
        let fields: String = (0..count)
            .map(|n| {
                format!(
                    " m{n}: openAccount(input: {{idempotencyKey: \"k{n}\", owner: \"demo\", currency: \"EUR\"}}) {{ \
                     logPosition }}"
                )
            })
            .collect();
        json!({"query": format!("mutation {{{fields} }}")})
    };
    let refused = server.graphql(mutations(101)).await;
    assert_eq!(refused.code(), "QUERY_TOO_COMPLEX");
    assert_eq!(server.head().await, 0, "nothing of it was done");
    assert_eq!(server.graphql(mutations(100)).await.json()["errors"], Value::Null);
    assert_eq!(server.head().await, 100);
}

#[tokio::test]
async fn a_subscription_costs_what_each_of_its_messages_can_bring() {
    let server = TestServer::start().await;
    let mut socket = server.socket(Role::Auditor).await;
    let symbols: Vec<String> = (0..20).map(|n| format!("\"A{n}-EUR\"")).collect();
    let depth = "depth(levels: 1000) { bids { price quantity } asks { price quantity } }";
    let many = format!("subscription {{ ticker(symbols: [{}]) {{ {depth} }} }}", symbols.join(", "));
    socket.subscribe("1", &many).await;
    assert_eq!(code_of(&socket.receive().await["payload"]), "QUERY_TOO_COMPLEX");
    let one = format!("subscription {{ ticker(symbols: [\"A1-EUR\"]) {{ {depth} }} }}");
    socket.subscribe("2", &one).await;
    assert_eq!(code_of(&socket.receive().await["payload"]), "MARKET_NOT_FOUND", "it may be asked for");
}

/// Counts the answers that are put together at the same time; each waits for another one.
#[derive(Clone)]
struct Counting {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    pair: Arc<Barrier>,
}

impl ExtensionFactory for Counting {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Extension for Counting {
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.pair.wait().await;
        let response = next.run(ctx, operation_name).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        response
    }
}

#[tokio::test]
async fn one_socket_has_a_few_answers_put_together_at_the_same_time() {
    let (now, most) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let counting = Counting { now, most: Arc::clone(&most), pair: Arc::new(Barrier::new(2)) };
    let limits = HttpLimits { answers_per_socket: 2, ..Default::default() };
    let server = TestServer::start_with_schema(limits, |services| {
        async_graphql::Schema::build(Query, Mutation, Subscription)
            .data(services)
            .extension(api::graphql::gate::Gate)
            .extension(counting)
            .finish()
    })
    .await;
    let mut socket = server.socket(Role::Auditor).await;
    for id in 0..20 {
        let query =
            if id % 2 == 0 { "{ head }" } else { "subscription { events(after: \"0\") { logPosition } }" };
        socket.subscribe(&id.to_string(), query).await;
    }
    server.open_account_beside().await;
    let mut results = 0;
    while results < 20 {
        results += usize::from(socket.receive().await["type"] == "next");
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}
