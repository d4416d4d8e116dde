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

use super::MineError;
use crate::mine;

/// Seals a request with the key of the mail server's password, signs it, and works for it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use wormhole_node::shh::{Bloom, SymmetricKey, Topic, Work, archive::ArchiveRequest};
/// use wormhole_node::{new_key, request};
///
/// let bloom = Bloom::of([Topic::of_word("room")]);
/// let missed = ArchiveRequest { from: 1_575_000_000, until: 1_575_003_600, bloom };
/// let key = SymmetricKey::from_password("let me in");
/// let sealed = request(&missed, &key, &new_key(), Work::DEFAULT_MINIMUM).await?;
/// // To be sent with `Node::request_archive`; the server opens it.
/// assert_eq!(ArchiveRequest::open(&sealed, &key, Work::DEFAULT_MINIMUM)?.0, missed);
/// # Ok(())
/// # }
/// ```
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
