//! Fills the log through the event store's own append path: rows of several batches go ahead over a connection each, and
//! their commits follow each other. Each is sent when the one before is answered, which is enough for batches of this size.

use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::Utc;
use event_store::{Appender, Batch, CommandWrite, Leadership, Lease, Log, LogPosition};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::rows::Transfers;

/// Transfers a batch, about as many as the bus has with a thousand clients.
const BATCH: usize = 1_024;
/// Connections; with more, the cost of an event is none of the log's alone.
const CONNECTIONS: usize = 4;
/// Batches made ahead, so that the log never waits for them.
const AHEAD: usize = 16;
/// Nobody else wants to lead.
const LEASE: Duration = Duration::from_secs(60);

/// The leader of a log that it fills.
pub struct Filler {
    leadership: Leadership,
    lease: Lease,
    head: LogPosition,
    free: Vec<Appender>,
    batches: mpsc::Receiver<Vec<CommandWrite>>,
}

/// A batch on its way: its appender when it is durable.
type UnderWay = JoinHandle<anyhow::Result<Appender>>;

impl Filler {
    /// Leads the log, which must have no other leader, and begins to make rows on a thread of their own.
    pub async fn start(log: &Log, mut rows: Transfers) -> anyhow::Result<Self> {
        let leadership = Leadership::new(log.pool().clone());
        let lease = leadership.acquire("growth", LEASE).await?.context("another node leads")?;
        let first = Appender::connect(log, &lease).await?;
        let mut free: Vec<_> = (1..CONNECTIONS).map(|_| first.beside()).collect();
        free.push(first);
        let (made, batches) = mpsc::channel(AHEAD);
        // It ends when nobody takes them any more.
        std::thread::spawn(
            move || {
                while made.blocking_send((0..BATCH).map(|_| rows.next()).collect()).is_ok() {}
            },
        );
        let head = lease.head;
        Ok(Self { leadership, lease, head, free, batches })
    }

    /// Appends until the log has so many events, and shows how far it is.
    pub async fn fill(&mut self, events: u64) -> anyhow::Result<()> {
        let bar = ProgressBar::new(events).with_style(ProgressStyle::with_template(
            "{bar:40} {human_pos}/{human_len} events, {per_sec}, {eta} left",
        )?);
        let step = (events / 100).max(1);
        while self.head.0 < events {
            self.append(step.min(events - self.head.0)).await?;
            bar.set_position(self.head.0);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Appends at least so many events; how long it took until the last was durable.
    pub async fn append(&mut self, events: u64) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let end = self.head.advance(usize::try_from(events)?);
        let mut under_way: FuturesOrdered<UnderWay> = FuturesOrdered::new();
        let mut before: Option<oneshot::Receiver<()>> = None;
        while self.head < end {
            let appender = match self.free.pop() {
                Some(appender) => appender,
                None => under_way.next().await.context("a batch on its way")???,
            };
            let commands = self.batches.recv().await.context("rows are made")?;
            let batch = Batch { after: self.head, recorded_at: Utc::now(), commands };
            self.head = batch.end();
            let (is_durable, after) = oneshot::channel();
            let carried = carry(appender, batch, before.replace(after), is_durable);
            under_way.push_back(tokio::spawn(carried));
        }
        while let Some(carried) = under_way.next().await {
            self.free.push(carried??);
        }
        Ok(begun.elapsed())
    }

    /// Gives the lease back.
    pub async fn stop(self) -> anyhow::Result<()> {
        for appender in self.free {
            appender.close().await;
        }
        Ok(self.leadership.release(self.lease).await?)
    }
}

async fn carry(
    mut appender: Appender,
    batch: Batch,
    before: Option<oneshot::Receiver<()>>,
    is_durable: oneshot::Sender<()>,
) -> anyhow::Result<Appender> {
    appender.stage(&batch).await?;
    if let Some(before) = before {
        before.await.context("the batch before was not committed")?;
    }
    appender.commit(&batch).await?;
    // Nobody waits for the last one.
    let _ = is_durable.send(());
    Ok(appender)
}
