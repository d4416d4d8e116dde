//! The links of a transfer session.
//!
//! The mailbox link transports messages (one JSON object each); the data link transports data records. The
//! session does not know what the data link is: a transit connection, or something else.

use std::collections::VecDeque;
use std::time::Duration;

use wormhole_kit::{Instant, LinkId, Output};

use super::error::TransferError;
use super::message::{BadMessage, Message};
use crate::transit::TransitInfo;

/// The address of a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransferAddress {
    /// The peer, through the mailbox: open once its version message is known, closed when the
    /// wormhole has ended.
    Mailbox,
    /// The peer, over a data connection with one of these hints.
    Carrier(TransitInfo),
}

/// The link to the mailbox. Each message on it is one message of the peer.
pub const MAILBOX: LinkId = LinkId(0);

/// The link to the carrier. Its bytes do not go through the session: see
/// [`DataSender`](super::DataSender) and [`DataReceiver`](super::DataReceiver).
pub const CARRIER: LinkId = LinkId(2);

/// The outputs of a session.
#[derive(Debug)]
pub(super) struct Outputs<E>(VecDeque<Output<TransferAddress, E>>);

impl<E> Outputs<E> {
    /// Starts with the request for the mailbox.
    pub(super) fn new() -> Self {
        Self(VecDeque::from([Output::Connect(MAILBOX, TransferAddress::Mailbox)]))
    }

    pub(super) fn send(&mut self, message: &Message) {
        self.0.push_back(Output::Send(MAILBOX, message.encode()));
    }

    pub(super) fn emit(&mut self, event: E) {
        self.0.push_back(Output::Event(event));
    }

    pub(super) fn connect(&mut self, peer: TransitInfo) {
        self.0.push_back(Output::Connect(CARRIER, TransferAddress::Carrier(peer)));
    }

    pub(super) fn close_carrier(&mut self) {
        self.0.push_back(Output::Close(CARRIER));
    }

    pub(super) fn next(&mut self) -> Option<Output<TransferAddress, E>> {
        self.0.pop_front()
    }
}

/// Decodes a message from the mailbox.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Message>, TransferError> {
    Message::decode(bytes).map_err(|bad: BadMessage| TransferError::PeerMisbehaved(bad.into()))
}

/// The data connection, from the attempt to open it until all data has arrived.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `Opening` | opened | (the session outputs the data machine) | `Open` |
/// | `Opening` | closed | error `NoCarrier` | |
/// | `Open` | closed | | `Lost` |
/// | `Lost` | time, or the end of the mailbox | error `CarrierLost` | |
/// | any | the peer's error message | error `PeerRefused` | |
/// | any | any other message | | same |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Connection {
    Opening,
    Open,
    /// The connection is lost: the peer may send a reason through the mailbox until then.
    Lost {
        until: Instant,
    },
}

impl Connection {
    /// The connection is open. Returns whether that was expected.
    pub(super) fn on_opened(&mut self) -> bool {
        let expected = *self == Self::Opening;
        if expected {
            *self = Self::Open;
        }
        expected
    }

    pub(super) fn on_closed(&mut self, now: Instant) -> Result<(), TransferError> {
        match self {
            Self::Opening => Err(TransferError::NoCarrier),
            Self::Open => {
                *self = Self::Lost { until: now + EXPLANATION_TIME };
                Ok(())
            }
            Self::Lost { .. } => Ok(()),
        }
    }

    /// The data does not need the mailbox, but a lost connection cannot be explained without it.
    pub(super) const fn on_mailbox_closed(self) -> Result<(), TransferError> {
        match self {
            Self::Opening | Self::Open => Ok(()),
            Self::Lost { .. } => Err(TransferError::CarrierLost),
        }
    }

    /// Handles a message. Only errors still matter.
    pub(super) fn on_message(self, message: Message) -> Result<(), TransferError> {
        if let Message::Error(text) = message {
            return Err(TransferError::PeerRefused(text));
        }
        Ok(())
    }

    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Opening | Self::Open => None,
            Self::Lost { until } => Some(until),
        }
    }

    pub(super) fn on_timeout(self, now: Instant) -> Result<(), TransferError> {
        match self.deadline() {
            Some(until) if now >= until => Err(TransferError::CarrierLost),
            Some(_) | None => Ok(()),
        }
    }
}

/// Time to wait for the peer's reason after the connection is lost.
const EXPLANATION_TIME: Duration = Duration::from_secs(1);
