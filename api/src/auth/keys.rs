//! The keys there are, in `auth.api_keys`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use commands::{Principal, Role};
use domain::text;
use event_store::backup::Companion;
use moka::future::Cache;
use sqlx::{PgPool, Row};

use super::{ApiKey, KeyHash};

/// How long an answer is remembered, and so how long a revoked key can still work.
const REMEMBERED: Duration = Duration::from_secs(2);
/// How many answers are remembered.
const MAX_REMEMBERED: u64 = 10_000;

/// The keys in a backup: their hashes, never the keys.
pub const BACKUP: Companion = Companion {
    table: "auth.api_keys",
    columns: &["name", "key_hash", "role", "owner", "created_at", "revoked_at"],
    up_to: None,
};

/// Why a key cannot be made, revoked or checked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is taken.
    #[error("there is a key named {0:?} already; choose another name, revoked names are not used again")]
    NameTaken(String),
    /// There is no valid key of that name.
    #[error("there is no valid key named {0:?}; `daybook keys list` shows those there are")]
    NotFound(String),
    /// A trader's key without an owner.
    #[error("a trader's key needs an owner: add --owner")]
    OwnerMissing,
    /// An owner for another role.
    #[error("only a trader's key has an owner: leave --owner away")]
    OwnerNotAllowed,
    /// A name that Daybook acts under itself.
    #[error("Daybook itself acts as {0:?}; choose another name")]
    NameReserved(String),
    /// The name or owner is not clean text.
    #[error("the {0} must be 1 to 64 characters without control characters")]
    Text(&'static str),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] rand::rand_core::OsError),
    /// PostgreSQL did not answer.
    #[error("the keys cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

/// Names under which Daybook itself issues commands: a key of such a name would share their idempotency keys.
const RESERVED: [&str; 4] = ["daybook", "feed", "hold-expiry", "paper-venue"];

/// What is known of a key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The principal's name.
    pub name: String,
    /// What it may do, as text.
    pub role: String,
    /// Whose things a trader may touch.
    pub owner: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it is no longer valid.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// The keys there are. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    pool: PgPool,
    remembered: Cache<KeyHash, Option<Principal>>,
}

impl Keys {
    /// The keys in the pool's database.
    pub fn new(pool: PgPool) -> Self {
        let remembered = Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build();
        Self { pool, remembered }
    }

    /// Makes a key and gives it back, this once.
    ///
    /// # Errors
    /// [`KeyError`] says what to do.
    pub async fn create(&self, name: &str, role: Role, owner: Option<&str>) -> Result<ApiKey, KeyError> {
        let key = ApiKey::generate()?;
        self.add(name, role, owner, &key).await?;
        Ok(key)
    }

