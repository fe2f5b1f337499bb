//! The aggregates that are in memory: each the fold of its stream up to the last decision, durable or not.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Decider;
use domain::account::Account;
use domain::market::Market;
use domain::order::Order;
use domain::portfolio::Portfolio;
use domain::quote::Quote;

/// One aggregate in memory.
#[derive(Debug)]
pub struct Slot<A> {
    /// The fold of its stream.
    pub state: Arc<A>,
    /// Sequence of the last event in it; 0 before the first.
    pub sequence: u64,
    /// The batch that last touched it, for eviction.
    pub used: u64,
}

impl<A> Clone for Slot<A> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), ..*self }
    }
}

/// All aggregates of one type that are in memory, with what it takes to undo the unit of work under way.
#[derive(Debug)]
pub struct Shelf<A> {
    slots: HashMap<Arc<str>, Slot<A>>,
    undo: Vec<(Arc<str>, Option<Slot<A>>)>,
}

impl<A> Default for Shelf<A> {
    fn default() -> Self {
        Self { slots: HashMap::new(), undo: Vec::new() }
    }
}

impl<A: Decider> Shelf<A> {
    /// The aggregate, if it is in memory.
    pub fn get(&self, id: &str) -> Option<&Slot<A>> {
        self.slots.get(id)
    }

    /// Puts a loaded aggregate in, unless a newer one is there already.
    pub fn load(&mut self, id: Arc<str>, slot: Slot<A>) {
        match self.slots.get(&id) {
            Some(there) if there.sequence >= slot.sequence => {}
            _ => {
                self.slots.insert(id, slot);
            }
        }
    }

    /// Replaces the aggregate as part of the unit of work under way.
    pub(crate) fn change(&mut self, id: &Arc<str>, slot: Slot<A>) {
        let before = self.slots.insert(Arc::clone(id), slot);
        self.undo.push((Arc::clone(id), before));
    }

    fn keep(&mut self) {
        self.undo.clear();
    }

    fn roll_back(&mut self) {
        while let Some((id, before)) = self.undo.pop() {
            match before {
                Some(slot) => self.slots.insert(id, slot),
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

    /// Forgets those last touched before batch `before`. The caller sees to it that these are durable.
    pub fn evict(&mut self, before: u64) {
        self.slots.retain(|_, slot| slot.used >= before);
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
pub trait Kept: Decider {
    /// Where it is kept.
    fn shelf(all: &Aggregates) -> &Shelf<Self>;
    /// Where it is kept, to change it.
    fn shelf_mut(all: &mut Aggregates) -> &mut Shelf<Self>;
}

macro_rules! kept {
    ($($aggregate:ty => $field:ident),+) => {$(
        impl Kept for $aggregate {
            fn shelf(all: &Aggregates) -> &Shelf<Self> {
                &all.$field
            }
            fn shelf_mut(all: &mut Aggregates) -> &mut Shelf<Self> {
                &mut all.$field
            }
        }
    )+

    impl Aggregates {
        /// Makes what the unit of work under way has changed permanent.
        pub(crate) fn keep(&mut self) {
            $(self.$field.keep();)+
        }
        /// Undoes what the unit of work under way has changed.
        pub(crate) fn roll_back(&mut self) {
            $(self.$field.roll_back();)+
        }
        /// How many aggregates are in memory.
        pub fn len(&self) -> usize {
            0 $(+ self.$field.len())+
        }
        /// Whether none is in memory.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }
        /// Forgets those last touched before batch `before`. The caller sees to it that these are durable.
        pub fn evict(&mut self, before: u64) {
            $(self.$field.evict(before);)+
        }
    }};
}

kept!(Account => accounts, Portfolio => portfolios, Order => orders, Market => markets, Quote => quotes);
