//! Commits batches in their order, several on their way at a time, and answers their requests once they are durable.
//!
//! Each batch is turned into rows in a task of its own, then travels over a connection of its own: connections are given
//! out in the order of the batches. Its rows go ahead while those before it commit; its own commit waits in PostgreSQL until
//! the transaction before is over. When one fails, all behind it fail as well.

use std::collections::VecDeque;
use std::time::Instant;

use domain::Timestamp;
use event_store::append::CONNECTIONS;
use event_store::{AppendError, Appender, Batch, LogPosition, RecordedEvent, Settled, Ticket};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use super::backoff::Backoff;
use super::decide::Decided;
use super::item::KeyId;
use super::keys::Remembered;
use super::rows;
use super::tails::Tails;
use crate::aggregates::StateToKeep;
use crate::request::Receipt;
use crate::unit::DecidedEvent;

/// A batch of no more events is sent and committed in one message when no other is on its way. The next one could not wait
/// behind it in PostgreSQL, so a larger one is not.
const ONE_MESSAGE_EVENTS: usize = 128;

/// A batch on its way into the log.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) number: u64,
    /// Raised by every recovery: after a failure, what was shipped before the decider knew of it is not tried.
    pub(super) attempt: u64,
    /// The log position after which it goes.
    pub(super) after: LogPosition,
    /// When it was decided, by the log's clock.
    pub(super) recorded_at: Timestamp,
    /// In the order in which they were decided.
    pub(super) decided: Vec<Decided>,
}

impl Shipment {
    fn events(&self) -> impl Iterator<Item = &DecidedEvent> {
        self.decided.iter().flat_map(|decided| &decided.events)
    }

    /// The head once it is durable.
    pub(super) fn end(&self) -> LogPosition {
        self.after.advance(self.decided.iter().map(|decided| decided.events.len()).sum())
    }
}

/// What became of a shipment. All are reported, in their order.
#[derive(Debug)]
pub(super) enum Commit {
    /// It is durable.
    Durable {
        number: u64,
        /// What is now remembered under its keys.
        keys: Vec<(KeyId, Option<Remembered>)>,
    },
    /// Nothing of it is in the log.
    Failed {
        /// Absent when it was given up only because one before it had failed.
        error: Option<AppendError>,
        shipment: Shipment,
    },
}

/// A shipment that has arrived or failed, and the connection that is free again.
struct Carried {
    /// Absent when it was not sent at all.
    appender: Option<Appender>,
    shipment: Shipment,
    outcome: Result<Vec<RecordedEvent>, Option<AppendError>>,
}

/// The connections, and the shipments that wait for one.
struct Connections {
    free: Vec<Appender>,
    /// Oldest first.
    turns: VecDeque<oneshot::Sender<Appender>>,
}

impl Connections {
    /// Gives the oldest shipments that wait the connections that are free.
    fn hand_out(&mut self) {
        while !self.free.is_empty()
            && let Some(turn) = self.turns.pop_front()
        {
            // The last one is taken first, so that small batches keep to one connection.
            let Some(appender) = self.free.pop() else { return };
            // A shipment that cannot be sent at all does not wait.
            self.free.extend(turn.send(appender).err());
        }
    }
}

