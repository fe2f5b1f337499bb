//! Clients that write down what they ask and what they are told, and hold the nodes to it afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use commands::testing::{admin, request, transfer};
use commands::{Bus, Failure, Receipt, Request};
use domain::ids::AccountId;
use futures::future::join_all;
use tokio::task::JoinHandle;

use crate::LIMIT;

/// A request and the answer it had in the end.
pub struct Entry {
    pub request: Request,
    pub receipt: Receipt,
}

/// Clients that pay from one account to the other, through nodes that may come and go.
pub struct Load {
    nodes: Arc<Mutex<Vec<Bus>>>,
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    errors: Arc<Mutex<Vec<Failure>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Entry>>>,
}

impl Load {
    /// Starts so many clients; each has one request under way, at the next node each time.
    pub fn start(clients: usize, nodes: &[&Bus], from: &AccountId, to: &AccountId) -> Self {
        let nodes = Arc::new(Mutex::new(nodes.iter().map(|bus| (*bus).clone()).collect::<Vec<_>>()));
        let (acknowledged, errors) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients)
            .map(|client| {
                let (nodes, acknowledged, errors, stop) =
                    (nodes.clone(), acknowledged.clone(), errors.clone(), stop.clone());
                let (from, to) = (from.clone(), to.clone());
                tokio::spawn(async move {
                    let mut journal = Vec::new();
                    let mut turn = client;
                    for n in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let asked = request(&admin(), &format!("{client}-{n}"), transfer(&from, &to, "0.01"));
                        // Until it has an answer, whatever happens.
                        let receipt = loop {
                            turn += 1;
                            let bus = {
                                let nodes = nodes.lock().unwrap();
                                nodes[turn % nodes.len()].clone()
                            };
                            match bus.execute(asked.clone()).await {
                                Ok(receipt) => break receipt,
                                Err(failure) => {
                                    errors.lock().unwrap().push(failure);
                                    tokio::time::sleep(Duration::from_millis(5)).await;
                                }
                            }
                        };
                        acknowledged.lock().unwrap().push(Instant::now());
                        journal.push(Entry { request: asked, receipt });
                    }
                    journal
                })
            })
            .collect();
        Self { nodes, acknowledged, errors, stop, clients }
    }

    /// Clients ask these nodes from now on.
    pub fn turn_to(&self, nodes: &[&Bus]) {
        *self.nodes.lock().unwrap() = nodes.iter().map(|bus| (*bus).clone()).collect();
    }

    /// Waits until so many more were acknowledged.
    pub async fn goes_on(&self, more: usize) {
        let wanted = self.acknowledged.lock().unwrap().len() + more;
        let reached = async {
            while self.acknowledged.lock().unwrap().len() < wanted {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.expect("the load goes on");
    }

    /// The longest time without an acknowledgement since then.
    pub fn outage_since(&self, then: Instant) -> Duration {
        let mut last = then;
        let mut longest = Duration::ZERO;
        for at in self.acknowledged.lock().unwrap().iter().filter(|at| **at > then) {
            longest = longest.max(at.duration_since(last));
            last = *at;
        }
        longest
    }

    /// The failures that clients have seen.
    pub fn errors(&self) -> Vec<Failure> {
        self.errors.lock().unwrap().clone()
    }

    /// Stops the clients and gives what they have written down.
    pub async fn stop(self) -> Vec<Entry> {
        self.stop.store(true, Ordering::Relaxed);
        let journals = tokio::time::timeout(LIMIT, join_all(self.clients)).await.expect("clients end");
        journals.into_iter().flat_map(|journal| journal.unwrap()).collect()
    }
}
