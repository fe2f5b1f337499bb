//! Holds by the log alone: how each ends, what is still held, and whether those who asked to end one were told the truth.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use crate::findings::{Check, Findings};
use crate::journal::{Entry, Told};
use crate::log_check::Event;
use crate::snapshots::{cents, cents_of};

/// What the effect of a capture is called: it has no reference.
pub fn captured(hold: &str, to: &str, cents: i128) -> String {
    format!("{hold} captured {cents} to {to}")
}

/// The same for a release.
pub fn released(hold: &str) -> String {
    format!("{hold} released")
}

/// A hold of a client.
struct Hold {
    account: String,
    cents: i128,
    reference: Option<String>,
    /// In microseconds, as `recorded_at`.
    expires_at: Option<i64>,
    /// The event that ended it and where that is.
    end: Option<(String, u64)>,
}

/// What is known of holds so far.
#[derive(Default)]
pub struct HoldCheck {
    holds: HashMap<String, Hold>,
    /// Those of orders, which end with them; not looked at.
    of_orders: HashSet<String>,
    /// What each account's open holds hold, in cents.
    held: HashMap<String, i128>,
    /// Of each account the open holds that end by themselves, the next one first.
    expiring: HashMap<String, BTreeSet<(i64, String)>>,
    /// The key that was told to have ended the hold.
    winners: HashMap<String, String>,
    /// How often somebody came too late.
    lost: usize,
}

impl HoldCheck {
    /// What the open holds of an account hold, in cents.
    pub fn held(&self, account: &str) -> i128 {
        self.held.get(account).copied().unwrap_or_default()
    }

    /// The holds that are still to end by themselves.
    pub fn expiring(&self) -> Vec<&str> {
        self.expiring.values().flatten().map(|(_, hold)| hold.as_str()).collect()
    }

    /// How many were placed and how they ended, for people.
    pub fn summary(&self) -> String {
        let ended_by = |event_type: &str| {
            let ends = self.holds.values().filter_map(|hold| hold.end.as_ref());
            ends.filter(|(end, _)| end == event_type).count()
        };
        format!(
            "{} holds ({} captured, {} released, {} expired, {} times too late)",
            self.holds.len(),
            ended_by("HoldCaptured"),
            ended_by("HoldReleased"),
            ended_by("HoldExpired"),
            self.lost
        )
    }

    /// Takes in an event; what its effect is called, if somebody has asked for it.
    pub fn take(&mut self, event: &Event<'_>, findings: &Findings) -> Option<String> {
        self.expect_nothing_overdue(event, findings);
        match event.event_type {
            "HoldPlaced" => self.place(event, findings),
            "HoldCaptured" | "HoldReleased" | "HoldExpired" => self.end(event, findings),
            _ => None,
        }
    }

    /// Whatever happens on an account, holds whose time has come expire first.
    fn expect_nothing_overdue(&self, event: &Event<'_>, findings: &Findings) {
        let next = self.expiring.get(event.stream).and_then(BTreeSet::first);
        let overdue = next.filter(|(at, _)| *at <= event.recorded_at && event.event_type != "HoldExpired");
        findings.expect(overdue.is_none(), Check::HoldExpiry, || {
            format!("{overdue:?} is due and has not expired before {event:?}")
        });
    }

    fn place(&mut self, event: &Event<'_>, findings: &Findings) -> Option<String> {
        let id = event.fields["hold_id"].as_str().unwrap_or_default().to_owned();
        if !event.fields["order_id"].is_null() {
            self.of_orders.insert(id);
            return None;
        }
        let (account, cents) = (event.stream.to_owned(), cents_of(&event.fields["amount"]));
        let reference = event.fields["reference"].as_str().map(str::to_owned);
        let expires_at = event.fields["expires_at"].as_str().map(microseconds);
        *self.held.entry(account.clone()).or_default() += cents;
        if let Some(at) = expires_at {
            self.expiring.entry(account.clone()).or_default().insert((at, id.clone()));
        }
        let hold = Hold { account, cents, reference: reference.clone(), expires_at, end: None };
        let before = self.holds.insert(id, hold);
        findings.expect(before.is_none(), Check::HoldEnds, || {
            format!("a hold is placed twice, again by {event:?}")
        });
        reference
    }