/// Works until no more shipments can come or nobody wants to know.
pub(super) async fn run(
    appender: Appender,
    mut shipments: mpsc::UnboundedReceiver<Shipment>,
    commits: mpsc::UnboundedSender<Commit>,
    states: mpsc::Sender<Vec<StateToKeep>>,
) {
    let mut free: Vec<Appender> = (1..CONNECTIONS).map(|_| appender.beside()).collect();
    free.push(appender);
    let mut connections = Connections { free, turns: VecDeque::new() };
    let mut under_way = FuturesOrdered::new();
    let mut newest: Option<Before> = None;
    let mut failed_attempt = None;
    let mut tails = Tails::new();
    loop {
        let commit = tokio::select! {
            biased;
            Some(carried) = under_way.next(), if !under_way.is_empty() => {
                // It panicked: whatever is on its way ends with this reign.
                let Ok(Carried { appender, shipment, outcome }) = carried else { return };
                let outcome = outcome.map(|events| {
                    if let Some(appender) = &appender {
                        appender.publish(shipment.after, events);
                    }
                });
                connections.free.extend(appender);
                connections.hand_out();
                match outcome {
                    Ok(()) => durable(shipment, &states),
                    Err(error) => {
                        failed_attempt = Some(shipment.attempt);
                        tails.undo(shipment.events());
                        Commit::Failed { error, shipment }
                    }
                }
            }
            shipment = shipments.recv() => {
                let Some(shipment) = shipment else { return };
                let refused = if failed_attempt.is_some_and(|attempt| shipment.attempt <= attempt) {
                    Some(None)
                } else {
                    tails.extend(shipment.events()).err().map(Some)
                };
                let carried = if let Some(error) = refused {
                    // Reported after those in front of it, for they are decided again in this order.
                    tokio::spawn(async { Carried { appender: None, shipment, outcome: Err(error) } })
                } else {
                    let (progress, seen) = watch::channel(Progress::Sent);
                    let own = Before { ticket: Ticket(shipment.number), progress: seen };
                    let before = newest.replace(own).filter(|_| !under_way.is_empty());
                    let (turn, my_turn) = oneshot::channel();
                    connections.turns.push_back(turn);
                    connections.hand_out();
                    tokio::spawn(carry(shipment, my_turn, before, progress))
                };
                under_way.push_back(AbortOnDropHandle::new(carried));
                continue;
            }
        };
        if commits.send(commit).is_err() {
            return;
        }
    }
}

/// Brings one shipment into the log, after the one before it.
async fn carry(
    shipment: Shipment,
    turn: oneshot::Receiver<Appender>,
    before: Option<Before>,
    progress: watch::Sender<Progress>,
) -> Carried {
    let begun = Instant::now();
    let batch = match rows::batch(shipment.after, shipment.recorded_at, &shipment.decided) {
        Ok(batch) => batch,
        Err(error) => return Carried { appender: None, shipment, outcome: Err(Some(error)) },
    };
    let Ok(mut appender) = turn.await else {
        return Carried { appender: None, shipment, outcome: Err(None) };
    };
    let sent = match before.as_ref().map_or(Ok(true), Before::is_durable) {
        Err(GivenUp) => Err(None),
        Ok(true) if batch.event_count() <= ONE_MESSAGE_EVENTS => {
            let written = appender.write(&batch).await;
            settled(&mut appender, &batch, written).await.map_err(Some)
        }
        Ok(_) => overlapped(&mut appender, &batch, Ticket(shipment.number), before, &progress).await,
    };
    if sent.is_ok() {
        progress.send_replace(Progress::Durable);
    }
    let outcome = sent.map(|()| batch.into_recorded());
    metrics::histogram!("daybook_bus_commit_seconds").record(begun.elapsed().as_secs_f64());
    Carried { appender: Some(appender), shipment, outcome }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// Nobody can wait behind it yet.
    Sent,
    /// Its transaction has begun: the next one can wait behind it in PostgreSQL.
    InLine,
    Durable,
}

/// The batch before.
struct Before {
    ticket: Ticket,
    progress: watch::Receiver<Progress>,
}

/// The batch before has failed.
struct GivenUp;

impl Before {
    fn is_durable(&self) -> Result<bool, GivenUp> {
        // Asked first: what it says last still counts.
        let has_ended = self.progress.has_changed().is_err();
        match *self.progress.borrow() {
            Progress::Durable => Ok(true),
            _ if has_ended => Err(GivenUp),
            _ => Ok(false),
        }
    }

    /// Waits until it is so far, and says how far it is.
    async fn reached(&mut self, progress: Progress) -> Result<Progress, GivenUp> {
        self.progress.wait_for(|now| *now >= progress).await.map(|now| *now).map_err(|_| GivenUp)
    }
}

