//! The messages of `graphql-transport-ws`.

use async_graphql::{Request, ServerError};
use axum::extract::ws::Message;
use serde::Serialize;
use serde_json::{Map, Value};

use super::close::Close;
use crate::errors::ApiError;
use crate::http::answer::{ErrorOutward, Outward};
use crate::http::params;

/// Bytes an operation's id may have.
const MAX_ID: usize = 256;

/// What a client says.
#[derive(Debug)]
pub enum FromClient {
    /// Who it is: the value of `authorization` in the payload, if there is one.
    Init(Option<String>),
    /// It asks for an answer.
    Ping(Option<Value>),
    /// The answer to a ping.
    Pong,
    /// An operation under an id.
    Subscribe(String, Box<Request>),
    /// It wants no more of that operation.
    Complete(String),
}

impl FromClient {
    /// Reads a message.
    ///
    /// # Errors
    /// 4400 with what is wrong.
    pub fn read(text: &str) -> Result<Self, Close> {
        let Ok(Value::Object(mut message)) = serde_json::from_str(text) else {
            return Err(Close::invalid("a message must be a JSON object"));
        };
        let Some(Value::String(kind)) = message.remove("type") else {
            return Err(Close::invalid("a message must have a type"));
        };
        match kind.as_str() {
            "connection_init" => {
                let payload = payload(&mut message)?;
                let find = |name| payload.as_ref().and_then(|payload| payload.get(name));
                match find("authorization").or_else(|| find("Authorization")) {
                    None | Some(Value::Null) => Ok(Self::Init(None)),
                    Some(Value::String(value)) => Ok(Self::Init(Some(value.clone()))),
                    Some(_) => Err(Close::invalid("authorization must be a text")),
                }
            }
            "ping" => Ok(Self::Ping(payload(&mut message)?.map(Value::Object))),
            "pong" => payload(&mut message).map(|_| Self::Pong),
            "subscribe" => {
                let id = id(&mut message)?;
                let payload = async_graphql::Value::from_json(message.remove("payload").unwrap_or_default())
                    .map_err(|_| Close::invalid("payload must be an object"))?;
                let request = params::request(payload).map_err(|error| Close::invalid(error.message()))?;
                Ok(Self::Subscribe(id, Box::new(request)))
            }
            "complete" => Ok(Self::Complete(id(&mut message)?)),
            _ => Err(Close::invalid("unknown type of message")),
        }
    }
}

fn id(message: &mut Map<String, Value>) -> Result<String, Close> {
    match message.remove("id") {
        Some(Value::String(id)) if (1..=MAX_ID).contains(&id.len()) => Ok(id),
        _ => Err(Close::invalid(format!("id must be a text of 1 to {MAX_ID} bytes"))),
    }
}

fn payload(message: &mut Map<String, Value>) -> Result<Option<Map<String, Value>>, Close> {
    match message.remove("payload") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(payload)) => Ok(Some(payload)),
        Some(_) => Err(Close::invalid("payload must be an object")),
    }
}

/// What the server says.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromServer<'a> {
    /// The client is let in.
    ConnectionAck,
    /// The answer to a ping, with its payload.
    Pong {
        /// What came with the ping.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Value>,
    },
    /// One result of an operation.
    Next {
        /// The operation.
        id: &'a str,
        /// The result.
        payload: Outward,
    },
    /// The operation was refused or has failed as a whole, and is over.
    Error {
        /// The operation.
        id: &'a str,
        /// At least one.
        payload: Errors,
    },
    /// The operation is over.
    Complete {
        /// The operation.
        id: &'a str,
    },
}

/// Errors of the schema, or one of ours.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Errors {
    /// Of the schema, with their places.
    Schema(Vec<ServerError>),
    /// Of ours.
    Ours([ErrorOutward; 1]),
}

impl From<&ApiError> for Errors {
    fn from(error: &ApiError) -> Self {
        Self::Ours([ErrorOutward::of(error)])
    }
}

impl FromServer<'_> {
    /// As it is sent.
    pub fn write(&self) -> Message {
        match serde_json::to_string(self) {
            Ok(text) => Message::Text(text.into()),
            Err(error) => {
                // Maps with text keys and finite numbers alone are written here.
                tracing::error!(%error, "cannot write a message");
                Message::Close(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_may_be_spelled_both_ways_or_be_missing() {
        for (text, expected) in [
            (r#"{"type":"connection_init"}"#, None),
            (r#"{"type":"connection_init","payload":null}"#, None),
            (r#"{"type":"connection_init","payload":{"x":1}}"#, None),
            (r#"{"type":"connection_init","payload":{"authorization":"Bearer a"}}"#, Some("Bearer a")),
            (r#"{"type":"connection_init","payload":{"Authorization":"Bearer a"}}"#, Some("Bearer a")),
        ] {
            let FromClient::Init(value) = FromClient::read(text).unwrap() else { panic!("{text}") };
            assert_eq!(value.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_closes_with_4400() {
        for text in [
            "",
            "nonsense",
            "[]",
            "null",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"next","id":"1"}"#,
            r#"{"type":"connection_ack"}"#,
            r#"{"type":"start","id":"1"}"#,
            r#"{"type":"connection_init","payload":"Bearer a"}"#,
            r#"{"type":"connection_init","payload":{"authorization":1}}"#,
            r#"{"type":"ping","payload":1}"#,
            r#"{"type":"pong","payload":[]}"#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":1,"payload":{"query":"{ head }"}}"#,
            r#"{"type":"subscribe","id":"","payload":{"query":"{ head }"}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#,
            r#"{"type":"subscribe","id":"1","payload":{"query":"{ head }","variables":"x"}}"#,
            r#"{"type":"complete"}"#,
        ] {
            assert_eq!(FromClient::read(text).unwrap_err().code(), 4400, "{text}");
        }
        let nested =
            format!("{{\"type\":\"ping\",\"payload\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(FromClient::read(&nested).unwrap_err().code(), 4400);
    }
}
