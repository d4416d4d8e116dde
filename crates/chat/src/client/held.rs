//! Envelopes of devices that are not in the pinned list of their account, while a newer list is requested.
//!
//! Few are kept, and no account can use up all places: if there is no room, the account that has the most gives way.

use super::Delivery;
use super::exchange::RequestId;
use crate::address::{AccountId, Address};
use crate::envelope::Envelope;

/// An envelope that waits.
#[derive(Clone, Debug)]
pub(super) struct HeldEnvelope {
    pub(super) from: Address,
    /// Of the sender, if it is known.
    pub(super) registration_id: Option<u32>,
    pub(super) delivery: Delivery,
    pub(super) envelope: Envelope,
    /// Whether somebody has written it: requests to send something again are not worth a report.
    pub(super) is_written: bool,
    /// The last request that was made before it arrived: only answers to later ones decide about it.
    pub(super) after: RequestId,
    /// How many of those answers had no valid list.
    pub(super) answers: u8,
}

/// All envelopes that wait, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct HeldEnvelopes(Vec<HeldEnvelope>);

/// The held messages of one account.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    envelopes: usize,
    bytes: usize,
}

impl HeldEnvelope {
    fn len(&self) -> usize {
        let Envelope { content, body, .. } = &self.envelope;
        content.as_ref().or(body.as_ref()).map_or(0, Vec::len)
    }
}

impl HeldEnvelopes {
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldEnvelope> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut HeldEnvelope> {
        self.0.iter_mut()
    }

    pub(super) fn retain(&mut self, is_kept: impl FnMut(&HeldEnvelope) -> bool) {
        self.0.retain(is_kept);
    }

    pub(super) fn push_back(&mut self, held: HeldEnvelope) {
        self.0.push(held);
    }

    /// Removes the envelopes for which this is true.
    pub(super) fn take_if(
        &mut self,
        is_taken: impl Fn(&HeldEnvelope) -> bool,
    ) -> Vec<HeldEnvelope> {
        let (taken, kept) = std::mem::take(&mut self.0).into_iter().partition(is_taken);
        self.0 = kept;
        taken
    }

    /// Makes room for one more envelope. Returns those that must give way, the newest of the accounts that have the most. `None`: its own
    /// account has too much.
    pub(super) fn make_room(&mut self, new: &HeldEnvelope) -> Option<Vec<HeldEnvelope>> {
        let own = self.share(new.from.account);
        if own.envelopes >= MAX_HELD_OF_ONE || new.len() > MAX_HELD_BYTES {
            return None;
        }
        let mut displaced = Vec::new();
        loop {
            let lacks_places = self.0.len() >= MAX_HELD;
            let lacks_bytes = self.bytes().saturating_add(new.len()) > MAX_HELD_BYTES;
            if !lacks_places && !lacks_bytes {
                return Some(displaced);
            }
            let size = |share: Share| if lacks_bytes { share.bytes } else { share.envelopes };
            let needed = if lacks_bytes { new.len() } else { 1 };
            let shares =
                self.0.iter().map(|it| (size(self.share(it.from.account)), it.from.account));
            let (most, account) = shares.max()?;
            let newest = self.0.iter().rposition(|it| it.from.account == account)?;
            if account == new.from.account || most <= size(own).saturating_add(needed) {
                // Everybody has the same share. What was displaced before stays here.
                self.0.append(&mut displaced);
                return None;
            }
            displaced.push(self.0.remove(newest));
        }
    }

    fn share(&self, account: AccountId) -> Share {
        let of_account = self.0.iter().filter(|it| it.from.account == account);
        of_account.fold(Share::default(), |share, it| Share {
            envelopes: share.envelopes + 1,
            bytes: share.bytes.saturating_add(it.len()),
        })
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(HeldEnvelope::len).sum()
    }
}

/// Number of envelopes that wait for lists. With 129 envelopes that are not acknowledged, the server delivers nothing more.
pub(super) const MAX_HELD: usize = 64;

/// Number of envelopes that wait for the list of one account.
const MAX_HELD_OF_ONE: usize = 32;

/// Bytes of the envelopes that wait for lists.
const MAX_HELD_BYTES: usize = 4 << 20;
