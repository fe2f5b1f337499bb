//! A node with a runtime and connections of its own, which can be killed, frozen and cut off as a process can.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use commands::{Bus, BusContext, PeerSettings};
use event_store::Log;
use event_store::embedded::Role;
use event_store::embedded::testing::{TestDatabase, shared_cluster};
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::LIMIT;

pub struct Node {
    pub name: String,
    pub bus: Bus,
    runtime: Option<Runtime>,
}

impl Node {
    /// Starts a node with changed settings; some node leads when this returns.
    pub async fn start_with(
        database: &TestDatabase,
        name: &str,
        sockets: Option<&Path>,
        change: impl FnOnce(&mut BusContext) + Send + 'static,
    ) -> Self {
        // One thread, so that blocking it stops everything that the node does.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut options = database.connect_options(Role::App).await.unwrap();
        if let Some(sockets) = sockets {
            options = options.socket(sockets);
        }
        let node = name.to_owned();
        let started = runtime.spawn(async move {
            let pool = PgPoolOptions::new()
                .max_connections(8)
                .acquire_timeout(Duration::from_secs(5))
                .connect_with(options)
                .await
                .unwrap();
            let log = Log::open(pool).await.unwrap();
            let mut context = BusContext::new(node, log);
            context.peer = Some(PeerSettings::loopback());
            change(&mut context);
            Bus::start(context).await
        });
        let bus = started.await.unwrap();
        assert!(bus.served_within(LIMIT).await, "no node leads");
        Self { name: name.to_owned(), bus, runtime: Some(runtime) }
    }

    pub async fn start(database: &TestDatabase, name: &str) -> Self {
        Self::start_with(database, name, None, |_| {}).await
    }

    pub fn leads(&self) -> bool {
        *self.bus.leads().borrow()
    }

    /// Ends it as `kill -9` does: everything stops where it is, and its connections break.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Stops everything that it does, as SIGSTOP does, until what is returned is dropped.
    pub fn freeze(&self) -> mpsc::Sender<()> {
        let (thaw, thawed) = mpsc::channel::<()>();
        let (stopped, has_stopped) = mpsc::channel::<()>();
        self.runtime.as_ref().unwrap().spawn(async move {
            let _ = stopped.send(());
            let _ = thawed.recv();
        });
        has_stopped.recv().unwrap();
        thaw
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The way to PostgreSQL, which can be cut so that nothing comes through and neither side notices.
pub struct Wire {
    folder: tempfile::TempDir,
    open: Arc<watch::Sender<bool>>,
}

impl Wire {
    pub async fn new() -> Self {
        let server = shared_cluster().await.unwrap().sockets().join(".s.PGSQL.5432");
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let passing = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), passing.subscribe()));
            }
        });
        Self { folder, open }
    }

    pub fn sockets(&self) -> &Path {
        self.folder.path()
    }

    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn pass_on(client: UnixStream, server: PathBuf, open: watch::Receiver<bool>) {
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = one_way(from_client, to_server, open.clone()) => {}
        () = one_way(from_server, to_client, open) => {}
    }
}

async fn one_way(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut open: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        if open.wait_for(|open| *open).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
