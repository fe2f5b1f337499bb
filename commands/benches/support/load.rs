//! A closed loop: every client sends its next request when the last one is answered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::ids::AccountId;
use futures::future::try_join_all;

/// How long, and with how many.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub clients: usize,
    /// Before anything is counted.
    pub warm_up: Duration,
    pub length: Duration,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// Answers a second, after the warm-up.
    pub rate: f64,
    /// All answers, those of the warm-up too.
    pub count: u64,
}

impl Load {
    /// Runs `request` in every client again and again. It is given the number of the client and of the request.
    pub async fn run<F>(
        self,
        request: impl Fn(usize, usize) -> F + Clone + Send + 'static,
    ) -> anyhow::Result<Answered>
    where
        F: Future<Output = anyhow::Result<()>> + Send,
    {
        let (answered, running) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let clients: Vec<_> = (0..self.clients)
            .map(|client| {
                let (request, answered, running) =
                    (request.clone(), Arc::clone(&answered), Arc::clone(&running));
                tokio::spawn(async move {
                    for number in 0.. {
                        if !running.load(Ordering::Relaxed) {
                            break;
                        }
                        request(client, number).await?;
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        tokio::time::sleep(self.warm_up).await;
        let (begun, first) = (Instant::now(), answered.load(Ordering::Relaxed));
        tokio::time::sleep(self.length).await;
        let rate = (answered.load(Ordering::Relaxed) - first) as f64 / begun.elapsed().as_secs_f64();
        running.store(false, Ordering::Relaxed);
        for outcome in try_join_all(clients).await? {
            outcome?;
        }
        Ok(Answered { rate, count: answered.load(Ordering::Relaxed) })
    }
}

/// The account of a client's request: clients have disjoint ones, so that no peer loses time to conflicts.
pub fn own_account(accounts: &[AccountId], clients: usize, client: usize, number: usize) -> &AccountId {
    let own = accounts.len() / clients;
    &accounts[client * own + number % own]
}
