//! The mailbox at the server: opens it, adds messages until the server confirms them, and closes it.
//!
//! It does not interpret messages. As with the nameplate, [`MailboxClient::resume`] repeats messages that could
//! not be sent while disconnected.

use std::collections::VecDeque;

use crate::mailbox::{ClientMessage, Mood};

/// Our use of the mailbox.
///
/// | state | input | sends | next |
/// |---|---|---|---|
/// | Unknown | add | | Unknown |
/// | Unknown | found | open, add.. | Open |
/// | Unknown | close | | Closed when found |
/// | Closed when found | found | close | Closing |
/// | Open | add | add | Open |
/// | Open | echo | | Open, one message less to repeat |
/// | Open | resume | open, add.. | Open |
/// | Open | close | close | Closing |
/// | Closing | resume | [open, add..], close | Closing |
/// | Closing | closed | | Closed |
#[derive(Debug)]
pub(super) struct MailboxClient {
    state: MailboxState,
    /// Messages that the server has not confirmed, oldest first.
    unconfirmed: VecDeque<Added>,
    /// Bytes of the unconfirmed messages.
    unconfirmed_bytes: usize,
    /// Whether the server is known to have stored a message in it, ours or the peer's.
    has_contents: bool,
    /// Whether the server is known to have stored a message of ours.
    has_ours: bool,
}

#[derive(Debug)]
enum MailboxState {
    Unknown,
    Unwanted { mood: Mood },
    Open { mailbox: String },
    Closing { mailbox: String, mood: Mood },
    Closed,
}

#[derive(Debug)]
struct Added {
    phase: String,
    /// In hex.
    body: String,
}

impl Added {
    fn message(&self) -> ClientMessage {
        ClientMessage::Add { phase: self.phase.clone(), body: self.body.clone() }
    }
}

impl MailboxClient {
    pub(super) const fn new() -> Self {
        Self {
            state: MailboxState::Unknown,
            unconfirmed: VecDeque::new(),
            unconfirmed_bytes: 0,
            has_contents: false,
            has_ours: false,
        }
    }

    /// The server sent the name of the mailbox.
    pub(super) fn on_found(&mut self, mailbox: String) -> Vec<ClientMessage> {
        match self.state {
            MailboxState::Unknown => self.state = MailboxState::Open { mailbox },
            MailboxState::Unwanted { mood } => self.state = MailboxState::Closing { mailbox, mood },
            MailboxState::Open { .. } | MailboxState::Closing { .. } | MailboxState::Closed => {
                return Vec::new();
            }
        }
        self.resume()
    }

    /// The nameplate belongs to this mailbox on a new connection. Returns whether it is the same one. If not, ours is
    /// lost, and the claim made us a side of the new one, which must be closed.
    pub(super) fn on_found_again(&mut self, found: String) -> bool {
        let (MailboxState::Open { mailbox } | MailboxState::Closing { mailbox, .. }) =
            &mut self.state
        else {
            return true;
        };
        let is_same = *mailbox == found;
        *mailbox = found;
        is_same
    }

    /// A message of the peer arrived from it.
    pub(super) const fn on_peer_message(&mut self) {
        self.has_contents = true;
    }

    /// Whether the server is known to have stored a message in it.
    pub(super) const fn has_contents(&self) -> bool {
        self.has_contents
    }

    /// Whether a message on a new connection proves that the server kept the mailbox. The peer may have added its
    /// message to a new mailbox with the same name.
    pub(super) const fn proves_mailbox_survived(&self, is_ours: bool) -> bool {
        is_ours || !self.has_ours
    }

    /// Whether the server would send messages if the mailbox were opened now.
    pub(super) const fn expects_contents(&self) -> bool {
        self.has_contents && matches!(self.state, MailboxState::Open { .. })
    }

    /// Adds a message; `body` is in hex.
    pub(super) fn add(&mut self, phase: String, body: String) -> Option<ClientMessage> {
        let open = match self.state {
            MailboxState::Unknown => false,
            MailboxState::Open { .. } => true,
            MailboxState::Unwanted { .. } | MailboxState::Closing { .. } | MailboxState::Closed => {
                return None;
            }
        };
        let added = Added { phase, body };
        let message = open.then(|| added.message());
        self.unconfirmed_bytes += added.body.len();
        self.unconfirmed.push_back(added);
        message
    }

    /// A message of ours came back, so the server has stored it.
    pub(super) fn on_echo(&mut self, phase: &str) {
        self.has_contents = true;
        self.has_ours = true;
        self.unconfirmed.retain(|added| added.phase != phase);
        self.unconfirmed_bytes = self.unconfirmed.iter().map(|added| added.body.len()).sum();
    }

