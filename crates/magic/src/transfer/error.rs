//! Why a transfer ends without success, as far as the peer and the user are concerned.
//!
//! Failures of disks, sockets and servers belong to the SDK, which reports them to the peer with
//! `Command::Fail`.

use super::message::{BadMessage, Message};

/// Why a transfer ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransferError {
    /// The connection broke before everything was there, and the peer did not say why.
    #[error("the connection broke")]
    CarrierLost,
    /// The mailbox closed before there was a connection.
    #[error("the mailbox closed")]
    MailboxClosed,
    /// No connection to the peer could be made.
    #[error("no connection to the peer")]
    NoCarrier,
    /// The peer broke the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The peer gave up and says why. Escape the text before showing it.
    #[error("peer said: {0}")]
    PeerRefused(String),
    /// Our user does not want what is offered.
    #[error("refused")]
    Rejected,
    /// Our user saw that the verifiers differ: there is somebody in the middle.
    #[error("the verifiers differ")]
    VerifierRejected,
}

impl From<BadMessage> for TransferError {
    fn from(bad: BadMessage) -> Self {
        Self::PeerMisbehaved(bad.into())
    }
}

impl TransferError {
    /// What the peer is told, in the words that every client uses; `None` if it knows, or was told.
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

/// What the peer did wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message makes no sense.
    #[error(transparent)]
    BadMessage(#[from] BadMessage),
    /// Both sides wait for an offer.
    #[error("the other side is receiving, too")]
    BothReceive,
    /// Both sides made an offer.
    #[error("the other side is sending, too")]
    BothSend,
    /// A second, different offer.
    #[error("a second offer")]
    SecondOffer,
    /// It sends messages faster than anybody can read them.
    #[error("it sent too many messages")]
    TooManyMessages,
    /// A yes to a text when a file was offered, or the other way round.
    #[error("an answer to something else")]
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
