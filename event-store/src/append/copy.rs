//! A batch as PostgreSQL's messages: a query with a `COPY` for each table, and behind it the rows in `COPY`'s binary format.
//!
//! The format is PostgreSQL's, see "Binary Format" on the page of `COPY` in its manual.

use std::io;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use postgres_protocol::message::frontend;

use crate::batch::{Batch, KeyRow, remaining};
use crate::{LogPosition, NewEvent};

const COPY_EVENTS: &str = "COPY log.events (log_position, sequence, recorded_at, event_id, remaining, \
     aggregate_type, aggregate_id, event_type, event_version, payload, metadata) FROM STDIN (FORMAT binary)";
const COPY_KEYS: &str = "COPY log.idempotency_keys (recorded_at, log_position, principal, key, command_hash, \
     outcome) FROM STDIN (FORMAT binary)";

/// Tag of a message with rows, before its length.
const COPY_DATA: u8 = b'd';
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Ends the rows.
const TRAILER: i16 = -1;
/// About what a row takes beside its texts.
const FIXED_BYTES: usize = 160;
/// About what the query takes.
const QUERY_BYTES: usize = 1_024;

/// 2000-01-01, from which PostgreSQL counts microseconds, in those of Unix.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One query that stores the batch's rows between the statements `first` and `last`, and the rows behind it.
///
/// # Errors
/// When a statement has a NUL or is too long.
pub(super) fn messages(batch: &Batch, first: &str, last: &str) -> io::Result<BytesMut> {
    let (events, keys) = (sorted_events(batch), batch.sorted_keys());
    let copy_events = if events.is_empty() { "" } else { COPY_EVENTS };
    let copy_keys = if keys.is_empty() { "" } else { COPY_KEYS };
    let texts = events.iter().map(|(event, ..)| texts_of(event)).sum::<usize>()
        + keys.iter().map(|(row, _)| row.outcome.len() + row.key.len()).sum::<usize>();
    let room = QUERY_BYTES + texts + (events.len() + keys.len()) * FIXED_BYTES;
    let mut messages = BytesMut::with_capacity(room);
    frontend::query(&[first, copy_events, copy_keys, last].join(";"), &mut messages)?;
    let mut rows = Rows { messages, recorded_at: micros(batch.recorded_at()) };
    if !events.is_empty() {
        rows.all(events, Rows::event);
    }
    if !keys.is_empty() {
        rows.all(keys, Rows::key);
    }
    Ok(rows.messages)
}

/// An event with its position and how many of its command follow it.
type PlacedEvent<'a> = (&'a NewEvent, LogPosition, u16);

/// The events as the index of streams is sorted, by the aggregate's id and then its type.
///
/// A row says its position itself, so the order is free, and PostgreSQL finds the places of sorted rows in the index
/// quicker: neighbours share pages. It saves an eighth of what an append costs.
fn sorted_events(batch: &Batch) -> Vec<PlacedEvent<'_>> {
    let mut log_position = batch.after;
    let mut events = Vec::with_capacity(batch.event_count());
    for command in &batch.commands {
        for (place, event) in command.events.iter().enumerate() {
            log_position = log_position.next();
            events.push((event, log_position, remaining(command, place)));
        }
    }
    events.sort_unstable_by_key(|(event, log_position, _)| {
        (&*event.stream.aggregate_id, &*event.stream.aggregate_type, *log_position)
    });
    events
}

fn texts_of(event: &NewEvent) -> usize {
    event.payload.len() + event.metadata.len() + event.stream.aggregate_id.len()
}

fn micros(moment: DateTime<Utc>) -> i64 {
    moment.timestamp_micros() - EPOCH_MICROS
}

/// Messages, to which rows are added.
struct Rows {
    messages: BytesMut,
    recorded_at: i64,
}

impl Rows {
    /// All rows of one `COPY`, and its end.
    fn all<T>(&mut self, rows: Vec<T>, add: impl Fn(&mut Self, T)) {
        self.messages.put_u8(COPY_DATA);
        let begun = self.messages.len();
        self.messages.put_i32(0);
        self.messages.put_slice(HEADER);
        for row in rows {
            add(self, row);
        }
        self.messages.put_i16(TRAILER);
        // It counts itself. The bus bounds what a batch can take far below the 1 GiB that PostgreSQL reads as one message.
        let length = i32::try_from(self.messages.len() - begun).unwrap_or(i32::MAX);
        self.messages[begun..begun + 4].copy_from_slice(&length.to_be_bytes());
        frontend::copy_done(&mut self.messages);
    }

    fn event(&mut self, (event, log_position, remaining): PlacedEvent<'_>) {
        self.columns(11);
        self.bigint(log_position.to_sql());
        self.bigint(i64::try_from(event.sequence).unwrap_or(i64::MAX));
        self.bigint(self.recorded_at);
        self.bytes(event.event_id.as_bytes());
        self.smallint(i16::try_from(remaining).unwrap_or(i16::MAX));
        self.bytes(event.stream.aggregate_type.as_bytes());
        self.bytes(event.stream.aggregate_id.as_bytes());
        self.bytes(event.event_type.as_bytes());
        self.bytes(event.event_version.as_bytes());
        self.bytes(event.payload.as_bytes());
        self.bytes(event.metadata.as_bytes());
    }

    fn key(&mut self, (row, log_position): (&KeyRow, Option<LogPosition>)) {
        self.columns(6);
        self.bigint(self.recorded_at);
        match log_position {
            Some(log_position) => self.bigint(log_position.to_sql()),
            None => self.null(),
        }
        self.bytes(row.principal.as_bytes());
        self.bytes(row.key.as_bytes());
        self.bytes(&row.command_hash);
        self.bytes(row.outcome.as_bytes());
    }

    fn columns(&mut self, count: i16) {
        self.messages.put_i16(count);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.messages.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.messages.put_slice(value);
    }

    fn bigint(&mut self, value: i64) {
        self.messages.put_i32(8);
        self.messages.put_i64(value);
    }

    fn smallint(&mut self, value: i16) {
        self.messages.put_i32(2);
        self.messages.put_i16(value);
    }

    fn null(&mut self) {
        self.messages.put_i32(-1);
    }
}
