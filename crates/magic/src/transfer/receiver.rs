//! The receiver of a transfer, from the offer to the connection that carries the data
//! (file-transfer-protocol.md).
//!
//! Its links are the mailbox and the carrier ([`MAILBOX`], [`CARRIER`]). The caller asks the user, connects and
//! writes the data; [`DataReceiver`] checks the data.

use std::convert::Infallible;

use wormhole_kit::{Input, Instant, Output, Session};

use super::abilities::{Abilities, TransferAbility};
use super::data::DataReceiver;
use super::error::{PeerMisbehaved, TransferError};
use super::link::{CARRIER, Connection, MAILBOX, Outputs, TransferAddress, decode};
use super::message::{Answer, Message, Offer};
use crate::transit::TransitInfo;

/// Commands for a receiver.
#[derive(Clone, Debug)]
pub enum ReceiverCommand {
    /// The peer's version message announces these abilities.
    PeerAbilities(Abilities),
    /// How we can be reached: the answer to [`ReceiverEvent::TransitWanted`].
    Transit(TransitInfo),
    /// The sender's offer arrived over a [dilated](super::dilated) connection, which carries the data, too. From here on, the
    /// mailbox only transports error messages.
    Dilated,
    /// The user accepts the offer and there is room for it; a text has been delivered.
    Accept,
    /// The user rejects the offer. The reason is sent to the sender.
    Reject(String),
    /// All data is stored, and the acknowledgement was sent.
    Complete,
    /// The transfer failed or was cancelled here. The text is sent to the peer.
    Fail(String),
}

/// Events of a receiver.
#[derive(Clone, Debug)]
pub enum ReceiverEvent {
    /// The sender's hints arrived: answer with [`ReceiverCommand::Transit`].
    TransitWanted,
    /// The sender's offer: answer with [`ReceiverCommand::Accept`] or
    /// [`ReceiverCommand::Reject`].
    Offer(Offer),
    /// The carrier is open: receive the data with this, then report [`ReceiverCommand::Complete`].
    ReceiveData(DataReceiver),
}

/// The receiver. It sends its hints only after the sender's arrived: the sender of a text has no transit, and Python's
/// fails when it receives hints.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `ExpectOffer` | an offer | `Offer` | `Offered` |
/// | `ExpectOffer`, `Offered`, `Accepted` | transit, the first time | `TransitWanted` | same |
/// | `ExpectOffer`, `Offered`, `Accepted` | our transit, when wanted | transit | same |
/// | `ExpectOffer` | dilated | | `Dilated` |
/// | `Offered` | accept | answer | Ended (text), else `Accepted` |
/// | `Offered`, `Dilated` | reject | error message | Ended (`Rejected`) |
/// | `Offered`, `Accepted` | the same offer again | | same |
/// | `Accepted` | both sides' transit is known | connect | `Connection` |
/// | `Connection` | the carrier opens | `ReceiveData` | same |
/// | `Connection`, `Dilated` | complete | | Ended |
/// | any | the peer's error message | | Ended (`PeerRefused`) |
/// | any | any other message | error message | Ended (`PeerMisbehaved`) |
/// | any | fail | error message | Ended |
#[derive(Debug)]
pub struct Receiver {
    state: ReceiverState,
    transit: Transit,
    /// Whether the sender wants progress reports.
    reports: bool,
    outputs: Outputs<ReceiverEvent>,
}

#[derive(Debug)]
enum ReceiverState {
    ExpectOffer,
    Offered(Offer),
    Accepted(Offer),
    Connection { connection: Connection, offer: Offer },
    Dilated(Connection),
    Ended,
}

impl ReceiverState {
    const fn connection(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Connection { connection, .. } | Self::Dilated(connection) => Some(connection),
            Self::ExpectOffer | Self::Offered(_) | Self::Accepted(_) | Self::Ended => None,
        }
    }
}

/// Hints of both sides.
#[derive(Debug)]
enum Transit {
    ExpectPeers,
    ExpectOurs(TransitInfo),
    Known(TransitInfo),
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// Creates a receiver, which expects an offer.
    pub fn new() -> Self {
        Self {
            state: ReceiverState::ExpectOffer,
            transit: Transit::ExpectPeers,
            reports: false,
            outputs: Outputs::new(),
        }
    }

