//! Sends the reply to one request from the archive, as fast as the peer reads it.

use std::pin::Pin;

use wormhole_whisper::shh::{Envelope, EnvelopeHash, archive::ArchiveRequest, packet};

use super::super::archive::{ArchiveStore, Page};

/// A reply that is being sent.
pub(super) struct ArchiveSender {
    archive: ArchiveStore,
    hash: EnvelopeHash,
    request: ArchiveRequest,
    last: Option<EnvelopeHash>,
    page: Pin<Box<dyn Future<Output = Option<Page>> + Send>>,
}

/// A part of a reply.
pub(super) struct ArchivePart {
    pub(super) envelopes: Vec<Envelope>,
    /// The packet that ends the reply, if this is the last part.
    pub(super) complete: Option<Vec<u8>>,
}

impl ArchiveSender {
    /// Starts the reply to `request`, whose envelope has this hash.
    pub(super) fn new(archive: ArchiveStore, hash: EnvelopeHash, request: ArchiveRequest) -> Self {
        let page = Box::pin(archive.clone().page(request.clone(), None));
        Self { archive, hash, request, last: None, page }
    }
}

/// Waits for the next part; forever if there is no reply. Cancelling loses nothing.
pub(super) async fn next(reply: &mut Option<ArchiveSender>) -> ArchivePart {
    let Some(it) = reply else { return std::future::pending().await };
    let page = it.page.as_mut().await;
    let (envelopes, after) = page.map_or((Vec::new(), None), |page| (page.envelopes, page.after));
    it.last = envelopes.last().map(Envelope::hash).or(it.last);
    if after.is_some() {
        it.page = Box::pin(it.archive.clone().page(it.request.clone(), after));
        return ArchivePart { envelopes, complete: None };
    }
    // A future must not be polled after it has ended.
    it.page = Box::pin(std::future::pending());
    let complete = packet::encode_archive_complete(it.hash, it.last);
    ArchivePart { envelopes, complete: Some(complete) }
}
