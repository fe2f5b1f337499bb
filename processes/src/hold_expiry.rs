//! The timer that sweeps due holds of accounts nobody touches. A hold on a busy account needs no timer: every command on an
//! account first expires what is due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chrono::TimeDelta;
use commands::Command;
use commands::request::ExpireHolds;
use domain::Timestamp;
use domain::account::AccountEvent;
use domain::event::AnyEvent;
use domain::ids::{AccountId, HoldId};
use event_store::{Log, LogPosition, ProcessStates, RecordedEvent};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatch::Dispatcher;
use crate::error::ProcessError;
use crate::feed::playback::now;

/// Name of the process and of its saved state.
pub(crate) const NAME: &str = "hold-expiry";

const EVENTS_A_READ: usize = 2_000;
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long after its time a hold is swept: by then the decider's clock, too, has passed it.
const GRACE: TimeDelta = TimeDelta::milliseconds(20);
/// A hold that is still there is tried again after a second, two, four … and this at most.
const LONGEST_DELAY: TimeDelta = TimeDelta::hours(1);

/// The open holds that end by themselves.
#[derive(Debug, Default)]
struct DueHolds {
    holds: HashMap<HoldId, DueHold>,
    /// When each is looked at next.
    agenda: BTreeSet<(Timestamp, HoldId)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct DueHold {
    hold_id: HoldId,
    expires_at: Timestamp,
    /// How often it was swept in vain.
    attempts: u32,
    next: Timestamp,
}

impl DueHolds {
    fn add(&mut self, hold: DueHold) {
        self.remove(&hold.hold_id);
        self.agenda.insert((hold.next, hold.hold_id.clone()));
        self.holds.insert(hold.hold_id.clone(), hold);
    }

    fn remove(&mut self, id: &HoldId) -> bool {
        match self.holds.remove(id) {
            Some(hold) => self.agenda.remove(&(hold.next, hold.hold_id)),
            None => false,
        }
    }

    /// Takes in an event; whether it changed anything.
    fn apply(&mut self, event: &RecordedEvent) -> Result<bool, ProcessError> {
        let concerns =
            matches!(&*event.event_type, "HoldPlaced" | "HoldCaptured" | "HoldReleased" | "HoldExpired");
        if event.aggregate_type != "account" || !concerns {
            return Ok(false);
        }
        let decoded =
            AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload)?;
        Ok(match decoded {
            AnyEvent::Account(AccountEvent::HoldPlaced { hold_id, expires_at: Some(expires_at), .. }) => {
                self.add(DueHold { hold_id, expires_at, attempts: 0, next: expires_at + GRACE });
                true
            }
            AnyEvent::Account(
                AccountEvent::HoldCaptured { hold_id, .. }
                | AccountEvent::HoldReleased { hold_id, .. }
                | AccountEvent::HoldExpired { hold_id, .. },
            ) => self.remove(&hold_id),
            _ => false,
        })
    }

    /// The accounts with something due, each with a key for the sweep; all that is due comes again later, unless the log
    /// says before that it has ended.
    fn due(&mut self, now: Timestamp) -> BTreeMap<AccountId, String> {
        let mut accounts = BTreeMap::new();
        while let Some((next, id)) = self.agenda.first().filter(|(next, _)| *next <= now).cloned() {
            self.agenda.remove(&(next, id.clone()));
            let Some(mut hold) = self.holds.remove(&id) else { continue };
            accounts.entry(id.account()).or_insert_with(|| format!("expire:{id}:{}", hold.attempts));
            let delay = TimeDelta::seconds(1i64 << hold.attempts.min(12)).min(LONGEST_DELAY);
            hold.attempts += 1;
            hold.next = now + delay;
            self.add(hold);
        }
        accounts
    }

    fn save(&self) -> Result<serde_json::Value, serde_json::Error> {
        let mut holds: Vec<&DueHold> = self.holds.values().collect();
        holds.sort_by(|a, b| (a.expires_at, &a.hold_id).cmp(&(b.expires_at, &b.hold_id)));
        serde_json::to_value(holds)
    }

    fn load(saved: serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut due = Self::default();
        serde_json::from_value::<Vec<DueHold>>(saved)?.into_iter().for_each(|hold| due.add(hold));
        Ok(due)
    }
}

pub(crate) async fn run(
    log: Log,
    states: ProcessStates,
    dispatcher: Dispatcher,
    shutdown: CancellationToken,
) -> Result<(), ProcessError> {
    let (mut position, mut due) = match states.load(NAME).await? {
        Some((position, saved)) => (position, DueHolds::load(saved)?),
        None => (LogPosition::ZERO, DueHolds::default()),
    };
    // What has ended since must be known before anything is swept.
    loop {
        let events = log.read(position, EVENTS_A_READ).await?;
        let Some(last) = events.last() else { break };
        for event in &events {
            due.apply(event)?;
        }
        position = last.log_position;
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
    let mut events = log.subscribe(position);
    let mut saved = (position, Instant::now());
    loop {
        let next = due.agenda.first().map_or(now() + TimeDelta::hours(1), |(next, _)| *next);
        let wait = (next - now()).to_std().unwrap_or(Duration::ZERO);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            batch = events.next() => {
                for event in batch.ok_or(ProcessError::Ended)?? {
                    due.apply(&event)?;
                    position = event.log_position;
                }
            }
            () = tokio::time::sleep_until(saved.1 + SAVE_EVERY) => {
                if position > saved.0 {
                    states.save(NAME, position, &due.save()?).await?;
                }
                saved = (position, Instant::now());
            }
            () = tokio::time::sleep(wait) => {
                for (account_id, key) in due.due(now()) {
                    let command = Command::ExpireHolds(ExpireHolds { account_id: account_id.clone() });
                    let sent = dispatcher.send(key, Uuid::nil(), command);
                    match shutdown.run_until_cancelled(sent).await {
                        None => break,
                        Some(Ok(_)) => {}
                        Some(Err(failure)) => tracing::warn!(%account_id, %failure, "holds were not swept"),
                    }
                }
            }
        }
    }
    states.save(NAME, position, &due.save()?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn hold(id: &str, expires: i64) -> DueHold {
        DueHold { hold_id: HoldId::new(id), expires_at: at(expires), attempts: 0, next: at(expires) }
    }

    #[test]
    fn a_hold_is_swept_when_it_is_due_and_again_later_each_time_with_another_key() {
        let mut due = DueHolds::default();
        due.add(hold("a1.h1", 10));
        due.add(hold("a1.h2", 10));
        due.add(hold("a2.h1", 20));
        assert!(due.due(at(9)).is_empty());
        let keys = |due: &mut DueHolds, now| due.due(at(now)).into_values().collect::<Vec<_>>();
        assert_eq!(keys(&mut due, 10), ["expire:a1.h1:0"]);
        assert!(due.due(at(10)).is_empty());
        assert_eq!(keys(&mut due, 11), ["expire:a1.h1:1"]);
        due.remove(&HoldId::new("a1.h1"));
        due.remove(&HoldId::new("a1.h2"));
        assert_eq!(keys(&mut due, 20), ["expire:a2.h1:0"]);
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let mut due = DueHolds::default();
        due.add(hold("a1.h1", 10));
        let mut loaded = DueHolds::load(due.save().unwrap()).unwrap();
        assert_eq!(loaded.due(at(10)), due.due(at(10)));
    }
}
