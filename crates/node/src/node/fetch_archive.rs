//! What a reader does who was away: asks a mail server for what was missed (docs/whisper-protocol.md "Mail server").
//!
//! It answers with direct envelopes. Not every mail server says when it has sent all: then some
//! seconds of silence are the end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use rand_core::OsRng;
use tokio::time::{self, timeout, timeout_at};
use wormhole_kit::UnixTime;
use wormhole_whisper::devp2p::enode::Enode;
use wormhole_whisper::shh::{
    Bloom, Envelope, EnvelopeHash, Filters, SymmetricKey, Topic, Work,
    archive::ArchiveRequest,
    filter::{Criteria, FilterError, Received},
};

use super::draft::MAX_STEP;
use super::{
    AddPeerError, ArchiveReply, DirectError, EnvelopeEvent, Envelopes, MineError, Node, Stopped,
    request,
};
use crate::new_key;

/// Fetches what was missed from a mail server, which the node trusts from now on, and calls if it is
/// not connected, for as long as this takes: oldest first, at most 64 MiB of it. `key` is that of the archive's password.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let data = std::env::temp_dir().join(format!("wormhole-doc-{}", std::process::id()));
/// use std::time::{Duration, SystemTime};
/// use wormhole_node::{ArchiveSettings, ArchiveQuery, Node, Settings, fetch_archive, shh::SymmetricKey};
///
/// let key = SymmetricKey::from_password("let me in");
/// let mut settings = Settings::loopback();
/// settings.archive = Some(ArchiveSettings::new(key.clone()));
/// settings.data = Some(data.clone());
/// let server = Node::start(settings).await?;
///
/// let reader = Node::start(Settings::loopback()).await?;
/// let missed = ArchiveQuery::since(SystemTime::now() - Duration::from_secs(3600));
/// let result = fetch_archive(&reader, &server.enode(), &key, &missed).await?;
/// assert!(result.is_complete && result.envelopes.is_empty());
/// # reader.stop().await;
/// # server.stop().await;
/// # std::fs::remove_dir_all(data)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The server is not there, or asks for more work than a minute allows. Whether it knew the password it
/// does not say: then nothing comes.
pub async fn fetch_archive(
    node: &Node,
    server: &Enode,
    key: &SymmetricKey,
    missed: &ArchiveQuery,
) -> Result<ArchiveResult, FetchArchiveError> {
    node.trust(server.id).await?;
    // Whoever is connected need not be called, and is not parted with afterwards.
    let is_here = node.peers().await?.iter().any(|peer| peer.id == server.id);
    let called = !is_here && node.add_peer(*server).await?;
    let result = ask(node, server, key, missed).await;
    if called {
        // What has come is good even if the node has stopped.
        let _stopped = node.remove_peer(server.id).await;
    }
    result
}

/// Asks a server that is called and trusted.
async fn ask(
    node: &Node,
    server: &Enode,
    key: &SymmetricKey,
    missed: &ArchiveQuery,
) -> Result<ArchiveResult, FetchArchiveError> {
    let connected = timeout(CONNECT_TIME, node.connected(server.id)).await;
    connected.map_err(|_| DirectError::NotConnected)??;
    let work = wanted_work(node, server).await?;
    let mut heard = node.envelopes();
    // Signed, as the reference's server wants it, but by nobody in particular.
    let wanted = missed.request();
    let request = request(&wanted, key, &new_key(), work).await?;
    let answer = node.request_archive(server.id, request).await?;
    Ok(collect(&mut heard, &wanted, answer).await)
}

/// The work of a request: what the server asks of envelopes, and no less than usual.
async fn wanted_work(node: &Node, server: &Enode) -> Result<Work, FetchArchiveError> {
    let peers = node.peers().await?;
    let server = peers.iter().find(|peer| peer.id == server.id);
    let asked = server.ok_or(DirectError::NotConnected)?.min_work;
    Ok(asked.max(Work::DEFAULT_MINIMUM))
}

/// What a reader has missed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ArchiveQuery {
    /// The first moment that counts.
    pub from: SystemTime,
    /// The last one.
    pub until: SystemTime,
    /// Topics; none for all. Servers send others, too, if they look alike.
    pub topics: Vec<Topic>,
}

