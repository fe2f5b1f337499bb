//! What a run has found wrong: each finding names the check that found it, so that a canary can say which one did.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex};

/// What is checked. The comment is the property that must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// What was acknowledged is in the log exactly once, where the answer said.
    ExactlyOnce,
    /// What was refused is absent.
    RefusedIsAbsent,
    /// What is unknown is there at most once and settles when it is asked again.
    UnknownSettles,
    /// Asking again with the key gives the first answer, marked as replayed.
    SameAnswer,
    /// What was acknowledged has its key beside it.
    KeyBesideEvents,
    /// Nothing is in the log that nobody has asked for.
    NothingElse,
    /// Sequences of a stream are 1, 2, 3 … without gap or twin.
    Streams,
    /// Log positions are dense, and commands whole (`remaining` counts down to 0).
    Positions,
    /// `recorded_at` never moves backward along the log.
    RecordedAt,
    /// Head and epoch never move backward, and the head is where the log ends.
    Head,
    /// What was read from the log once stays in it, unchanged.
    LogStays,
    /// Every snapshot of the bank that anybody reads has the same total, and the books balance.
    Snapshots,
    /// A read with `atLeast` includes the write.
    ReadsOwnWrites,
    /// Balances over GraphQL equal the fold of the log.
    Balances,
    /// What is held over GraphQL is what the open holds hold by the log.
    Held,
    /// What is available is the balance without what is held, and the overdraft limit; it is never negative, be it in a
    /// snapshot or at any event.
    Available,
    /// A hold ends once at most, on its own account; what was paid and what came free is what it held.
    HoldEnds,
    /// Of all who ask to end a hold one is told that it did, unless its time came first; the others, that it is not open.
    HoldRaces,
    /// A hold whose time has come expires, before anything else happens on its account, and none before its time.
    HoldExpiry,
    /// Read models equal the log, row for row.
    ReadModels,
    /// Every error has a documented code that the fault explains.
    Classified,
    /// Writes resume in time after a return.
    ResumesInTime,
    /// A writer with a stale sequence or an old epoch changes nothing.
    RogueWriters,
    /// The server survives what happens to its database, and starts after what happens to it.
    ServerStays,
}

/// One thing found wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    pub check: Check,
    pub detail: String,
}

/// What was found so far. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Findings(Arc<Mutex<Vec<Finding>>>);

/// Findings of one check beyond this many are not kept.
const KEPT_EACH: usize = 20;

impl Findings {
    /// Notes a finding and prints it at once.
    pub fn note(&self, check: Check, detail: impl Display) {
        let mut findings = self.0.lock().unwrap();
        if findings.iter().filter(|finding| finding.check == check).count() < KEPT_EACH {
            let detail: String = detail.to_string().chars().take(1_000).collect();
            println!("  FOUND {check:?}: {detail}");
            findings.push(Finding { check, detail });
        }
    }

    /// Notes a finding unless `holds`.
    pub fn expect(&self, holds: bool, check: Check, detail: impl FnOnce() -> String) {
        if !holds {
            self.note(check, detail());
        }
    }

    /// The checks that found something.
    pub fn checks(&self) -> BTreeSet<Check> {
        self.0.lock().unwrap().iter().map(|finding| finding.check).collect()
    }

    /// All findings, for people.
    pub fn report(&self) -> String {
        let findings = self.0.lock().unwrap();
        findings.iter().map(|finding| format!("{:?}: {}\n", finding.check, finding.detail)).collect()
    }
}
