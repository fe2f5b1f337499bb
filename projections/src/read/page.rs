//! Pages of long lists: a keyset cursor names the place after a row, so rows written meanwhile move nothing.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::ReadError;

/// The most rows of one page.
pub const MAX_PAGE: usize = 200;

/// A place in a list, opaque outside: the sort key of the row it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    pub(super) fn of(key: impl fmt::Display) -> Self {
        Self(key.to_string())
    }

    pub(super) fn key(&self) -> &str {
        &self.0
    }

    /// The key as a number.
    pub(super) fn number(&self) -> Result<i64, ReadError> {
        self.0.parse().map_err(|_| ReadError::InvalidCursor)
    }

    /// The key as two numbers.
    pub(super) fn numbers(&self) -> Result<(i64, i64), ReadError> {
        let (first, second) = self.0.split_once('.').ok_or(ReadError::InvalidCursor)?;
        let number = |text: &str| text.parse().map_err(|_| ReadError::InvalidCursor);
        Ok((number(first)?, number(second)?))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        let key = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| ReadError::InvalidCursor)?;
        let key = String::from_utf8(key).map_err(|_| ReadError::InvalidCursor)?;
        if key.is_empty() || key.len() > 256 || key.contains('\0') {
            return Err(ReadError::InvalidCursor);
        }
        Ok(Self(key))
    }
}

/// Which page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many rows; taken as at least 1 and at most [`MAX_PAGE`].
    pub first: usize,
    /// Only rows after this place; from the start if absent.
    pub after: Option<Cursor>,
    /// From the newest row to the oldest, instead of from the oldest on.
    pub newest_first: bool,
}

impl PageRequest {
    /// The oldest `first` rows after a place.
    pub fn forward(first: usize, after: Option<Cursor>) -> Self {
        Self { first, after, newest_first: false }
    }

    /// The newest `first` rows below a place.
    pub fn newest_first(first: usize, after: Option<Cursor>) -> Self {
        Self { first, after, newest_first: true }
    }

    pub(super) fn limit(&self) -> usize {
        self.first.clamp(1, MAX_PAGE)
    }
}

/// A row and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge<T> {
    /// Names the place after this row.
    pub cursor: Cursor,
    /// The row.
    pub node: T,
}

/// Rows of a list, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub edges: Vec<Edge<T>>,
    /// Whether there were more after them.
    pub has_next: bool,
}

impl<T> Page<T> {
    /// Of one row more than was asked for, at most.
    pub(super) fn of(mut edges: Vec<Edge<T>>, limit: usize) -> Self {
        let has_next = edges.len() > limit;
        edges.truncate(limit);
        Self { edges, has_next }
    }
}
