//! The aggregates that are in memory: each the fold of its stream up to the last decision, durable or not.
//!
//! What a unit of work changes is written down in a journal, so it can be undone to any point of it. Every slot knows the
//! batch that changed it last: what no durable batch stands behind is pinned, and forgotten when its commit fails.

use std::cell::Cell;
use std::sync::Arc;

use ahash::AHashMap;
use domain::account::Account;
use domain::market::Market;
use domain::order::Order;
use domain::portfolio::Portfolio;
use domain::quote::Quote;
use domain::{AnyEvent, Decider};
use event_store::StreamId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgPool;

use crate::bus::cold;

/// One aggregate in memory.
#[derive(Debug)]
pub struct Slot<A> {
    /// Names it among those of its type.
    pub(crate) id: Arc<str>,
    /// The fold of its stream.
    pub state: Arc<A>,
    /// Sequence of the last event in it; 0 before the first.
    pub sequence: u64,
    /// The batch that changed it last; 0 if none has since it was loaded.
    changed: u64,
    /// The batch that looked at it last, for eviction.
    used: Cell<u64>,
}

impl<A> Slot<A> {
    /// An aggregate as its stream has made it, wanted by batch `batch`.
    pub fn loaded(id: Arc<str>, state: A, sequence: u64, batch: u64) -> Self {
        Self { id, state: Arc::new(state), sequence, changed: 0, used: Cell::new(batch) }
    }

    /// Says that batch `batch` looks at it.
    pub(crate) fn touch(&self, batch: u64) {
        self.used.set(batch);
    }
}

impl<A: Clone> Slot<A> {
    /// To be changed by batch `batch` as part of the unit of work under way: what it is now can be put back.
    pub(crate) fn change(&mut self, batch: u64, undo: &mut Undo<A>) {
        undo.push((Arc::clone(&self.id), Some(Before::of(self))));
        self.changed = batch;
        self.used.set(batch);
    }
}

/// A slot as it was before a change. The state is a copy and not shared: so the slot's own stays where it is and is changed
/// there, instead of being left to the old one and taken anew each time.
#[derive(Debug)]
pub(crate) struct Before<A> {
    state: A,
    sequence: u64,
    changed: u64,
    used: u64,
}

impl<A: Clone> Before<A> {
    fn of(slot: &Slot<A>) -> Self {
        let Slot { id: _, state, sequence, changed, used } = slot;
        Self { state: A::clone(state), sequence: *sequence, changed: *changed, used: used.get() }
    }

    fn into_slot(self, id: Arc<str>) -> Slot<A> {
        let Self { state, sequence, changed, used } = self;
        Slot { id, state: Arc::new(state), sequence, changed, used: Cell::new(used) }
    }
}

/// What to put back, oldest first; nothing where there was nothing.
pub(crate) type Undo<A> = Vec<(Arc<str>, Option<Before<A>>)>;

/// All aggregates of one type that are in memory, with what it takes to undo the unit of work under way.
#[derive(Debug)]
pub struct Shelf<A> {
    slots: AHashMap<Arc<str>, Slot<A>>,
    undo: Undo<A>,
}

impl<A> Default for Shelf<A> {
    fn default() -> Self {
        Self { slots: AHashMap::new(), undo: Vec::new() }
    }
}

impl<A: Decider> Shelf<A> {
    /// The aggregate, if it is in memory.
    pub fn get(&self, id: &str) -> Option<&Slot<A>> {
        self.slots.get(id)
    }

    /// Puts a loaded aggregate in, unless it is there already: then what is there is at least as new.
    pub fn load(&mut self, slot: Slot<A>) {
        self.slots.entry(Arc::clone(&slot.id)).or_insert(slot);
    }

    /// Puts a new aggregate in as part of the unit of work under way.
    pub(crate) fn create(&mut self, slot: Slot<A>) {
        let id = Arc::clone(&slot.id);
        let before = self.slots.insert(Arc::clone(&id), slot);
        self.undo.push((id, before.as_ref().map(Before::of)));
    }

    /// The aggregate, if it is in memory, and what it takes to undo a change of it.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<(&mut Slot<A>, &mut Undo<A>)> {
        Some((self.slots.get_mut(id)?, &mut self.undo))
    }

    fn keep(&mut self) {
        self.undo.clear();
    }

    fn roll_back_to(&mut self, changes: usize) {
        while self.undo.len() > changes
            && let Some((id, before)) = self.undo.pop()
        {
            match before {
                Some(before) => self.slots.insert(Arc::clone(&id), before.into_slot(id)),
                None => self.slots.remove(&id),
            };
        }
    }

    /// How many are in memory.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none is in memory.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn last_uses(&self, uses: &mut Vec<u64>) {
        uses.extend(self.slots.values().map(|slot| slot.used.get()));
    }

    fn evict(&mut self, before: u64) {
        self.slots.retain(|_, slot| slot.used.get() >= before);
    }

    fn forget_since(&mut self, batch: u64) {
        self.slots.retain(|_, slot| slot.changed < batch);
    }
}

/// The aggregates of every type.
#[derive(Debug, Default)]
pub struct Aggregates {
    accounts: Shelf<Account>,
    portfolios: Shelf<Portfolio>,
    orders: Shelf<Order>,
    markets: Shelf<Market>,
    quotes: Shelf<Quote>,
}

