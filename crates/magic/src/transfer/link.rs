//! The two links of a transfer, and what both sessions put on them.
//!
//! The mailbox carries messages (one JSON object each); the carrier carries data records. Which kind
//! of carrier it is, a transit connection or something else, a session does not know.

use std::collections::VecDeque;
use std::time::Duration;

use wormhole_kit::{Instant, LinkId, Output};

use super::error::TransferError;
use super::message::{BadMessage, Message};
use crate::transit::TransitInfo;

/// Where a link of a transfer leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransferAddress {
    /// To the peer through the mailbox: open once its version message is known, closed when the
    /// wormhole has ended.
    Mailbox,
    /// To the peer, who can be reached in these ways, over a connection for data.
    Carrier(TransitInfo),
}

/// The link to the mailbox. Each message on it is one message of the peer.
pub const MAILBOX: LinkId = LinkId(0);

/// The link to the carrier. Its bytes do not go through the session: see
/// [`DataSender`](super::DataSender) and [`DataReceiver`](super::DataReceiver).
pub const CARRIER: LinkId = LinkId(2);

/// What a session wants done.
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

/// Reads what arrived from the mailbox.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Message>, TransferError> {
    Message::decode(bytes).map_err(|bad: BadMessage| TransferError::PeerMisbehaved(bad.into()))
}

/// The connection for data, from the attempt to open it until everything is there.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `Opening` | opened | (the session hands out the data) | `Open` |
/// | `Opening` | closed | error `NoCarrier` | |
/// | `Open` | closed | | `Lost` |
/// | `Lost` | time, or the end of the mailbox | error `CarrierLost` | |
/// | any | the peer's error message | error `PeerRefused` | |
/// | any | any other message | | same |
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Connection {
    Opening,
    Open,
    /// It broke: the peer may say why over the mailbox until then.
    Lost {
        until: Instant,
    },
}

impl Connection {
    /// The carrier is open. Returns whether it was expected.
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

    /// The data does not need the mailbox, but nothing explains a lost connection without it.
    pub(super) const fn on_mailbox_closed(self) -> Result<(), TransferError> {
        match self {
            Self::Opening | Self::Open => Ok(()),
            Self::Lost { .. } => Err(TransferError::CarrierLost),
        }
    }

    /// Only an error still matters; anything else is late.
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

/// How long after the loss of the connection the peer's reason is waited for.
const EXPLANATION_TIME: Duration = Duration::from_secs(1);
