//! What the application's role may do to the log, and whether the server keeps what it acknowledges.

use sqlx::{PgPool, Row};
use thiserror::Error;

/// Why a role or a server is not fit to serve.
#[derive(Debug, Error)]
pub enum RoleError {
    /// The role can change or delete events, or give itself the right to.
    #[error(
        "the role {role:?} may alter the log ({reason}): connect as daybook_app, or as a role with its rights only"
    )]
    MayAlterEvents {
        /// The role that was given.
        role: String,
        /// What it may do.
        reason: &'static str,
    },
    /// The role lacks a right that the server needs.
    #[error("the role {role:?} may not {reason}: grant it daybook_app")]
    LacksRight {
        /// The role that was given.
        role: String,
        /// What it cannot do.
        reason: &'static str,
    },
    /// The server loses commits when it crashes.
    #[error("PostgreSQL runs with {0} = off and would lose what it has acknowledged: switch it on")]
    NotDurable(&'static str),
    /// PostgreSQL did not answer.
    #[error("the rights of the role cannot be read: {0}")]
    Database(#[from] sqlx::Error),
}

/// What a role must not be able to do, each as a condition on `role`, the name of the role that logged in.
const FORBIDDEN: [(&str, &str); 8] = [
    ("is a superuser", "(SELECT rolsuper FROM pg_roles WHERE rolname = role)"),
    ("can create roles", "(SELECT rolcreaterole FROM pg_roles WHERE rolname = role)"),
    (
        "owns the log",
        "EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'log' AND pg_has_role(role, c.relowner, 'MEMBER')) \
         OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'log' AND pg_has_role(role, nspowner, 'MEMBER'))",
    ),
    ("can update events", "has_any_column_privilege(role, 'log.events', 'UPDATE')"),
    ("can delete events", "has_table_privilege(role, 'log.events', 'DELETE, TRUNCATE')"),
    ("can put triggers on events", "has_table_privilege(role, 'log.events', 'TRIGGER')"),
    (
        "can remove the head of the log",
        "has_table_privilege(role, 'log.log_head', 'INSERT, DELETE, TRUNCATE')",
    ),
    ("can rename the log", "has_column_privilege(role, 'log.log_head', 'log_id', 'UPDATE')"),
];

const NEEDED: [(&str, &str); 3] = [
    ("read events", "has_table_privilege(role, 'log.events', 'SELECT')"),
    ("insert events", "has_table_privilege(role, 'log.events', 'INSERT')"),
    ("move the head of the log", "has_column_privilege(role, 'log.log_head', 'log_position', 'UPDATE')"),
];

/// Refuses a role that may update, delete or truncate events, owns them, is a superuser or could become one of these.
/// Both the role that logged in and the one it acts as are checked.
///
/// # Errors
/// [`RoleError`] names the role and the reason.
pub async fn check_application_role(pool: &PgPool) -> Result<(), RoleError> {
    let columns: Vec<String> =
        FORBIDDEN.iter().chain(&NEEDED).map(|(_, condition)| format!("({condition})")).collect();
    let sql = format!(
        "SELECT role, {} FROM (VALUES (session_user::name), (current_user::name)) AS roles (role)",
        columns.join(", ")
    );
    for row in sqlx::query(&sql).fetch_all(pool).await? {
        let role: String = row.try_get(0)?;
        for (place, (reason, _)) in FORBIDDEN.iter().enumerate() {
            if row.try_get(1 + place)? {
                return Err(RoleError::MayAlterEvents { role, reason });
            }
        }
        for (place, (reason, _)) in NEEDED.iter().enumerate() {
            if !row.try_get::<bool, _>(1 + FORBIDDEN.len() + place)? {
                return Err(RoleError::LacksRight { role, reason });
            }
        }
    }
    Ok(())
}

/// Refuses a server that loses acknowledged commits when it crashes.
///
/// # Errors
/// [`RoleError::NotDurable`] names the setting.
pub async fn check_durability(pool: &PgPool) -> Result<(), RoleError> {
    for setting in ["fsync", "full_page_writes"] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(pool).await?;
        if value == "off" {
            return Err(RoleError::NotDurable(setting));
        }
    }
    Ok(())
}
