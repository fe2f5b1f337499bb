//! What canaries break in the database itself, as its superuser and from outside: nothing in the server knows of it.

use sqlx::{Executor as _, PgPool, Row as _};

/// One guard of the log that is taken away, or one thing altered behind Daybook's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Commits are answered before they are durable.
    NoSynchronousCommit,
    /// Two events may have the same place in a stream.
    NoStreamIndex,
    /// Keys are not kept.
    NoKeyRows,
    /// A leader of an earlier epoch may append.
    NoEpochCheck,
    /// One movement is altered in a read model.
    AlteredMovement,
    /// Accounts of the bank hold a cent more in a read model.
    AlteredHeld,
}

const ADVANCE_HEAD: &str = "SELECT pg_get_functiondef('log.advance_head'::regproc) AS definition";

impl Sabotage {
    pub async fn commit(self, superuser: &PgPool) {
        match self {
            Self::NoSynchronousCommit => {
                let off = "\nBEGIN\n    PERFORM set_config('synchronous_commit', 'off', true);\n";
                rewrite(superuser, "\nBEGIN\n", off).await;
                // The lease is renewed over other sessions, whose commits would write everything out.
                run(superuser, "ALTER SYSTEM SET synchronous_commit = off").await;
                run(superuser, "SELECT pg_reload_conf()").await;
            }
            Self::NoStreamIndex => {
                run(superuser, "ALTER TABLE log.events DROP CONSTRAINT events_stream_unique").await;
            }
            Self::NoKeyRows => {
                run(
                    superuser,
                    "CREATE FUNCTION log.forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
                     CREATE TRIGGER forget BEFORE INSERT ON log.idempotency_keys \
                     FOR EACH ROW EXECUTE FUNCTION log.forget()",
                )
                .await;
            }
            Self::NoEpochCheck => rewrite(superuser, "head.epoch <> expected_epoch OR ", "").await,
            Self::AlteredMovement => {
                run(
                    superuser,
                    "UPDATE read.entries SET amount = amount + 1 WHERE (log_position, leg) IN \
                     (SELECT log_position, leg FROM read.entries ORDER BY log_position DESC LIMIT 1)",
                )
                .await;
            }
            // A trigger, because the row is written anew from memory with every change of the account.
            Self::AlteredHeld => {
                run(
                    superuser,
                    "CREATE FUNCTION read.hold_more() RETURNS trigger LANGUAGE plpgsql \
                     AS 'BEGIN NEW.held := NEW.held + 1; RETURN NEW; END'; \
                     CREATE TRIGGER hold_more BEFORE INSERT ON read.accounts \
                     FOR EACH ROW WHEN (NEW.owner = 'bank') EXECUTE FUNCTION read.hold_more()",
                )
                .await;
            }
        }
    }
}

/// Changes the function that moves the head.
async fn rewrite(superuser: &PgPool, from: &str, to: &str) {
    let function = sqlx::query(ADVANCE_HEAD).fetch_one(superuser).await.unwrap();
    let definition: String = function.get("definition");
    assert!(definition.contains(from), "nothing to sabotage in {definition}");
    run(superuser, &definition.replacen(from, to, 1)).await;
}

async fn run(superuser: &PgPool, sql: &str) {
    superuser.execute(sqlx::raw_sql(sql)).await.unwrap();
}
