//! Commits batches in their order, one at a time, and answers their requests once they are durable.

use std::time::Instant;

use event_store::{AppendError, Appender, Batch, LogPosition, Settled};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::decide::Decided;
use super::item::KeyId;
use super::keys::Remembered;
use crate::aggregates::StateToKeep;
use crate::request::Receipt;

/// A batch on its way into the log.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) number: u64,
    pub(super) batch: Batch,
    /// One a command of the batch, in the same order.
    pub(super) decided: Vec<Decided>,
}

/// What became of a shipment.
#[derive(Debug)]
pub(super) enum Commit {
    /// It is durable.
    Durable {
        number: u64,
        head: LogPosition,
        /// What is now remembered under its keys.
        keys: Vec<(KeyId, Option<Remembered>)>,
    },
    /// Nothing of it is in the log.
    Failed { error: AppendError, shipment: Shipment },
}

/// Works until no more shipments can come or nobody wants to know.
pub(super) async fn run(
    mut appender: Appender,
    mut shipments: mpsc::UnboundedReceiver<Shipment>,
    commits: mpsc::UnboundedSender<Commit>,
    states: mpsc::Sender<Vec<StateToKeep>>,
) {
    while let Some(shipment) = shipments.recv().await {
        let begun = Instant::now();
        let commit = match append(&mut appender, &shipment.batch).await {
            Ok(head) => durable(shipment, head, &states),
            Err(error) => Commit::Failed { error, shipment },
        };
        metrics::histogram!("daybook_bus_commit_seconds").record(begun.elapsed().as_secs_f64());
        if commits.send(commit).is_err() {
            return;
        }
    }
}

/// Appends the batch and, if its outcome stays unknown, settles it; so afterwards the outcome is known.
async fn append(appender: &mut Appender, batch: &Batch) -> Result<LogPosition, AppendError> {
    let error = match appender.append(batch).await {
        Err(error @ AppendError::OutcomeUnknown(_)) => error,
        known => return known,
    };
    tracing::warn!(%error, "settling a commit of unknown outcome");
    let mut backoff = Backoff::endless();
    loop {
        match appender.settle(batch).await {
            Ok(Settled::Committed(head)) => return Ok(head),
            Ok(Settled::NotCommitted) => return Err(AppendError::Unavailable(error.to_string())),
            Err(error) => {
                tracing::warn!(%error, "the outcome of a commit cannot be settled yet");
                backoff.wait().await;
            }
        }
    }
}

/// Answers in a task of its own, so that the next batch need not wait.
fn durable(shipment: Shipment, head: LogPosition, states: &mpsc::Sender<Vec<StateToKeep>>) -> Commit {
    let mut keys = Vec::with_capacity(shipment.decided.len());
    let mut answers = Vec::with_capacity(shipment.decided.len());
    let mut due = Vec::new();
    let mut end = shipment.batch.after;
    for (decided, write) in shipment.decided.into_iter().zip(&shipment.batch.commands) {
        end = end.advance(write.events.len());
        let log_position = (!write.events.is_empty()).then_some(end);
        let receipts: Vec<_> =
            decided
                .verdicts
                .into_iter()
                .zip(&decided.item.asks)
                .map(|(verdict, ask)| {
                    let remembered =
                        verdict.result.as_ref().ok().filter(|_| verdict.remembered).map(|outcome| {
                            Remembered { hash: ask.hash, outcome: outcome.clone(), log_position }
                        });
                    keys.push((ask.key.clone(), remembered));
                    verdict.result.map(|outcome| Receipt { outcome, log_position, replayed: false })
                })
                .collect();
        answers.push((decided.item, receipts));
        due.extend(decided.states);
    }
    tokio::spawn(async move {
        for (item, receipts) in answers {
            item.answer(receipts);
        }
    });
    if !due.is_empty() && states.try_send(due).is_err() {
        // Kept at the next occasion.
        tracing::debug!("states of long streams are due faster than they can be written");
    }
    Commit::Durable { number: shipment.number, head, keys }
}
