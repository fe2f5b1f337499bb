//! One connection, from its opening to its close.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use domain::Code;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, MissedTickBehavior};

use super::close::Close;
use super::message::{Errors, FromClient, FromServer};
use super::operations::{Operations, Step};
use crate::errors::{ApiError, mapping};
use crate::http::AppState;
use crate::http::answer::Outward;
use crate::http::authentication::{self, Caller};

/// Pings without any sign of life before the connection counts as lost.
const MISSED_PINGS: u32 = 3;
/// How long the other side may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);

/// One connection.
pub struct Connection {
    socket: WebSocket,
    state: AppState,
    /// Who the header of the upgrade says it is.
    introduced: Option<Caller>,
    /// Who is let in.
    admitted: Option<Caller>,
    operations: Operations,
    /// Pings since something came last.
    unanswered: u32,
}

/// Ends when the key's holder is no longer to be served.
type Watch = BoxFuture<'static, ()>;

impl Connection {
    /// A connection that has just been opened, perhaps with a key in its header.
    pub fn new(socket: WebSocket, state: AppState, introduced: Option<Caller>) -> Self {
        let operations = Operations::new(state.limits.answers_per_socket);
        Self { socket, state, introduced, admitted: None, operations, unanswered: 0 }
    }

    /// Serves it until it is closed, and says why it was.
    pub async fn run(mut self, speaks_ours: bool) -> Close {
        let close = if speaks_ours {
            match self.serve().await {
                Err(close) => close,
                Ok(never) => match never {},
            }
        } else {
            Close::subprotocol()
        };
        let Self { mut socket, operations, .. } = self;
        drop(operations);
        if let Some(message) = close.message() {
            let farewell = async {
                if socket.send(message).await.is_ok() {
                    // Until the other side has read it: what is unread at the end would make it lose our last words.
                    while let Some(Ok(_)) = socket.recv().await {}
                }
            };
            // A side that does not answer is left alone.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        close
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Close> {
        let shutdown = self.state.shutdown.clone();
        let limits = Arc::clone(&self.state.limits);
        let init_deadline = Instant::now() + limits.init_timeout;
        let mut pings = tokio::time::interval(limits.keep_alive);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut key_watch: Watch = futures::future::pending().boxed();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Err(Close::stopping()),
                () = tokio::time::sleep_until(init_deadline), if self.admitted.is_none() => {
                    return Err(Close::init_timeout());
                }
                () = &mut key_watch => return Err(Close::forbidden()),
                _ = pings.tick() => {
                    if self.unanswered >= MISSED_PINGS {
                        return Err(Close::silent());
                    }
                    self.unanswered += 1;
                    // The protocol's own answer, which every WebSocket gives by itself.
                    self.send(Message::Ping(Default::default())).await?;
                }
                message = self.socket.recv() => {
                    self.unanswered = 0;
                    let was_admitted = self.admitted.is_some();
                    let told = async { self.hear(message).await };
                    // Looking a key up must not outlast the time there is for it, nor the server.
                    if was_admitted {
                        told.await?;
                    } else {
                        tokio::select! {
                            told = told => told?,
                            () = shutdown.cancelled() => return Err(Close::stopping()),
                            () = tokio::time::sleep_until(init_deadline) => return Err(Close::init_timeout()),
                        }
                    }
                    if let (false, Some(caller)) = (was_admitted, &self.admitted) {
                        key_watch = watch_key(self.state.clone(), caller.clone());
                    }
                }
                Some((id, step)) = self.operations.next() => self.tell(&id, step).await?,
            }
        }
    }

    /// Handles what came.
    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), Close> {
        let text = match message {
            None | Some(Ok(Message::Close(_))) => return Err(Close::by_peer()),
            Some(Err(error)) => {
                // The library hides its errors; their texts are what there is to tell them apart.
                let is_too_big = std::error::Error::source(&error)
                    .is_some_and(|cause| cause.to_string().contains("too long"));
                return Err(if is_too_big { Close::too_big() } else { Close::by_peer() });
            }
            // The library answers pings.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Binary(_))) => return Err(Close::invalid("messages must be text")),
            Some(Ok(Message::Text(text))) => text,
        };
        match FromClient::read(&text)? {
            FromClient::Init(key) => self.admit(key).await,
            FromClient::Ping(payload) => self.send(FromServer::Pong { payload }.write()).await,
            FromClient::Pong => Ok(()),
            FromClient::Subscribe(id, request) => {
                let caller = self.admitted.as_ref().ok_or_else(Close::unauthorized)?;
                let principal = caller.principal.clone();
                match self.operations.start(&self.state, principal, &id, *request)? {
                    None => Ok(()),
                    Some(refused) => self.fail(&id, &refused).await,
                }
            }
            FromClient::Complete(id) => {
                self.operations.end(&id);
                Ok(())
            }
        }
    }

    async fn admit(&mut self, key: Option<String>) -> Result<(), Close> {
        if self.admitted.is_some() {
            return Err(Close::second_init());
        }
        let caller = match key {
            None => self.introduced.take().ok_or_else(Close::forbidden)?,
            Some(value) => authentication::by_value(&self.state.keys, &value).await.map_err(|error| {
                mapping::count(error.code());
                if error.code() == Code::Unauthenticated { Close::forbidden() } else { Close::unavailable() }
            })?,
        };
        self.admitted = Some(caller);
        self.send(FromServer::ConnectionAck.write()).await
    }

    /// Passes on what an operation does.
    async fn tell(&mut self, id: &str, step: Step) -> Result<(), Close> {
        match step {
            Step::Result(response, of_subscription) => {
                let outward = Outward::new(*response);
                // A stream without data could not begin or go on; a query's data may well be null.
                if outward.was_refused() || (of_subscription && outward.has_errors_alone()) {
                    self.operations.end(id);
                    let payload = Errors::Schema(outward.into_errors());
                    return self.send(FromServer::Error { id, payload }.write()).await;
                }
                self.send(FromServer::Next { id, payload: outward }.write()).await
            }
            Step::Failed(error) => {
                self.operations.end(id);
                self.fail(id, &error).await
            }
            Step::Completed => {
                self.operations.end(id);
                self.send(FromServer::Complete { id }.write()).await
            }
        }
    }

    async fn fail(&mut self, id: &str, error: &ApiError) -> Result<(), Close> {
        mapping::count(error.code());
        self.send(FromServer::Error { id, payload: Errors::from(error) }.write()).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        match tokio::time::timeout(self.state.limits.send_timeout, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Close::by_peer()),
            Err(_) => {
                metrics::counter!("daybook_sockets_too_slow_total").increment(1);
                Err(Close::too_slow())
            }
        }
    }
}

/// Looks the key up again and again until it is not valid any more, or is another's.
fn watch_key(state: AppState, caller: Caller) -> Watch {
    async move {
        loop {
            tokio::time::sleep(state.limits.key_check).await;
            match authentication::look_up(&state.keys, &caller.key).await {
                Ok(Some(principal)) if principal == caller.principal => {}
                Ok(_) => return,
                // What cannot be known now is asked again.
                Err(_) => {}
            }
        }
    }
    .boxed()
}
