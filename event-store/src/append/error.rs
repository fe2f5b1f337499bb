//! Why an append failed, told apart by SQLSTATE and by the name of the constraint.

use thiserror::Error;

use super::wire::{Refusal, WireError};

/// Why a batch was not appended. Only after [`AppendError::OutcomeUnknown`] may it be in the log all the same.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// Another epoch or another head than expected: this node no longer leads. Step down and forget what is undurable.
    #[error("this node no longer leads the log: {0}")]
    Deposed(String),
    /// A stream already has an event at this sequence: the decision was made on a stale state.
    #[error("a stream already has an event at this sequence; load it again and decide again")]
    SequenceConflict,
    /// One of the keys has an outcome already: answer with that one.
    #[error("an idempotency key is already taken; look its outcome up")]
    KeyConflict,
    /// The database refuses some of the data. Bisect the batch, unless the command is named.
    #[error("the database refuses the data: {detail}")]
    Refused {
        /// Place of the culprit in the batch's commands, when it was found before anything was sent.
        command: Option<usize>,
        /// What is wrong with it; for logs, not for clients.
        detail: String,
    },
    /// The batch contradicts itself or goes back in time: a defect of the caller.
    #[error("the batch is malformed: {0}")]
    Invalid(String),
    /// The connection broke or went silent with the batch on its way. Settle it before the next append.
    #[error("it is unknown whether the batch committed: {0}")]
    OutcomeUnknown(String),
    /// PostgreSQL cannot be reached or does not answer in time; nothing was written. Try again.
    #[error("the log cannot be written now: {0}")]
    Unavailable(String),
    /// PostgreSQL has no room left; nothing was written. Make room, then try again.
    #[error("the disk of the log is full: {0}")]
    DiskFull(String),
}

impl AppendError {
    /// A stable name for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Deposed(_) => "DEPOSED",
            Self::SequenceConflict => "SEQUENCE_CONFLICT",
            Self::KeyConflict => "KEY_CONFLICT",
            Self::Refused { .. } => "REFUSED",
            Self::Invalid(_) => "INVALID",
            Self::OutcomeUnknown(_) => "OUTCOME_UNKNOWN",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::DiskFull(_) => "DISK_FULL",
        }
    }

    /// Classifies a failure of what appends.
    pub(super) fn from_append(error: WireError) -> Self {
        match error {
            WireError::Refused(answer) => Self::from_answer(answer),
            WireError::Broken(error) => Self::OutcomeUnknown(error.to_string()),
        }
    }

    fn from_answer(answer: Refusal) -> Self {
        let detail = answer.message;
        // A session that is ended can be ended between its commit and the report of it.
        if answer.ends_session {
            return Self::OutcomeUnknown(detail);
        }
        match (&*answer.code, answer.constraint.as_deref()) {
            ("40001", _) => Self::Deposed(detail),
            // Somebody wrote past the head's lock.
            ("23505", Some("events_pkey")) => Self::Deposed(detail),
            ("23505", Some("events_stream_unique")) => Self::SequenceConflict,
            ("23505", Some("idempotency_keys_pkey")) => Self::KeyConflict,
            ("DB001", _) => Self::Invalid(detail),
            ("53100", _) => Self::DiskFull(detail),
            // Data exceptions, broken constraints, and values too large for an index or a row.
            (code, _) if code.starts_with("22") || code.starts_with("23") || code.starts_with("54") => {
                Self::Refused { command: None, detail }
            }
            _ => Self::Unavailable(format!("{detail} ({})", answer.code)),
        }
    }
}
