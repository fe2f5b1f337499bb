//! What is told of one command's way: a span from its arrival to its answer, with what it was and how long each part took.
//!
//! Off unless the log's filter asks for it (`commands=debug`), and then a request carries an empty pointer. The key is told
//! by its hash alone: it may be somebody's secret, as an order's number is.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::field::Empty;
use tracing::{Level, Span};

use super::item::KeyId;
use crate::request::{Failure, Outcome, Receipt, Request};

/// One command on its way.
#[derive(Debug)]
pub(super) struct Trace {
    span: Span,
    arrived: Instant,
    /// When its last decision began and ended: after a failed commit it is decided again.
    taken: Option<Instant>,
    decided: Option<Instant>,
    decisions: u32,
}

impl Trace {
    /// `None` when nobody wants to know. The span is a child of the one the request came in.
    pub(super) fn begin(request: &Request, key: &KeyId) -> Option<Box<Self>> {
        if !tracing::enabled!(Level::DEBUG) {
            return None;
        }
        let hash = Sha256::digest(key.as_bytes());
        let span = tracing::debug_span!(
            "command",
            correlation_id = %request.correlation_id,
            command = request.command.name(),
            key = hex::encode(&hash[..8]),
            outcome = Empty,
            replayed = Empty,
            log_position = Empty,
            decisions = Empty,
            queued_us = Empty,
            decide_us = Empty,
            commit_us = Empty,
        );
        let trace = Self { span, arrived: Instant::now(), taken: None, decided: None, decisions: 0 };
        Some(Box::new(trace))
    }

    /// The decider takes it up.
    pub(super) fn take_up(&mut self) {
        self.taken = Some(Instant::now());
    }

    /// It is decided, but not durable.
    pub(super) fn decide(&mut self) {
        self.decided = Some(Instant::now());
        self.decisions += 1;
    }

    /// It has its answer, which is durable unless it is a failure.
    pub(super) fn end(self, answer: &Result<Receipt, Failure>) {
        let now = Instant::now();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let span = self.span;
        match answer {
            Ok(receipt) => {
                match &receipt.outcome {
                    Outcome::Accepted(_) => span.record("outcome", "ACCEPTED"),
                    Outcome::Refused(refusal) => span.record("outcome", refusal.code.as_str()),
                };
                span.record("replayed", receipt.replayed);
                if let Some(at) = receipt.log_position {
                    span.record("log_position", at.0);
                }
            }
            Err(failure) => {
                span.record("outcome", failure.code().as_str());
            }
        }
        span.record("decisions", self.decisions);
        span.record("queued_us", micros(self.taken.unwrap_or(now) - self.arrived));
        if let (Some(taken), Some(decided)) = (self.taken, self.decided) {
            span.record("decide_us", micros(decided.saturating_duration_since(taken)));
            span.record("commit_us", micros(now - decided));
        }
        span.in_scope(|| tracing::debug!(total_us = micros(now - self.arrived), "a command is answered"));
    }
}
