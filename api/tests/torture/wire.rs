//! The wire between one server and PostgreSQL: it can be cut at the worst moment, or go silent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// How long a delayed request arrives after its sender has gone.
const DELAY: Duration = Duration::from_millis(700);

/// What becomes of the next message of a connection that appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// It arrives.
    Nothing = 0,
    /// The next answer is lost and the connection with it: the commit may be durable.
    Answer = 1,
    /// Half of the next request arrives, then the connection ends.
    Request = 2,
    /// The sender is cut off, and its next request arrives later all the same.
    Delay = 3,
}

/// Passes everything on between its own socket and the server's.
pub struct Wire {
    folder: tempfile::TempDir,
    lines: Arc<Lines>,
    _task: AbortOnDropHandle<()>,
}

struct Lines {
    server: PathBuf,
    next: AtomicU8,
    silent: watch::Sender<bool>,
    cut_all: watch::Sender<u64>,
    appenders: AtomicUsize,
}

impl Wire {
    /// A wire to the socket in the folder.
    pub fn to(sockets: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let lines = Arc::new(Lines {
            server: sockets.join(".s.PGSQL.5432"),
            next: AtomicU8::new(Cut::Nothing as u8),
            silent: watch::Sender::new(false),
            cut_all: watch::Sender::new(0),
            appenders: AtomicUsize::new(0),
        });
        let passing = Arc::clone(&lines);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, Arc::clone(&passing)));
            }
        });
        Self { folder, lines, _task: AbortOnDropHandle::new(task) }
    }

    /// The URL of the application's database over this wire.
    pub fn url(&self) -> String {
        let host: String =
            self.folder.path().to_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("postgresql://daybook_app@{host}:5432/daybook")
    }

    /// What happens to the next message of a connection that appends.
    pub fn cut_next(&self, cut: Cut) {
        self.lines.next.store(cut as u8, Ordering::SeqCst);
    }

    /// Whether the cut has happened.
    pub fn is_cut(&self) -> bool {
        self.lines.next.load(Ordering::SeqCst) == Cut::Nothing as u8
    }

    /// Whether the server appends over it: whether it leads.
    pub fn appends(&self) -> bool {
        self.lines.appenders.load(Ordering::SeqCst) > 0
    }

    /// Ends every connection there is.
    pub fn cut_all(&self) {
        self.lines.cut_all.send_modify(|times| *times += 1);
    }

    /// While silent, nothing arrives on either side, and nobody is told.
    pub fn silence(&self, silent: bool) {
        self.lines.silent.send_replace(silent);
    }
}

impl Lines {
    /// Whether it is this cut's turn; it is used up then.
    fn takes(&self, cut: Cut) -> bool {
        let (cut, nothing) = (cut as u8, Cut::Nothing as u8);
        self.next.compare_exchange(cut, nothing, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    async fn while_silent(&self) {
        let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
    }
}

async fn pass_on(client: UnixStream, lines: Arc<Lines>) {
    let mut cut_all = lines.cut_all.subscribe();
    cut_all.mark_unchanged();
    lines.while_silent().await;
    // PostgreSQL may be away.
    let Ok(server) = UnixStream::connect(&lines.server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (appends, is_appender) = watch::channel(false);
    let requests = pass_requests(from_client, to_server, &lines, appends);
    let answers = pass_answers(from_server, to_client, &lines, is_appender.clone());
    tokio::select! {
        late = requests => if let Some((mut to_server, bytes)) = late {
            // The answers' side is dropped by now: the sender sees the end.
            tokio::time::sleep(DELAY).await;
            let _ = to_server.write_all(&bytes).await;
            tokio::time::sleep(DELAY).await;
        },
        () = answers => {}
        _ = cut_all.changed() => {}
    }
    if *is_appender.borrow() {
        lines.appenders.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether it is the start-up message (its length, version 3.0 of the protocol, parameters) of a connection that appends.
/// Followers name such connections, too, in the statement by which they end those of a frozen leader.
fn introduces_appender(bytes: &[u8]) -> bool {
    const VERSION: [u8; 4] = [0, 3, 0, 0];
    bytes.get(4..8) == Some(&VERSION) && bytes.windows(16).any(|window| window == b"daybook appender")
}

/// Passes requests on. What is to arrive later is given back.
async fn pass_requests(
    mut from_client: OwnedReadHalf,
    mut to_server: OwnedWriteHalf,
    lines: &Lines,
    appends: watch::Sender<bool>,
) -> Option<(OwnedWriteHalf, Vec<u8>)> {
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
        let bytes = &bytes[..length];
        let is_appender = *appends.borrow();
        if !is_appender && introduces_appender(bytes) {
            appends.send_replace(true);
            lines.appenders.fetch_add(1, Ordering::SeqCst);
        }
        lines.while_silent().await;
        if is_appender && lines.takes(Cut::Delay) {
            return Some((to_server, bytes.to_vec()));
        }
        if is_appender && lines.takes(Cut::Request) {
            let _ = to_server.write_all(&bytes[..length / 2]).await;
            return None;
        }
        if to_server.write_all(bytes).await.is_err() {
            return None;
        }
    }
    None
}

async fn pass_answers(
    mut from_server: OwnedReadHalf,
    mut to_client: OwnedWriteHalf,
    lines: &Lines,
    is_appender: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
        lines.while_silent().await;
        if *is_appender.borrow() && lines.takes(Cut::Answer) {
            return;
        }
        if to_client.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

#[test]
fn the_leader_is_told_by_how_its_connections_begin() {
    let message = |head: &[u8]| [head, b"application_name\0daybook appender\0\0"].concat();
    assert!(introduces_appender(&message(&[0, 0, 0, 42, 0, 3, 0, 0])));
    assert!(!introduces_appender(&message(b"B\0\0\0\x2a\0\0\0")));
    assert!(!introduces_appender(&[0, 0, 0, 8, 4, 210, 22, 47]));
}
