//! Decides one unit of work on the aggregates in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::{Code, Refusal, Timestamp};

use super::call::Each;
use super::item::{Ask, Item};
use super::keys::linked_failed;
use super::queue::overloaded;
use super::settings::BusSettings;
use crate::aggregates::{Aggregates, StateToKeep};
use crate::request::{Answer, Failure, Outcome};
use crate::unit::{DecidedEvent, Halt, StreamName, Unit};
use crate::use_cases;

/// What one request came to.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) result: Result<Outcome, Failure>,
    /// Whether it is kept under the key.
    pub(super) remembered: bool,
    /// How many events of the unit of work there were after it.
    pub(super) end: usize,
}

impl Verdict {
    fn remembered(outcome: Outcome) -> Self {
        Self { result: Ok(outcome), remembered: true, end: 0 }
    }
    fn passing(result: Result<Outcome, Failure>) -> Self {
        Self { result, remembered: false, end: 0 }
    }
}

/// A unit of work that is decided, but not durable.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) item: Item,
    /// One a request.
    pub(super) verdicts: Each<Verdict>,
    /// In their order; none if it is refused.
    pub(super) events: Vec<DecidedEvent>,
    /// States that are due to be kept once it is durable.
    pub(super) states: Vec<StateToKeep>,
}

/// How a request's script ended.
enum Ran {
    /// `end` is how many events there were then.
    Answered {
        answer: Answer,
        end: usize,
    },
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
    let ran = run(&mut unit, &item.asks);
    let needs = needs(&ran);
    if !needs.is_empty() {
        unit.abandon();
        return Err((item, needs));
    }
    if ran.iter().all(|ran| matches!(ran, Ran::Answered { .. })) {
        let events = unit.complete();
        let states = due_states(aggregates, &events, settings.snapshot_every);
        let verdicts = ran.into_iter().map(verdict_on).collect();
        return Ok(Decided { item, verdicts, events, states });
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
    let ran = run(&mut unit, &item.asks);
    unit.abandon();
    needs(&ran)
}

/// Runs the scripts of all requests one after the other, each on what those before it have made.
fn run<'a>(unit: &mut Unit<'a>, asks: &'a [Ask]) -> Each<Ran> {
    let run = |ask: &'a Ask| {
        let savepoint = unit.savepoint();
        unit.act_as(&ask.request.principal);
        let answer = catch_unwind(AssertUnwindSafe(|| use_cases::run(&ask.request.command, &mut *unit)));
        let ran = match answer {
            Ok(Ok(answer)) => return Ran::Answered { answer, end: unit.event_count() },
            Ok(Err(halt)) => Ran::Halted(halt),
            Err(_) => {
                tracing::error!(correlation_id = %ask.request.correlation_id, "a use case panicked");
                Ran::Failed
            }
        };
        unit.roll_back_to(savepoint);
        ran
    };
    asks.iter().map(run).collect()
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

fn without_events(item: Item, verdict: impl FnMut(&Ask) -> Verdict) -> Decided {
    let verdicts = item.asks.iter().map(verdict).collect();
    Decided { item, verdicts, events: Vec::new(), states: Vec::new() }
}

fn verdict_on(ran: Ran) -> Verdict {
    match ran {
        Ran::Answered { answer, end } => Verdict { end, ..Verdict::remembered(Outcome::Accepted(answer)) },
        _ => unreachable_verdict(),
    }
}

fn due_states(aggregates: &Aggregates, events: &[DecidedEvent], every: u64) -> Vec<StateToKeep> {
    events
        .iter()
        .filter(|event| event.sequence.is_multiple_of(every.max(1)))
        .filter_map(|event| aggregates.state_to_keep(event.aggregate_type, &event.aggregate_id))
        .collect()
}
