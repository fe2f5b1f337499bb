//! A key as it is sent, and the hash under which it is kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use sha2::{Digest, Sha256};

/// What every key begins with, so that people and secret scanners recognise one.
const PREFIX: &str = "dbk_";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// Characters of a key: the prefix and 32 bytes in base64 without padding.
const KEY_LENGTH: usize = PREFIX.len() + 43;

/// A key: shown once, when it is made. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// SHA-256 of a key.
pub type KeyHash = [u8; 32];

impl ApiKey {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn generate() -> Result<Self, rand::rand_core::OsError> {
        let mut bytes = [0_u8; KEY_BYTES];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The key in an `Authorization` header's value, if it has the shape of one of ours.
    pub fn from_authorization(value: &str) -> Option<Self> {
        let (scheme, key) = value.trim().split_once(' ')?;
        let key = key.trim();
        let is_ours = scheme.eq_ignore_ascii_case("bearer")
            && key.len() == KEY_LENGTH
            && key.starts_with(PREFIX)
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        is_ours.then(|| Self(key.to_owned()))
    }

    /// The hash under which it is kept.
    pub fn hash(&self) -> KeyHash {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The key itself, to be shown to the one who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_key_is_recognised_in_the_header() {
        let key = ApiKey::generate().unwrap();
        assert_eq!(key.reveal().len(), KEY_LENGTH);
        assert_eq!(ApiKey::from_authorization(&format!("Bearer {}", key.reveal())), Some(key.clone()));
        assert_eq!(ApiKey::from_authorization(&format!("bearer  {}", key.reveal())), Some(key.clone()));
        assert_ne!(ApiKey::generate().unwrap(), key);
        assert!(!format!("{key:?}").contains(key.reveal()));
    }

    #[test]
    fn what_is_not_a_key_is_not_looked_up() {
        let long = format!("Bearer {PREFIX}{}", "x".repeat(1_000_000));
        for value in ["", "Bearer", "Bearer ", "Basic abc", "Bearer dbk_short", "dbk_", "Bearer \0", &long] {
            assert_eq!(ApiKey::from_authorization(value), None);
        }
    }
}
