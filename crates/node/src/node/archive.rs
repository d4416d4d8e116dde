//! The archive that this node keeps for others, and the requests it has sent to the archives of other
//! nodes (docs/whisper-protocol.md "Archive").

use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use wormhole_kit::UnixTime;
use wormhole_whisper::{
    devp2p::key::NodeId,
    shh::{Envelope, EnvelopeHash, archive::ArchiveRequest},
};

use super::{ArchiveSettings, DirectError};

mod fetch;
mod request;
mod requests;
mod store;

pub use fetch::{ArchiveQuery, ArchiveResult, FetchArchiveError, fetch_archive};
pub use request::archive_request;
pub use requests::ArchiveReply;
use requests::SentRequests;
pub(super) use store::{ArchiveStore, Page};

/// The archive of this node, if it keeps one, and its requests to other archives.
#[derive(Debug)]
pub(super) struct Archive {
    server: Option<ArchiveServer>,
    requests: SentRequests,
}

/// An archive that answers requests.
#[derive(Debug)]
struct ArchiveServer {
    store: ArchiveStore,
    thread: JoinHandle<()>,
    settings: ArchiveSettings,
    /// Whether the last envelope was lost because the disk was too slow.
    is_overloaded: bool,
}

impl Archive {
    /// Serves an archive with these settings, if there is a store; sends requests in any case.
    pub(super) fn new(
        opened: Option<(ArchiveStore, JoinHandle<()>)>,
        settings: Option<ArchiveSettings>,
    ) -> Self {
        let server = opened.zip(settings).map(|((store, thread), settings)| ArchiveServer {
            store,
            thread,
            settings,
            is_overloaded: false,
        });
        Self { server, requests: SentRequests::default() }
    }

    /// Adds an envelope to the archive.
    pub(super) fn keep(&mut self, envelope: &Envelope) {
        let Some(server) = &mut self.server else { return };
        let lost = !server.store.keep(envelope);
        if lost && !server.is_overloaded {
            tracing::warn!(
                "envelopes arrive faster than the archive can write them: some are not stored"
            );
        }
        server.is_overloaded = lost;
    }

    /// Number of envelopes in the archive. `None` without an archive.
    pub(super) fn len(&self) -> Option<u64> {
        self.server.as_ref().map(|server| server.store.len())
    }

    /// Decrypts a request of a peer. `None` if there is no archive, or the request is invalid or too old
    /// to be answered.
    pub(super) fn open_request(
        &self,
        peer: &NodeId,
        envelope: &Envelope,
    ) -> Option<ArchiveRequest> {
        let settings = &self.server.as_ref()?.settings;
        let latest = UnixTime::from_secs(envelope.expiry().into()).saturating_add(MAX_LATE);
        if UnixTime::from(SystemTime::now()) > latest {
            return None;
        }
        match ArchiveRequest::open(envelope, &settings.key, settings.min_work) {
            Ok((request, _)) => Some(request),
            Err(error) => {
                tracing::debug!(%peer, %error, "archive request is invalid");
                None
            }
        }
    }

    /// Checks whether another request may be sent now.
    pub(super) fn can_request(&mut self) -> Result<(), DirectError> {
        self.requests.have_room()
    }

    /// Records a request that was sent. The reply completes when the mail server says so.
    pub(super) fn requested(&mut self, peer: NodeId, request: EnvelopeHash) -> ArchiveReply {
        self.requests.add(peer, request)
    }

    /// A mail server has sent all envelopes of a reply.
    pub(super) fn completed(
        &mut self,
        peer: NodeId,
        request: EnvelopeHash,
        last: Option<EnvelopeHash>,
    ) {
        self.requests.complete(peer, request, last);
    }

    /// A peer is not connected any more.
    pub(super) fn peer_gone(&mut self, peer: &NodeId) {
        self.requests.peer_gone(peer);
    }

    /// Waits until everything that was kept is written.
    pub(super) async fn close(self) {
        if let Some(ArchiveServer { store, thread, .. }) = self.server {
            drop(store);
            // A panic of the thread has been reported already.
            let _panicked = spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Time after its expiry for which a request is still answered.
const MAX_LATE: Duration = Duration::from_secs(20);
