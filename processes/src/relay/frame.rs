//! What the leader sends: items as JSON, deflated, in base64, cut into pieces that fit into a notification.
//!
//! A piece is `sender number piece pieces base64`. A sender's first frame, number 0, says everything; its frames have no
//! gap, so a receiver that misses one knows it.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::Symbol;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};

use crate::feed::FeedMessage;
use crate::tick_archive::Tick;

/// Bytes of base64 in a piece; with its numbers it stays below 8,000.
const PIECE_BYTES: usize = 7_800;
/// What a frame may have at most once it is inflated: more than any book.
const MAX_FRAME_BYTES: u64 = 16 * 1024 * 1024;
/// Pieces a frame may have at most.
const MAX_PIECES: usize = 1_024;

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// A message that changes a market's book.
    Book(Symbol, FeedMessage),
    /// A trade as the archive took it in.
    Trade(Tick),
}

/// Why a piece does not go on from what came before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Others are missing.
    #[error("pieces are missing")]
    Missing,
    /// It is none.
    #[error("not a piece of a frame: {0}")]
    Malformed(String),
}

fn malformed(what: impl ToString) -> FrameError {
    FrameError::Malformed(what.to_string())
}

/// The pieces of a frame.
///
/// # Errors
/// [`FrameError::Malformed`] when an item cannot be written.
pub(crate) fn pieces(sender: &str, number: u64, items: &[Item]) -> Result<Vec<String>, FrameError> {
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut deflated, items).map_err(malformed)?;
    deflated.flush().map_err(malformed)?;
    let text = STANDARD.encode(deflated.finish().map_err(malformed)?);
    let count = text.len().div_ceil(PIECE_BYTES);
    let mut pieces = Vec::with_capacity(count);
    let mut rest = text.as_str();
    for piece in 0..count {
        // Base64 is ASCII, so every place is a border.
        let (part, more) = rest.split_at(rest.len().min(PIECE_BYTES));
        pieces.push(format!("{sender} {number} {piece} {count} {part}"));
        rest = more;
    }
    Ok(pieces)
}

/// Puts pieces together.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    sender: String,
    /// Of the frame that is being put together, or comes next.
    number: u64,
    parts: Vec<String>,
}

impl Assembler {
    /// Takes a piece in; returns the frame that it completes. A sender is left out until it says everything.
    ///
    /// # Errors
    /// [`FrameError`]: it has to be started anew, with everything sent again.
    pub(crate) fn take(&mut self, payload: &str) -> Result<Option<Vec<Item>>, FrameError> {
        let mut fields = payload.splitn(5, ' ');
        let mut field = || fields.next().ok_or_else(|| malformed("fields are missing"));
        let sender = field()?;
        let number: u64 = field()?.parse().map_err(malformed)?;
        let piece: usize = field()?.parse().map_err(malformed)?;
        let count: usize = field()?.parse().map_err(malformed)?;
        let part = field()?;
        if count > MAX_PIECES {
            return Err(malformed("too many pieces"));
        }
        if sender != self.sender {
            if (number, piece) != (0, 0) {
                // One that has ceased to lead, or whose beginning was not heard.
                return Ok(None);
            }
            *self = Self { sender: sender.to_owned(), ..Self::default() };
        }
        if number != self.number || piece != self.parts.len() {
            return Err(FrameError::Missing);
        }
        self.parts.push(part.to_owned());
        if self.parts.len() < count {
            return Ok(None);
        }
        self.number = number + 1;
        let deflated = STANDARD.decode(std::mem::take(&mut self.parts).concat()).map_err(malformed)?;
        let mut json = Vec::new();
        DeflateDecoder::new(&*deflated).take(MAX_FRAME_BYTES).read_to_end(&mut json).map_err(malformed)?;
        serde_json::from_slice(&json).map(Some).map_err(malformed)
    }
}

#[cfg(test)]
mod tests {
    use event_store::announcements::MAX_PAYLOAD_BYTES;

    use super::*;
    use crate::feed::Recording;
    use crate::feed::{PassPlayback, Speed};

    fn items(count: usize) -> Vec<Item> {
        let recording = Recording::ALL[0];
        let start = "2030-01-01T00:00:00Z".parse().unwrap();
        let messages = PassPlayback::new(&recording, 1, start, Speed::REAL).unwrap();
        messages.take(count).map(|message| Item::Book(recording.symbol(), message.unwrap())).collect()
    }

    #[test]
    fn a_frame_of_any_size_arrives_as_it_was_sent_in_pieces_that_fit() {
        let mut assembler = Assembler::default();
        for (number, count) in [1, 0, 10, 2_000].into_iter().enumerate() {
            let items = items(count);
            let pieces = pieces("a", number as u64, &items).unwrap();
            assert!(pieces.iter().all(|piece| piece.len() <= MAX_PAYLOAD_BYTES));
            let mut arrived = None;
            for piece in &pieces {
                assert_eq!(arrived, None);
                arrived = assembler.take(piece).unwrap();
            }
            assert_eq!(arrived, Some(items));
        }
    }

    #[test]
    fn a_missing_piece_is_noticed_and_another_sender_begins_anew() {
        let large = pieces("a", 0, &items(2_000)).unwrap();
        assert!(large.len() > 2);
        let mut assembler = Assembler::default();
        // The first that is heard is in the middle of a frame.
        assert_eq!(assembler.take(&large[1]), Ok(None));
        assert_eq!(assembler.take(&large[0]), Ok(None));
        assert_eq!(assembler.take(&large[2]), Err(FrameError::Missing));

        let next = |sender, number| pieces(sender, number, &items(1)).unwrap().remove(0);
        let mut assembler = Assembler::default();
        assert!(assembler.take(&next("a", 0)).unwrap().is_some());
        assert!(assembler.take(&next("a", 1)).unwrap().is_some());
        assert!(assembler.take(&next("b", 0)).unwrap().is_some());
        assert_eq!(assembler.take(&next("a", 2)), Ok(None));
        assert!(assembler.take(&next("b", 1)).unwrap().is_some());
        assert_eq!(assembler.take(&next("b", 3)), Err(FrameError::Missing));
        assert!(matches!(assembler.take("b 2 0"), Err(FrameError::Malformed(_))));
    }
}
