//! Search for the nodes nearest to an id: query the nearest known nodes, then the nearest nodes that they
//! return, until no nearer ones are found (discv4.md "Recursive Lookup").
//!
//! This is only the bookkeeping; [`super`] sends the requests.

use super::table::{BUCKET_SIZE, Neighbor, distance};
use crate::devp2p::key::NodeId;

/// A running lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    target: NodeId,
    digest: [u8; 32],
    /// Sorted by distance. At most [`MAX_CANDIDATES`].
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    distance: [u8; 32],
    node: Neighbor,
    state: CandidateState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum CandidateState {
    New,
    Asked,
    Done,
}

impl Lookup {
    /// Starts a lookup with the nodes that we know.
    pub(super) fn new(target: NodeId, known: impl IntoIterator<Item = Neighbor>) -> Self {
        let mut lookup = Self { target, digest: target.digest(), candidates: Vec::new() };
        known.into_iter().for_each(|node| lookup.add(node));
        lookup
    }

    /// The id that is searched for.
    pub(super) const fn target(&self) -> NodeId {
        self.target
    }

    /// Adds a node from a reply.
    pub(super) fn add(&mut self, node: Neighbor) {
        if self.candidates.iter().any(|known| known.node.id == node.id) {
            return;
        }
        let distance = distance(&node.id.digest(), &self.digest);
        let place = self.candidates.partition_point(|known| known.distance < distance);
        self.candidates.insert(place, Candidate { distance, node, state: CandidateState::New });
        self.candidates.truncate(MAX_CANDIDATES);
    }

    /// The next node to query, if another concurrent request is allowed.
    pub(super) fn next(&mut self) -> Option<Neighbor> {
        let asked = |candidate: &&Candidate| candidate.state == CandidateState::Asked;
        if self.candidates.iter().filter(asked).count() >= PARALLEL {
            return None;
        }
        let mut nearest = self.candidates.iter_mut().take(BUCKET_SIZE);
        let candidate = nearest.find(|candidate| candidate.state == CandidateState::New)?;
        candidate.state = CandidateState::Asked;
        Some(candidate.node)
    }

    /// The node has answered.
    pub(super) fn answered(&mut self, id: &NodeId) {
        for candidate in self.candidates.iter_mut().filter(|known| known.node.id == *id) {
            candidate.state = CandidateState::Done;
        }
    }

    /// The node did not answer, and is removed so that the next ones are queried.
    pub(super) fn failed(&mut self, id: &NodeId) {
        self.candidates.retain(|known| known.node.id != *id);
    }

    /// Whether no nodes are left to query.
    pub(super) fn is_done(&self) -> bool {
        let open = |candidate: &Candidate| candidate.state != CandidateState::Done;
        let waiting = self.candidates.iter().any(|known| known.state == CandidateState::Asked);
        !waiting && !self.candidates.iter().take(BUCKET_SIZE).any(open)
    }
}

/// Number of concurrent requests (discv4.md: α).
const PARALLEL: usize = 3;

/// Maximum number of candidates: the result, and spare ones in case some fail.
const MAX_CANDIDATES: usize = 4 * BUCKET_SIZE;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::devp2p::enode::Endpoint;

    fn node(n: u8) -> Neighbor {
        let endpoint = Endpoint { ip: Ipv4Addr::LOCALHOST.into(), tcp: 1, udp: 1 };
        Neighbor { id: NodeId([n; 64]), endpoint }
    }

    #[test]
    fn three_are_asked_at_a_time() {
        let mut lookup = Lookup::new(NodeId([0; 64]), (1..20).map(node));
        let asked: Vec<_> = std::iter::from_fn(|| lookup.next()).collect();
        assert_eq!(asked.len(), 3);
        lookup.answered(&asked[1].id);
        assert!(lookup.next().is_some());
        assert!(lookup.next().is_none());
    }

    #[test]
    fn the_search_ends_when_the_16_nearest_have_answered() {
        let mut lookup = Lookup::new(NodeId([0; 64]), (1..100).map(node));
        let mut asked = 0;
        while let Some(node) = lookup.next() {
            assert!(!lookup.is_done());
            asked += 1;
            match asked {
                1..=5 => lookup.failed(&node.id),
                _ => lookup.answered(&node.id),
            }
        }
        assert!(lookup.is_done());
        assert_eq!(asked, 16 + 5);
    }

    #[test]
    fn nearer_known_nodes_are_asked_first() {
        let mut lookup = Lookup::new(NodeId([0; 64]), []);
        assert!(lookup.is_done());
        let mut nodes: Vec<_> = (1..40).map(node).collect();
        nodes.sort_by_key(|node| distance(&node.id.digest(), &lookup.digest));
        for node in nodes.iter().rev().chain(&nodes) {
            lookup.add(*node);
        }
        assert_eq!(lookup.next(), Some(nodes[0]));
        assert_eq!(lookup.next(), Some(nodes[1]));
        assert_eq!(lookup.candidates.len(), 39);
    }
}
