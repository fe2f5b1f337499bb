//! Writes the states of long streams down, off the path, so that a cold load need not begin at the start.

use event_store::{NewSnapshot, Snapshots};
use sqlx::PgPool;
use tokio::sync::mpsc;

use crate::aggregates::StateToKeep;

/// Works until no more states can come.
pub(super) async fn run(pool: PgPool, mut due: mpsc::Receiver<Vec<StateToKeep>>) {
    while let Some(states) = due.recv().await {
        let versioned =
            tokio::task::spawn_blocking(move || states.into_iter().filter_map(write).collect()).await;
        let versioned: Vec<(u16, NewSnapshot)> = versioned.unwrap_or_default();
        for (state_version, snapshot) in versioned {
            let stream = snapshot.stream.clone();
            if let Err(error) = Snapshots::new(pool.clone(), state_version).save(&[snapshot]).await {
                tracing::warn!(%stream, %error, "a snapshot cannot be kept; cold loads stay slower");
            }
        }
    }
}

fn write(state: StateToKeep) -> Option<(u16, NewSnapshot)> {
    match (state.write)() {
        Ok(text) => {
            let snapshot = NewSnapshot { stream: state.stream, sequence: state.sequence, state: text };
            Some((state.state_version, snapshot))
        }
        Err(error) => {
            tracing::warn!(stream = %state.stream, %error, "a state cannot be written as JSON");
            None
        }
    }
}