impl ArchiveQuery {
    /// Everything from then until now.
    pub fn since(from: SystemTime) -> Self {
        Self { from, until: SystemTime::now(), topics: Vec::new() }
    }

    fn request(&self) -> ArchiveRequest {
        let bloom = match self.topics.as_slice() {
            [] => Bloom::FULL,
            topics => Bloom::of(topics.iter().copied()),
        };
        // Nodes of ours round down when an envelope was made.
        let from = seconds(self.from).saturating_sub(MAX_STEP);
        ArchiveRequest { from, until: seconds(self.until), bloom }
    }
}

/// Whole seconds since 1970.
fn seconds(time: SystemTime) -> u32 {
    u32::try_from(UnixTime::from(time).as_secs()).unwrap_or(u32::MAX)
}

/// What a mail server sent.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ArchiveResult {
    /// The envelopes, still sealed, each of them once.
    pub envelopes: Vec<Envelope>,
    /// Whether the server said that these are all.
    pub is_complete: bool,
}

impl ArchiveResult {
    /// What the key opens and whoever asks wants to read, oldest first. Takes up to some seconds of a
    /// processor.
    ///
    /// # Errors
    /// There are too many topics.
    pub fn opened(&self, criteria: Criteria) -> Result<Vec<Arc<Received>>, FilterError> {
        let mut filters = Filters::new(usize::MAX);
        // What a mail server sends is always direct.
        let id = filters.add(Instant::now(), Criteria { direct: true, ..criteria }, &mut OsRng)?;
        let mut opened = Vec::new();
        for envelope in &self.envelopes {
            filters.deliver(envelope, true);
            opened.extend(filters.poll(Instant::now(), &id).unwrap_or_default());
        }
        Ok(opened)
    }
}

/// Takes what comes until the server is done, gone or silent.
async fn collect(
    heard: &mut Envelopes,
    wanted: &ArchiveRequest,
    answer: ArchiveReply,
) -> ArchiveResult {
    let mut collected = Collected::default();
    let done = answer.done();
    tokio::pin!(done);
    let mut silence = time::Instant::now() + SILENCE;
    while collected.bytes < MAX_BYTES {
        tokio::select! {
            biased;
            next = timeout_at(silence, heard.next()) => match next {
                Ok(Some(heard)) => {
                    if collected.take(heard, wanted) {
                        silence = time::Instant::now() + SILENCE;
                    }
                }
                Ok(None) | Err(_) => break,
            },
            answered = &mut done => {
                collected.result.is_complete = answered.is_ok();
                // What was sent before the end is there by now.
                while collected.bytes < MAX_BYTES
                    && let Some(Some(heard)) = heard.next().now_or_never()
                {
                    collected.take(heard, wanted);
                }
                break;
            }
        }
    }
    collected.finish()
}

/// What has come so far.
#[derive(Default)]
struct Collected {
    result: ArchiveResult,
    hashes: HashSet<EnvelopeHash>,
    bytes: usize,
    has_missed: bool,
}

impl Collected {
    /// Keeps it, if it may be of the server and is new. Returns whether it may be: other peers that are
    /// trusted can send something to us alone, too, but hardly what was missed.
    fn take(&mut self, heard: EnvelopeEvent, wanted: &ArchiveRequest) -> bool {
        match heard {
            EnvelopeEvent::Envelope { envelope, direct: true } if wanted.wants(&envelope) => {
                self.bytes += envelope.encoded().len();
                if self.hashes.insert(envelope.hash()) {
                    self.result.envelopes.push(envelope);
                }
                return true;
            }
            EnvelopeEvent::Envelope { .. } => {}
            EnvelopeEvent::Missed(_) => self.has_missed = true,
        }
        false
    }

    fn finish(self) -> ArchiveResult {
        let mut result = self.result;
        result.is_complete &= !self.has_missed && self.bytes < MAX_BYTES;
        result.envelopes.sort_by_key(Envelope::sent);
        result
    }
}

/// Why nothing was fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchArchiveError {
    /// The server cannot be called.
    #[error(transparent)]
    AddPeer(#[from] AddPeerError),
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

/// Silence after which a server that does not say that it is done is done.
const SILENCE: Duration = Duration::from_secs(5);

/// Most bytes that are fetched at once.
const MAX_BYTES: usize = 64 * 1024 * 1024;
