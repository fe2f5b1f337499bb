//! The unit of work: a use case runs its commands on several aggregates in it, and all their events are committed together.
//!
//! A script runs to its end or halts. It halts when it meets a stream that is not in memory: the bus loads it and runs
//! the script again from the start, so scripts do nothing but decide. When it halts for good, everything it applied is undone.

use std::sync::Arc;

use domain::event::AnyEvent;
use domain::{Code, Refusal, Timestamp};
use uuid::Uuid;

use crate::aggregates::{Aggregates, Kept, Savepoint, Slot};
use crate::principal::Principal;

/// The most events that one unit of work may have, unless the settings say otherwise. It lets 8,190 transfers through at once.
pub const MAX_UNIT_EVENTS: usize = 20_000;

/// As many as a transfer has: an event takes some 400 bytes here, and a vector left to itself makes room for four.
const USUAL_EVENTS: usize = 2;

/// A stream that has to be loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    /// For example `account`.
    pub aggregate_type: &'static str,
    /// Its id.
    pub aggregate_id: Arc<str>,
}

/// Why a script stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// These streams are not in memory: load them and run the script again.
    Needs(Vec<StreamName>),
    /// A rule speaks against it. Remembered under the key.
    Refused(Refusal),
    /// The principal may not do this. Not remembered.
    Forbidden(Refusal),
    /// The unit would have more events than it may have. Not remembered.
    TooLarge,
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            Code::Forbidden => Halt::Forbidden(refusal),
            _ => Halt::Refused(refusal),
        }
    }
}

/// An event that a unit of work has decided on, not yet in the log. It becomes JSON later, beside the decisions.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedEvent {
    /// For example `account`.
    pub aggregate_type: &'static str,
    /// The stream's id.
    pub aggregate_id: Arc<str>,
    /// Its place in the stream.
    pub sequence: u64,
    /// What happened.
    pub event: AnyEvent,
}

/// A unit of work under way.
#[derive(Debug)]
pub struct Unit<'a> {
    aggregates: &'a mut Aggregates,
    principal: &'a Principal,
    now: Timestamp,
    batch: u64,
    events: Vec<DecidedEvent>,
    max_events: usize,
}

impl<'a> Unit<'a> {
    /// Begins a unit of work for `principal` at `now`, as part of the bus's `batch`-th batch.
    pub fn begin(
        aggregates: &'a mut Aggregates,
        principal: &'a Principal,
        now: Timestamp,
        batch: u64,
    ) -> Self {
        let events = Vec::with_capacity(USUAL_EVENTS);
        Self { aggregates, principal, now, batch, events, max_events: MAX_UNIT_EVENTS }
    }

    /// Another limit than [`MAX_UNIT_EVENTS`].
    pub(crate) fn limited_to(self, max_events: usize) -> Self {
        Self { max_events, ..self }
    }

    /// Who asks.
    pub fn principal(&self) -> &'a Principal {
        self.principal
    }

    /// The log's time of this decision.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A new id, ordered by time.
    pub fn new_id(&self) -> Arc<str> {
        Uuid::now_v7().to_string().into()
    }

    /// # Errors
    /// [`Halt::Forbidden`] unless the principal acts for `owner`.
    pub fn authorise_owner(&self, owner: &str) -> Result<(), Halt> {
        if self.principal.acts_for(owner) {
            return Ok(());
        }
        Err(Halt::Forbidden(Refusal::new(
            Code::Forbidden,
            "this belongs to another owner; use a key of that owner",
        )))
    }

    /// The aggregate as the log and this unit have made it; the default value if its stream is empty.
    ///
    /// # Errors
    /// [`Halt::Needs`] if it is not in memory.
    pub fn read<A: Kept>(&self, id: &str) -> Result<Arc<A>, Halt> {
        match A::shelf(self.aggregates).get(id) {
            Some(slot) => {
                slot.touch(self.batch);
                Ok(Arc::clone(&slot.state))
            }
            None => Err(Halt::Needs(vec![StreamName { aggregate_type: A::TYPE, aggregate_id: id.into() }])),
        }
    }

    /// # Errors
    /// [`Halt::Needs`] with all of `ids` that are not in memory, so that they load at once.
    pub fn want<A: Kept>(&self, ids: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Halt> {
        let missing: Vec<_> = ids
            .into_iter()
            .filter(|id| A::shelf(self.aggregates).get(id.as_ref()).is_none())
            .map(|id| StreamName { aggregate_type: A::TYPE, aggregate_id: id.as_ref().into() })
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Halt::Needs(missing)) }
    }

    /// Says that `id` was made a moment ago by [`Unit::new_id`], so its stream is empty and needs no loading.
    pub fn create<A: Kept>(&mut self, id: &Arc<str>) {
        let slot = Slot::loaded(Arc::clone(id), A::default(), 0, self.batch);
        A::shelf_mut(self.aggregates).create(slot);
    }

    /// Decides on the command, applies the events and makes them part of the unit. Shows what it has come to.
    ///
    /// # Errors
    /// [`Halt::Needs`], [`Halt::TooLarge`], or what the aggregate refuses.
    pub fn execute<A: Kept>(&mut self, id: &str, command: &A::Command) -> Result<&[DecidedEvent], Halt> {
        let Some((slot, undo)) = A::shelf_mut(self.aggregates).get_mut(id) else {
            return Err(Halt::Needs(vec![StreamName { aggregate_type: A::TYPE, aggregate_id: id.into() }]));
        };
        slot.touch(self.batch);
        let decided = slot.state.decide(command, self.now)?;
        let before = self.events.len();
        if !decided.is_empty() {
            if before + decided.len() > self.max_events {
                return Err(Halt::TooLarge);
            }
            slot.change(self.batch, undo);
            let state = Arc::make_mut(&mut slot.state);
            for event in decided {
                state.apply(&event);
                slot.sequence += 1;
                self.events.push(DecidedEvent {
                    aggregate_type: A::TYPE,
                    aggregate_id: Arc::clone(&slot.id),
                    sequence: slot.sequence,
                    event: event.into(),
                });
            }
        }
        Ok(&self.events[before..])
    }

    /// How many events there are so far.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// Goes on for another principal: the requests of a linked set are one unit.
    pub(crate) fn act_as(&mut self, principal: &'a Principal) {
        self.principal = principal;
    }

    /// Where the unit is now.
    pub(crate) fn savepoint(&self) -> (usize, Savepoint) {
        (self.events.len(), self.aggregates.savepoint())
    }

    /// Undoes what the unit has done since the savepoint.
    pub(crate) fn roll_back_to(&mut self, (events, savepoint): (usize, Savepoint)) {
        self.events.truncate(events);
        self.aggregates.roll_back_to(savepoint);
    }

    /// Ends the unit: its events stand, in their order.
    pub fn complete(self) -> Vec<DecidedEvent> {
        self.aggregates.keep();
        self.events
    }

    /// Ends the unit: nothing of it has happened.
    pub fn abandon(self) {
        self.aggregates.roll_back();
    }
}
