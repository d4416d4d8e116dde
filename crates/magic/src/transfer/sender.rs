//! The sender of a transfer, from the peer's abilities to the connection that carries the data
//! (file-transfer-protocol.md).
//!
//! Its links are the mailbox and the carrier ([`MAILBOX`], [`CARRIER`]). The caller reads the source, connects and
//! moves the data; [`DataSender`] returns the steps for the data.

use std::convert::Infallible;

use wormhole_kit::{Input, Instant, Output, Session};

use super::abilities::{Abilities, TransferAbility};
use super::data::DataSender;
use super::error::{PeerMisbehaved, TransferError};
use super::link::{CARRIER, Connection, MAILBOX, Outputs, TransferAddress, decode};
use super::message::{Answer, Message, Offer};
use crate::transit::TransitInfo;

/// Commands for a sender.
#[derive(Clone, Debug)]
pub enum SenderCommand {
    /// The peer's version message announces these abilities.
    PeerAbilities(Abilities),
    /// Whether the verifiers of both sides are equal. Needed only if the session was created
    /// to wait for it.
    ConfirmVerifier(bool),
    /// The offer, suitable for the peer's abilities, and how we can be reached (`None` for a text).
    /// The answer to [`SenderEvent::OfferWanted`].
    Offer(Offer, Option<TransitInfo>),
    /// The offer and the data go over a [dilated](super::dilated) connection instead. From here on, the mailbox only transports
    /// error messages.
    Dilated,
    /// The receiver has acknowledged all data.
    Complete,
    /// The transfer failed or was cancelled here. The text is sent to the peer.
    Fail(String),
}

/// Events of a sender.
#[derive(Clone, Debug)]
pub enum SenderEvent {
    /// The peer is connected and has these abilities: answer with [`SenderCommand::Offer`].
    OfferWanted(Abilities),
    /// The receiver accepted the offer. A text has been received, and the session has ended.
    Accepted,
    /// The carrier is open: send the data with this, then report [`SenderCommand::Complete`].
    SendData(DataSender),
}

/// The sender.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `ExpectPeer` | abilities and, if wanted, the same verifier | `OfferWanted` | `ExpectOffer` |
/// | `ExpectPeer` | another verifier | error message | Ended (`VerifierRejected`) |
/// | `ExpectPeer`, `ExpectOffer` | a message other than an error | | same, message stored |
/// | `ExpectOffer` | our offer | transit, offer | `ExpectAnswer` |
/// | `ExpectOffer` | dilated | | `Dilated` |
/// | `ExpectAnswer` | transit | | same |
/// | `ExpectAnswer` | the answer that fits | `Accepted` | Ended (text), else same |
/// | `ExpectAnswer` | both | connect | `Connection` |
/// | `Connection` | the carrier opens | `SendData` | same |
/// | `Connection`, `Dilated` | complete | | Ended |
/// | any | the peer's error message | | Ended (`PeerRefused`) |
/// | any | any other message | error message | Ended (`PeerMisbehaved`) |
/// | any | fail | error message | Ended |
#[derive(Debug)]
pub struct Sender {
    state: SenderState,
    outputs: Outputs<SenderEvent>,
}

#[derive(Debug)]
enum SenderState {
    ExpectPeer { peer: Option<Abilities>, is_confirmed: bool, kept: Kept },
    ExpectOffer { peer: Abilities, kept: Kept },
    ExpectAnswer(Negotiation),
    Connection { connection: Connection, offer: Offer, peer: Abilities },
    Dilated(Connection),
    Ended,
}

impl SenderState {
    const fn connection(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Connection { connection, .. } | Self::Dilated(connection) => Some(connection),
            Self::ExpectPeer { .. } | Self::ExpectOffer { .. } | Self::ExpectAnswer(_) => None,
            Self::Ended => None,
        }
    }
}

/// The state while the answer is expected.
#[derive(Debug)]
struct Negotiation {
    offer: Offer,
    peer: Abilities,
    is_accepted: bool,
    transit: Option<TransitInfo>,
}

/// Messages that arrived before the offer was sent.
#[derive(Debug, Default)]
struct Kept {
    messages: Vec<Message>,
    /// Their size in bytes, plus [`MESSAGE_OVERHEAD`] for each.
    weight: usize,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        self.weight = self.weight.saturating_add(bytes.len()).saturating_add(MESSAGE_OVERHEAD);
        if self.weight > MAX_KEPT {
            return Err(PeerMisbehaved::TooManyMessages.into());
        }
        for message in decode(bytes)? {
            if let Message::Error(text) = message {
                return Err(TransferError::PeerRefused(text));
            }
            self.messages.push(message);
        }
        Ok(())
    }
}

