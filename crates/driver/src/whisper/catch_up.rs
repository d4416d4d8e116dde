//! What a reader does who was away: asks a mail server for what was missed (spec section 1.11).
//!
//! It answers with direct envelopes. Not every mail server says when it has sent all: then some
//! seconds of silence are the end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use wormhole_whisper::devp2p::key::NodeId;
use wormhole_whisper::shh::archive::ArchiveRequest;
use wormhole_whisper::shh::{Envelope, SymmetricKey, Work};

use super::{Answer, DirectError, Envelopes, Heard, MineError, Node, Stopped, new_key, request};

/// Fetches what was missed from a mail server, which the node calls and trusts from now on: oldest
/// first, at most 64 MiB of it. `key` is that of the archive's password.
///
/// # Errors
/// The server is not there. Whether it knew the password it does not say: then nothing comes.
pub async fn catch_up(
    node: &Node,
    server: NodeId,
    missed: &ArchiveRequest,
    key: &SymmetricKey,
) -> Result<CaughtUp, CatchUpError> {
    node.trust(server).await?;
    let mut heard = node.envelopes();
    // Signed, as the reference's server wants it, but by nobody in particular.
    let request = request(missed, key, &new_key(), Work::DEFAULT_MINIMUM).await?;
    let answer = ask(node, server, &request).await?;
    Ok(collect(&mut heard, answer).await)
}

/// What a mail server sent.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CaughtUp {
    /// The envelopes, still sealed.
    pub envelopes: Vec<Envelope>,
    /// Whether the server said that these are all.
    pub is_complete: bool,
}

/// Sends the request as soon as the server is connected.
async fn ask(node: &Node, server: NodeId, request: &Envelope) -> Result<Answer, CatchUpError> {
    let end = Instant::now() + CONNECT_TIME;
    loop {
        match node.request_archive(server, request.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(DirectError::NotConnected) if Instant::now() < end => sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes what comes until the server is done, gone or silent.
async fn collect(heard: &mut Envelopes, answer: Answer) -> CaughtUp {
    let mut caught_up = CaughtUp::default();
    let done = answer.done();
    tokio::pin!(done);
    let (mut is_over, mut has_missed, mut bytes) = (false, false, 0);
    let mut silence = Instant::now() + SILENCE;
    while bytes < MAX_BYTES {
        let until = if is_over { Instant::now() + AFTER_THE_END } else { silence };
        tokio::select! {
            biased;
            next = timeout_at(until, heard.next()) => match next {
                Ok(Some(Heard::Envelope { envelope, direct: true })) => {
                    bytes += envelope.encoded().len();
                    caught_up.envelopes.push(envelope);
                    silence = Instant::now() + SILENCE;
                }
                Ok(Some(Heard::Envelope { .. })) => {}
                Ok(Some(Heard::Missed(_))) => has_missed = true,
                Ok(None) | Err(_) => break,
            },
            answered = &mut done, if !is_over => {
                is_over = true;
                caught_up.is_complete = answered.is_ok();
            }
        }
    }
    caught_up.is_complete &= !has_missed;
    caught_up.envelopes.sort_by_key(Envelope::sent);
    caught_up
}

/// Why nothing was fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CatchUpError {
    /// The server cannot be asked.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// No work could be done for the request.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Time for the server to be reached.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// Time between two attempts to ask.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Silence after which a server that does not say that it is done is done.
const SILENCE: Duration = Duration::from_secs(5);

/// Time for what was sent before the end and is still on its way inside of this program.
const AFTER_THE_END: Duration = Duration::from_millis(100);

/// Most bytes that are fetched at once.
const MAX_BYTES: usize = 64 * 1024 * 1024;
