//! The links of this node that listen to each mailbox, and the position up to which each link has received messages.
//!
//! This is not stored: after a restart, clients open their mailboxes again.

use std::collections::HashMap;
use std::sync::Arc;

use wormhole_magic::mailbox::server::StoredMessage;

use crate::mailbox::inbox::{Event, Inbox};
use crate::mailbox::store::{Cursor, MailboxName};
use crate::mailbox::wake::{Changed, MailboxHash};

/// The listening links of all mailboxes.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    mailboxes: HashMap<Arc<MailboxName>, Vec<Listener>>,
    /// The mailbox of each listening link.
    by_link: HashMap<u64, Arc<MailboxName>>,
    /// Finds the mailboxes of a notification; `None` if there are no other nodes. Two mailboxes may have the same hash.
    by_key: Option<HashMap<MailboxHash, Vec<Arc<MailboxName>>>>,
}

/// One link that has a mailbox open.
#[derive(Debug)]
struct Listener {
    inbox: Arc<Inbox>,
    /// Position of the last message that the link has received. It receives each later message once, in order.
    received: i64,
}

/// An event for a link.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) inbox: Arc<Inbox>,
    pub(super) event: Event,
}

impl Delivery {
    /// Puts the event into the link's inbox.
    pub(super) fn deliver(self) {
        self.inbox.push(self.event);
    }
}

impl Listeners {
    /// Creates an empty set. Notifications are handled only if other nodes share the store.
    pub(super) fn new(is_shared: bool) -> Self {
        Self { by_key: is_shared.then(HashMap::new), ..Self::default() }
    }

    /// The number of listening links.
    pub(super) fn len(&self) -> usize {
        self.by_link.len()
    }

    /// The mailboxes that have listeners.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &Arc<MailboxName>> {
        self.mailboxes.keys()
    }

    /// Adds a link, which has received everything up to `position`. A link listens to one mailbox at a time.
    pub(super) fn add(&mut self, name: MailboxName, inbox: &Arc<Inbox>, position: i64) {
        self.remove(inbox.number());
        let name = match self.mailboxes.get_key_value(&name) {
            Some((known, _)) => Arc::clone(known),
            None => self.add_mailbox(name),
        };
        let listeners = self.mailboxes.entry(Arc::clone(&name)).or_default();
        listeners.reserve_exact(1);
        listeners.push(Listener { inbox: Arc::clone(inbox), received: position });
        self.by_link.insert(inbox.number(), name);
    }

    /// Removes a link.
    pub(super) fn remove(&mut self, link: u64) {
        let Some(name) = self.by_link.remove(&link) else { return };
        let Some(listeners) = self.mailboxes.get_mut(&name) else { return };
        listeners.retain(|listener| listener.inbox.number() != link);
        if listeners.is_empty() {
            self.remove_mailbox(&name);
        }
    }

    /// Removes all links of a mailbox and returns them.
    pub(super) fn remove_all(&mut self, name: &MailboxName) -> Vec<Arc<Inbox>> {
        let listeners = self.mailboxes.get(name).into_iter().flatten();
        let links: Vec<Arc<Inbox>> =
            listeners.map(|listener| Arc::clone(&listener.inbox)).collect();
        links.iter().for_each(|link| self.remove(link.number()));
        links
    }

    fn add_mailbox(&mut self, name: MailboxName) -> Arc<MailboxName> {
        let key = self.by_key.is_some().then(|| MailboxHash::of(&name));
        let name = Arc::new(name);
        if let (Some(by_key), Some(key)) = (&mut self.by_key, key) {
            by_key.entry(key).or_default().push(Arc::clone(&name));
        }
        name
    }

    fn remove_mailbox(&mut self, name: &MailboxName) {
        self.mailboxes.remove(name);
        let Some(by_key) = &mut self.by_key else { return };
        let key = MailboxHash::of(name);
        if let Some(names) = by_key.get_mut(&key) {
            names.retain(|other| **other != *name);
            if names.is_empty() {
                by_key.remove(&key);
            }
        }
    }

    /// The mailboxes with listeners among those that have changed.
    pub(super) fn changed(&self, changed: &Changed) -> Vec<Arc<MailboxName>> {
        match changed {
            Changed::Nothing => Vec::new(),
            Changed::Mailboxes(keys) => {
                let names = |key| self.by_key.as_ref()?.get(key);
                let mut names: Vec<_> = keys.iter().filter_map(names).flatten().cloned().collect();
                names.sort_unstable();
                names.dedup();
                names
            }
            Changed::Everything => self.mailboxes.keys().cloned().collect(),
        }
    }

    /// Sends a message to all listeners of a mailbox that have not received it. Its author gets it as an
    /// answer instead.
    pub(super) fn send(
        &mut self,
        name: &MailboxName,
        position: i64,
        message: &Arc<StoredMessage>,
        author: Option<u64>,
        deliveries: &mut Vec<Delivery>,
    ) {
        for listener in self.mailboxes.get_mut(name).into_iter().flatten() {
            if listener.received >= position {
                continue;
            }
            listener.received = position;
            if Some(listener.inbox.number()) != author {
                let event = Event::Message(Arc::clone(message));
                deliveries.push(Delivery { inbox: Arc::clone(&listener.inbox), event });
            }
        }
    }

    /// The position up to which all listeners of a mailbox have received messages; `None` if it has no listeners.
    pub(super) fn cursor(&self, name: &MailboxName) -> Option<Cursor> {
        let (name, listeners) = self.mailboxes.get_key_value(name)?;
        let after = listeners.iter().map(|listener| listener.received).min()?;
        Some(Cursor { name: Arc::clone(name), after })
    }

    /// Frees unused memory.
    pub(super) fn shrink(&mut self) {
        self.mailboxes.shrink_to(2 * self.mailboxes.len());
        self.by_link.shrink_to(2 * self.by_link.len());
        if let Some(by_key) = &mut self.by_key {
            by_key.shrink_to(2 * by_key.len());
        }
    }
}