impl Sender {
    /// Creates a sender, which waits for the peer. With `verify`, no offer is sent before
    /// [`SenderCommand::ConfirmVerifier`].
    pub fn new(verify: bool) -> Self {
        let (peer, kept) = (None, Kept::default());
        let state = SenderState::ExpectPeer { peer, is_confirmed: !verify, kept };
        Self { state, outputs: Outputs::new() }
    }

    fn on_input(
        &mut self,
        now: Instant,
        input: Input<'_, SenderCommand>,
    ) -> Result<(), TransferError> {
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Bytes(MAILBOX, bytes) => self.on_bytes(bytes),
            Input::Opened(CARRIER) => {
                self.on_connected();
                Ok(())
            }
            Input::Closed(CARRIER) => {
                self.state.connection().map_or(Ok(()), |connection| connection.on_closed(now))
            }
            Input::Closed(MAILBOX) => match self.state.connection() {
                Some(connection) => connection.on_mailbox_closed(),
                None => Err(TransferError::MailboxClosed),
            },
            Input::Opened(_) | Input::Bytes(..) | Input::Closed(_) | Input::Committed => Ok(()),
        }
    }

    /// Commands in the wrong state are ignored.
    fn on_command(&mut self, command: SenderCommand) -> Result<(), TransferError> {
        match (command, &mut self.state) {
            (SenderCommand::PeerAbilities(abilities), SenderState::ExpectPeer { peer, .. }) => {
                *peer = Some(abilities);
                self.ask_for_offer();
            }
            (
                SenderCommand::ConfirmVerifier(is_same),
                SenderState::ExpectPeer { is_confirmed, .. },
            ) => {
                if !is_same {
                    return Err(TransferError::VerifierRejected);
                }
                *is_confirmed = true;
                self.ask_for_offer();
            }
            (SenderCommand::Offer(offer, transit), SenderState::ExpectOffer { .. }) => {
                return self.make_offer(offer, transit);
            }
            (SenderCommand::Dilated, SenderState::ExpectOffer { .. }) => {
                self.state = SenderState::Dilated(Connection::Open);
            }
            (SenderCommand::Complete, SenderState::Connection { .. } | SenderState::Dilated(_)) => {
                self.end();
            }
            (SenderCommand::Fail(text), _) => {
                self.outputs.send(&Message::Error(text));
                self.give_up();
            }
            _ => {}
        }
        Ok(())
    }

    fn ask_for_offer(&mut self) {
        let SenderState::ExpectPeer { peer: Some(peer), is_confirmed: true, kept } =
            &mut self.state
        else {
            return;
        };
        let peer = *peer;
        self.outputs.emit(SenderEvent::OfferWanted(peer));
        self.state = SenderState::ExpectOffer { peer, kept: std::mem::take(kept) };
    }

    fn make_offer(
        &mut self,
        offer: Offer,
        transit: Option<TransitInfo>,
    ) -> Result<(), TransferError> {
        let SenderState::ExpectOffer { peer, kept } = &mut self.state else { return Ok(()) };
        let (peer, kept) = (*peer, std::mem::take(kept));
        let offer = offer.for_peer(peer);
        // Hints first: some receivers answer an offer at once, without waiting for hints.
        if let Some(info) = transit {
            self.outputs.send(&Message::Transit(info));
        }
        self.outputs.send(&Message::Offer(offer.clone()));
        let negotiation = Negotiation { offer, peer, is_accepted: false, transit: None };
        self.state = SenderState::ExpectAnswer(negotiation);
        self.on_messages(kept.messages)
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        match &mut self.state {
            SenderState::ExpectPeer { kept, .. } | SenderState::ExpectOffer { kept, .. } => {
                kept.push(bytes)
            }
            SenderState::ExpectAnswer(_)
            | SenderState::Connection { .. }
            | SenderState::Dilated(_) => self.on_messages(decode(bytes)?),
            SenderState::Ended => Ok(()),
        }
    }

    fn on_messages(&mut self, messages: Vec<Message>) -> Result<(), TransferError> {
        messages.into_iter().try_for_each(|message| match self.state.connection() {
            Some(connection) => connection.on_message(message),
            None => self.on_message(message),
        })
    }

    /// Handles a message while the answer is expected.
    fn on_message(&mut self, message: Message) -> Result<(), TransferError> {
        let SenderState::ExpectAnswer(negotiation) = &mut self.state else { return Ok(()) };
        match message {
            // Some receivers send hints before their answer, some after it, and some even for a text.
            Message::Transit(info) => {
                negotiation.transit.get_or_insert(info);
            }
            Message::Answer(answer) if answer == negotiation.offer.answer() => {
                if !std::mem::replace(&mut negotiation.is_accepted, true) {
                    self.outputs.emit(SenderEvent::Accepted);
                }
            }
            Message::Answer(_) => return Err(PeerMisbehaved::WrongAnswer.into()),
            Message::Error(text) => return Err(TransferError::PeerRefused(text)),
            Message::Offer(_) => return Err(PeerMisbehaved::BothSend.into()),
        }
        self.connect_if_agreed();
        Ok(())
    }

    fn connect_if_agreed(&mut self) {
        let SenderState::ExpectAnswer(negotiation) = &mut self.state else { return };
        if !negotiation.is_accepted {
            return;
        }
        if negotiation.offer.answer() == Answer::Text {
            self.end();
        } else if let Some(info) = negotiation.transit.take() {
            let (offer, peer) = (negotiation.offer.clone(), negotiation.peer);
            self.outputs.connect(info);
            let connection = Connection::Opening;
            self.state = SenderState::Connection { connection, offer, peer };
        }
    }

    fn on_connected(&mut self) {
        if let SenderState::Connection { connection, offer, peer } = &mut self.state
            && connection.on_opened()
        {
            let data = DataSender::new(offer, *peer);
            self.outputs.emit(SenderEvent::SendData(data));
        } else {
            self.outputs.close_carrier();
        }
    }

    /// Ends before the data is complete.
    fn give_up(&mut self) {
        if self.state.connection().is_some() {
            self.outputs.close_carrier();
        }
        self.end();
    }

    fn end(&mut self) {
        self.state = SenderState::Ended;
    }

    /// Ends after an error, and sends it to the peer unless the peer already knows.
    fn settle(&mut self, result: Result<(), TransferError>) -> Result<(), TransferError> {
        if let Err(error) = &result {
            if let Some(reply) = error.reply() {
                self.outputs.send(&reply);
            }
            self.give_up();
        }
        result
    }
}

