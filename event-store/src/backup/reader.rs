//! Reading one file of rows and comparing it with what the manifest says.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::error::BackupError;
use super::manifest::BackedUpFile;
use super::rows::{LogCheck, Rows};

/// Bytes of rows that are handed on at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Reads the file to its end and hands its rows on, until `hand_on` says that nobody wants more. Rows are handed on before
/// the digest is known, so what is done with them must not last if this fails.
pub(super) fn read(
    folder: &Path,
    listed: &BackedUpFile,
    log: Option<LogCheck>,
    mut hand_on: impl FnMut(Vec<u8>, u64) -> bool,
) -> Result<Option<LogCheck>, BackupError> {
    let name = &listed.name;
    let path = folder.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BackupError::damaged(name, "it is missing"));
        }
        Err(error) => return Err(BackupError::io("read", &path, error)),
    };
    let failed = |error| BackupError::io("read", &path, error);
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes != listed.bytes {
        return Err(BackupError::damaged(name, format!("it has {bytes} bytes of {}", listed.bytes)));
    }
    let digesting = Digesting { file: BufReader::new(file), sha256: Sha256::new(), bytes: 0 };
    let mut decompressing = GzDecoder::new(digesting);
    let mut rows = Rows::new(log);
    let mut told = 0;
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = match decompressing.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // The decoder's own complaints have no number of the operating system.
            Err(error) if error.raw_os_error().is_some() => return Err(failed(error)),
            Err(error) => return Err(BackupError::damaged(name, error)),
        };
        piece.truncate(read);
        rows.take(&piece).map_err(|reason| BackupError::damaged(name, reason))?;
        let now = decompressing.get_ref().bytes;
        if !hand_on(piece, now - told) {
            return Ok(None);
        }
        told = now;
    }
    let mut digesting = decompressing.into_inner();
    io::copy(&mut digesting, &mut io::sink()).map_err(failed)?;
    if hex::encode(digesting.sha256.finalize()) != listed.sha256 {
        return Err(BackupError::damaged(name, "its digest is not the one in the manifest"));
    }
    if rows.count() != listed.rows {
        return Err(BackupError::damaged(name, format!("it has {} rows of {}", rows.count(), listed.rows)));
    }
    Ok(rows.into_log())
}

/// Digests what comes from the disk.
struct Digesting {
    file: BufReader<File>,
    sha256: Sha256,
    bytes: u64,
}

impl Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.sha256.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
