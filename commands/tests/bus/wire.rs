//! A wire to PostgreSQL that can be cut just after a commit, so that its answer is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Passes everything on between its own socket and the server's.
pub struct Wire {
    pub folder: tempfile::TempDir,
    cut_next_answer: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    pub fn to(sockets: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let server = sockets.join(".s.PGSQL.5432");
        let cut_next_answer = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&cut_next_answer);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), Arc::clone(&cut)));
            }
        });
        Self { folder, cut_next_answer, task }
    }

    /// The next answer to the appender gets lost, and its connection with it.
    pub fn cut_next_answer(&self) {
        self.cut_next_answer.store(true, Ordering::SeqCst);
    }

    pub fn is_cut(&self) -> bool {
        !self.cut_next_answer.load(Ordering::SeqCst)
    }
}

async fn pass_on(client: UnixStream, server: PathBuf, cut: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = UnixStream::connect(server).await.unwrap().into_split();
    let appender = Arc::new(AtomicBool::new(false));
    let is_appender = Arc::clone(&appender);
    let upward = tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
            if bytes[..length].windows(16).any(|window| window == b"daybook appender") {
                is_appender.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&bytes[..length]).await.is_err() {
                break;
            }
        }
    });
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
        // The server answers after its commit.
        if appender.load(Ordering::SeqCst) && cut.swap(false, Ordering::SeqCst) {
            break;
        }
        if to_client.write_all(&bytes[..length]).await.is_err() {
            break;
        }
    }
    upward.abort();
}
