//! Whose key a request carries.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use commands::Principal;
use domain::Code;

use crate::auth::{ApiKey, KeyError, Keys};
use crate::errors::ApiError;

/// A key and whose it is.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key.
    pub key: ApiKey,
    /// Whose it is.
    pub principal: Principal,
}

/// Who sends these headers.
///
/// # Errors
/// [`Code::Unauthenticated`] without exactly one valid key, [`Code::Unavailable`] when keys cannot be looked up.
pub async fn by_headers(keys: &Keys, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (Some(Ok(value)), None) => by_value(keys, value).await,
        _ => Err(ApiError::of(Code::Unauthenticated)),
    }
}

/// Who sends this value of `Authorization`.
///
/// # Errors
/// As [`by_headers`].
pub async fn by_value(keys: &Keys, value: &str) -> Result<Caller, ApiError> {
    let Some(key) = ApiKey::from_authorization(value) else {
        return Err(ApiError::of(Code::Unauthenticated));
    };
    match look_up(keys, &key).await? {
        Some(principal) => Ok(Caller { key, principal }),
        None => Err(ApiError::of(Code::Unauthenticated)),
    }
}

/// Whose key it is by now; `None` if it is no longer valid.
///
/// # Errors
/// [`Code::Unavailable`] when keys cannot be looked up.
pub async fn look_up(keys: &Keys, key: &ApiKey) -> Result<Option<Principal>, ApiError> {
    keys.authenticate(key).await.map_err(|error| match error {
        KeyError::Database(error) => error.into(),
        other => ApiError::internal("look a key up", &other),
    })
}
