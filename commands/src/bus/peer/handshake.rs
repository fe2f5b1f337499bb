//! How two nodes come to trust each other: both prove that they know the secret of the leader's lease, without showing it.
//!
//! The leader says a nonce; the follower answers with one of its own and a proof over both; the leader proves itself the
//! same way. So neither takes commands from a stranger nor believes the acknowledgement of one. What follows is neither
//! encrypted nor signed: the network between nodes is to be a private one.

use event_store::{LogId, Secret};
use futures::{SinkExt as _, StreamExt as _};
use hmac::{Hmac, Mac as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use thiserror::Error;
use tokio_util::bytes::Bytes;

use super::frame::{PROTOCOL, Wire, trust};

/// Why nodes do not come together.
#[derive(Debug, Error)]
pub(super) enum HandshakeError {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the other side hung up; it does not lead, or it knows another secret")]
    HungUp,
    #[error("the other side does not speak as a node of Daybook does: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error(
        "the other side speaks version {0} of the protocol; let all nodes run the same version of Daybook"
    )]
    Protocol(u32),
    #[error("the other side belongs to another log")]
    OtherLog,
    #[error("the other side does not know the secret of the lease")]
    Stranger,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    protocol: u32,
    log: LogId,
    nonce: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Introduction {
    protocol: u32,
    node: String,
    nonce: String,
    proof: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Welcome {
    proof: String,
}

/// The leader's side. Gives the name of the node that came in.
pub(super) async fn receive(wire: &mut Wire, log: LogId, secret: &Secret) -> Result<String, HandshakeError> {
    let own = nonce();
    say(wire, &Hello { protocol: PROTOCOL, log, nonce: own.clone() }).await?;
    let other: Introduction = hear(wire).await?;
    if other.protocol != PROTOCOL {
        return Err(HandshakeError::Protocol(other.protocol));
    }
    verify(secret, "follower", [&own, &other.nonce], &other.proof)?;
    say(wire, &Welcome { proof: prove(secret, "leader", [&other.nonce, &own]) }).await?;
    trust(wire);
    Ok(other.node)
}

/// The follower's side.
pub(super) async fn introduce(
    wire: &mut Wire,
    node: &str,
    log: LogId,
    secret: &Secret,
) -> Result<(), HandshakeError> {
    let hello: Hello = hear(wire).await?;
    if hello.protocol != PROTOCOL {
        return Err(HandshakeError::Protocol(hello.protocol));
    }
    if hello.log != log {
        return Err(HandshakeError::OtherLog);
    }
    let own = nonce();
    let proof = prove(secret, "follower", [&hello.nonce, &own]);
    say(wire, &Introduction { protocol: PROTOCOL, node: node.to_owned(), nonce: own.clone(), proof }).await?;
    let welcome: Welcome = hear(wire).await?;
    verify(secret, "leader", [&own, &hello.nonce], &welcome.proof)?;
    trust(wire);
    Ok(())
}

async fn say(wire: &mut Wire, message: &impl Serialize) -> Result<(), HandshakeError> {
    let frame = Bytes::from(serde_json::to_vec(message)?);
    Ok(wire.send(frame).await?)
}

async fn hear<M: DeserializeOwned>(wire: &mut Wire) -> Result<M, HandshakeError> {
    let frame = wire.next().await.ok_or(HandshakeError::HungUp)??;
    Ok(serde_json::from_slice(&frame)?)
}

fn nonce() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

fn mac(secret: &Secret, side: &str, nonces: [&str; 2]) -> Option<Hmac<Sha256>> {
    // Any length is a key; the type says otherwise.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal()).ok()?;
    for part in ["daybook peer", side, nonces[0], nonces[1]] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    Some(mac)
}

fn prove(secret: &Secret, side: &str, nonces: [&str; 2]) -> String {
    mac(secret, side, nonces).map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default()
}

fn verify(secret: &Secret, side: &str, nonces: [&str; 2], proof: &str) -> Result<(), HandshakeError> {
    let proof = hex::decode(proof).map_err(|_| HandshakeError::Stranger)?;
    let mac = mac(secret, side, nonces).ok_or(HandshakeError::Stranger)?;
    mac.verify_slice(&proof).map_err(|_| HandshakeError::Stranger)
}
