//! Writers that the log must refuse: one with a stale sequence, one under an old epoch. They connect as the application
//! does, so nothing but the log's own guards stands in their way.

use sqlx::{PgPool, Row as _};

use crate::findings::{Check, Findings};
use crate::scene::Scene;

/// What a rogue writer does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rogue {
    /// It appends an event at a place of a stream that is taken.
    StaleSequence,
    /// It is right about everything but leads no longer.
    OldEpoch,
}

/// Under the head's lock, so that position and time are right and only the rogue's own fault can stop it.
const HEAD: &str = "SELECT epoch, log_position, recorded_at FROM log.log_head FOR NO KEY UPDATE";
const NEWEST: &str = "SELECT sequence, aggregate_type, event_type, event_version, payload::text, metadata::text \
     FROM log.events WHERE aggregate_type = 'account' AND aggregate_id = $1 ORDER BY sequence DESC LIMIT 1";
const INSERT: &str = "INSERT INTO log.events (log_position, sequence, recorded_at, event_id, remaining, aggregate_type, \
     aggregate_id, event_type, event_version, payload, metadata) \
     VALUES ($1 + 1, $2, $3, gen_random_uuid(), 0, 'account', $4, $5, $6, $7::json, $8::json)";
const ADVANCE: &str = "SELECT log.advance_head($1, $2, $2 + 1, $3, 1000)";

/// How often it tries while PostgreSQL finds it in a deadlock with the leader.
const MOST_TRIES: usize = 10;

/// Lets it try; a finding unless the log refuses it for the right reason.
pub async fn attempt(rogue: Rogue, pool: &PgPool, scene: &Scene, findings: &Findings) {
    let expected = match rogue {
        Rogue::StaleSequence => ("23505", Some("events_stream_unique")),
        Rogue::OldEpoch => ("40001", None),
    };
    let mut outcome = append(rogue, pool, scene).await;
    for _ in 1..MOST_TRIES {
        if !outcome.as_ref().is_err_and(is_deadlock) {
            break;
        }
        outcome = append(rogue, pool, scene).await;
    }
    match outcome {
        Ok(()) => findings.note(Check::RogueWriters, format!("{rogue:?} was written")),
        Err(sqlx::Error::Database(error)) => {
            let refused = (error.code().unwrap_or_default().into_owned(), error.constraint());
            findings.expect((refused.0.as_str(), refused.1) == expected, Check::RogueWriters, || {
                format!("{rogue:?} was refused for another reason: {error}")
            });
        }
        Err(error) => println!("  {rogue:?} could not try: {error}"),
    }
}

/// It holds the head and waits for rows that the leader has sent ahead, which wait for the head to be committed. PostgreSQL
/// ends one of the two; if it is the rogue, nothing is said yet of its own fault.
fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("40P01"))
}

async fn append(rogue: Rogue, pool: &PgPool, scene: &Scene) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let head = sqlx::query(HEAD).fetch_one(&mut *transaction).await?;
    let newest = sqlx::query(NEWEST).bind(&scene.bank[0]).fetch_one(&mut *transaction).await?;
    let (mut epoch, mut sequence): (i64, i64) = (head.get("epoch"), newest.get("sequence"));
    match rogue {
        Rogue::StaleSequence => {}
        Rogue::OldEpoch => {
            epoch -= 1;
            sequence += 1;
        }
    }
    let position: i64 = head.get("log_position");
    let recorded_at: chrono::DateTime<chrono::Utc> = head.get("recorded_at");
    sqlx::query(INSERT)
        .bind(position)
        .bind(sequence)
        .bind(recorded_at)
        .bind(&scene.bank[0])
        .bind(newest.get::<String, _>("event_type"))
        .bind(newest.get::<String, _>("event_version"))
        .bind(newest.get::<String, _>("payload"))
        .bind(newest.get::<String, _>("metadata"))
        .execute(&mut *transaction)
        .await?;
    sqlx::query(ADVANCE).bind(epoch).bind(position).bind(recorded_at).execute(&mut *transaction).await?;
    transaction.commit().await
}
