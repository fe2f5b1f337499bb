//! A connection over which messages go ahead of their answers.
//!
//! A batch is statements, rows and their end. Sent one by one, each waits for the answer to the one before; here all go at
//! once and PostgreSQL works through them without waiting for anybody. The messages are those of its protocol 3.0, see
//! "Frontend/Backend Protocol" in its manual. A statement that follows a failed one is skipped with all others of
//! its query, and rows that come for a `COPY` that was never begun are ignored.

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Message};
use postgres_protocol::message::frontend;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Room for what PostgreSQL answers to a batch.
const RECEIVED_BYTES: usize = 8_192;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// PostgreSQL has answered with an error.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// An error as PostgreSQL tells it.
#[derive(Debug, Default, thiserror::Error)]
#[error("{message} ({code})")]
pub(super) struct Refusal {
    /// Whether the session ends with it.
    pub(super) ends_session: bool,
    /// SQLSTATE.
    pub(super) code: String,
    pub(super) message: String,
    pub(super) constraint: Option<String>,
}

impl WireError {
    fn of_greeting(error: tokio_postgres::Error) -> Self {
        if let Some(answer) = error.as_db_error() {
            return Self::Refused(Refusal {
                ends_session: true,
                code: answer.code().code().to_owned(),
                message: answer.message().to_owned(),
                constraint: None,
            });
        }
        let kind = error.to_string();
        let cause = error.into_source().map(|source| format!(": {source}")).unwrap_or_default();
        Self::Broken(io::Error::other(kind + &cause))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// See the module.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    received: BytesMut,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Connects as `options` say, without TLS, as sqlx does here.
    pub(super) async fn connect(options: &PgConnectOptions) -> Result<Self, WireError> {
        let mut stream = open(options).await?;
        // The library greets and authenticates over the borrowed stream, and is done with it then.
        let greeted = config(options).connect_raw(&mut stream, tokio_postgres::NoTls).await.map(drop);
        greeted.map_err(WireError::of_greeting)?;
        Ok(Self { stream, received: BytesMut::with_capacity(RECEIVED_BYTES) })
    }

    /// Sends messages without waiting for their answers.
    pub(super) async fn send(&mut self, messages: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(messages).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends statements as one query without waiting for its answer.
    pub(super) async fn send_query(&mut self, statements: &str) -> Result<(), WireError> {
        let mut message = BytesMut::new();
        frontend::query(statements, &mut message)?;
        self.send(&message).await
    }

    /// Waits until so many statements of the query to be answered next are done.
    pub(super) async fn statements(&mut self, count: usize) -> Result<(), WireError> {
        let mut done = 0;
        while done < count {
            match self.next().await? {
                Message::CommandComplete(_) => done += 1,
                Message::ErrorResponse(error) => return Err(self.refused(error.fields()).await),
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits for the end of the query to be answered next.
    pub(super) async fn answered(&mut self) -> Result<(), WireError> {
        self.rows().await.map(drop)
    }

    /// Waits for the end of the next two queries. The second commits what the first has begun; if that was refused, so is
    /// the commit, and the first refusal is the one that says why.
    pub(super) async fn answered_both(&mut self) -> Result<(), WireError> {
        match self.answered().await {
            Err(WireError::Refused(refusal)) if !refusal.ends_session => {
                self.answered_anyhow().await?;
                Err(WireError::Refused(refusal))
            }
            Err(error) => Err(error),
            Ok(()) => self.answered().await,
        }
    }

    /// Waits for the end of the query to be answered next, whether or not it was refused.
    pub(super) async fn answered_anyhow(&mut self) -> Result<(), WireError> {
        match self.answered().await {
            Err(WireError::Refused(refusal)) if !refusal.ends_session => Ok(()),
            other => other,
        }
    }

    /// Sends a query and gives back the rows it is answered with.
    pub(super) async fn query(&mut self, statements: &str) -> Result<Vec<Vec<Option<String>>>, WireError> {
        self.send_query(statements).await?;
        self.rows().await
    }

    /// Ends the connection in order.
    pub(super) async fn close(mut self) -> io::Result<()> {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        self.stream.write_all(&message).await?;
        self.stream.shutdown().await
    }

    async fn rows(&mut self) -> Result<Vec<Vec<Option<String>>>, WireError> {
        let mut rows = Vec::new();
        loop {
            match self.next().await? {
                Message::DataRow(row) => rows.push(texts(&row)?),
                Message::ErrorResponse(error) => return Err(self.refused(error.fields()).await),
                Message::ReadyForQuery(_) => return Ok(rows),
                _ => {}
            }
        }
    }

    /// Reads an error, and the rest of the answer unless the session ends with it.
    async fn refused(&mut self, fields: ErrorFields<'_>) -> WireError {
        let refusal = match Refusal::read(fields) {
            Ok(refusal) => refusal,
            Err(error) => return WireError::Broken(error),
        };
        if !refusal.ends_session
            && let Err(error) = self.rest().await
        {
            return WireError::Broken(error);
        }
        WireError::Refused(refusal)
    }

    async fn rest(&mut self) -> io::Result<()> {
        while !matches!(self.next().await?, Message::ReadyForQuery(_)) {}
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.received)? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Refusal {
    fn read(mut fields: ErrorFields<'_>) -> io::Result<Self> {
        let mut refusal = Self::default();
        while let Some(field) = fields.next()? {
            let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'V' => refusal.ends_session = matches!(field.value_bytes(), b"FATAL" | b"PANIC"),
                b'C' => refusal.code = value(),
                b'M' => refusal.message = value(),
                b'n' => refusal.constraint = Some(value()),
                _ => {}
            }
        }
        Ok(refusal)
    }
}

fn texts(row: &DataRowBody) -> io::Result<Vec<Option<String>>> {
    let text = |range: Option<std::ops::Range<usize>>| {
        Ok(range.map(|range| String::from_utf8_lossy(&row.buffer()[range]).into_owned()))
    };
    row.ranges().map(text).collect()
}

async fn open(options: &PgConnectOptions) -> io::Result<Box<dyn Stream>> {
    let (host, port) = (options.get_host(), options.get_port());
    let folder = options.get_socket().map(|folder| folder.display().to_string());
    if let Some(folder) = folder.or_else(|| host.starts_with('/').then(|| host.to_owned())) {
        return Ok(Box::new(UnixStream::connect(format!("{folder}/.s.PGSQL.{port}")).await?));
    }
    // A URL has the address of IPv6 in brackets.
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

fn config(options: &PgConnectOptions) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.user(options.get_username());
    // The options give the password away in no other form.
    if let Some(password) = options.to_url_lossy().password() {
        config.password(percent_encoding::percent_decode_str(password).collect::<Vec<u8>>());
    }
    options.get_database().map(|database| config.dbname(database));
    options.get_application_name().map(|name| config.application_name(name));
    options.get_options().map(|options| config.options(options));
    config
}
