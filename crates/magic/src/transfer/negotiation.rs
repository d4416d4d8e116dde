//! Who says what before the bytes flow: one small machine for the sender, one for the receiver
//! (file-transfer-protocol.md).
//!
//! They take decoded messages in and hand messages out; the mailbox carries them, the transit race
//! and the data come after.

use super::message::{Answer, BadMessage, Message, Offer};
use crate::transit::TransitInfo;

/// Why a negotiation ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "a peer is wrong, or says no; there is no third")]
pub enum NegotiationError {
    /// The peer said something that makes no sense, or out of turn.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The peer gave up and says why. Show it escaped.
    #[error("peer said: {0}")]
    PeerRefused(String),
}

impl From<BadMessage> for NegotiationError {
    fn from(bad: BadMessage) -> Self {
        Self::PeerMisbehaved(bad.into())
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
    /// What the peer is told.
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

/// The sender's side. Says its transit info (unless it sends a text) and its offer at once.
///
/// | state | input | event | next |
/// |---|---|---|---|
/// | ExpectAnswer | transit | Transit, the first time | same |
/// | ExpectAnswer | the fitting answer | Accepted | Agreed |
/// | Agreed | transit | Transit, the first time | same |
/// | any | error | error PeerRefused | Ended |
/// | any | an offer, or another answer | error PeerMisbehaved | Ended |
#[derive(Debug)]
pub struct SendNegotiation {
    expects: Answer,
    accepted: bool,
    saw_transit: bool,
}

/// What the sender learns.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle every event")]
pub enum SendEvent {
    /// The receiver wants it.
    Accepted,
    /// How the receiver can be reached. Peers say this before or after their answer; some say it
    /// even to a text, where it is of no use.
    Transit(TransitInfo),
}

impl SendNegotiation {
    /// Starts with what is offered. Returns the messages to send at once, in order.
    pub fn start(offer: &Offer, transit: Option<TransitInfo>) -> (Self, Vec<Message>) {
        let expects = match offer {
            Offer::Text(_) => Answer::Text,
            Offer::Directory { .. } | Offer::File { .. } | Offer::Stream { .. } => Answer::File,
        };
        // Transit first: some receivers answer an offer at once, without waiting for hints.
        let mut messages: Vec<_> = transit.into_iter().map(Message::Transit).collect();
        messages.push(Message::Offer(offer.clone()));
        (Self { expects, accepted: false, saw_transit: false }, messages)
    }

    /// Takes one message of the peer in.
    ///
    /// # Errors
    /// The transfer will not happen.
    pub fn handle(&mut self, message: Message) -> Result<Option<SendEvent>, NegotiationError> {
        match message {
            Message::Transit(info) => {
                let first = !std::mem::replace(&mut self.saw_transit, true);
                Ok(first.then_some(SendEvent::Transit(info)))
            }
            Message::Answer(answer) if answer == self.expects => {
                let first = !std::mem::replace(&mut self.accepted, true);
                Ok(first.then_some(SendEvent::Accepted))
            }
            Message::Answer(_) => Err(PeerMisbehaved::WrongAnswer.into()),
            Message::Error(text) => Err(NegotiationError::PeerRefused(text)),
            Message::Offer(_) => Err(PeerMisbehaved::BothSend.into()),
        }
    }
}

/// The receiver's side. Says its transit info only when the sender said its own: a sender of a
/// text has no transit, and Python's falls over when it is told of one.
///
/// | state | input | event | next |
/// |---|---|---|---|
/// | ExpectOffer | transit | Transit, the first time | same |
/// | ExpectOffer | offer | Offer | Offered |
/// | Offered | transit | Transit, the first time | same |
/// | Offered | the same offer | | same |
/// | any | error | error PeerRefused | Ended |
/// | any | an answer, or another offer | error PeerMisbehaved | Ended |
#[derive(Debug, Default)]
pub struct ReceiveNegotiation {
    offer: Option<Offer>,
    saw_transit: bool,
}

/// What the receiver learns.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle every event")]
pub enum ReceiveEvent {
    /// What the sender wants to send: answer with [`ReceiveNegotiation::accept`] or
    /// [`ReceiveNegotiation::reject`].
    Offer(Offer),
    /// How the sender can be reached: tell it now how we can be.
    Transit(TransitInfo),
}

impl ReceiveNegotiation {
    /// Waits for an offer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one message of the peer in.
    ///
    /// # Errors
    /// The transfer will not happen.
    pub fn handle(&mut self, message: Message) -> Result<Option<ReceiveEvent>, NegotiationError> {
        match message {
            Message::Transit(info) => {
                let first = !std::mem::replace(&mut self.saw_transit, true);
                Ok(first.then_some(ReceiveEvent::Transit(info)))
            }
            Message::Offer(offer) => match &self.offer {
                None => {
                    self.offer = Some(offer.clone());
                    Ok(Some(ReceiveEvent::Offer(offer)))
                }
                Some(known) if *known == offer => Ok(None),
                Some(_) => Err(PeerMisbehaved::SecondOffer.into()),
            },
            Message::Error(text) => Err(NegotiationError::PeerRefused(text)),
            Message::Answer(_) => Err(PeerMisbehaved::BothReceive.into()),
        }
    }

    /// The message that says yes; `None` before there is an offer.
    pub fn accept(&self) -> Option<Message> {
        self.offer.as_ref().map(|offer| match offer {
            Offer::Text(_) => Message::Answer(Answer::Text),
            Offer::Directory { .. } | Offer::File { .. } | Offer::Stream { .. } => {
                Message::Answer(Answer::File)
            }
        })
    }

    /// The message that says no.
    pub fn reject(reason: &str) -> Message {
        Message::Error(reason.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::name::PeerName;

    fn file() -> Offer {
        Offer::File { name: PeerName::new("a"), size: 3, attributes: None }
    }

    #[test]
    fn a_sender_of_a_file_says_transit_then_offer() {
        let (_, messages) = SendNegotiation::start(&file(), Some(TransitInfo::default()));
        let transit = Message::Transit(TransitInfo::default());
        assert_eq!(messages, [transit, Message::Offer(file())]);
    }

    #[test]
    fn transit_and_answer_may_come_in_either_order() {
        for transit_first in [true, false] {
            let (mut sender, _) = SendNegotiation::start(&file(), Some(TransitInfo::default()));
            let mut script =
                [Message::Transit(TransitInfo::default()), Message::Answer(Answer::File)];
            let mut expected = [SendEvent::Transit(TransitInfo::default()), SendEvent::Accepted];
            if !transit_first {
                script.reverse();
                expected.reverse();
            }
            for (message, event) in script.into_iter().zip(expected) {
                assert_eq!(sender.handle(message), Ok(Some(event)));
            }
        }
    }

    #[test]
    fn transit_in_answer_to_a_text_is_no_error() {
        let (mut sender, messages) = SendNegotiation::start(&Offer::Text("hi".into()), None);
        assert_eq!(messages, [Message::Offer(Offer::Text("hi".into()))]);
        assert!(sender.handle(Message::Transit(TransitInfo::default())).is_ok());
        assert_eq!(sender.handle(Message::Answer(Answer::Text)), Ok(Some(SendEvent::Accepted)));
    }

    #[test]
    fn a_sender_that_is_refused_or_misunderstood_ends() {
        let start = || SendNegotiation::start(&file(), None).0;
        assert_eq!(
            start().handle(Message::Error("transfer rejected".into())),
            Err(NegotiationError::PeerRefused("transfer rejected".into()))
        );
        assert_eq!(
            start().handle(Message::Answer(Answer::Text)),
            Err(PeerMisbehaved::WrongAnswer.into())
        );
        assert_eq!(start().handle(Message::Offer(file())), Err(PeerMisbehaved::BothSend.into()));
    }

    #[test]
    fn a_receiver_learns_the_offer_once_and_answers_in_kind() {
        let mut receiver = ReceiveNegotiation::new();
        assert_eq!(receiver.accept(), None);
        assert_eq!(receiver.handle(Message::Offer(file())), Ok(Some(ReceiveEvent::Offer(file()))));
        assert_eq!(receiver.handle(Message::Offer(file())), Ok(None));
        assert_eq!(receiver.accept(), Some(Message::Answer(Answer::File)));
        let other = Message::Offer(Offer::Text("hi".into()));
        assert_eq!(receiver.handle(other), Err(PeerMisbehaved::SecondOffer.into()));
        let mut receiver = ReceiveNegotiation::new();
        assert!(receiver.handle(Message::Offer(Offer::Text("hi".into()))).is_ok());
        assert_eq!(receiver.accept(), Some(Message::Answer(Answer::Text)));
    }

    #[test]
    fn two_receivers_find_out() {
        let mut receiver = ReceiveNegotiation::new();
        assert_eq!(
            receiver.handle(Message::Answer(Answer::File)),
            Err(PeerMisbehaved::BothReceive.into())
        );
    }
}
