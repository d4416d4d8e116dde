//! Which links of this node listen to which mailbox, and how far each of them has got.
//!
//! All of it is forgotten when the process ends: clients that come back open their mailbox again.

use std::collections::HashMap;
use std::sync::Arc;

use wormhole_magic::mailbox::server::StoredMessage;

use crate::mailbox::inbox::{Event, Inbox};
use crate::mailbox::store::MailboxName;

/// The listening links of all mailboxes.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    mailboxes: HashMap<Arc<MailboxName>, Vec<Listener>>,
    /// The mailbox of each listening link.
    by_link: HashMap<u64, Arc<MailboxName>>,
}

/// One link that has a mailbox open.
#[derive(Debug)]
struct Listener {
    inbox: Arc<Inbox>,
    /// Position of the last message that the link has received. It gets each later one once, in order.
    received: i64,
}

/// An event on its way to a link.
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
    /// Number of listening links.
    pub(super) fn len(&self) -> usize {
        self.by_link.len()
    }

    /// The mailboxes that have listeners.
    pub(super) fn mailboxes(&self) -> impl Iterator<Item = &MailboxName> {
        self.mailboxes.keys().map(|name| &**name)
    }

    /// Adds a link, which has received everything up to `position`. A link listens to one mailbox at a time.
    pub(super) fn add(&mut self, name: MailboxName, inbox: &Arc<Inbox>, position: i64) {
        self.remove(inbox.number());
        let name = match self.mailboxes.get_key_value(&name) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(name),
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
            self.mailboxes.remove(&name);
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

    /// Gives unused memory back.
    pub(super) fn shrink(&mut self) {
        self.mailboxes.shrink_to(2 * self.mailboxes.len());
        self.by_link.shrink_to(2 * self.by_link.len());
    }
}
