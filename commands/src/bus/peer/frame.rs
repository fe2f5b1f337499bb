//! What nodes say to each other: frames with a length in front, each with any number of calls or answers as JSON.
//!
//! A frame carries all that was waiting, so the cost of a message is shared under load. An empty frame from a follower
//! asks whether the leader lives; an empty one comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_util::bytes::{BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::bus::call::Tried;
use crate::request::Request;

/// The version of everything in this folder, and of the requests and receipts in it.
pub(super) const PROTOCOL: u32 = 1;
/// The longest frame. The largest call of small commands takes a few MiB.
const LONGEST_FRAME: usize = 32 * 1024 * 1024;
/// The longest frame before the other side is known to be a node of the log.
const LONGEST_GREETING: usize = 4 * 1024;
/// A frame that has reached this size is sent; what else is waiting goes into the next.
const FULL_FRAME: usize = 256 * 1024;

/// A connection between two nodes.
pub(super) type Wire = Framed<TcpStream, LengthDelimitedCodec>;

/// For the time of the greeting, which anybody may send.
pub(super) fn wire(stream: TcpStream) -> Wire {
    // Small frames are not to wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection between nodes keeps small frames back");
    }
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(LONGEST_GREETING).new_codec())
}

/// The other side is a node.
pub(super) fn trust(wire: &mut Wire) {
    wire.codec_mut().set_max_frame_length(LONGEST_FRAME);
}

/// A call on its way to the leader.
#[derive(Debug, Serialize)]
pub(super) struct CallOut<'a> {
    pub(super) id: u64,
    pub(super) linked: bool,
    /// How long it has been waiting.
    pub(super) waited_ms: u64,
    /// How long the other side will wait for the answer.
    pub(super) within_ms: u64,
    pub(super) requests: &'a [Arc<Request>],
}

/// The same as it arrives.
#[derive(Debug, Deserialize)]
pub(super) struct CallIn {
    pub(super) id: u64,
    pub(super) linked: bool,
    pub(super) waited_ms: u64,
    pub(super) within_ms: u64,
    pub(super) requests: Vec<Arc<Request>>,
}

/// What came of a call: one a request, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CallAnswer {
    pub(super) id: u64,
    pub(super) tried: Vec<Tried>,
}

/// Puts messages together into frames.
#[derive(Debug, Default)]
pub(super) struct Packer {
    frame: BytesMut,
}

/// Why a message cannot be sent.
#[derive(Debug)]
pub(super) struct TooLong;

impl Packer {
    /// Adds a message. Gives a frame that is full now.
    pub(super) fn add(&mut self, message: &impl Serialize) -> Result<Option<Bytes>, TooLong> {
        let begins = self.frame.len();
        let written = serde_json::to_writer((&mut self.frame).writer(), message);
        if written.is_err() || self.frame.len() - begins > LONGEST_FRAME - FULL_FRAME {
            self.frame.truncate(begins);
            return Err(TooLong);
        }
        Ok(if self.frame.len() >= FULL_FRAME { self.take() } else { None })
    }

    /// What is not yet in a full frame.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.frame.is_empty()).then(|| self.frame.split().freeze())
    }
}

/// The messages of a frame.
pub(super) fn messages<'a, M: Deserialize<'a>>(
    frame: &'a [u8],
) -> impl Iterator<Item = serde_json::Result<M>> {
    serde_json::Deserializer::from_slice(frame).into_iter::<M>()
}
