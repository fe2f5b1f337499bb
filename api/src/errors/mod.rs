//! What goes wrong, as the world outside is told.
//!
//! Inside, errors keep their causes; at the border they become an [`ApiError`]: a stable code and a message for people.
//! It has no `Display` and no source on purpose, so nothing internal can slip into an answer by way of `?`.

pub mod mapping;

use commands::Failure;
use domain::{Code, Refusal};
use event_store::LogError;

/// An error that may leave the server: a stable code and a message without anything internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    code: Code,
    message: String,
}

/// The result of a resolver.
pub type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    /// An error with a message of its own. The message is shown to the caller.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An error with the usual message of its code.
    pub fn of(code: Code) -> Self {
        Self::new(code, mapping::of(code).message)
    }

    /// Something failed inside: the cause goes to the server's log, the caller learns that and no more.
    pub fn internal(doing: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "cannot {doing}");
        Self::of(Code::Internal)
    }

    /// The database did not answer: the cause goes to the server's log.
    pub fn unavailable(doing: &str, cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(error = %cause, "cannot {doing}");
        Self::of(Code::Unavailable)
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Forbidden(refusal) => refusal.into(),
            other => Self::of(other.code()),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        if error.is_transient() {
            Self::unavailable("read the log", &error)
        } else {
            Self::internal("read the log", &error)
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => Self::unavailable("read the database", &error),
            // 57: the server is shutting down, was killed or is starting; 53: it has run out of something.
            sqlx::Error::Database(database)
                if database.code().is_some_and(|code| code.starts_with("57") || code.starts_with("53")) =>
            {
                Self::unavailable("read the database", &error)
            }
            _ => Self::internal("read the database", &error),
        }
    }
}

impl From<ApiError> for async_graphql::Error {
    fn from(error: ApiError) -> Self {
        mapping::count(error.code);
        let mut outward = Self::new(error.message);
        mapping::extend(&mut outward.extensions, error.code);
        outward
    }
}

impl From<ApiError> for async_graphql::ServerError {
    fn from(error: ApiError) -> Self {
        let mut outward = async_graphql::Error::from(error).into_server_error(async_graphql::Pos::default());
        // It is about the request as a whole and has no place in it.
        outward.locations.clear();
        outward
    }
}
