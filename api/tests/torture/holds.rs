//! Open holds, as far as clients know. Who is told of one adds it; who is to end it takes it away first, so that each is
//! ended by one request, by two that race, or by its time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use rand::Rng as _;
use rand::rngs::StdRng;

use crate::journal::Request;
use crate::snapshots::cents;

/// A hold that somebody was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    pub id: String,
    pub account: String,
    pub cents: i128,
}

/// The holds that clients may end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OpenHolds(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    open: Vec<OpenHold>,
    /// All there ever were: one that is told again is not open again.
    ids: HashSet<String>,
}

impl OpenHolds {
    /// The hold that the request was told to have placed.
    pub fn add(&self, placed: &Request, id: &str) {
        let mut known = self.0.lock().unwrap();
        if placed.field == "placeHold" && known.ids.insert(id.to_owned()) {
            let account = placed.input["accountId"].as_str().unwrap().to_owned();
            let cents = cents(placed.input["amount"].as_str().unwrap());
            known.open.push(OpenHold { id: id.to_owned(), account, cents });
        }
    }

    /// Any one, which is nobody else's from now on.
    pub fn take(&self, random: &mut StdRng) -> Option<OpenHold> {
        let open = &mut self.0.lock().unwrap().open;
        if open.is_empty() { None } else { Some(open.swap_remove(random.random_range(0..open.len()))) }
    }

    /// Any one, which others may end meanwhile.
    pub fn look(&self, random: &mut StdRng) -> Option<OpenHold> {
        let open = &self.0.lock().unwrap().open;
        if open.is_empty() { None } else { Some(open[random.random_range(0..open.len())].clone()) }
    }

    pub fn count(&self) -> usize {
        self.0.lock().unwrap().open.len()
    }
}
