//! A proxy between the appender and PostgreSQL's socket, which loses messages on command.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What the proxy does with what it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Pass,
    /// Passes requests and swallows answers; then cuts the client off.
    LoseAnswers,
    /// Keeps requests of the connections up to this one back until `Pass`, and then delivers them even if the client
    /// has gone.
    HoldRequests(usize),
}

pub struct Proxy {
    folder: tempfile::TempDir,
    mode: Arc<watch::Sender<Mode>>,
    /// Ends the client's side of every connection there is.
    cut: Arc<watch::Sender<u64>>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Listens in a folder of its own and forwards to the socket in `sockets`.
    pub fn start(sockets: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let server = sockets.join(".s.PGSQL.5432");
        let proxy = Self {
            folder,
            mode: Arc::new(watch::Sender::new(Mode::Pass)),
            cut: Arc::new(watch::Sender::new(0)),
            connections: Arc::new(AtomicUsize::new(0)),
        };
        let (mode, cut) = (Arc::clone(&proxy.mode), Arc::clone(&proxy.cut));
        let connections = Arc::clone(&proxy.connections);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                let server = UnixStream::connect(&server).await.unwrap();
                tokio::spawn(forward(number, client, server, mode.subscribe(), cut.subscribe()));
            }
        });
        proxy
    }

    pub fn through(&self, options: PgConnectOptions) -> PgConnectOptions {
        options.socket(self.folder.path())
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Keeps back what the connections that exist now ask for.
    pub fn hold_requests(&self) {
        self.set(Mode::HoldRequests(self.connections.load(Ordering::SeqCst)));
    }

    /// Cuts all clients off; PostgreSQL's side stays until it has got what was sent.
    pub fn cut_clients(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

async fn forward(
    number: usize,
    client: UnixStream,
    server: UnixStream,
    mode: watch::Receiver<Mode>,
    mut cut: watch::Receiver<u64>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut requests_mode = mode.clone();
    let requests = async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let _ = requests_mode
                .wait_for(|mode| !matches!(mode, Mode::HoldRequests(last) if number <= *last))
                .await;
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        // Dropping our half of the socket tells PostgreSQL that the client has gone.
    };
    let answers = async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            if *mode.borrow() != Mode::LoseAnswers && to_client.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
    };
    let answers = tokio::spawn(async move {
        tokio::select! {
            () = answers => {}
            _ = cut.changed() => {}
        }
    });
    requests.await;
    answers.abort();
}
