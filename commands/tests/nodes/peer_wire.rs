//! The way from the followers to the leader, which knows where a frame ends and can be cut at any point of it.
//!
//! A frame has its length in front, in four bytes. The first one of the follower and the first two of the leader are the
//! greeting; an empty one is a sign of life.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use commands::PeerSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before a frame of calls arrives.
    CallLost,
    /// When half of it has arrived.
    CallTorn,
    /// When it has arrived, and before any answer.
    CallArrived,
    /// When the leader has decided and answers.
    AnswerLost,
    /// When half of the answer has arrived.
    AnswerTorn,
}

impl Point {
    pub const ALL: [Self; 5] =
        [Self::CallLost, Self::CallTorn, Self::CallArrived, Self::AnswerLost, Self::AnswerTorn];

    fn is_of_leader(self) -> bool {
        matches!(self, Self::AnswerLost | Self::AnswerTorn)
    }

    /// How much of a frame still gets through.
    fn passes(self, length: usize) -> usize {
        match self {
            Self::CallLost | Self::AnswerLost => 0,
            Self::CallTorn | Self::AnswerTorn => length / 2,
            Self::CallArrived => length,
        }
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both sides learn of it.
    Closed,
    /// Nothing comes through any more, and neither side learns of it.
    Silent,
}

#[derive(Debug, Default)]
struct Plan {
    cut: Option<(Point, Cut)>,
    /// So many frames are still to be struck, each on another connection.
    times: usize,
    /// Whoever connects is turned away.
    down: bool,
}

impl Plan {
    /// What happens at the next frame of this side.
    fn fate(&mut self, of_leader: bool) -> Option<(Point, Cut)> {
        let (point, cut) =
            self.cut.filter(|(point, _)| self.times > 0 && point.is_of_leader() == of_leader)?;
        self.times -= 1;
        Some((point, cut))
    }
}

/// Stands between the followers and one leader.
pub struct PeerWire {
    front: SocketAddr,
    behind: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    task: JoinHandle<()>,
}

impl Drop for PeerWire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PeerWire {
    pub async fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let front = listener.local_addr().unwrap();
        // Free again at once, for the leader.
        let behind = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let planned = Arc::clone(&plan);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((follower, _)) = listener.accept().await {
                if !planned.lock().unwrap().down {
                    connections.spawn(pass_on(follower, behind, Arc::clone(&planned)));
                }
            }
        });
        Self { front, behind, plan, task }
    }

    /// Of a leader that is reached through this wire.
    pub fn settings(&self) -> PeerSettings {
        PeerSettings { listen: self.behind, advertise: Some(self.front.to_string()) }
    }

    /// Cuts so many connections, one after the other, each at its next frame of the point's kind.
    pub fn cut(&self, point: Point, cut: Cut, times: usize) {
        let mut plan = self.plan.lock().unwrap();
        (plan.cut, plan.times) = (Some((point, cut)), times);
    }

    /// How many are still to be cut.
    pub fn to_come(&self) -> usize {
        self.plan.lock().unwrap().times
    }

    /// Whether whoever connects is turned away from now on.
    pub fn set_down(&self, down: bool) {
        self.plan.lock().unwrap().down = down;
    }
}

async fn pass_on(follower: TcpStream, leader: SocketAddr, plan: Arc<Mutex<Plan>>) {
    let Ok(leader) = TcpStream::connect(leader).await else { return };
    for stream in [&follower, &leader] {
        stream.set_nodelay(true).unwrap();
    }
    let (mut from_follower, mut to_follower) = follower.into_split();
    let (mut from_leader, mut to_leader) = leader.into_split();
    let cut = tokio::select! {
        cut = carry(&mut from_follower, &mut to_leader, false, &plan) => cut,
        cut = carry(&mut from_leader, &mut to_follower, true, &plan) => cut,
    };
    if cut == Cut::Silent {
        // Both may go on talking.
        let (mut nobody, mut either) = (tokio::io::sink(), tokio::io::sink());
        let _ = tokio::join!(
            tokio::io::copy(&mut from_follower, &mut nobody),
            tokio::io::copy(&mut from_leader, &mut either)
        );
    }
}

/// Passes frames on until the connection ends, by itself or by a cut.
async fn carry(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    of_leader: bool,
    plan: &Mutex<Plan>,
) -> Cut {
    let greeting = if of_leader { 2 } else { 1 };
    for number in 0.. {
        let Ok(length) = from.read_u32().await else { break };
        let mut frame = length.to_be_bytes().to_vec();
        frame.resize(4 + length as usize, 0);
        if from.read_exact(&mut frame[4..]).await.is_err() {
            break;
        }
        let counts = number >= greeting && length > 0;
        let fate = if counts { plan.lock().unwrap().fate(of_leader) } else { None };
        let passes = fate.map_or(frame.len(), |(point, _)| point.passes(frame.len()));
        let passed = to.write_all(&frame[..passes]).await;
        if let Some((_, cut)) = fate {
            return cut;
        }
        if passed.is_err() {
            break;
        }
    }
    Cut::Closed
}
