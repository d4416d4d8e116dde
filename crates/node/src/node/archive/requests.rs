//! Requests that this node has sent to mail servers, until the replies are complete.

use tokio::sync::oneshot;
use wormhole_whisper::{devp2p::key::NodeId, shh::EnvelopeHash};

use super::super::{ArchiveComplete, ArchiveError, DirectError};

/// The reply of a mail server, while it arrives.
#[derive(Debug)]
pub struct ArchiveReply(oneshot::Receiver<ArchiveComplete>);

impl ArchiveReply {
    /// Waits until the server says that the reply is complete. By then, everything that it sent is in
    /// [`Node::envelopes`](crate::Node::envelopes).
    ///
    /// # Errors
    /// The server has disconnected, so the reply may be incomplete.
    pub async fn complete(self) -> Result<ArchiveComplete, ArchiveError> {
        self.0.await.map_err(|_| ArchiveError::PeerGone)
    }
}

/// The requests whose replies are not complete yet.
#[derive(Debug, Default)]
pub(super) struct SentRequests(Vec<SentRequest>);

#[derive(Debug)]
struct SentRequest {
    peer: NodeId,
    hash: EnvelopeHash,
    done: oneshot::Sender<ArchiveComplete>,
}

impl SentRequests {
    /// Checks that another request may be sent.
    pub(super) fn have_room(&mut self) -> Result<(), DirectError> {
        self.0.retain(|request| !request.done.is_closed());
        if self.0.len() < MAX_REQUESTS { Ok(()) } else { Err(DirectError::Busy) }
    }

    /// Records a request.
    pub(super) fn add(&mut self, peer: NodeId, hash: EnvelopeHash) -> ArchiveReply {
        let (done, reply) = oneshot::channel();
        self.0.push(SentRequest { peer, hash, done });
        ArchiveReply(reply)
    }

    /// Completes the requests of this hash to this peer.
    pub(super) fn complete(
        &mut self,
        peer: NodeId,
        hash: EnvelopeHash,
        last: Option<EnvelopeHash>,
    ) {
        let matches = |it: &mut SentRequest| it.peer == peer && it.hash == hash;
        for request in self.0.extract_if(.., matches) {
            // The caller may be gone.
            let _unheard = request.done.send(ArchiveComplete { last });
        }
    }

    /// Ends all requests to a peer that has disconnected.
    pub(super) fn peer_gone(&mut self, peer: &NodeId) {
        self.0.retain(|request| request.peer != *peer);
    }
}

/// Maximum number of requests whose replies are not complete.
const MAX_REQUESTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: NodeId = NodeId([1; 64]);
    const HASH: EnvelopeHash = EnvelopeHash([2; 32]);

    #[tokio::test]
    async fn only_the_server_that_was_asked_completes_a_reply() {
        let mut requests = SentRequests::default();
        let reply = requests.add(SERVER, HASH);
        requests.complete(NodeId([9; 64]), HASH, None);
        requests.complete(SERVER, EnvelopeHash([9; 32]), None);
        let last = Some(EnvelopeHash([3; 32]));
        requests.complete(SERVER, HASH, last);
        assert_eq!(reply.complete().await, Ok(ArchiveComplete { last }));
    }

    #[tokio::test]
    async fn a_reply_ends_with_its_server() {
        let mut requests = SentRequests::default();
        let reply = requests.add(SERVER, HASH);
        requests.peer_gone(&NodeId([9; 64]));
        requests.peer_gone(&SERVER);
        assert_eq!(reply.complete().await, Err(ArchiveError::PeerGone));
    }

    #[test]
    fn replies_that_nobody_waits_for_make_room() {
        let mut requests = SentRequests::default();
        let mut replies: Vec<_> = (0..MAX_REQUESTS).map(|_| requests.add(SERVER, HASH)).collect();
        assert_eq!(requests.have_room(), Err(DirectError::Busy));
        replies.pop();
        assert_eq!(requests.have_room(), Ok(()));
    }
}
