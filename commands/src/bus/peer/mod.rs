//! Several nodes on one log: every node takes commands, the one that leads decides on them.
//!
//! The leader writes its address and a secret into the database with its lease. The others read them there, connect, and
//! forward what they are asked. So whoever can read the log's database is a node of it, and nothing is configured.
//!
//! ```text
//! execute ── this node leads ──────────────→ desk → decider …
//!    │
//!    └─ another leads → link ═══ frames ═══→ its serve → its desk → decider …
//! ```
//!
//! **Invariants.** A request that came from another node is never forwarded again. What is asked twice, because a leader
//! was lost before it answered, carries the same key and so happens once. A broken or silent connection answers nothing:
//! what was on it is asked of the next leader.

mod frame;
mod handshake;
mod link;
mod scout;
mod serve;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

pub(super) use self::link::Link;
pub(super) use self::scout::follow;
pub(super) use self::serve::{Door, serve};

/// How often a node that does not lead looks who does.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a silent connection is proved to live.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A connection on which the leader says nothing for so long is given up.
const LEADER_SILENCE: Duration = Duration::from_secs(2);
/// As long as this a leader waits for a sign of life.
const FOLLOWER_SILENCE: Duration = Duration::from_secs(10);

/// Where a node takes other nodes' commands while it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Where it listens; port 0 is any that is free.
    pub listen: SocketAddr,
    /// How the others reach it: a host, or a host and a port. Absent: as it listens.
    pub advertise: Option<String>,
}

impl PeerSettings {
    /// A free port of this machine, for nodes that share it.
    pub fn loopback() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), advertise: None }
    }

    /// Listens, and says under which address the others reach that.
    pub(super) async fn open(&self) -> std::io::Result<(TcpListener, String)> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = self.address(listener.local_addr()?);
        Ok((listener, address))
    }

    fn address(&self, bound: SocketAddr) -> String {
        match &self.advertise {
            None => bound.to_string(),
            Some(host) if has_port(host) => host.clone(),
            Some(host) => format!("{host}:{}", bound.port()),
        }
    }
}

/// Whether a port follows the host; an IPv6 address has colons of its own.
fn has_port(host: &str) -> bool {
    host.parse::<SocketAddr>().is_ok()
        || host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.contains(':') && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_port_that_is_listened_on_unless_another_is_advertised() {
        let address = |advertise: Option<&str>| {
            let settings =
                PeerSettings { advertise: advertise.map(str::to_owned), ..PeerSettings::loopback() };
            settings.address("127.0.0.1:7070".parse().unwrap())
        };
        assert_eq!(address(None), "127.0.0.1:7070");
        assert_eq!(address(Some("node-1")), "node-1:7070");
        assert_eq!(address(Some("node-1:9000")), "node-1:9000");
        assert_eq!(address(Some("[::1]")), "[::1]:7070");
        assert_eq!(address(Some("[::1]:9000")), "[::1]:9000");
    }
}
