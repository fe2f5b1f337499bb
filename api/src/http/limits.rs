//! How much of everything is served at once.

use std::time::Duration;

/// How much is served at once. Over a limit the answer is typed and immediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections that may be open; one more is closed at once.
    pub connections: usize,
    /// How long a request's head may take to arrive. A connection without a request is closed after this time, too.
    pub header_timeout: Duration,
    /// Bytes a request's body or a WebSocket message may have.
    pub body_bytes: usize,
    /// Bytes the bodies may have of all requests that are worked on at the same time.
    pub bodies_bytes: usize,
    /// Requests that are worked on at the same time, queries and mutations over WebSocket among them.
    pub concurrent_requests: usize,
    /// How long a request may take, the arrival of its body included.
    pub request_timeout: Duration,
    /// WebSockets that may be open.
    pub sockets: u32,
    /// Operations that one WebSocket may have running.
    pub subscriptions_per_socket: usize,
    /// Answers that are put together at the same time for one WebSocket; more wait their turn.
    pub answers_per_socket: usize,
    /// How long a WebSocket may take to say who it is.
    pub init_timeout: Duration,
    /// How often a WebSocket is pinged. It is closed when nothing at all has come from it since three pings.
    pub keep_alive: Duration,
    /// How long a WebSocket may take to accept a message.
    pub send_timeout: Duration,
    /// How often the key of a WebSocket is looked up again.
    pub key_check: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 8_192,
            header_timeout: Duration::from_secs(30),
            // 8,190 transfers with the longest keys and references have 4.8 MB.
            body_bytes: 6 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            concurrent_requests: 1_024,
            // Longer than the bus and the read models wait, so that theirs is the better answer.
            request_timeout: Duration::from_secs(30),
            sockets: 4_096,
            subscriptions_per_socket: 100,
            // A sixth of the server's connections for queries.
            answers_per_socket: 4,
            init_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(15),
            send_timeout: Duration::from_secs(10),
            key_check: Duration::from_secs(2),
        }
    }
}
