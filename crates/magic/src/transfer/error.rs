//! Errors of a transfer session.
//!
//! Failures of disks, sockets and servers belong to the SDK, which reports them to the peer with
//! `Command::Fail`.

use super::message::{BadMessage, Message};

/// Why a transfer ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransferError {
    /// The connection broke before the data was complete, and the peer sent no reason.
    #[error("the connection broke")]
    CarrierLost,
    /// The mailbox closed before there was a connection.
    #[error("the mailbox closed")]
    MailboxClosed,
    /// No connection to the peer could be made.
    #[error("no connection to the peer")]
    NoCarrier,
    /// The peer violated the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The peer gave up with this reason. Escape the text before showing it.
    #[error("peer said: {0}")]
    PeerRefused(String),
    /// Our user rejected the offer.
    #[error("refused")]
    Rejected,
    /// The verifiers differ, according to our user: there is a man in the middle.
    #[error("the verification strings differ")]
    VerifierRejected,
}

impl From<BadMessage> for TransferError {
    fn from(bad: BadMessage) -> Self {
        Self::PeerMisbehaved(bad.into())
    }
}

impl TransferError {
    /// The error message for the peer, as other clients word it; `None` if the peer already knows.
    pub(super) fn reply(&self) -> Option<Message> {
        let text = match self {
            Self::MailboxClosed | Self::PeerRefused(_) | Self::Rejected => return None,
            Self::CarrierLost => "the connection failed".to_owned(),
            Self::NoCarrier => "no way to connect was found; is the relay up?".to_owned(),
            Self::PeerMisbehaved(wrong) => wrong.reply(),
            Self::VerifierRejected => {
                "sender rejected verification check, abandoned transfer".to_owned()
            }
        };
        Some(Message::Error(text))
    }
}

/// How the peer violated the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message is invalid.
    #[error(transparent)]
    BadMessage(#[from] BadMessage),
    /// Both sides expect an offer.
    #[error("the other side is receiving, too")]
    BothReceive,
    /// Both sides made an offer.
    #[error("the other side is sending, too")]
    BothSend,
    /// A second, different offer.
    #[error("it sent a second offer")]
    SecondOffer,
    /// It sends too many messages.
    #[error("it sent too many messages")]
    TooManyMessages,
    /// An answer for a text to the offer of a file, or the other way round.
    #[error("it sent an answer of the wrong kind")]
    WrongAnswer,
}

impl PeerMisbehaved {
    /// The error message for the peer.
    pub fn reply(self) -> String {
        match self {
            Self::BadMessage(bad) => bad.reply().to_owned(),
            Self::TooManyMessages => "transfer failed".to_owned(),
            Self::BothReceive | Self::BothSend | Self::SecondOffer | Self::WrongAnswer => {
                self.to_string()
            }
        }
    }
}
