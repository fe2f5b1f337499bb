//! The client's side of a WebSocket that speaks `graphql-transport-ws`.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::client::leaks_nothing;

/// Longer than anything here takes: only a failing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen"),
    }
}

/// A socket that was let in.
pub struct Live {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Live {
    pub async fn connect(address: SocketAddr, authorization: &str) -> Self {
        let mut request = format!("ws://{address}/graphql").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
        let stream = connect_async(request).await.unwrap().0;
        let mut live = Self { stream };
        live.send(json!({"type": "connection_init", "payload": {"authorization": authorization}})).await;
        assert_eq!(live.receive().await, json!({"type": "connection_ack"}));
        live
    }

    pub async fn send(&mut self, message: Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Begins an operation under an id.
    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({"query": query, "variables": variables});
        self.send(json!({"type": "subscribe", "id": id, "payload": payload})).await;
    }

    /// The next message of the protocol.
    pub async fn receive(&mut self) -> Value {
        self.try_receive().await.expect("a message before the end")
    }

    /// The next message of the protocol; `None` when the connection has ended.
    pub async fn try_receive(&mut self) -> Option<Value> {
        loop {
            match soon("a message", self.stream.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(text))) => {
                    leaks_nothing(&text);
                    return Some(serde_json::from_str(&text).unwrap());
                }
                _ => return None,
            }
        }
    }

    /// What the next message of the field brings.
    pub async fn next(&mut self, field: &str) -> Value {
        let mut message = self.receive().await;
        assert_eq!(message["type"], "next", "{message}");
        assert!(message["payload"].get("errors").is_none(), "{message}");
        message["payload"]["data"][field].take()
    }

    /// Reads what the field brings until one satisfies.
    pub async fn until(&mut self, field: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let value = self.next(field).await;
            if wanted(&value) {
                return value;
            }
        }
    }
}