    /// Size of the unconfirmed messages in bytes (in hex, so twice the encrypted size).
    pub(super) const fn unconfirmed_bytes(&self) -> usize {
        self.unconfirmed_bytes
    }

    /// Closes the mailbox. With `deliver`, unconfirmed messages are repeated first, if necessary.
    pub(super) fn close(&mut self, mood: Mood, deliver: bool) -> Option<ClientMessage> {
        if !deliver {
            self.unconfirmed.clear();
            self.unconfirmed_bytes = 0;
        }
        match &self.state {
            MailboxState::Unknown => {
                self.state = MailboxState::Unwanted { mood };
                None
            }
            MailboxState::Open { mailbox } => {
                let mailbox = mailbox.clone();
                self.state = MailboxState::Closing { mailbox: mailbox.clone(), mood };
                Some(ClientMessage::Close { mailbox: Some(mailbox), mood: Some(mood) })
            }
            MailboxState::Unwanted { .. } | MailboxState::Closing { .. } | MailboxState::Closed => {
                None
            }
        }
    }

    /// The server confirmed that the mailbox is closed.
    pub(super) fn on_closed(&mut self) {
        if matches!(self.state, MailboxState::Closing { .. }) {
            self.abandon();
        }
    }

    /// The server rejects our requests, so give up.
    pub(super) fn abandon(&mut self) {
        self.state = MailboxState::Closed;
        self.unconfirmed.clear();
        self.unconfirmed_bytes = 0;
    }

    /// Whether the server stores nothing of ours in the mailbox (the nameplate is separate).
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, MailboxState::Closed | MailboxState::Unwanted { .. })
    }

    /// The messages to send on a new connection. The peer ignores repeated ones by their phases.
    pub(super) fn resume(&self) -> Vec<ClientMessage> {
        let open = |mailbox: &String| ClientMessage::Open { mailbox: mailbox.clone() };
        let adds = self.unconfirmed.iter().map(Added::message);
        match &self.state {
            MailboxState::Unknown | MailboxState::Unwanted { .. } | MailboxState::Closed => {
                Vec::new()
            }
            MailboxState::Open { mailbox } => std::iter::once(open(mailbox)).chain(adds).collect(),
            MailboxState::Closing { mailbox, mood } => {
                let opened = (!self.unconfirmed.is_empty()).then(|| open(mailbox));
                let close =
                    ClientMessage::Close { mailbox: Some(mailbox.clone()), mood: Some(*mood) };
                opened.into_iter().chain(adds).chain([close]).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(phase: &str) -> ClientMessage {
        ClientMessage::Add { phase: phase.into(), body: "00".into() }
    }

    fn open() -> ClientMessage {
        ClientMessage::Open { mailbox: "m".into() }
    }

    fn close(mood: Mood) -> ClientMessage {
        ClientMessage::Close { mailbox: Some("m".into()), mood: Some(mood) }
    }

    fn client_with(phases: &[&str]) -> MailboxClient {
        let mut client = MailboxClient::new();
        client.on_found("m".into());
        for phase in phases {
            client.add((*phase).into(), "00".into());
        }
        client
    }

    #[test]
    fn messages_added_before_the_mailbox_is_known_are_sent_when_it_is() {
        let mut client = MailboxClient::new();
        assert_eq!(client.add("pake".into(), "00".into()), None);
        assert_eq!(client.on_found("m".into()), [open(), add("pake")]);
        assert_eq!(client.add("0".into(), "00".into()), Some(add("0")));
    }

    #[test]
    fn only_messages_not_seen_to_have_arrived_are_repeated_in_their_order() {
        let mut client = client_with(&["pake", "version", "0", "1"]);
        client.on_echo("version");
        client.on_echo("no such phase");
        assert_eq!(client.resume(), [open(), add("pake"), add("0"), add("1")]);
        assert_eq!(client.unconfirmed_bytes(), 6);
    }

    #[test]
    fn closing_is_repeated_until_it_is_confirmed_and_takes_unseen_messages_along() {
        let mut client = client_with(&["0"]);
        assert_eq!(client.close(Mood::Happy, true), Some(close(Mood::Happy)));
        assert_eq!(client.resume(), [open(), add("0"), close(Mood::Happy)]);
        client.on_closed();
        assert!(client.is_closed());
        assert_eq!(client.resume(), []);
    }

    #[test]
    fn a_mailbox_left_before_it_is_known_gets_no_message_that_a_peer_could_take_for_ours() {
        let mut client = MailboxClient::new();
        client.add("pake".into(), "00".into());
        assert_eq!(client.close(Mood::Lonely, false), None);
        assert!(client.is_closed());
        assert_eq!(client.on_found("m".into()), [close(Mood::Lonely)]);
        assert!(!client.is_closed());
    }
}
