//! A batch as the arguments of `log.append_batch`.

use crate::LogPosition;
use crate::batch::{Batch, remaining};

/// The batch turned into one array a column.
#[derive(Default)]
pub(super) struct Rows<'batch> {
    pub(super) event_ids: Vec<uuid::Uuid>,
    pub(super) aggregate_types: Vec<&'batch str>,
    pub(super) aggregate_ids: Vec<&'batch str>,
    pub(super) sequences: Vec<i64>,
    pub(super) event_types: Vec<&'batch str>,
    pub(super) event_versions: Vec<&'batch str>,
    pub(super) payloads: Vec<&'batch str>,
    pub(super) metadatas: Vec<&'batch str>,
    pub(super) remainings: Vec<i16>,
    pub(super) principals: Vec<&'batch str>,
    pub(super) keys: Vec<&'batch str>,
    pub(super) hashes: Vec<&'batch [u8]>,
    pub(super) outcomes: Vec<&'batch str>,
    pub(super) key_positions: Vec<Option<i64>>,
}

impl<'batch> Rows<'batch> {
    pub(super) fn of(batch: &'batch Batch) -> Self {
        let mut rows = Self::default();
        // In the order of the log: `log.append_batch` numbers them by their places.
        for command in &batch.commands {
            for (place, event) in command.events.iter().enumerate() {
                rows.event_ids.push(event.event_id);
                rows.aggregate_types.push(&event.stream.aggregate_type);
                rows.aggregate_ids.push(&event.stream.aggregate_id);
                rows.sequences.push(i64::try_from(event.sequence).unwrap_or(i64::MAX));
                rows.event_types.push(&event.event_type);
                rows.event_versions.push(&event.event_version);
                rows.payloads.push(&event.payload);
                rows.metadatas.push(&event.metadata);
                rows.remainings.push(i16::try_from(remaining(command, place)).unwrap_or(i16::MAX));
            }
        }
        for (row, log_position) in batch.sorted_keys() {
            rows.principals.push(&row.principal);
            rows.keys.push(&row.key);
            rows.hashes.push(&row.command_hash);
            rows.outcomes.push(&row.outcome);
            rows.key_positions.push(log_position.map(LogPosition::to_sql));
        }
        rows
    }
}