impl Session for Sender {
    type Address = TransferAddress;
    type Command = SenderCommand;
    type Event = SenderEvent;
    type Changes = Infallible;
    type Error = TransferError;

    fn handle(
        &mut self,
        now: Instant,
        input: Input<'_, SenderCommand>,
    ) -> Result<(), TransferError> {
        if matches!(self.state, SenderState::Ended) {
            if matches!(input, Input::Opened(CARRIER)) {
                self.outputs.close_carrier();
            }
            return Ok(());
        }
        let result = self.on_input(now, input);
        self.settle(result)
    }

    fn poll(&mut self) -> Option<Output<TransferAddress, SenderEvent>> {
        self.outputs.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            SenderState::Connection { connection, .. } | SenderState::Dilated(connection) => {
                connection.deadline()
            }
            SenderState::ExpectPeer { .. }
            | SenderState::ExpectOffer { .. }
            | SenderState::ExpectAnswer(_)
            | SenderState::Ended => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), TransferError> {
        let connection = self.state.connection();
        let result = connection.map_or(Ok(()), |connection| connection.on_timeout(now));
        self.settle(result)
    }
}

impl Offer {
    /// The offer without parts that a peer with these abilities does not support.
    fn for_peer(mut self, peer: Abilities) -> Self {
        match &mut self {
            Self::Directory { attributes, .. } if !peer.has(TransferAbility::Folders) => {
                *attributes = None;
            }
            Self::File { attributes, .. } if !peer.has(TransferAbility::Attributes) => {
                *attributes = None;
            }
            Self::Directory { .. } | Self::File { .. } | Self::Stream { .. } | Self::Text(_) => {}
        }
        self
    }
}

/// Maximum size of messages that wait for the offer, in bytes: the user may take hours to compare verifiers. Two of
/// the longest messages that a frame of the mailbox server can contain.
const MAX_KEPT: usize = 16 << 20;

/// Size of a message in addition to its bytes.
const MESSAGE_OVERHEAD: usize = 4096;
