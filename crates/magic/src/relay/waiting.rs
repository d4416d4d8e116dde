//! Connections that wait for their partners.
//!
//! It knows neither time nor moods; the relay handles the results. Spec: transit.rst "Relay".

use std::collections::BTreeMap;

use wormhole_kit::LinkId;

use super::handshake::{Handshake, Side, Token};

/// Waiting connections by token, oldest first.
#[derive(Debug, Default)]
pub(super) struct WaitingList {
    by_token: BTreeMap<Token, Vec<(LinkId, Option<Side>)>>,
    count: usize,
}

/// The result of a new connection.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum MatchResult {
    /// No match. `evicted` has waited longest of too many and must be closed.
    Waiting { evicted: Option<LinkId> },
    /// `partner` matches; other connections that wait for the token are redundant. All of them are removed.
    Matched { partner: LinkId, redundant: Vec<LinkId> },
}

impl WaitingList {
    /// An empty list.
    pub(super) const fn new() -> Self {
        Self { by_token: BTreeMap::new(), count: 0 }
    }

    /// Number of waiting connections.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Finds the partner of a new connection, or adds it to the list.
    pub(super) fn add_or_match(&mut self, id: LinkId, handshake: &Handshake) -> MatchResult {
        let waiting = self.by_token.entry(handshake.token).or_insert_with(|| Vec::with_capacity(1));
        let fits = |(_, side): &(LinkId, Option<Side>)| {
            handshake.fits(&Handshake { token: handshake.token, side: *side })
        };
        if let Some(found) = waiting.iter().position(fits) {
            let (partner, _) = waiting.remove(found);
            let redundant: Vec<_> = waiting.iter().map(|(id, _)| *id).collect();
            self.count -= 1 + redundant.len();
            self.by_token.remove(&handshake.token);
            return MatchResult::Matched { partner, redundant };
        }
        waiting.push((id, handshake.side));
        self.count += 1;
        let evicted = (waiting.len() > MAX_PER_TOKEN).then(|| waiting.remove(0).0);
        self.count -= usize::from(evicted.is_some());
        MatchResult::Waiting { evicted }
    }

    /// Removes a connection, if it is waiting.
    pub(super) fn remove(&mut self, id: LinkId, handshake: &Handshake) {
        let Some(waiting) = self.by_token.get_mut(&handshake.token) else { return };
        let before = waiting.len();
        waiting.retain(|(waiter, _)| *waiter != id);
        self.count -= before - waiting.len();
        if waiting.is_empty() {
            self.by_token.remove(&handshake.token);
        }
    }
}

/// Maximum number of connections of one side that wait for one token. A client has one or two, and the search for
/// a partner must stay short.
const MAX_PER_TOKEN: usize = 8;
