//! The tables of a backup and the statements that copy them out and in.

use chrono::{DateTime, SecondsFormat, Utc};

use crate::LogPosition;

/// Name of the events' table.
pub(super) const EVENTS: &str = "log.events";

/// A table outside of schema `log` that belongs into a backup, with its rows as they are.
#[derive(Clone, Copy, Debug)]
pub struct Companion {
    /// With its schema.
    pub table: &'static str,
    /// All columns that are kept.
    pub columns: &'static [&'static str],
    /// For a large table: the column of time up to which its rows are in the backup. They are copied when the snapshot
    /// has ended and may be pruned meanwhile. Without it the rows are those of the backup's snapshot.
    pub up_to: Option<&'static str>,
}

/// What of the log itself goes with the events, in the snapshot's time. Snapshots of aggregates are derived and left out.
pub(super) const PROCESS_STATES: Companion = Companion {
    table: "log.process_states",
    columns: &["name", "log_position", "epoch", "state", "saved_at"],
    up_to: None,
};

pub(super) const KEYS: &str = "log.idempotency_keys";
pub(super) const KEY_COLUMNS: [&str; 6] =
    ["recorded_at", "log_position", "principal", "key", "command_hash", "outcome"];

/// The statement that copies the events after one position up to another.
pub(super) fn copy_events(after: u64, up_to: u64) -> String {
    let columns = super::rows::EVENT_COLUMNS.join(", ");
    format!(
        "COPY (SELECT {columns} FROM log.events WHERE log_position > {after} AND log_position <= {up_to} \
         ORDER BY log_position) TO STDOUT"
    )
}

/// The statement that copies what the commands up to the head answered. A refusal has no position: it goes by the time
/// of the head's newest batch. Keys of later commands would answer for events that the backup does not have.
pub(super) fn copy_keys(head: LogPosition, recorded_at: Option<DateTime<Utc>>) -> String {
    let columns = KEY_COLUMNS.join(", ");
    let recorded_at = recorded_at.map_or_else(|| "-infinity".to_owned(), literal);
    format!(
        "COPY (SELECT {columns} FROM log.idempotency_keys \
         WHERE log_position <= {head} OR (log_position IS NULL AND recorded_at <= '{recorded_at}')) TO STDOUT"
    )
}

/// The statement that copies a companion.
pub(super) fn copy_companion(companion: &Companion, began_at: DateTime<Utc>) -> String {
    let (table, columns) = (companion.table, companion.columns.join(", "));
    match companion.up_to {
        None => format!("COPY {table} ({columns}) TO STDOUT"),
        Some(time) => {
            let began_at = literal(began_at);
            format!("COPY (SELECT {columns} FROM {table} WHERE {time} <= '{began_at}') TO STDOUT")
        }
    }
}

/// The statement that copies rows in.
pub(super) fn copy_in(table: &str, columns: &[String]) -> String {
    format!("COPY {table} ({}) FROM STDIN", columns.join(", "))
}

fn literal(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A name for the file of a table: `log.process_states` is in `process-states.copy.gz`.
pub(super) fn file_name(table: &str) -> String {
    let name = table.rsplit('.').next().unwrap_or(table);
    // Another schema may use a name of ours.
    let schema = table.split('.').next().filter(|schema| *schema != "log");
    let name: Vec<&str> = schema.into_iter().chain([name]).collect();
    format!("{}.copy.gz", name.join("-").replace('_', "-"))
}

/// A name for the file of the events from one position to another; such names are in the order of the log.
pub(super) fn events_file_name(first: u64, last: u64) -> String {
    format!("events-{first:015}-{last:015}.copy.gz")
}
