//! `events`: what is in the log.

use std::process::ExitCode;

use event_store::{EventFilter, LogPosition, PageRequest, RecordedEvent};
use projections::read::IndexFilter;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::EventsArgs;
use crate::database::Database;
use crate::output;

/// Events that are asked for at once.
const PAGE: usize = 1_000;

pub async fn run(database: &Database, args: &EventsArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let by_name = args.actor.is_some() || args.command_id.is_some() || args.correlation_id.is_some();
    let mut events = if by_name { indexed(database, args).await? } else { scanned(database, args).await? };
    if args.newest {
        events.reverse();
    }
    if as_json {
        for event in &events {
            output::json(&InJson::of(event)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(["position", "recorded at", "stream", "sequence", "type", "payload"]);
    for event in events {
        table.add_row([
            event.log_position.to_string(),
            event.recorded_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            event.stream().to_string(),
            event.sequence.to_string(),
            event.event_type.into_owned(),
            event.payload.to_string(),
        ]);
    }
    output::line(table)?;
    Ok(ExitCode::SUCCESS)
}

/// Found in the log itself.
async fn scanned(database: &Database, args: &EventsArgs) -> anyhow::Result<Vec<RecordedEvent>> {
    let filter = EventFilter {
        aggregate_type: args.aggregate_type.clone(),
        aggregate_id: args.aggregate_id.clone(),
        event_types: args.types.clone(),
        recorded_from: args.from,
        recorded_before: args.to,
    };
    let limit = args.limit as usize;
    let mut events = Vec::new();
    let (mut after, mut before) = (args.after, args.before);
    loop {
        let request =
            PageRequest { after, before, limit: PAGE.min(limit - events.len()), newest_first: args.newest };
        let page = database.log.page(&filter, request).await?;
        events.extend(page.events);
        if !page.has_more || events.len() >= limit {
            return Ok(events);
        }
        if args.newest { before = Some(page.scanned_to) } else { after = Some(page.scanned_to) }
    }
}

/// Found by the index of actors, commands and correlations.
async fn indexed(database: &Database, args: &EventsArgs) -> anyhow::Result<Vec<RecordedEvent>> {
    let limit = args.limit as usize;
    let models = database.read_models();
    let mut filter = IndexFilter {
        actor: args.actor.clone(),
        command_id: args.command_id.clone(),
        correlation_id: args.correlation_id.clone(),
        after: args.after,
        before: args.before,
        newest_first: args.newest,
        limit: PAGE,
    };
    let mut events = Vec::new();
    loop {
        let page = models.event_positions(&filter).await?.value;
        for position in &page.positions {
            let Some(event) = database.log.event(*position).await? else { continue };
            if passes(args, &event) {
                events.push(event);
            }
            if events.len() >= limit {
                return Ok(events);
            }
        }
        let Some(last) = page.positions.last().filter(|_| page.has_more) else { return Ok(events) };
        if args.newest { filter.before = Some(*last) } else { filter.after = Some(*last) }
    }
}

fn passes(args: &EventsArgs, event: &RecordedEvent) -> bool {
    args.aggregate_type.as_ref().is_none_or(|wanted| *wanted == event.aggregate_type)
        && args.aggregate_id.as_ref().is_none_or(|wanted| **wanted == *event.aggregate_id)
        && (args.types.is_empty() || args.types.iter().any(|wanted| *wanted == event.event_type))
        && args.from.is_none_or(|from| event.recorded_at >= from)
        && args.to.is_none_or(|to| event.recorded_at < to)
}

/// An event with payload and metadata byte for byte as they were written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InJson<'a> {
    log_position: LogPosition,
    id: String,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    sequence: String,
    r#type: &'a str,
    version: &'a str,
    recorded_at: String,
    payload: &'a RawValue,
    metadata: &'a RawValue,
}

impl<'a> InJson<'a> {
    fn of(event: &'a RecordedEvent) -> anyhow::Result<Self> {
        Ok(Self {
            log_position: event.log_position,
            id: event.event_id.to_string(),
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
            sequence: event.sequence.to_string(),
            r#type: &event.event_type,
            version: &event.event_version,
            recorded_at: event.recorded_at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            payload: serde_json::from_str(&event.payload)?,
            metadata: serde_json::from_str(&event.metadata)?,
        })
    }
}
