//! Text from outside: short, and without control characters.

use crate::refusal::{Code, Refusal};

/// Characters that a name, an owner or a client order id may have.
pub const MAX_NAME: usize = 64;
/// Characters that a reference or a reason may have.
pub const MAX_REFERENCE: usize = 256;

/// Checks a text and gives it back.
///
/// # Errors
/// [`Code::InvalidText`] if it has more than `max` characters, or a NUL or other control character.
pub fn clean(text: String, max: usize) -> Result<String, Refusal> {
    if text.len() > max * 4 || text.chars().count() > max {
        return Err(Refusal::new(Code::InvalidText, format!("the text may have at most {max} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::new(Code::InvalidText, "the text may not hold NUL or control characters"));
    }
    Ok(text)
}

/// As [`clean`], and not empty.
///
/// # Errors
/// [`Code::InvalidText`].
pub fn clean_name(text: String, max: usize) -> Result<String, Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::new(Code::InvalidText, "the text may not be empty"));
    }
    clean(text, max)
}