/// A type of aggregate that the bus keeps in memory.
pub trait Kept: Decider + Serialize + DeserializeOwned {
    /// Raised whenever the shape of the state, or what `apply` makes of an event, changes: snapshots of another version
    /// are ignored.
    const STATE_VERSION: u16;

    /// Where it is kept.
    fn shelf(all: &Aggregates) -> &Shelf<Self>;
    /// Where it is kept, to change it.
    fn shelf_mut(all: &mut Aggregates) -> &mut Shelf<Self>;
    /// The event, if it is one of this type.
    fn event_of(event: AnyEvent) -> Option<Self::Event>;
}

/// Puts a loaded aggregate in its place, wanted by the batch of that number.
pub(crate) type Install = Box<dyn FnOnce(&mut Aggregates, u64) + Send>;

/// The state of a long stream, to be written down once its events are durable.
pub(crate) struct StateToKeep {
    pub(crate) stream: StreamId,
    pub(crate) sequence: u64,
    pub(crate) state_version: u16,
    pub(crate) write: Box<dyn FnOnce() -> serde_json::Result<String> + Send>,
}

impl std::fmt::Debug for StateToKeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateToKeep({} at {})", self.stream, self.sequence)
    }
}

/// A point in the unit of work under way: how many changes each shelf had then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Savepoint([usize; TYPES]);

const TYPES: usize = 5;

macro_rules! kept {
    ($($aggregate:ident => $field:ident, $state_version:literal);+ $(;)?) => {
        $(impl Kept for $aggregate {
            const STATE_VERSION: u16 = $state_version;

            fn shelf(all: &Aggregates) -> &Shelf<Self> {
                &all.$field
            }
            fn shelf_mut(all: &mut Aggregates) -> &mut Shelf<Self> {
                &mut all.$field
            }
            fn event_of(event: AnyEvent) -> Option<Self::Event> {
                match event {
                    AnyEvent::$aggregate(event) => Some(event),
                    _ => None,
                }
            }
        })+

        impl Aggregates {
            /// Makes what the unit of work under way has changed permanent.
            pub(crate) fn keep(&mut self) {
                $(self.$field.keep();)+
            }

            /// Where the unit of work under way is now.
            pub(crate) fn savepoint(&self) -> Savepoint {
                Savepoint([$(self.$field.undo.len()),+])
            }

            /// Undoes what the unit of work under way has changed since the savepoint.
            pub(crate) fn roll_back_to(&mut self, savepoint: Savepoint) {
                let mut changes = savepoint.0.into_iter();
                $(self.$field.roll_back_to(changes.next().unwrap_or_default());)+
            }

            /// Undoes what the unit of work under way has changed.
            pub(crate) fn roll_back(&mut self) {
                self.roll_back_to(Savepoint([0; TYPES]));
            }

            /// How many aggregates are in memory.
            pub fn len(&self) -> usize {
                0 $(+ self.$field.len())+
            }

            /// Whether none is in memory.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Forgets about a quarter of them, those unused the longest, when there are more than `limit`. What a batch
            /// from `first_undurable` on has touched stays whatever the limit says.
            pub fn evict(&mut self, limit: usize, first_undurable: u64) {
                if self.len() <= limit {
                    return;
                }
                let mut uses = Vec::with_capacity(self.len());
                $(self.$field.last_uses(&mut uses);)+
                let quarter = uses.len() - limit + limit / 4;
                let quarter = quarter.min(uses.len() - 1);
                let (_, newest_to_go, _) = uses.select_nth_unstable(quarter);
                let before = newest_to_go.saturating_add(1).min(first_undurable);
                $(self.$field.evict(before);)+
            }

            /// Forgets those that a batch from `batch` on has changed, because its commit has failed.
            pub fn forget_since(&mut self, batch: u64) {
                $(self.$field.forget_since(batch);)+
            }

            /// Loads some of one type from their streams, beside the path of the decisions.
            ///
            /// # Errors
            /// When PostgreSQL does not answer; trying again can help.
            pub(crate) async fn load(
                aggregate_type: &'static str,
                ids: Vec<Arc<str>>,
                pool: PgPool,
            ) -> Result<cold::Loaded, sqlx::Error> {
                match aggregate_type {
                    $(<$aggregate as Decider>::TYPE => cold::load::<$aggregate>(pool, ids).await,)+
                    _ => {
                        let unknown = || cold::ColdLoadError::UnknownType(aggregate_type.into());
                        Ok(ids.into_iter().map(|id| (id, Err(unknown()))).collect())
                    }
                }
            }

            /// The state of one that is in memory, to be written down.
            pub(crate) fn state_to_keep(&self, aggregate_type: &str, id: &str) -> Option<StateToKeep> {
                $(if aggregate_type == <$aggregate as Decider>::TYPE {
                    return self.$field.get(id).map(|slot| {
                        let state = Arc::clone(&slot.state);
                        StateToKeep {
                            stream: StreamId::new(<$aggregate as Decider>::TYPE, id),
                            sequence: slot.sequence,
                            state_version: $state_version,
                            write: Box::new(move || serde_json::to_string(&*state)),
                        }
                    });
                })+
                None
            }
        }
    };
}

kept! {
    Account => accounts, 1;
    Portfolio => portfolios, 1;
    Order => orders, 1;
    Market => markets, 1;
    Quote => quotes, 1;
}
