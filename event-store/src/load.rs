//! Cold loads: the snapshots of several streams of one type, and what came after them, in two statements.

use std::sync::{Arc, LazyLock};

use futures::{Stream, StreamExt};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::{RecordedEvent, Snapshot};

/// One stream's snapshot. PostgreSQL keeps the plan of this, but makes one anew each time for a list, whose length it does not
/// know before; that takes longer than to find one stream.
const SNAPSHOT: &str = "SELECT 1::bigint AS place, sequence, state::text AS state FROM log.snapshots \
     WHERE aggregate_type = $1 AND aggregate_id = $2 AND state_version = $3";
const SNAPSHOTS: &str = "SELECT wanted.place, kept.sequence, kept.state::text AS state \
     FROM unnest($2::text[]) WITH ORDINALITY AS wanted (id, place) JOIN log.snapshots AS kept \
     ON kept.aggregate_type = $1 AND kept.aggregate_id = wanted.id AND kept.state_version = $3";

/// One stream's events, as [`SNAPSHOT`].
static STREAM: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT 1::bigint AS place, {} FROM log.events \
         WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 ORDER BY sequence",
        RecordedEvent::COLUMNS
    )
});

/// The order of the inner query is that of each stream, whatever the order of the streams is.
static STREAMS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT wanted.place, event.* \
         FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS wanted (id, after, place) CROSS JOIN LATERAL ( \
         SELECT {} FROM log.events \
         WHERE aggregate_type = $1 AND aggregate_id = wanted.id AND sequence > wanted.after ORDER BY sequence) AS event",
        RecordedEvent::COLUMNS
    )
});

/// The newest snapshots of the streams that are of this version, with the place of each stream among `ids`. Raise the
/// version whenever the shape of a state, or what `apply` makes of an event, changes.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn load_snapshots(
    connection: &mut PgConnection,
    aggregate_type: &str,
    ids: &[Arc<str>],
    state_version: u16,
) -> Result<Vec<(usize, Snapshot)>, sqlx::Error> {
    let query = match ids {
        [id] => sqlx::query(SNAPSHOT).bind(aggregate_type).bind(&**id),
        ids => {
            let ids: Vec<&str> = ids.iter().map(AsRef::as_ref).collect();
            sqlx::query(SNAPSHOTS).bind(aggregate_type).bind(ids)
        }
    };
    let rows = query.bind(i32::from(state_version)).fetch_all(connection).await?;
    let snapshot = |row: PgRow| {
        let sequence = row.try_get::<i64, _>("sequence")?.unsigned_abs();
        Ok((place(&row)?, Snapshot { sequence, state: row.try_get("state")? }))
    };
    rows.into_iter().map(snapshot).collect()
}

/// The events of the streams after a sequence each (0 for all), each with the place of its stream in the list. Those of
/// one stream come in their order, one by one, however many they are. A stream that does not exist has none.
pub fn load_events<'c>(
    connection: &'c mut PgConnection,
    aggregate_type: &'c str,
    streams: impl Iterator<Item = (&'c str, u64)>,
) -> impl Stream<Item = Result<(usize, RecordedEvent), sqlx::Error>> + Send + 'c {
    let after = |sequence| i64::try_from(sequence).unwrap_or(i64::MAX);
    let (ids, after): (Vec<&str>, Vec<i64>) = streams.map(|(id, sequence)| (id, after(sequence))).unzip();
    let query = match (ids.as_slice(), after.as_slice()) {
        ([id], [after]) => sqlx::query(&STREAM).bind(aggregate_type).bind(*id).bind(*after),
        _ => sqlx::query(&STREAMS).bind(aggregate_type).bind(ids).bind(after),
    };
    let rows = query.fetch(connection);
    rows.map(|row| {
        let row = row?;
        Ok((place(&row)?, RecordedEvent::from_row(&row)?))
    })
}

/// From 0.
fn place(row: &PgRow) -> Result<usize, sqlx::Error> {
    let place = row.try_get::<i64, _>("place")?.unsigned_abs() - 1;
    Ok(usize::try_from(place).unwrap_or(usize::MAX))
}
