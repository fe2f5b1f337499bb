//! Decides one unit of work on the aggregates in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::TimeDelta;
use domain::{Code, Refusal, Timestamp};
use event_store::{CommandWrite, KeyRow, NewEvent, StreamId};
use serde::Serialize;
use uuid::Uuid;

use super::item::{Ask, Item};
use super::keys::linked_failed;
use super::queue::overloaded;
use super::settings::BusSettings;
use crate::aggregates::{Aggregates, StateToKeep};
use crate::request::{Answer, Failure, Outcome};
use crate::unit::{DecidedEvent, Halt, StreamName, Unit};
use crate::use_cases;

/// A request that had waited this long when it was decided has its arrival in the events' metadata.
const LATE: TimeDelta = TimeDelta::seconds(1);

/// What one request came to.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) result: Result<Outcome, Failure>,
    /// Whether it is kept under the key.
    pub(super) remembered: bool,
}

impl Verdict {
    fn remembered(outcome: Outcome) -> Self {
        Self { result: Ok(outcome), remembered: true }
    }
    fn passing(result: Result<Outcome, Failure>) -> Self {
        Self { result, remembered: false }
    }
}

/// A unit of work that is decided, but not durable.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) item: Item,
    /// One a request.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) write: CommandWrite,
    /// States that are due to be kept once it is durable.
    pub(super) states: Vec<StateToKeep>,
}

/// How a request's script ended.
enum Ran {
    Answered(Answer),
    Halted(Halt),
    /// A defect: it panicked.
    Failed,
}

/// Decides the unit of work, as part of a batch at `now`.
///
/// # Errors
/// The item and the streams it needs in memory first; nothing has changed then.
pub(super) fn decide(
    aggregates: &mut Aggregates,
    item: Item,
    now: Timestamp,
    batch: u64,
    settings: &BusSettings,
) -> Result<Decided, (Item, Vec<StreamName>)> {
    if item.poisoned {
        let refusal = Refusal::new(
            Code::MalformedInput,
            "the database cannot keep a part of this command; check its texts for unusual characters and length",
        );
        return Ok(without_events(item, |_| Verdict::remembered(Outcome::Refused(refusal.clone()))));
    }
    let Some(first) = item.asks.first() else { return Ok(without_events(item, |_| unreachable_verdict())) };
    let mut unit =
        Unit::begin(aggregates, &first.request.principal, now, batch).limited_to(settings.unit_events);
    let (ran, ends) = run(&mut unit, &item.asks);
    let needs = needs(&ran);
    if !needs.is_empty() {
        unit.abandon();
        return Err((item, needs));
    }
    if ran.iter().all(|ran| matches!(ran, Ran::Answered(_))) {
        let events = unit.complete();
        let states = due_states(aggregates, &events, settings.snapshot_every);
        return Ok(accept(item, ran, events, &ends, states, now));
    }
    unit.abandon();
    let alone = item.asks.len() == 1;
    let too_large = ran.iter().any(|ran| matches!(ran, Ran::Halted(Halt::TooLarge)));
    for (ran, ask) in ran.iter().zip(&item.asks) {
        if let Ran::Halted(Halt::Refused(refusal)) = ran
            && refusal.code == Code::Internal
        {
            tracing::error!(correlation_id = %ask.request.correlation_id, %refusal, "a use case failed");
        }
    }
    let mut verdicts = ran.into_iter().map(|ran| refuse(ran, alone, too_large));
    Ok(without_events(item, |_| verdicts.next().unwrap_or_else(unreachable_verdict)))
}

/// The streams the unit of work needs in memory; changes nothing.
pub(super) fn probe(aggregates: &mut Aggregates, item: &Item, now: Timestamp, batch: u64) -> Vec<StreamName> {
    let Some(first) = item.asks.first() else { return Vec::new() };
    let mut unit = Unit::begin(aggregates, &first.request.principal, now, batch);
    let (ran, _) = run(&mut unit, &item.asks);
    unit.abandon();
    needs(&ran)
}

/// Runs the scripts of all requests one after the other, each on what those before it have made. Also says how many
/// events there were after each.
fn run<'a>(unit: &mut Unit<'a>, asks: &'a [Ask]) -> (Vec<Ran>, Vec<usize>) {
    let mut ends = Vec::with_capacity(asks.len());
    let ran = asks
        .iter()
        .map(|ask| {
            let savepoint = unit.savepoint();
            unit.act_as(&ask.request.principal);
            let answer = catch_unwind(AssertUnwindSafe(|| use_cases::run(&ask.request.command, &mut *unit)));
            let ran = match answer {
                Ok(Ok(answer)) => Ran::Answered(answer),
                Ok(Err(halt)) => Ran::Halted(halt),
                Err(_) => {
                    tracing::error!(correlation_id = %ask.request.correlation_id, "a use case panicked");
                    Ran::Failed
                }
            };
            if !matches!(ran, Ran::Answered(_)) {
                unit.roll_back_to(savepoint);
            }
            ends.push(unit.event_count());
            ran
        })
        .collect();
    (ran, ends)
}

