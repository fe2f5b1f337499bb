//! The clients: they journal every request before they send it and its outcome after, whatever is done to the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::asking::{Answer, send};
use crate::findings::{Check, Findings};
use crate::holds::OpenHolds;
use crate::house::Addresses;
use crate::journal::{Journal, Number, Request, Told};
use crate::scene::{Requests, Scene};
use crate::support::Client;

/// Clients that send at the same time.
const CLIENTS: u64 = 10;
/// How long a client waits for an answer before it counts as unknown.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long it waits after a failure of machinery before its next request.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How often is tried whether writes have resumed.
const TRIES: Duration = Duration::from_millis(50);

/// What clients share.
#[derive(Clone)]
pub struct Load {
    pub client: Client,
    pub addresses: Addresses,
    pub journal: Arc<Journal>,
    pub findings: Findings,
    scene: Scene,
    holds: OpenHolds,
    /// Requests under way hold it for reading.
    gate: Arc<RwLock<()>>,
    acknowledged: Arc<watch::Sender<u64>>,
    newest: Arc<AtomicU64>,
    probes: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Load {
    pub fn new(
        client: &Client,
        addresses: &Addresses,
        journal: &Arc<Journal>,
        findings: &Findings,
        scene: &Scene,
    ) -> Self {
        Self {
            client: client.with_patience(PATIENCE),
            addresses: addresses.clone(),
            journal: Arc::clone(journal),
            findings: findings.clone(),
            scene: scene.clone(),
            holds: OpenHolds::default(),
            gate: Arc::default(),
            acknowledged: Arc::new(watch::Sender::new(0)),
            newest: Arc::default(),
            probes: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Lets the clients begin. They end with `stop`.
    pub fn start(&self, seed: u64) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let random = StdRng::seed_from_u64(seed ^ (number + 1) << 32);
            let requests = Requests::of(&self.scene, &self.holds, format!("c{number}"), random);
            let load = self.clone();
            clients.spawn(async move { load.send_until_stopped(requests).await });
        }
        clients
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Nobody sends while the guard lives; what was under way has its outcome.
    pub async fn pause(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    /// How many requests were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        *self.acknowledged.borrow()
    }

    /// The newest log position that anybody was told.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::SeqCst)
    }

    /// Waits for so many more acknowledged requests; whether they came in time.
    pub async fn more(&self, count: u64, limit: Duration) -> bool {
        let mut acknowledged = self.acknowledged.subscribe();
        let wanted = *acknowledged.borrow() + count;
        let reached = acknowledged.wait_for(|now| *now >= wanted);
        tokio::time::timeout(limit, reached).await.is_ok()
    }

    /// How long after `since` the first request was acknowledged that was sent after it. `None` if none was in time.
    ///
    /// It does not wait for clients who wait for an answer that was lost: it sends deposits of its own all the time.
    pub async fn resumed(&self, since: Instant, limit: Duration) -> Option<Duration> {
        let (done, mut first) = watch::channel(None);
        let trying = async {
            loop {
                let (load, done) = (self.clone(), done.clone());
                tokio::spawn(async move {
                    let number = load.probes.fetch_add(1, Ordering::SeqCst);
                    let random = StdRng::seed_from_u64(number);
                    let mut requests = Requests::of(&load.scene, &load.holds, format!("p{number}"), random);
                    if load.deliver(&[requests.deposit()], number as usize, 1).await {
                        done.send_if_modified(|first| {
                            first.is_none() && first.replace(since.elapsed()).is_none()
                        });
                    }
                });
                tokio::time::sleep(TRIES).await;
            }
        };
        tokio::select! {
            first = first.wait_for(Option::is_some) => first.ok().and_then(|first| *first),
            () = trying => None,
            () = tokio::time::sleep(limit.saturating_sub(since.elapsed())) => None,
        }
    }

    async fn send_until_stopped(&self, mut requests: Requests) {
        let mut settled = true;
        while !self.stop.is_cancelled() {
            let copies = if requests.has_twins() { 3 } else { 1 };
            // Not many at once while nothing works: each has to be asked again.
            let next = if settled { requests.next() } else { vec![vec![requests.deposit()]] };
            let calls = next.iter().map(|call| self.deliver(call, requests.server(), copies));
            settled = futures::future::join_all(calls).await.into_iter().all(|settled| settled);
            let pause = if settled { Duration::from_millis(requests.pause_ms()) } else { AFTER_FAILURE };
            tokio::time::sleep(pause).await;
        }
    }

    /// Journals and sends requests, `copies` times at once; whether all have an answer.
    async fn deliver(&self, requests: &[Request], server: usize, copies: usize) -> bool {
        let _under_way = Arc::clone(&self.gate).read_owned().await;
        let numbers: Vec<_> = requests.iter().map(|request| self.journal.ask(request.clone())).collect();
        let copies = (0..copies)
            .map(|copy| send(&self.client, self.addresses.of(server + copy), requests, &self.findings));
        let answers = futures::future::join_all(copies).await;
        let mut settled = true;
        for (place, number) in numbers.into_iter().enumerate() {
            let answer = self.agreed(answers.iter().filter_map(|copy| copy.get(place)), &requests[place]);
            match &answer.told {
                Told::Accepted(position) => {
                    self.newest.fetch_max(*position, Ordering::SeqCst);
                    self.acknowledged.send_modify(|count| *count += 1);
                }
                Told::Refused(_) => {}
                Told::Unknown(_) => settled = false,
            }
            self.learn(number, answer);
        }
        settled
    }

    /// Journals what a client was told; a hold that it was told of can be ended from now on.
    pub fn learn(&self, number: Number, answer: Answer) {
        if let Some(hold) = &answer.hold {
            self.holds.add(&self.journal.entry(number).request, hold);
        }
        self.journal.told(number, answer.told, answer.hold);
    }

    /// What twins were told: the same, if they were told.
    fn agreed<'a>(&self, answers: impl Iterator<Item = &'a Answer>, request: &Request) -> Answer {
        let mut agreed = Answer::open("no answer");
        let mut first_effects = 0;
        for answer in answers {
            match (&agreed.told, &answer.told) {
                (Told::Unknown(_), _) => agreed = answer.clone(),
                (_, Told::Unknown(_)) => {}
                _ => {
                    self.findings.expect(agreed.agrees_with(answer), Check::SameAnswer, || {
                        format!("twins of {} were told {agreed:?} and {answer:?}", request.key)
                    });
                    agreed.hold = agreed.hold.or_else(|| answer.hold.clone());
                }
            }
            let is_first = matches!(answer.told, Told::Accepted(_)) && !answer.replayed;
            first_effects += usize::from(is_first);
        }
        self.findings.expect(first_effects <= 1, Check::SameAnswer, || {
            format!("{first_effects} twins of {} were told to be the first", request.key)
        });
        agreed
    }
}
