//! Why a connection is closed, with the protocol's codes.

use axum::extract::ws::{CloseFrame, Message};

/// Bytes a reason may have.
const MAX_REASON: usize = 123;

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    code: u16,
    reason: String,
    /// Whether there is anybody left to be told.
    is_told: bool,
}

impl Close {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        while reason.len() > MAX_REASON {
            reason.pop();
        }
        Self { code, reason, is_told: true }
    }

    /// The other side has closed, or the connection is lost.
    pub fn by_peer() -> Self {
        Self { code: 1005, reason: "closed by the other side".to_owned(), is_told: false }
    }

    /// The other side did not take a message in time.
    pub fn too_slow() -> Self {
        Self { code: 1006, reason: "the other side does not read".to_owned(), is_told: false }
    }

    /// The server stops.
    pub fn stopping() -> Self {
        Self::new(1001, "the server is stopping")
    }

    /// Nothing came, not even the answer to a ping.
    pub fn silent() -> Self {
        Self::new(1001, "nothing came from you for too long")
    }

    /// A message was larger than is allowed.
    pub fn too_big() -> Self {
        Self::new(1009, "message too big")
    }

    /// Keys cannot be looked up.
    pub fn unavailable() -> Self {
        Self::new(1013, "not available at the moment, try again")
    }

    /// A message is not one of the protocol.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(4400, reason)
    }

    /// An operation before the acknowledgement.
    pub fn unauthorized() -> Self {
        Self::new(4401, "Unauthorized")
    }

    /// The key is missing, wrong or no longer valid.
    pub fn forbidden() -> Self {
        Self::new(4403, "Forbidden")
    }

    /// The client does not speak our subprotocol.
    pub fn subprotocol() -> Self {
        Self::new(4406, "Subprotocol not acceptable")
    }

    /// The client did not say who it is.
    pub fn init_timeout() -> Self {
        Self::new(4408, "Connection initialisation timeout")
    }

    /// An id that is in use.
    pub fn duplicate(id: &str) -> Self {
        Self::new(4409, format!("Subscriber for {id} already exists"))
    }

    /// A second `connection_init`.
    pub fn second_init() -> Self {
        Self::new(4429, "Too many initialisation requests")
    }

    /// The code, 4400 and up by the protocol.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// For people.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The frame that tells the other side, if there is one.
    pub fn message(&self) -> Option<Message> {
        let frame = || CloseFrame { code: self.code, reason: self.reason.as_str().into() };
        self.is_told.then(|| Message::Close(Some(frame())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_its_frame_and_stays_text() {
        let close = Close::duplicate(&"ü".repeat(200));
        assert!(close.reason().len() <= MAX_REASON);
        assert_eq!(close.code(), 4409);
        assert!(close.message().is_some());
        assert!(Close::by_peer().message().is_none());
    }
}