    fn end(&mut self, event: &Event<'_>, findings: &Findings) -> Option<String> {
        let id = event.fields["hold_id"].as_str().unwrap_or_default();
        if self.of_orders.contains(id) {
            return None;
        }
        let is_capture = event.event_type == "HoldCaptured";
        let paid = if is_capture { cents_of(&event.fields["amount"]) } else { 0 };
        let freed = cents_of(&event.fields["released"]);
        let effect = match event.event_type {
            "HoldCaptured" => Some(captured(id, event.fields["to"].as_str().unwrap_or_default(), paid)),
            "HoldReleased" => Some(released(id)),
            _ => None,
        };
        let Some(hold) = self.holds.get_mut(id) else {
            findings.note(Check::HoldEnds, format!("no such hold was placed before {event:?}"));
            return effect;
        };
        if let Some((end, at)) = &hold.end {
            findings.note(Check::HoldEnds, format!("{end} at {at} was the end, then comes {event:?}"));
            return effect;
        }
        findings.expect(hold.account == event.stream, Check::HoldEnds, || {
            format!("a hold on {} ends elsewhere: {event:?}", hold.account)
        });
        let adds_up = paid + freed == hold.cents && freed >= 0 && (paid > 0) == is_capture;
        findings.expect(adds_up, Check::HoldEnds, || {
            format!("of {} cents {paid} were paid and {freed} came free: {event:?}", hold.cents)
        });
        if event.event_type == "HoldExpired" {
            let is_due = hold.expires_at.is_some_and(|at| at <= event.recorded_at);
            findings.expect(is_due, Check::HoldExpiry, || {
                format!("the time is {:?}, before that comes {event:?}", hold.expires_at)
            });
        }
        hold.end = Some((event.event_type.to_owned(), event.position));
        *self.held.entry(hold.account.clone()).or_default() -= hold.cents;
        if let (Some(at), Some(expiring)) = (hold.expires_at, self.expiring.get_mut(&hold.account)) {
            expiring.remove(&(at, id.to_owned()));
        }
        effect
    }

    /// Compares what those were told who placed holds and who ended them.
    pub fn judge(&mut self, entries: &[Entry], findings: &Findings) {
        for Entry { request, told, hold } in entries {
            let (Told::Accepted(position), Some(id)) = (told, hold.as_deref().or(request.hold())) else {
                continue;
            };
            if request.field == "placeHold" {
                let placed_by = self.holds.get(id).and_then(|hold| hold.reference.as_deref());
                findings.expect(placed_by == Some(&request.key), Check::ExactlyOnce, || {
                    format!("{} was told at {position} of {id}, which is of {placed_by:?}", request.key)
                });
            } else if request.hold().is_some() {
                let winner = self.winners.entry(id.to_owned()).or_insert_with(|| request.key.clone());
                findings.expect(*winner == request.key, Check::HoldRaces, || {
                    format!("{winner} was told to have ended {id}, and so was {}", request.key)
                });
            }
        }
        for Entry { request, told, .. } in entries {
            if let (Told::Refused(code), Some(id)) = (told, request.hold()) {
                self.lost += usize::from(code == "HOLD_NOT_OPEN");
                let asked = request.input["amount"].as_str().map(cents);
                findings.expect(self.may_refuse(id, asked, code), Check::HoldRaces, || {
                    let end = self.holds.get(id).map(|hold| &hold.end);
                    let winner = self.winners.get(id);
                    format!("{} was refused with {code}; {id}: {end:?} by {winner:?}", request.key)
                });
            }
        }
    }

    /// Whether the end of a hold was refused for a reason that the log knows.
    fn may_refuse(&self, id: &str, asked: Option<i128>, code: &str) -> bool {
        let Some(hold) = self.holds.get(id) else { return false };
        match code {
            // A refusal writes nothing, so what is refused because its time has come may expire later.
            "HOLD_NOT_OPEN" => self.winners.contains_key(id) || hold.expires_at.is_some(),
            "CAPTURE_EXCEEDS_HOLD" => asked.is_some_and(|cents| cents > hold.cents),
            _ => false,
        }
    }
}

fn microseconds(time: &str) -> i64 {
    time.parse::<DateTime<Utc>>().unwrap().timestamp_micros()
}
