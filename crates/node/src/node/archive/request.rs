//! Creates the encrypted request to a mail server.

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

use super::super::MineError;
use crate::mine;

/// Encrypts a request with the key of the mail server's password, signs it, and adds proof of work.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use wormhole_node::shh::{Bloom, SymmetricKey, Topic, Work, archive::ArchiveRequest};
/// use wormhole_node::{archive_request, new_key};
///
/// let bloom = Bloom::of([Topic::of_word("room")]);
/// let query = ArchiveRequest { from: 1_575_000_000, until: 1_575_003_600, bloom };
/// let key = SymmetricKey::from_password("let me in");
/// let sealed = archive_request(&query, &key, &new_key(), Work::DEFAULT_MINIMUM).await?;
/// // Send it with `Node::request_archive`. The server decrypts it:
/// assert_eq!(ArchiveRequest::open(&sealed, &key, Work::DEFAULT_MINIMUM)?.0, query);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The work that the server demands takes too long.
pub async fn archive_request(
    request: &ArchiveRequest,
    key: &SymmetricKey,
    signer: &PrivateKey,
    min_work: Work,
) -> Result<Envelope, MineError> {
    let (payload, sealing) = (request.encode(), Sealing::Symmetric);
    // This fails only for payloads of megabytes.
    let plaintext = compose(&payload, &Padding::Block, sealing, Some(signer), &mut OsRng);
    let data = key.seal(&plaintext.unwrap_or_default(), &mut OsRng);
    // Only the server sees the topic, and ignores it.
    let draft = Draft::new(SystemTime::now().into(), DEFAULT_TTL, Topic::default(), data);
    mine(draft, Some(min_work), SEARCH_TIME).await
}

/// Longest search for the proof of work.
const SEARCH_TIME: Duration = Duration::from_secs(60);
