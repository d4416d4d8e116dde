//! Notices that the rows are older than what this device has done since: somebody has restored a backup.
//!
//! Its sessions would use old keys again. So all are archived, and the next messages start others. The client cannot notice every
//! rollback by itself: only what the server says about later times shows one.

use rand_core::CryptoRngCore;

use super::store::Changes;
use super::{Client, ClientEvent, ClientOutput};
use crate::key::PublicKey;
use crate::time::{DAY, Timestamp};

impl Client {
    /// The server has delivered a message of ours with this timestamp.
    pub(super) fn check_receipt(
        &mut self,
        now: Timestamp,
        timestamp: Timestamp,
        rng: &mut impl CryptoRngCore,
    ) {
        // A time that cannot be is no evidence, and must not become the time of our next message.
        if timestamp > self.last_written && timestamp.since(now) < DAY {
            self.start_over(now, timestamp, rng);
        }
    }

    /// Reports the signed prekey that the server hands out for us. If we do not have it, this device has published it after
    /// the rows were copied, or somebody else has.
    pub fn check_published(
        &mut self,
        now: Timestamp,
        id: u32,
        key: &PublicKey,
        rng: &mut impl CryptoRngCore,
    ) {
        let known = self.prekeys.signed.get(&id);
        if !self.is_publishing() && known.is_none_or(|known| known.pair.public() != key) {
            self.start_over(now, self.last_written, rng);
        }
    }

    /// Archives all sessions and makes new prekeys. `last` is the timestamp of the last message that we know to be ours.
    fn start_over(&mut self, now: Timestamp, last: Timestamp, rng: &mut impl CryptoRngCore) {
        if std::mem::replace(&mut self.is_rolled_back, true) {
            return;
        }
        let mut changes = Changes::default();
        self.last_written = self.last_written.max(last);
        changes.put_last_written(self.last_written);
        for (address, record) in &mut self.sessions {
            record.archive();
            changes.put_session(*address, record, &mut self.archived_rows);
        }
        self.commit(changes, vec![ClientOutput::Event(ClientEvent::StoreIsOlder)]);
        self.prekeys.discard_signed();
        self.renew_keys(now, Changes::default(), rng);
    }
}
