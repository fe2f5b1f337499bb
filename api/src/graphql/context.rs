//! What resolvers work with: who asks, and the services of the server.

use async_graphql::Context;
use commands::{Bus, Principal};
use domain::Code;
use event_store::{Log, LogPosition};
use projections::read::{Cursor, PageRequest, ReadError, ReadModels};
use uuid::Uuid;

use super::limits::MAX_PAGE;
use super::live::Changes;
use super::scalars;
use crate::errors::{ApiError, Result};
use crate::observed::ObservedMarkets;

/// What is shown instead of personal data to a role that may not see it.
pub const MASK: &str = "***";

/// The services behind the schema. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// The write side.
    pub bus: Bus,
    /// The log.
    pub log: Log,
    /// The read side.
    pub models: ReadModels,
    /// What was observed of outside markets.
    pub observed: ObservedMarkets,
    /// What changes, as it happens.
    pub changes: Changes,
}

/// Ties the events of a request to the lines of the server's log.
#[derive(Clone, Copy, Debug)]
pub struct CorrelationId(pub Uuid);

/// The services.
///
/// # Errors
/// [`Code::Internal`] cannot happen: the schema is built with them.
pub fn services<'a>(ctx: &Context<'a>) -> Result<&'a Services> {
    ctx.data_opt::<Services>().ok_or_else(|| ApiError::of(Code::Internal))
}

/// Who asks.
///
/// # Errors
/// [`Code::Unauthenticated`].
pub fn principal<'a>(ctx: &Context<'a>) -> Result<&'a Principal> {
    ctx.data_opt::<Principal>().ok_or_else(|| ApiError::of(Code::Unauthenticated))
}

/// The request's correlation id.
pub fn correlation_id(ctx: &Context<'_>) -> Uuid {
    ctx.data_opt::<CorrelationId>().map_or_else(Uuid::now_v7, |id| id.0)
}

/// The text, or a mask for those who may not see personal data.
pub fn personal(principal: &Principal, text: &str) -> String {
    if principal.role.sees_personal_data() { text.to_owned() } else { MASK.to_owned() }
}

/// The owner whose things alone a trader sees; `None` for those who see everybody's.
pub fn only_owner(principal: &Principal) -> Option<&str> {
    if principal.role.reads_everything() {
        None
    } else {
        Some(principal.owner.as_deref().unwrap_or_default())
    }
}

/// The read models, at a position or later.
pub fn models(ctx: &Context<'_>, at_least: Option<LogPosition>) -> Result<ReadModels> {
    Ok(services(ctx)?.models.at_least(at_least))
}

/// As the read models take it.
pub fn position(at_least: Option<scalars::LogPosition>) -> Option<LogPosition> {
    at_least.map(|position| position.0)
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            ReadError::Log(error) => error.into(),
            ReadError::Corrupt { .. } => Self::internal("read a read model", &error),
            ReadError::InvalidCursor => Self::new(Code::BadRequest, error.to_string()),
            ReadError::BeyondHead { .. } | ReadError::NotYetVisible { .. } | ReadError::NotReady { .. } => {
                Self::new(error.code(), error.to_string())
            }
        }
    }
}

/// The page that `first` and `after` ask for.
///
/// # Errors
/// [`Code::BadRequest`] unless `first` is 1 to 200 and `after` a cursor.
pub fn page(first: Option<i32>, after: Option<String>) -> Result<PageRequest> {
    let first = page_size("first", first.unwrap_or(50))?;
    let after = after.map(|cursor| cursor.parse::<Cursor>()).transpose()?;
    Ok(PageRequest::forward(first, after))
}

/// The size of a page.
///
/// # Errors
/// [`Code::BadRequest`] unless 1 to 200.
pub fn page_size(argument: &str, count: i32) -> Result<usize> {
    bounded(argument, count, MAX_PAGE)
}

/// A count from 1 to `max`.
///
/// # Errors
/// [`Code::BadRequest`] says the bounds.
pub fn bounded(argument: &str, count: i32, max: usize) -> Result<usize> {
    match usize::try_from(count) {
        Ok(count) if (1..=max).contains(&count) => Ok(count),
        _ => Err(ApiError::new(Code::BadRequest, format!("{argument} must be 1 to {max}"))),
    }
}

/// The error of what does not work yet.
pub fn not_supported(what: &str) -> ApiError {
    ApiError::new(Code::NotSupported, format!("{what} does not work yet"))
}
