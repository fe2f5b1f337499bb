//! A wire to PostgreSQL that knows where a message ends, so that a fault can strike at any one of them.
//!
//! Only the appender's connections are watched; all others pass. The messages are those of PostgreSQL's protocol 3.0, see
//! "Message Formats" in its manual.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use commands::bus::BusSettings;
use commands::testing::TestBus;
use commands::{Bus, BusContext};
use event_store::Log;
use event_store::embedded::Role;
use event_store::embedded::testing::{TestDatabase, shared_cluster};
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is lost, and the connection with it. One of PostgreSQL's is sent after it has acted.
    Lost,
    /// As [`Fault::Lost`], but only PostgreSQL's messages count.
    Unanswered,
    /// It arrives, but the client has been cut off, and PostgreSQL does not notice.
    Orphaned,
    /// PostgreSQL gets one instead that it answers with an error.
    Refused,
    /// It arrives late.
    Late(Duration),
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Client,
    Server,
}

/// The fault to come.
#[derive(Debug, Default)]
struct Plan {
    /// It strikes the message of this number from now on, counted over all of the appender's connections.
    fault: Option<(Fault, usize)>,
    seen: usize,
    /// The message that was struck.
    struck: Option<String>,
}

impl Plan {
    /// What becomes of the next message.
    fn fate(&mut self, from: From, tag: u8) -> Option<Fault> {
        let (fault, at) = self.fault?;
        let counts = match fault {
            Fault::Refused => from == From::Client && instead_of(tag).is_some(),
            Fault::Unanswered => from == From::Server,
            _ => true,
        };
        if !counts {
            return None;
        }
        self.seen += 1;
        if self.seen < at {
            return None;
        }
        self.fault = None;
        self.struck = Some(format!("{:?} of {from:?}", char::from(tag)));
        Some(fault)
    }
}

/// Passes everything on between its own socket and the server's.
pub struct Wire {
    pub folder: tempfile::TempDir,
    plan: Arc<Mutex<Plan>>,
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
        let plan = Arc::new(Mutex::new(Plan::default()));
        let planned = Arc::clone(&plan);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass_on(client, server.clone(), Arc::clone(&planned)));
            }
        });
        Self { folder, plan, task }
    }

    /// The appender's message of this number from now on, beginning with 1 and counted in both directions, meets the fault.
    pub fn strike(&self, at: usize, fault: Fault) {
        *lock(&self.plan) = Plan { fault: Some((fault, at)), ..Plan::default() };
    }

    /// What was struck since; nothing if it never came to that message. Nothing is struck any more.
    pub fn struck(&self) -> Option<String> {
        std::mem::take(&mut *lock(&self.plan)).struck
    }
}

/// A bus that leads the log of its own database, over a wire.
pub async fn house_on_a_wire(settings: BusSettings) -> (TestBus, Wire) {
    let database = TestDatabase::create().await.unwrap();
    let wire = Wire::to(shared_cluster().await.unwrap().sockets());
    let options = database.connect_options(Role::App).await.unwrap().socket(wire.folder.path());
    let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
    let log = Log::open(pool).await.unwrap();
    let bus = Bus::start(BusContext { settings, ..BusContext::new("node-1", log.clone()) }).await;
    (TestBus { database, log, bus }, wire)
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap()
}

/// How a connection ends.
enum End {
    Closed,
    Orphaned,
}

async fn pass_on(client: UnixStream, server: PathBuf, plan: Arc<Mutex<Plan>>) {
    let (from_client, mut to_client) = client.into_split();
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (from_server, mut to_server) = server.into_split();
    let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    // The first message has no tag.
    let Some(greeting) = body(&mut from_client, Vec::new()).await else { return };
    let is_appender = greeting.windows(16).any(|window| window == b"daybook appender");
    if !is_appender {
        if to_server.write_all(&greeting).await.is_ok() {
            tokio::select! {
                _ = tokio::io::copy_buf(&mut from_client, &mut to_server) => {}
                _ = tokio::io::copy_buf(&mut from_server, &mut to_client) => {}
            }
        }
        return;
    }
    let upward = async {
        let end = deliver(greeting, b' ', From::Client, &mut to_server, &plan).await;
        match end {
            Some(end) => end,
            None => carry(&mut from_client, &mut to_server, From::Client, &plan).await,
        }
    };
    let downward = carry(&mut from_server, &mut to_client, From::Server, &plan);
    let end = tokio::select! {
        end = upward => end,
        end = downward => end,
    };
    if matches!(end, End::Orphaned) {
        drop((from_client, to_client));
        // Until PostgreSQL has had enough.
        let _ = tokio::io::copy_buf(&mut from_server, &mut tokio::io::sink()).await;
    }
}

async fn carry(
    source: &mut BufReader<OwnedReadHalf>,
    target: &mut OwnedWriteHalf,
    from: From,
    plan: &Mutex<Plan>,
) -> End {
    loop {
        let Ok(tag) = source.read_u8().await else { return End::Closed };
        let Some(message) = body(source, vec![tag]).await else { return End::Closed };
        if let Some(end) = deliver(message, tag, from, target, plan).await {
            return end;
        }
    }
}

/// Delivers a message or lets it meet its fate. Says how the connection ends, if it does.
async fn deliver(
    mut message: Vec<u8>,
    tag: u8,
    from: From,
    target: &mut OwnedWriteHalf,
    plan: &Mutex<Plan>,
) -> Option<End> {
    let fate = lock(plan).fate(from, tag);
    match fate {
        Some(Fault::Lost | Fault::Unanswered) => return Some(End::Closed),
        Some(Fault::Orphaned) => {
            if from == From::Client {
                let _ = target.write_all(&message).await;
            }
            return Some(End::Orphaned);
        }
        Some(Fault::Refused) => message = instead_of(tag).unwrap_or(message),
        Some(Fault::Late(delay)) => tokio::time::sleep(delay).await,
        None => {}
    }
    if target.write_all(&message).await.is_err() { Some(End::Closed) } else { None }
}

/// Reads the rest of a message, behind its tag if it has one.
async fn body(source: &mut (impl AsyncRead + Unpin), mut message: Vec<u8>) -> Option<Vec<u8>> {
    let length = source.read_u32().await.ok()?;
    message.extend_from_slice(&length.to_be_bytes());
    let begun = message.len();
    message.resize(begun + length as usize - 4, 0);
    source.read_exact(&mut message[begun..]).await.ok()?;
    Some(message)
}

/// A message that PostgreSQL refuses in the place of one with this tag.
fn instead_of(tag: u8) -> Option<Vec<u8>> {
    let (tag, body): (u8, &[u8]) = match tag {
        // Query
        b'Q' => (b'Q', b"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53200'; END $$\0"),
        // Parse, bind, describe, execute: a statement that is none.
        b'P' | b'B' | b'D' | b'E' => (b'P', b"\0this is no statement\0\0\0"),
        // Rows of a copy, and its end.
        b'd' | b'c' => (b'f', b"no more rows\0"),
        _ => return None,
    };
    let mut message = vec![tag];
    message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    Some(message)
}
