//! Writing one file of rows: compressed, counted and digested on a thread that may block.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::BackupError;
use super::folder::{PartialFolder, create_file};
use super::manifest::BackedUpFile;
use super::rows::{LogCheck, Rows};

/// Pieces that wait for the disk at most; beyond them PostgreSQL waits.
const WAITING: usize = 16;
/// Bytes that are sent to the thread at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// A file that is being written. Dropped before its end, it is worth nothing and goes with its folder.
pub(super) struct FileWriter {
    pieces: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
    thread: JoinHandle<Result<(BackedUpFile, Option<LogCheck>), BackupError>>,
}

impl FileWriter {
    /// Begins a file of events, which are checked on from where `log` stands, or of other rows.
    pub(super) fn create(
        folder: &PartialFolder,
        name: String,
        log: Option<LogCheck>,
    ) -> Result<Self, BackupError> {
        let path = folder.path().join(&name);
        let file = create_file(&path).map_err(|error| BackupError::io("create", &path, error))?;
        let (pieces, received) = mpsc::channel(WAITING);
        let thread = tokio::task::spawn_blocking(move || write(name, path, file, received, Rows::new(log)));
        Ok(Self { pieces, piece: Vec::with_capacity(PIECE_BYTES), thread })
    }

    /// Takes more of the rows. A failure of the disk shows at the end.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> bool {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() < PIECE_BYTES {
            return true;
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.pieces.send(piece).await.is_ok()
    }

    /// Ends the file; it is durable when this returns.
    pub(super) async fn finish(self) -> Result<(BackedUpFile, Option<LogCheck>), BackupError> {
        // The thread has ended early only with an error, which comes next.
        let _ = self.pieces.send(self.piece).await;
        drop(self.pieces);
        match self.thread.await {
            Ok(written) => written,
            Err(error) => Err(BackupError::io("write", "the backup", io::Error::other(error))),
        }
    }
}

fn write(
    name: String,
    path: PathBuf,
    file: File,
    mut pieces: mpsc::Receiver<Vec<u8>>,
    mut rows: Rows,
) -> Result<(BackedUpFile, Option<LogCheck>), BackupError> {
    let failed = |error| BackupError::io("write", &path, error);
    let digesting = Digesting { file: BufWriter::new(file), sha256: Sha256::new(), bytes: 0 };
    let mut compressing = GzEncoder::new(digesting, Compression::fast());
    while let Some(piece) = pieces.blocking_recv() {
        rows.take(&piece).map_err(BackupError::SourceDamaged)?;
        compressing.write_all(&piece).map_err(failed)?;
    }
    let Digesting { file, sha256, bytes } = compressing.finish().map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    let sha256 = hex::encode(sha256.finalize());
    Ok((BackedUpFile { name, rows: rows.count(), bytes, sha256 }, rows.into_log()))
}

/// Digests what goes to the disk.
struct Digesting {
    file: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
