//! Keeps a connection to whichever node leads.

use std::time::Duration;

use event_store::{LeaderContact, LogId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::Link;

/// Pause between attempts to connect.
const REDIAL_EVERY: Duration = Duration::from_millis(100);

/// Connects to the leader that is told, and to the next one when it is another, until `stop`. Nobody is told while this
/// node leads itself.
pub(in crate::bus) async fn follow(
    node: String,
    log: LogId,
    mut leader: watch::Receiver<Option<LeaderContact>>,
    link: watch::Sender<Option<Link>>,
    stop: CancellationToken,
) {
    let following = async {
        loop {
            let contact = leader.borrow_and_update().clone();
            match contact {
                Some(contact) => tokio::select! {
                    () = keep(&contact, &node, log, &link) => {}
                    changed = leader.changed() => if changed.is_err() { return },
                },
                None => {
                    if leader.changed().await.is_err() {
                        return;
                    }
                }
            }
            // What is on the way to a leader that was deposed is asked of the next one.
            if let Some(old) = link.send_replace(None) {
                old.close();
            }
        }
    };
    stop.run_until_cancelled(following).await;
    if let Some(link) = link.send_replace(None) {
        link.close();
    }
}

/// Keeps a connection to one leader for as long as the future lives.
async fn keep(contact: &LeaderContact, node: &str, log: LogId, link: &watch::Sender<Option<Link>>) {
    loop {
        metrics::counter!("daybook_peer_dials_total").increment(1);
        match Link::dial(contact, node, log).await {
            Ok(new) => {
                tracing::info!(leader = contact.address, "connected to the node that leads");
                link.send_replace(Some(new.clone()));
                new.ended().await;
                link.send_replace(None);
                tracing::info!(leader = contact.address, "the connection to the node that leads has ended");
            }
            Err(error) => {
                tracing::debug!(leader = contact.address, %error, "the node that leads cannot be reached");
            }
        }
        tokio::time::sleep(REDIAL_EVERY).await;
    }
}
