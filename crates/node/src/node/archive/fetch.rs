//! Fetches old envelopes from a node with an archive (docs/whisper-protocol.md "Archive").
//!
//! The mail server sends them as direct envelopes. Some mail servers do not say when the reply is complete;
//! then some seconds of silence are taken as its end.

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

use super::super::draft::MAX_STEP;
use super::super::{AddPeerError, DirectError, EnvelopeEvent, Envelopes, MineError, Node, Stopped};
use super::{ArchiveReply, archive_request};
use crate::new_key;

/// Fetches the envelopes of a query from a mail server, oldest first, at most 64 MiB. The node trusts the
/// server from then on. If the server is not connected, the node connects to it for as long as this takes.
/// `key` is made from the password of the archive.
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
/// let query = ArchiveQuery::since(SystemTime::now() - Duration::from_secs(3600));
/// let result = fetch_archive(&reader, &server.enode(), &key, &query).await?;
/// assert!(result.is_complete && result.envelopes.is_empty());
/// # reader.stop().await;
/// # server.stop().await;
/// # std::fs::remove_dir_all(data)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The server cannot be reached, or demands more work than can be done in a minute. A wrong password is not
/// reported: the result is empty.
pub async fn fetch_archive(
    node: &Node,
    server: &Enode,
    key: &SymmetricKey,
    query: &ArchiveQuery,
) -> Result<ArchiveResult, FetchArchiveError> {
    node.trust(server.id).await?;
    // A server that is connected already stays connected.
    let is_connected = node.peers().await?.iter().any(|peer| peer.id == server.id);
    let added = !is_connected && node.add_peer(*server).await?;
    let result = fetch(node, server, key, query).await;
    if added {
        // The result is valid even if the node has stopped.
        let _stopped = node.remove_peer(server.id).await;
    }
    result
}

/// Fetches from a server that is a trusted, static or connected peer.
async fn fetch(
    node: &Node,
    server: &Enode,
    key: &SymmetricKey,
    query: &ArchiveQuery,
) -> Result<ArchiveResult, FetchArchiveError> {
    let connected = timeout(CONNECT_TIME, node.wait_connected(server.id)).await;
    connected.map_err(|_| DirectError::NotConnected)??;
    let work = demanded_work(node, server).await?;
    let mut envelopes = node.envelopes();
    // The mail server of go-ethereum demands a signature. A new key identifies nobody.
    let request = query.request();
    let sealed = archive_request(&request, key, &new_key(), work).await?;
    let reply = node.request_archive(server.id, sealed).await?;
    Ok(collect(&mut envelopes, &request, reply).await)
}

/// The work of a request: what the server demands of envelopes, but at least the usual minimum.
async fn demanded_work(node: &Node, server: &Enode) -> Result<Work, FetchArchiveError> {
    let peers = node.peers().await?;
    let server = peers.iter().find(|peer| peer.id == server.id);
    let demanded = server.ok_or(DirectError::NotConnected)?.min_work;
    Ok(demanded.max(Work::DEFAULT_MINIMUM))
}

/// The envelopes to fetch from an archive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArchiveQuery {
    /// The time of the first envelope.
    pub from: SystemTime,
    /// The time of the last envelope.
    pub until: SystemTime,
    /// Topics, or none for all topics. Servers may send envelopes of other topics, too, because the request
    /// contains a Bloom filter.
    pub topics: Vec<Topic>,
}

impl ArchiveQuery {
    /// All envelopes from this time until now.
    pub fn since(from: SystemTime) -> Self {
        Self { from, until: SystemTime::now(), topics: Vec::new() }
    }

    fn request(&self) -> ArchiveRequest {
        let bloom = match self.topics.as_slice() {
            [] => Bloom::FULL,
            topics => Bloom::of(topics.iter().copied()),
        };
        // Our nodes round the time of an envelope down.
        let from = seconds(self.from).saturating_sub(MAX_STEP);
        ArchiveRequest { from, until: seconds(self.until), bloom }
    }
}

/// Whole seconds since 1970.
fn seconds(time: SystemTime) -> u32 {
    u32::try_from(UnixTime::from(time).as_secs()).unwrap_or(u32::MAX)
}

/// The envelopes that a mail server sent.
#[derive(Clone, Debug, Default)]
pub struct ArchiveResult {
    /// The envelopes, still encrypted, without duplicates.
    pub envelopes: Vec<Envelope>,
    /// Whether the server said that the reply is complete.
    pub is_complete: bool,
}

impl ArchiveResult {
    /// The messages that match these criteria, decrypted, oldest first. Takes up to some seconds of
    /// processor time.
    ///
    /// # Errors
    /// There are too many topics.
    pub fn decrypt(&self, criteria: Criteria) -> Result<Vec<Arc<Received>>, FilterError> {
        let mut filters = Filters::new(usize::MAX);
        // A mail server sends direct envelopes only.
        let id = filters.add(Instant::now(), Criteria { direct: true, ..criteria }, &mut OsRng)?;
        let mut messages = Vec::new();
        for envelope in &self.envelopes {
            filters.deliver(envelope, true);
            messages.extend(filters.poll(Instant::now(), &id).unwrap_or_default());
        }
        Ok(messages)
    }
}

/// Collects envelopes until the reply is complete, the server has disconnected, or it is silent.
async fn collect(
    envelopes: &mut Envelopes,
    request: &ArchiveRequest,
    reply: ArchiveReply,
) -> ArchiveResult {
    let mut collected = Collected::default();
    let complete = reply.complete();
    tokio::pin!(complete);
    let mut silence = time::Instant::now() + SILENCE;
    while collected.bytes < MAX_BYTES {
        tokio::select! {
            biased;
            next = timeout_at(silence, envelopes.next()) => match next {
                Ok(Some(event)) => {
                    if collected.add(event, request) {
                        silence = time::Instant::now() + SILENCE;
                    }
                }
                Ok(None) | Err(_) => break,
            },
            completed = &mut complete => {
                collected.result.is_complete = completed.is_ok();
                // All envelopes that were sent before are in the stream by now.
                while collected.bytes < MAX_BYTES
                    && let Some(Some(event)) = envelopes.next().now_or_never()
                {
                    collected.add(event, request);
                }
                break;
            }
        }
    }
    collected.finish()
}

/// The envelopes that have arrived so far.
#[derive(Default)]
struct Collected {
    result: ArchiveResult,
    hashes: HashSet<EnvelopeHash>,
    bytes: usize,
    has_missed: bool,
}

impl Collected {
    /// Keeps an envelope that the server may have sent, without duplicates. Returns whether it may be from
    /// the server. Other trusted peers can send direct envelopes, too, but these rarely match the request.
    fn add(&mut self, event: EnvelopeEvent, request: &ArchiveRequest) -> bool {
        match event {
            EnvelopeEvent::Envelope { envelope, direct: true } if request.matches(&envelope) => {
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

/// Why the archive could not be fetched.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FetchArchiveError {
    /// The server cannot be dialled.
    #[error(transparent)]
    AddPeer(#[from] AddPeerError),
    /// The request cannot be sent.
    #[error(transparent)]
    Direct(#[from] DirectError),
    /// The request has no proof of work.
    #[error(transparent)]
    Mine(#[from] MineError),
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Time to connect to the server.
const CONNECT_TIME: Duration = Duration::from_secs(20);

/// Silence that counts as the end of the reply.
const SILENCE: Duration = Duration::from_secs(5);

/// Maximum number of bytes to fetch.
const MAX_BYTES: usize = 64 * 1024 * 1024;
