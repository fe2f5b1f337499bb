//! How much of everything is served at once.

use std::time::Duration;

/// How much is served at once. Over a limit the answer is typed and immediate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes a request's body or a WebSocket message may have.
    pub body_bytes: usize,
    /// Requests that are worked on at the same time, queries and mutations over WebSocket among them.
    pub concurrent_requests: usize,
    /// How long a request may take, the arrival of its body included.
    pub request_timeout: Duration,
    /// WebSockets that may be open.
    pub sockets: u32,
    /// Operations that one WebSocket may have running.
    pub subscriptions_per_socket: usize,
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
            // 8,190 transfers with the longest keys and references have 4.8 MB.
            body_bytes: 6 * 1024 * 1024,
            concurrent_requests: 1_024,
            // Longer than the bus and the read models wait, so that theirs is the better answer.
            request_timeout: Duration::from_secs(30),
            sockets: 4_096,
            subscriptions_per_socket: 100,
            init_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(15),
            send_timeout: Duration::from_secs(10),
            key_check: Duration::from_secs(2),
        }
    }
}
