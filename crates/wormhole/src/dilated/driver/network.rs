//! Handles changes of this computer's network, and links that are no longer needed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wormhole_kit::{Input, LinkId, Session};
use wormhole_magic::dilation::{DilationCommand, DilationError};
use wormhole_magic::transit::Hint;
use wormhole_magic::wormhole::Command as MailboxCommand;

use super::{DilationDriver, now};

impl DilationDriver {
    /// This computer has other addresses: connections from those that it has lost cannot be used any more, and new ones may
    /// succeed.
    pub(super) fn on_moved(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), DilationError> {
        // A new connection needs the mailbox.
        let _closed = self.mailbox.send(MailboxCommand::Hurry);
        for id in self.links.without_address(addresses) {
            self.links.reset(id);
            self.session.handle(now(), Input::Closed(id))?;
        }
        let hints = DilationCommand::AddressesChanged(self.hints());
        self.session.handle(now(), Input::Command(hints))
    }

    pub(super) fn hints(&self) -> Vec<Hint> {
        self.listeners.hints().into_iter().map(Hint::Direct).collect()
    }

    /// A link that is closed while the session runs is abandoned: nobody reads what is on the way. A reset tells the other
    /// end at once, even if it does not read.
    pub(super) fn close(&mut self, id: LinkId) {
        if self.leaving.is_some() {
            self.links.close(id);
        } else {
            self.links.reset(id);
        }
    }
}