fn needs(ran: &[Ran]) -> Vec<StreamName> {
    ran.iter()
        .filter_map(|ran| match ran {
            Ran::Halted(Halt::Needs(streams)) => Some(streams),
            _ => None,
        })
        .flatten()
        .cloned()
        .collect()
}

/// The verdict on a request of a unit that was not accepted whole.
fn refuse(ran: Ran, alone: bool, too_large: bool) -> Verdict {
    match ran {
        Ran::Failed => Verdict::passing(Err(Failure::Internal)),
        Ran::Halted(Halt::Forbidden(refusal)) => Verdict::passing(Err(Failure::Forbidden(refusal))),
        _ if too_large => Verdict::passing(Err(overloaded("unit_events"))),
        Ran::Halted(Halt::Refused(refusal)) if refusal.code == Code::Internal => {
            Verdict::passing(Err(Failure::Internal))
        }
        Ran::Halted(Halt::Refused(refusal)) => Verdict::remembered(Outcome::Refused(refusal)),
        _ if alone => unreachable_verdict(),
        _ => Verdict::passing(Ok(Outcome::Refused(linked_failed()))),
    }
}

/// For a state of the types that the code before it excludes; a wrong assumption becomes an internal error.
fn unreachable_verdict() -> Verdict {
    Verdict::passing(Err(Failure::Internal))
}

fn without_events(item: Item, mut verdict: impl FnMut(&Ask) -> Verdict) -> Decided {
    let verdicts: Vec<Verdict> = item.asks.iter().map(&mut verdict).collect();
    let keys = key_rows(&item, &verdicts);
    Decided { item, verdicts, write: CommandWrite { keys, events: Vec::new() }, states: Vec::new() }
}

fn accept(
    item: Item,
    ran: Vec<Ran>,
    events: Vec<DecidedEvent>,
    ends: &[usize],
    states: Vec<StateToKeep>,
    now: Timestamp,
) -> Decided {
    let verdicts: Vec<Verdict> = ran
        .into_iter()
        .map(|ran| match ran {
            Ran::Answered(answer) => Verdict::remembered(Outcome::Accepted(answer)),
            _ => unreachable_verdict(),
        })
        .collect();
    let keys = key_rows(&item, &verdicts);
    let mut events = events.into_iter();
    let mut written = Vec::with_capacity(events.len());
    for (ask, end) in item.asks.iter().zip(ends) {
        if *end == written.len() {
            continue;
        }
        let metadata = metadata(ask, item.arrived, now);
        let own = events.by_ref().take(end - written.len());
        written.extend(own.map(|event| NewEvent {
            stream: StreamId::new(event.aggregate_type, event.aggregate_id.as_ref()),
            sequence: event.sequence,
            event_id: Uuid::now_v7(),
            event_type: event.event_type.into(),
            event_version: event.event_version.into(),
            payload: event.payload.into(),
            metadata: Arc::clone(&metadata),
        }));
    }
    Decided { item, verdicts, write: CommandWrite { keys, events: written }, states }
}

fn key_rows(item: &Item, verdicts: &[Verdict]) -> Vec<KeyRow> {
    item.asks
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| verdict.remembered)
        .filter_map(|(ask, verdict)| {
            Some(KeyRow {
                principal: ask.request.principal.name.clone(),
                key: ask.request.idempotency_key.clone(),
                command_hash: ask.hash,
                outcome: json(verdict.result.as_ref().ok()?),
            })
        })
        .collect()
}

/// What is known of the events beside their payload. Narrow, because every event carries it.
#[derive(Serialize)]
struct Metadata<'a> {
    actor: &'a str,
    command_id: Uuid,
    #[serde(skip_serializing_if = "Uuid::is_nil")]
    correlation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
}

fn metadata(ask: &Ask, arrived: Timestamp, now: Timestamp) -> Arc<str> {
    let metadata = Metadata {
        actor: &ask.request.principal.name,
        command_id: Uuid::now_v7(),
        correlation_id: ask.request.correlation_id,
        occurred_at: (now - arrived > LATE)
            .then(|| arrived.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
    };
    json(&metadata).into()
}

/// Structs of strings have a JSON form; should that ever be wrong, the append refuses the empty text.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn due_states(aggregates: &Aggregates, events: &[DecidedEvent], every: u64) -> Vec<StateToKeep> {
    events
        .iter()
        .filter(|event| event.sequence.is_multiple_of(every.max(1)))
        .filter_map(|event| aggregates.state_to_keep(event.aggregate_type, &event.aggregate_id))
        .collect()
}
