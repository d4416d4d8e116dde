//! Notifies other nodes that a mailbox has new messages.
//!
//! A notification contains no messages, only short hashes of mailbox names: a node that has listeners for one of them
//! reads the new messages from the shared database. If a notification is lost, no message is lost: a node also checks
//! all its open mailboxes after each reconnection, and every 10 seconds.

use std::collections::HashSet;

use sha1::{Digest, Sha1};

use super::hub::Hub;
use super::store::MailboxName;
use crate::database::notifications::{NodeId, Publisher, Receiver, payloads};

/// Notifies the other nodes, if the store does not do it with its commits.
pub(super) fn publish<'a>(publisher: &Publisher, changed: impl Iterator<Item = &'a MailboxName>) {
    publisher.publish(entries(changed));
}

/// The payloads of the notifications for these mailboxes.
pub(super) fn payloads_of<'a>(
    node: NodeId,
    changed: impl Iterator<Item = &'a MailboxName>,
) -> Vec<String> {
    payloads(node, entries(changed))
}

fn entries<'a>(changed: impl Iterator<Item = &'a MailboxName>) -> impl Iterator<Item = String> {
    changed.map(|name| format!("{:016x}", MailboxHash::of(name).0))
}

impl Receiver for Hub {
    fn receive(&self, entries: &[&str]) {
        self.fetch_changed(parse(entries));
    }

    fn check_all(&self) {
        self.fetch_all();
    }
}

/// A short hash of a mailbox name. Different names may have the same hash.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct MailboxHash(u64);

impl MailboxHash {
    /// The hash of a mailbox name.
    pub(super) fn of(name: &MailboxName) -> Self {
        let mut hash = Sha1::new();
        // With the length, `ab` + `c` and `a` + `bc` have different hashes.
        hash.update(u64::try_from(name.app.len()).unwrap_or_default().to_be_bytes());
        hash.update(&name.app);
        hash.update(&name.mailbox);
        let bytes = hash.finalize();
        Self(bytes.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte)))
    }
}

/// The mailboxes that may have new messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Changed {
    #[default]
    Nothing,
    Mailboxes(HashSet<MailboxHash>),
    Everything,
}

impl Changed {
    /// Whether no mailbox may have new messages.
    pub(super) const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Adds more mailboxes. If there are too many, all mailboxes must be checked.
    pub(super) fn merge(&mut self, more: Self) {
        match (&mut *self, more) {
            (_, Self::Nothing) | (Self::Everything, _) => {}
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Nothing, more @ Self::Mailboxes(_)) => *self = more,
            (Self::Mailboxes(keys), Self::Mailboxes(more)) => {
                keys.extend(more);
                if keys.len() > MAX_CHANGED {
                    *self = Self::Everything;
                }
            }
        }
    }
}

/// The mailboxes that a notification names. Invalid entries are ignored.
fn parse(entries: &[&str]) -> Changed {
    let key = |entry: &&str| u64::from_str_radix(entry, 16).ok().map(MailboxHash);
    let keys: HashSet<MailboxHash> = entries.iter().filter_map(key).collect();
    if keys.is_empty() { Changed::Nothing } else { Changed::Mailboxes(keys) }
}

/// The channel of the notifications in PostgreSQL, and the subject in NATS.
pub(super) const CHANNEL: &str = "wormhole_mailbox";

/// Maximum number of waiting hashes. If there are more, all mailboxes are checked instead.
const MAX_CHANGED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(app: &str, mailbox: &str) -> MailboxName {
        MailboxName { app: app.into(), mailbox: mailbox.into() }
    }

    #[test]
    fn a_parsed_notification_contains_the_changed_mailboxes() {
        let names: Vec<MailboxName> = (0..1000).map(|n| name("app", &n.to_string())).collect();
        let entries: Vec<String> = entries(names.iter()).collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let mut changed = Changed::Nothing;
        entries.chunks(100).for_each(|entries| changed.merge(parse(entries)));
        assert_eq!(changed, Changed::Mailboxes(names.iter().map(MailboxHash::of).collect()));
    }

    #[test]
    fn malformed_entries_are_ignored() {
        assert_eq!(parse(&["", "zz", "\u{0}", "11111111111111111"]), Changed::Nothing);
        assert_eq!(parse(&["", "1", "zz"]), Changed::Mailboxes([MailboxHash(1)].into()));
    }

    #[test]
    fn too_many_changed_mailboxes_become_everything() {
        let mut changed = Changed::Nothing;
        for _ in 0..30_000 {
            changed.merge(Changed::Mailboxes([MailboxHash(1)].into()));
        }
        assert_eq!(changed, Changed::Mailboxes([MailboxHash(1)].into()));
        for key in 0..30_000 {
            changed.merge(Changed::Mailboxes([MailboxHash(key)].into()));
        }
        assert_eq!(changed, Changed::Everything);
    }

    #[test]
    fn names_with_the_same_concatenation_have_different_hashes() {
        assert_ne!(MailboxHash::of(&name("ab", "c")), MailboxHash::of(&name("a", "bc")));
    }
}