    /// Puts a key in that was made before, unless there is one of that name.
    ///
    /// # Errors
    /// [`KeyError`] says what to do.
    pub async fn install(
        &self,
        name: &str,
        role: Role,
        owner: Option<&str>,
        key: &ApiKey,
    ) -> Result<(), KeyError> {
        match self.add(name, role, owner, key).await {
            Ok(()) | Err(KeyError::NameTaken(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn add(&self, name: &str, role: Role, owner: Option<&str>, key: &ApiKey) -> Result<(), KeyError> {
        let clean = |value: &str, what| {
            text::clean_name(value.to_owned(), text::MAX_NAME).map_err(|_| KeyError::Text(what))
        };
        let name = clean(name, "name")?;
        let owner = owner.map(|owner| clean(owner, "owner")).transpose()?;
        if RESERVED.contains(&name.as_str()) {
            return Err(KeyError::NameReserved(name));
        }
        match (role, &owner) {
            (Role::Trader, None) => return Err(KeyError::OwnerMissing),
            (Role::Trader, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(KeyError::OwnerNotAllowed),
        }
        let done = sqlx::query(
            "INSERT INTO auth.api_keys (name, key_hash, role, owner) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&name)
        .bind(&key.hash()[..])
        .bind(role.as_str())
        .bind(&owner)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 0 { Err(KeyError::NameTaken(name)) } else { Ok(()) }
    }

    /// Every key, revoked ones too, by name.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        let rows =
            sqlx::query("SELECT name, role, owner, created_at, revoked_at FROM auth.api_keys ORDER BY name")
                .fetch_all(&self.pool)
                .await?;
        rows.iter()
            .map(|row| {
                Ok(KeyRecord {
                    name: row.try_get("name")?,
                    role: row.try_get("role")?,
                    owner: row.try_get("owner")?,
                    created_at: row.try_get("created_at")?,
                    revoked_at: row.try_get("revoked_at")?,
                })
            })
            .collect()
    }

    /// Ends a key for good; servers forget it within seconds.
    ///
    /// # Errors
    /// [`KeyError::NotFound`] if there is no valid one of that name.
    pub async fn revoke(&self, name: &str) -> Result<(), KeyError> {
        let done =
            sqlx::query("UPDATE auth.api_keys SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL")
                .bind(name)
                .execute(&self.pool)
                .await?;
        if done.rows_affected() == 0 { Err(KeyError::NotFound(name.to_owned())) } else { Ok(()) }
    }

    /// Whose key it is; `None` if it is not valid.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn authenticate(&self, key: &ApiKey) -> Result<Option<Principal>, KeyError> {
        let hash = key.hash();
        if let Some(known) = self.remembered.get(&hash).await {
            return Ok(known);
        }
        let row = sqlx::query(
            "SELECT name, role, owner FROM auth.api_keys WHERE key_hash = $1 AND revoked_at IS NULL",
        )
        .bind(&hash[..])
        .fetch_optional(&self.pool)
        .await?;
        let principal = match row {
            None => None,
            Some(row) => {
                let (name, role): (&str, &str) = (row.try_get("name")?, row.try_get("role")?);
                let owner: Option<&str> = row.try_get("owner")?;
                match role.parse() {
                    Ok(role) => Some(Principal { name: name.into(), role, owner: owner.map(Into::into) }),
                    Err(reason) => {
                        tracing::error!(%reason, "a stored key has a role that this version does not know");
                        None
                    }
                }
            }
        };
        self.remembered.insert(hash, principal.clone()).await;
        Ok(principal)
    }
}

#[cfg(test)]
mod tests {
    use event_store::embedded::testing::TestDatabase;

    use super::*;

    #[tokio::test]
    async fn a_key_has_a_name_of_its_own_that_daybook_does_not_act_under() {
        let keys = Keys::new(TestDatabase::create().await.unwrap().app);
        for name in RESERVED {
            assert!(matches!(keys.create(name, Role::Admin, None).await, Err(KeyError::NameReserved(_))));
        }
        keys.create("alice", Role::Trader, Some("alice")).await.unwrap();
        assert!(matches!(keys.create("alice", Role::Admin, None).await, Err(KeyError::NameTaken(_))));
        keys.revoke("alice").await.unwrap();
        assert!(matches!(keys.create("alice", Role::Admin, None).await, Err(KeyError::NameTaken(_))));
        assert!(matches!(keys.revoke("alice").await, Err(KeyError::NotFound(_))));
    }

    #[tokio::test]
    async fn a_trader_has_an_owner_and_nobody_else_has_one() {
        let keys = Keys::new(TestDatabase::create().await.unwrap().app);
        assert!(matches!(keys.create("t", Role::Trader, None).await, Err(KeyError::OwnerMissing)));
        assert!(matches!(keys.create("o", Role::Operator, Some("x")).await, Err(KeyError::OwnerNotAllowed)));
        assert!(matches!(keys.create("\0", Role::Operator, None).await, Err(KeyError::Text("name"))));
        let key = keys.create("t", Role::Trader, Some("alice")).await.unwrap();
        let known = keys.authenticate(&key).await.unwrap();
        assert_eq!(
            known,
            Some(Principal { name: "t".into(), role: Role::Trader, owner: Some("alice".into()) })
        );
        assert_eq!(keys.authenticate(&ApiKey::generate().unwrap()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_database_never_holds_a_key() {
        let database = TestDatabase::create().await.unwrap();
        let key = Keys::new(database.app.clone()).create("a", Role::Admin, None).await.unwrap();
        let row: String = sqlx::query_scalar("SELECT api_keys::text FROM auth.api_keys")
            .fetch_one(&database.app)
            .await
            .unwrap();
        assert!(row.contains(&hex::encode(key.hash())), "{row}");
        assert!(!row.contains(key.reveal()), "{row}");
    }
}