/// Sends the rows ahead and commits them behind the batch before. Without an error of its own, it was given up for that
/// one's.
async fn overlapped(
    appender: &mut Appender,
    batch: &Batch,
    ticket: Ticket,
    mut before: Option<Before>,
    progress: &watch::Sender<Progress>,
) -> Result<(), Option<AppendError>> {
    let mut outcome = appender.begin(batch, ticket).await;
    if outcome.is_ok() {
        progress.send_replace(Progress::InLine);
        // Its rows are being stored while it waits for its turn, and when the commit is sent.
        let queue = match &mut before {
            None => Ok(None),
            Some(before) => before.reached(Progress::InLine).await.map(|now| Some((now, before.ticket))),
        };
        let committed = match queue {
            Err(GivenUp) => {
                appender.roll_back().await;
                return Err(None);
            }
            Ok(Some((Progress::InLine, ticket))) => appender.commit_behind(ticket, batch).await,
            Ok(_) => appender.commit(batch).await,
        };
        // Also when the one before has failed: nothing of this one may still be on its way when it is decided again.
        outcome = settled(appender, batch, committed).await;
    }
    match (outcome, before) {
        (Ok(()), _) => Ok(()),
        (Err(error), None) => Err(Some(error)),
        // What it says counts only if it could have committed.
        (Err(error), Some(mut before)) => match before.reached(Progress::Durable).await {
            Ok(_) => Err(Some(error)),
            Err(GivenUp) => Err(None),
        },
    }
}

/// If the outcome is unknown, finds it out; so afterwards it is known.
async fn settled(
    appender: &mut Appender,
    batch: &Batch,
    outcome: Result<(), AppendError>,
) -> Result<(), AppendError> {
    let error = match outcome {
        Err(error @ AppendError::OutcomeUnknown(_)) => error,
        known => return known,
    };
    tracing::warn!(%error, "settling a commit of unknown outcome");
    let mut backoff = Backoff::endless();
    loop {
        match appender.find_out(batch).await {
            Ok(Settled::Committed(_)) => {
                count_settled("committed");
                return Ok(());
            }
            Ok(Settled::NotCommitted) => {
                count_settled("not_committed");
                return Err(AppendError::Unavailable(error.to_string()));
            }
            Err(error) => {
                tracing::warn!(%error, "the outcome of a commit cannot be settled yet");
                backoff.wait().await;
            }
        }
    }
}

fn count_settled(found: &'static str) {
    metrics::counter!("daybook_bus_unknown_outcomes_total", "found" => found).increment(1);
}

/// Answers in a task of its own, so that the next batch need not wait.
fn durable(shipment: Shipment, states: &mpsc::Sender<Vec<StateToKeep>>) -> Commit {
    let Shipment { number, after, mut decided, .. } = shipment;
    let mut keys = Vec::with_capacity(decided.len());
    let mut due = Vec::new();
    let mut end = after;
    for decided in &mut decided {
        end = end.advance(decided.events.len());
        let log_position = (!decided.events.is_empty()).then_some(end);
        for (verdict, ask) in decided.verdicts.iter().zip(&decided.item.asks) {
            let remembered = verdict.result.as_ref().ok().filter(|_| verdict.remembered);
            let remembered = remembered.map(|outcome| Remembered {
                hash: ask.hash,
                outcome: outcome.clone(),
                log_position,
            });
            keys.push((ask.key.clone(), remembered));
        }
        due.append(&mut decided.states);
    }
    tokio::spawn(answer(after, decided));
    if !due.is_empty() && states.try_send(due).is_err() {
        // Kept at the next occasion.
        tracing::debug!("states of long streams are due faster than they can be written");
    }
    Commit::Durable { number, keys }
}

/// Answers the requests of a batch that is durable.
async fn answer(after: LogPosition, decided: Vec<Decided>) {
    let mut end = after;
    for Decided { item, verdicts, events, .. } in decided {
        end = end.advance(events.len());
        let log_position = (!events.is_empty()).then_some(end);
        let receipt = |outcome| Receipt { outcome, log_position, replayed: false };
        item.answer(verdicts.into_iter().map(|verdict| verdict.result.map(receipt)));
    }
}
