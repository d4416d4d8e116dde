//! Requests to a mail server, ready to be sent.

use std::time::{Duration, SystemTime};

use rand_core::OsRng;
use wormhole_whisper::{
    devp2p::key::PrivateKey,
    shh::{
        DEFAULT_TTL, Draft, Envelope, SymmetricKey, Topic, Work,
        archive::ArchiveRequest,
        message::{Padding, Sealing, compose},
    },
};

use super::{MineError, mine};

/// Seals a request with the key of the mail server's password, signs it, and works for it.
///
/// # Errors
/// The work that the server asks for takes too long.
pub async fn request(
    request: &ArchiveRequest,
    key: &SymmetricKey,
    signer: &PrivateKey,
    min_work: Work,
) -> Result<Envelope, MineError> {
    let (payload, sealing) = (request.encode(), Sealing::Symmetric);
    // Fails only for payloads of megabytes.
    let plaintext = compose(&payload, &Padding::Block, sealing, Some(signer), &mut OsRng);
    let data = key.seal(&plaintext.unwrap_or_default(), &mut OsRng);
    // The topic is seen by the server alone, which does not look at it.
    let draft = Draft::new(SystemTime::now().into(), DEFAULT_TTL, Topic::default(), data);
    mine(draft, Some(min_work), TIME).await
}

/// Longest search for its work.
const TIME: Duration = Duration::from_secs(60);