    fn on_input(
        &mut self,
        now: Instant,
        input: Input<'_, ReceiverCommand>,
    ) -> Result<(), TransferError> {
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Bytes(MAILBOX, bytes) => self.on_bytes(bytes),
            Input::Opened(CARRIER) => {
                self.on_connected(now);
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
    fn on_command(&mut self, command: ReceiverCommand) -> Result<(), TransferError> {
        match command {
            ReceiverCommand::PeerAbilities(abilities) => {
                self.reports = abilities.has(TransferAbility::Progress);
            }
            ReceiverCommand::Transit(info) => self.on_our_transit(info),
            ReceiverCommand::Dilated => {
                if matches!(self.state, ReceiverState::ExpectOffer) {
                    self.state = ReceiverState::Dilated(Connection::Open);
                }
            }
            ReceiverCommand::Accept => self.accept(),
            ReceiverCommand::Reject(reason) => {
                if matches!(self.state, ReceiverState::Offered(_) | ReceiverState::Dilated(_)) {
                    self.outputs.send(&Message::Error(reason));
                    return Err(TransferError::Rejected);
                }
            }
            ReceiverCommand::Complete => {
                let is_open = self.state.connection().is_some();
                if is_open {
                    self.end();
                }
            }
            ReceiverCommand::Fail(text) => {
                self.outputs.send(&Message::Error(text));
                self.give_up();
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let ReceiverState::Offered(offer) = &self.state else { return };
        let (offer, answer) = (offer.clone(), offer.answer());
        self.outputs.send(&Message::Answer(answer));
        if answer == Answer::Text {
            self.end();
        } else {
            self.state = ReceiverState::Accepted(offer);
            self.connect_if_agreed();
        }
    }

    fn on_our_transit(&mut self, ours: TransitInfo) {
        if let Transit::ExpectOurs(theirs) = &mut self.transit {
            self.transit = Transit::Known(std::mem::take(theirs));
            self.outputs.send(&Message::Transit(ours));
            self.connect_if_agreed();
        }
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), TransferError> {
        decode(bytes)?.into_iter().try_for_each(|message| match self.state.connection() {
            Some(connection) => connection.on_message(message),
            None => self.on_message(message),
        })
    }

    /// Handles a message before the connection is open.
    fn on_message(&mut self, message: Message) -> Result<(), TransferError> {
        match message {
            Message::Transit(info) => {
                if matches!(self.transit, Transit::ExpectPeers) {
                    self.transit = Transit::ExpectOurs(info);
                    self.outputs.emit(ReceiverEvent::TransitWanted);
                }
                Ok(())
            }
            Message::Offer(offer) => self.on_offer(offer),
            Message::Error(text) => Err(TransferError::PeerRefused(text)),
            Message::Answer(_) => Err(PeerMisbehaved::BothReceive.into()),
        }
    }

    fn on_offer(&mut self, offer: Offer) -> Result<(), TransferError> {
        match &self.state {
            ReceiverState::ExpectOffer => {
                self.outputs.emit(ReceiverEvent::Offer(offer.clone()));
                self.state = ReceiverState::Offered(offer);
                Ok(())
            }
            ReceiverState::Offered(known) | ReceiverState::Accepted(known) if *known == offer => {
                Ok(())
            }
            ReceiverState::Offered(_) | ReceiverState::Accepted(_) => {
                Err(PeerMisbehaved::SecondOffer.into())
            }
            ReceiverState::Connection { .. } | ReceiverState::Dilated(_) | ReceiverState::Ended => {
                Ok(())
            }
        }
    }

    fn connect_if_agreed(&mut self) {
        if let ReceiverState::Accepted(offer) = &self.state
            && let Transit::Known(info) = &mut self.transit
        {
            let offer = offer.clone();
            self.outputs.connect(std::mem::take(info));
            let connection = Connection::Opening;
            self.state = ReceiverState::Connection { connection, offer };
        }
    }

    fn on_connected(&mut self, now: Instant) {
        if let ReceiverState::Connection { connection, offer } = &mut self.state
            && connection.on_opened()
        {
            let data = DataReceiver::new(offer, self.reports, now);
            self.outputs.emit(ReceiverEvent::ReceiveData(data));
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
        self.state = ReceiverState::Ended;
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

impl Session for Receiver {
    type Address = TransferAddress;
    type Command = ReceiverCommand;
    type Event = ReceiverEvent;
    type Changes = Infallible;
    type Error = TransferError;

    fn handle(
        &mut self,
        now: Instant,
        input: Input<'_, ReceiverCommand>,
    ) -> Result<(), TransferError> {
        if matches!(self.state, ReceiverState::Ended) {
            if matches!(input, Input::Opened(CARRIER)) {
                self.outputs.close_carrier();
            }
            return Ok(());
        }
        let result = self.on_input(now, input);
        self.settle(result)
    }

    fn poll(&mut self) -> Option<Output<TransferAddress, ReceiverEvent>> {
        self.outputs.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            ReceiverState::Connection { connection, .. } | ReceiverState::Dilated(connection) => {
                connection.deadline()
            }
            ReceiverState::ExpectOffer
            | ReceiverState::Offered(_)
            | ReceiverState::Accepted(_)
            | ReceiverState::Ended => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), TransferError> {
        let connection = self.state.connection();
        let result = connection.map_or(Ok(()), |connection| connection.on_timeout(now));
        self.settle(result)
    }
}
