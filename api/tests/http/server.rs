//! A server for tests, with verbs for what callers do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use api::auth::{ApiKey, Keys};
use api::graphql::context::Services;
use api::graphql::live::Changes;
use api::graphql::{self, Schema};
use api::http::{AppState, HttpLimits, Readiness, router};
use api::observed::ObservedMarkets;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use commands::Role;
use commands::testing::TestBus;
use futures::{SinkExt, StreamExt};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use processes::TickArchive;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes: only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

/// A server with one key for each role. It ends with the value.
pub struct TestServer {
    pub address: SocketAddr,
    pub bus: TestBus,
    pub keys: Keys,
    pub state: AppState,
    /// Closes the sockets and makes it unready, but goes on to answer.
    pub shutdown: CancellationToken,
    by_role: HashMap<Role, ApiKey>,
    client: reqwest::Client,
    _stop: DropGuard,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of text"))
    }

    /// The code of the first error.
    pub fn code(&self) -> String {
        code_of(&self.json()["errors"])
    }
}

/// The code of the first of the errors.
pub fn code_of(errors: &Value) -> String {
    errors[0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no code in {errors}")).to_owned()
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(HttpLimits::default()).await
    }

    pub async fn start_with(limits: HttpLimits) -> Self {
        Self::start_with_schema(limits, graphql::schema).await
    }

    pub async fn start_with_schema(limits: HttpLimits, schema: impl FnOnce(Services) -> Schema) -> Self {
        let bus = TestBus::start().await;
        let pool = bus.pool().clone();
        let stop = CancellationToken::new();
        let projections = projections::start(pool.clone(), bus.log.clone(), Default::default(), stop.clone())
            .await
            .unwrap();
        let archive = TickArchive::open(pool.clone(), []).await.unwrap();
        let services = Services {
            bus: bus.bus.clone(),
            log: bus.log.clone(),
            models: projections.read_models(),
            observed: ObservedMarkets::new(archive, processes::ObservedMarkets::new([])),
            changes: Changes::start(bus.log.clone(), stop.clone()),
        };
        let keys = Keys::new(pool.clone());
        let mut by_role = HashMap::new();
        for role in Role::OF_KEYS {
            let owner = (role == Role::Trader).then_some("demo");
            by_role.insert(role, keys.create(role.as_str(), role, owner).await.unwrap());
        }
        let readiness = Readiness::new(pool, bus.bus.clone(), projections.read_models());
        let shutdown = CancellationToken::new();
        let state =
            AppState::new(schema(services), keys.clone(), readiness, metrics(), limits, shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = router(state.clone());
        let (limits, stopped) = (state.limits().clone(), stop.clone());
        tokio::spawn(async move { api::http::serve(listener, served, &limits, stopped).await });
        let client = reqwest::Client::builder().timeout(PATIENCE).gzip(false).build().unwrap();
        Self { address, bus, keys, state, shutdown, by_role, client, _stop: stop.drop_guard() }
    }

    /// The `Authorization` of a role.
    pub fn bearer(&self, role: Role) -> String {
        format!("Bearer {}", self.by_role[&role].reveal())
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.address))
    }

    /// A request as the admin, of JSON, to be changed.
    pub fn post(&self) -> reqwest::RequestBuilder {
        self.request("POST", "/graphql")
            .header(AUTHORIZATION, self.bearer(Role::Admin))
            .header(CONTENT_TYPE, "application/json")
    }

    /// Sends these parameters as the admin.
    pub async fn graphql(&self, params: Value) -> Answer {
        send(self.post().body(params.to_string())).await
    }

    /// As [`TestServer::graphql`], where statuses tell what happened.
    pub async fn graphql_response(&self, params: Value) -> Answer {
        send(self.post().header(ACCEPT, "application/graphql-response+json").body(params.to_string())).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    /// The end of the log.
    pub async fn head(&self) -> u64 {
        self.bus.log.read_head().await.unwrap().0
    }

    /// A new current account of the owner, through the API.
    pub async fn open_account(&self, key: &str, owner: &str) -> String {
        let answer = self.graphql(open_account(key, owner)).await.json();
        answer["data"]["openAccount"]["account"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// A new account, not through the API.
    pub async fn open_account_beside(&self) {
        self.bus.open_account("demo", "EUR").await;
    }

    /// The upgrade request of a socket, to be changed.
    pub fn upgrade(&self) -> Request {
        let mut request = format!("ws://{}/graphql", self.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        request
    }

    /// A socket that has not said who it is.
    pub async fn connect(&self) -> TestSocket {
        TestSocket { stream: connect_async(self.upgrade()).await.unwrap().0 }
    }

    /// A socket that was let in.
    pub async fn socket(&self, role: Role) -> TestSocket {
        let mut socket = self.connect().await;
        socket.init(&self.bearer(role)).await;
        assert_eq!(socket.receive().await, json!({"type": "connection_ack"}));
        socket
    }
}

/// What opens a current account in euros.
pub fn open_account(key: &str, owner: &str) -> Value {
    json!({
        "query": "mutation Open($input: OpenAccountInput!) { openAccount(input: $input) { account { id } errors { code } } }",
        "variables": {"input": {"idempotencyKey": key, "owner": owner, "currency": "EUR"}},
    })
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).clone()
}

/// The client's side of a socket.
pub struct TestSocket {
    pub stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl TestSocket {
    pub async fn init(&mut self, authorization: &str) {
        self.send(json!({"type": "connection_init", "payload": {"authorization": authorization}})).await;
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.send(json!({"type": "subscribe", "id": id, "payload": {"query": query}})).await;
    }

    /// The next message of the protocol.
    pub async fn receive(&mut self) -> Value {
        match self.next_frame().await {
            Ok(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("no message but {other:?}"),
        }
    }

    /// The code with which the server closes next.
    pub async fn closed(&mut self) -> u16 {
        match self.next_frame().await {
            Ok(Message::Close(Some(frame))) => frame.code.into(),
            other => panic!("not closed but {other:?}"),
        }
    }

    /// The next frame that is no ping.
    pub async fn next_frame(&mut self) -> Result<Message, tungstenite::Error> {
        loop {
            match soon("a message", self.stream.next()).await.expect("a frame before the end") {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => return other,
            }
        }
    }
}
