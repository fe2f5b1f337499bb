//! The one mapping from a code to what is told outside: message, HTTP status, GraphQL extension, metric.

use async_graphql::ErrorExtensionValues;
use axum::http::StatusCode;
use domain::Code;

/// What a code becomes outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What is said when there is nothing more special to say.
    pub message: &'static str,
    /// The HTTP status of a request that fails with it as a whole.
    pub status: StatusCode,
    /// Whose turn it is, as the metric's label `kind`.
    pub kind: &'static str,
}

/// The mapping of a code.
pub const fn of(code: Code) -> Mapping {
    let (status, kind) = match code {
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "rights"),
        Code::Forbidden => (StatusCode::FORBIDDEN, "rights"),
        Code::Overloaded | Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "machinery"),
        Code::NotYetVisible => (StatusCode::SERVICE_UNAVAILABLE, "machinery"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "machinery"),
        Code::BadRequest | Code::QueryTooComplex => (StatusCode::BAD_REQUEST, "request"),
        Code::BeyondHead => (StatusCode::BAD_REQUEST, "request"),
        _ => (StatusCode::OK, "refusal"),
    };
    Mapping { message: message(code), status, kind }
}

/// Messages that say what to do; other codes say what they mean.
const fn message(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "send a valid key: `Authorization: Bearer <key>`",
        Code::Forbidden => "the key's role or owner does not allow this",
        Code::Overloaded => "too much work in progress: try again in a moment",
        Code::Unavailable => "not available at the moment: try again with the same key",
        Code::NotYetVisible => "the read model has not got there in time: ask again in a moment",
        Code::BeyondHead => "the log has not reached that position",
        Code::Internal => "an internal error; the server's log has the details under the request id",
        Code::NotSupported => "this does not work yet",
        other => other.meaning(),
    }
}

/// Writes the code where GraphQL clients look for it: `extensions.code`.
pub fn extend(extensions: &mut Option<ErrorExtensionValues>, code: Code) {
    extensions.get_or_insert_default().set("code", code.as_str());
}

/// Counts an error or refusal.
pub fn count(code: Code) {
    metrics::counter!("daybook_errors_total", "code" => code.as_str(), "kind" => of(code).kind).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_message_for_people() {
        for code in Code::ALL {
            let message = of(*code).message;
            assert!(!message.trim().is_empty(), "{code} has no message");
            for internal in ["sqlx", "panicked", "SELECT", "log.", "/src/"] {
                assert!(!message.contains(internal), "{code} tells about {internal}: {message}");
            }
        }
    }

    #[test]
    fn failures_have_their_http_status() {
        assert_eq!(of(Code::Unauthenticated).status, StatusCode::UNAUTHORIZED);
        assert_eq!(of(Code::Forbidden).status, StatusCode::FORBIDDEN);
        assert_eq!(of(Code::Overloaded).status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(of(Code::BadRequest).status, StatusCode::BAD_REQUEST);
        assert_eq!(of(Code::InsufficientFunds).status, StatusCode::OK);
    }
}
