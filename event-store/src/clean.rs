//! Text that PostgreSQL can keep: no NUL, not too long. Checked at the border, before a command is decided.

use thiserror::Error;

/// Why a text cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// PostgreSQL's text has no NUL.
    #[error("the text contains a NUL character; remove it")]
    Nul,
    /// Longer than its place allows, in bytes of UTF-8.
    #[error("the text has {length} bytes; at most {max} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// Refuses text that contains NUL or has more than `max_bytes` bytes of UTF-8.
///
/// # Errors
/// [`TextError`] says which of both it is.
pub fn check_text(text: &str, max_bytes: usize) -> Result<(), TextError> {
    if text.len() > max_bytes {
        return Err(TextError::TooLong { length: text.len(), max: max_bytes });
    }
    if text.as_bytes().contains(&0) { Err(TextError::Nul) } else { Ok(()) }
}

/// Whether JSON text contains a NUL, plain or escaped. PostgreSQL takes the escape into a `json` column and fails
/// later, on every query that opens the value.
pub(crate) fn escapes_nul(json: &str) -> bool {
    // Nearly every text is plain.
    if memchr::memchr2(0, b'\\', json.as_bytes()).is_none() {
        return false;
    }
    json.as_bytes().contains(&0)
        || json.match_indices("\\u0000").any(|(at, _)| {
            // An even number of backslashes before this one leaves it to escape the u.
            json.as_bytes()[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 0
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_and_long_text_are_refused() {
        assert_eq!(check_text("rent", 4), Ok(()));
        assert_eq!(check_text("rents", 4), Err(TextError::TooLong { length: 5, max: 4 }));
        assert_eq!(check_text("é", 1), Err(TextError::TooLong { length: 2, max: 1 }));
        assert_eq!(check_text("re\0nt", 100), Err(TextError::Nul));
    }

    #[test]
    fn an_escaped_nul_in_json_is_found_and_an_escaped_backslash_is_not_taken_for_one() {
        assert!(escapes_nul(&serde_json::json!({"memo": "a\0b"}).to_string()));
        assert!(escapes_nul(r#"{"memo":"\\\u0000"}"#));
        assert!(!escapes_nul(&serde_json::json!({"memo": "a\\u0000b"}).to_string()));
        assert!(!escapes_nul(&serde_json::json!({"memo": "a\u{1}b"}).to_string()));
    }
}
