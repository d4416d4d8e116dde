//! The answer to a request, from the archive to one peer, as fast as the peer takes it.

use std::pin::Pin;

use wormhole_whisper::shh::{Envelope, EnvelopeHash, archive::ArchiveRequest, packet};

use super::super::archive::{Archive, Page};

/// An answer under way.
pub(super) struct ArchiveSender {
    archive: Archive,
    hash: EnvelopeHash,
    request: ArchiveRequest,
    last: Option<EnvelopeHash>,
    page: Pin<Box<dyn Future<Output = Option<Page>> + Send>>,
}

/// A part of the answer.
pub(super) struct ArchivePart {
    pub(super) envelopes: Vec<Envelope>,
    /// What ends the answer, if this is the last part.
    pub(super) done: Option<Vec<u8>>,
}

impl ArchiveSender {
    /// Begins to answer `request`, whose envelope has this hash.
    pub(super) fn new(archive: Archive, hash: EnvelopeHash, request: ArchiveRequest) -> Self {
        let page = Box::pin(archive.clone().page(request.clone(), None));
        Self { archive, hash, request, last: None, page }
    }
}

/// The next part; never comes if there is no answer. Cancelling loses nothing.
pub(super) async fn next(answering: &mut Option<ArchiveSender>) -> ArchivePart {
    let Some(it) = answering else { return std::future::pending().await };
    let page = it.page.as_mut().await;
    let (envelopes, after) = page.map_or((Vec::new(), None), |page| (page.envelopes, page.after));
    it.last = envelopes.last().map(Envelope::hash).or(it.last);
    if after.is_some() {
        it.page = Box::pin(it.archive.clone().page(it.request.clone(), after));
        return ArchivePart { envelopes, done: None };
    }
    // It must not be asked again once it has ended.
    it.page = Box::pin(std::future::pending());
    ArchivePart { envelopes, done: Some(packet::encode_archive_complete(it.hash, it.last)) }
}
