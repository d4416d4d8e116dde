//! One session, with the test as the peer, the driver and the clock.

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Value, json};
use wormhole_kit::{Input, Instant, Output, Session};
use wormhole_magic::transfer::{
    Abilities, Answer, Attributes, BadMessage, CARRIER, MAILBOX, Message, Offer, PeerMisbehaved,
    PeerName, Receiver, ReceiverCommand, ReceiverEvent, Sender, SenderCommand, SenderEvent,
    TransferAbility, TransferAddress, TransferError,
};
use wormhole_magic::transit::TransitInfo;

/// A session with everything it wanted so far.
struct Driven<S: Session> {
    session: S,
    now: Instant,
    sent: Vec<Message>,
    events: Vec<S::Event>,
    /// Whether it asked for a connection, and whether it closed it.
    carrier: (bool, bool),
}

impl<S: Session<Address = TransferAddress, Changes = Infallible, Error = TransferError>> Driven<S> {
    fn new(session: S) -> Self {
        let (sent, events) = (vec![], vec![]);
        let mut driven =
            Self { session, now: Instant::now(), sent, events, carrier: (false, false) };
        driven.drain();
        driven
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Connect(MAILBOX, TransferAddress::Mailbox) => {}
                Output::Connect(CARRIER, TransferAddress::Carrier(_)) => self.carrier.0 = true,
                Output::Connect(link, address) => panic!("{link:?} to {address:?}"),
                Output::Close(CARRIER) => self.carrier.1 = true,
                Output::Close(link) => panic!("closes {link:?}"),
                Output::Send(MAILBOX, bytes) => self.sent.extend(Message::decode(&bytes).unwrap()),
                Output::Send(link, _) => panic!("sends on {link:?}"),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn input(&mut self, input: Input<'_, S::Command>) -> Result<(), TransferError> {
        let result = self.session.handle(self.now, input);
        self.drain();
        result
    }

    fn command(&mut self, command: S::Command) -> Result<(), TransferError> {
        self.input(Input::Command(command))
    }

    fn hear(&mut self, message: &Message) -> Result<(), TransferError> {
        self.input(Input::Bytes(MAILBOX, &message.encode()))
    }

    fn hear_json(&mut self, message: &Value) -> Result<(), TransferError> {
        self.input(Input::Bytes(MAILBOX, message.to_string().as_bytes()))
    }

    fn pass(&mut self, time: Duration) -> Result<(), TransferError> {
        self.now += time;
        let result = self.session.handle_timeout(self.now);
        self.drain();
        result
    }

    /// What the peer was told last.
    fn last_error(&self) -> Option<&str> {
        if let Some(Message::Error(text)) = self.sent.last() { Some(text) } else { None }
    }
}

fn file() -> Offer {
    let attributes = Some(Attributes { permissions: 0o600, modified: 7 });
    Offer::File { name: PeerName::new("a"), size: 5, attributes }
}

fn transit() -> Message {
    Message::Transit(TransitInfo::default())
}

fn refused() -> TransferError {
    TransferError::PeerRefused("no".into())
}

/// A sender that has made this offer.
fn offering(offer: Offer, peer: Abilities) -> Driven<Sender> {
    let mut sender = Driven::new(Sender::new(false));
    sender.command(SenderCommand::PeerAbilities(peer)).unwrap();
    let Some(SenderEvent::OfferWanted(abilities)) = sender.events.pop() else {
        panic!("no offer is wanted")
    };
    assert_eq!(abilities, peer);
    let is_text = matches!(offer, Offer::Text(_));
    let info = (!is_text).then(TransitInfo::default);
    sender.command(SenderCommand::Offer(offer, info)).unwrap();
    sender
}

/// A sender that is connected.
fn sending() -> Driven<Sender> {
    let mut sender = offering(file(), Abilities::all());
    sender.hear(&transit()).unwrap();
    sender.hear(&Message::Answer(Answer::File)).unwrap();
    sender.input(Input::Opened(CARRIER)).unwrap();
    assert!(matches!(sender.events.last(), Some(SenderEvent::SendData(_))));
    sender
}

/// A receiver that is connected.
fn receiving() -> Driven<Receiver> {
    let mut receiver = Driven::new(Receiver::new());
    receiver.hear(&transit()).unwrap();
    receiver.hear(&Message::Offer(file())).unwrap();
    receiver.command(ReceiverCommand::Transit(TransitInfo::default())).unwrap();
    receiver.command(ReceiverCommand::Accept).unwrap();
    receiver.input(Input::Opened(CARRIER)).unwrap();
    assert!(matches!(receiver.events.last(), Some(ReceiverEvent::ReceiveData(_))));
    receiver
}

#[test]
fn a_sender_of_a_file_sends_transit_and_offer_and_connects_after_both_answers() {
    for transit_first in [true, false] {
        let mut sender = offering(file(), Abilities::all());
        assert_eq!(sender.sent, [transit(), Message::Offer(file())]);
        let mut answers = [transit(), Message::Answer(Answer::File)];
        if !transit_first {
            answers.reverse();
        }
        sender.hear(&answers[0]).unwrap();
        assert_eq!(sender.carrier, (false, false));
        sender.hear(&answers[1]).unwrap();
        assert_eq!(sender.carrier, (true, false));
        assert!(matches!(sender.events[..], [SenderEvent::Accepted]));
    }
}

#[test]
fn an_offer_holds_only_what_the_peer_understands() {
    let attributes = [TransferAbility::Attributes].into_iter().collect();
    for (peer, kept) in [(Abilities::default(), false), (attributes, true)] {
        let sender = offering(file(), peer);
        let Some(Message::Offer(Offer::File { attributes, .. })) = sender.sent.last() else {
            panic!("{:?}", sender.sent)
        };
        assert_eq!(attributes.is_some(), kept);
    }
}

#[test]
fn the_sender_of_a_text_has_no_transit_and_ends_with_the_answer() {
    let mut sender = offering(Offer::Text("hi".into()), Abilities::default());
    assert_eq!(sender.sent, [Message::Offer(Offer::Text("hi".into()))]);
    // wormhole-rs sends its transit even then.
    sender.hear(&transit()).unwrap();
    sender.hear(&Message::Answer(Answer::Text)).unwrap();
    assert!(matches!(sender.events[..], [SenderEvent::Accepted]));
    assert_eq!(sender.carrier, (false, false));
    // It has ended: nothing changes that.
    assert_eq!(sender.hear(&Message::Error("late".into())), Ok(()));
    assert_eq!(sender.command(SenderCommand::Fail("late".into())), Ok(()));
    assert_eq!(sender.sent.len(), 1);
}

#[test]
fn a_sender_that_waits_for_the_verifier_keeps_messages_until_it_has_made_the_offer() {
    let mut sender = Driven::new(Sender::new(true));
    sender.command(SenderCommand::PeerAbilities(Abilities::all())).unwrap();
    sender.hear(&transit()).unwrap();
    sender.hear(&Message::Answer(Answer::File)).unwrap();
    assert!(sender.events.is_empty());
    sender.command(SenderCommand::ConfirmVerifier(true)).unwrap();
    assert!(matches!(sender.events[..], [SenderEvent::OfferWanted(_)]));
    assert!(sender.sent.is_empty());
    sender.command(SenderCommand::Offer(file(), Some(TransitInfo::default()))).unwrap();
    assert_eq!(sender.sent.len(), 2);
    assert_eq!(sender.carrier, (true, false));
}

#[test]
fn a_different_verifier_ends_the_transfer_and_the_peer_gets_an_error() {
    let mut sender = Driven::new(Sender::new(true));
    sender.command(SenderCommand::PeerAbilities(Abilities::all())).unwrap();
    let outcome = sender.command(SenderCommand::ConfirmVerifier(false));
    assert_eq!(outcome, Err(TransferError::VerifierRejected));
    let told = "sender rejected verification check, abandoned transfer";
    assert_eq!(sender.last_error(), Some(told));
}

#[test]
fn messages_that_wait_for_the_verifier_are_limited() {
    let mut sender = Driven::new(Sender::new(true));
    let mut count = 0;
    let outcome = loop {
        match sender.hear_json(&json!({})) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 100_000);
    };
    assert_eq!(outcome, PeerMisbehaved::TooManyMessages.into());
    assert!(count > 1000);
    assert_eq!(sender.last_error(), Some("transfer failed"));
}

#[test]
fn a_sender_that_is_refused_or_gets_a_wrong_answer_ends() {
    let offering = || offering(file(), Abilities::all());
    for (message, error, told) in [
        (Message::Error("no".into()), refused(), None),
        (
            Message::Answer(Answer::Text),
            PeerMisbehaved::WrongAnswer.into(),
            Some("it sent an answer of the wrong kind"),
        ),
        (
            Message::Offer(file()),
            PeerMisbehaved::BothSend.into(),
            Some("the other side is sending, too"),
        ),
    ] {
        let mut sender = offering();
        assert_eq!(sender.hear(&message), Err(error));
        assert_eq!(sender.last_error(), told);
        assert_eq!(sender.hear(&Message::Answer(Answer::File)), Ok(()), "it has ended");
        assert!(sender.events.is_empty());
    }
}

#[test]
fn garbage_ends_either_side_in_the_usual_words() {
    let bad = |bad: BadMessage| Err(TransferError::from(bad));
    for (message, error, told) in [
        (json!([]), BadMessage::NotAnObject, "invalid message"),
        (json!({"offer": {"torrent": {}}}), BadMessage::UnknownOffer, "unknown offer type"),
        (json!({"offer": {"directory": {"mode": "tar"}}}), BadMessage::UnknownMode, "unknown mode"),
        (json!({"answer": {"file_ack": "maybe"}}), BadMessage::Field("answer"), "invalid message"),
    ] {
        let mut sender = offering(file(), Abilities::all());
        assert_eq!(sender.hear_json(&message), bad(error));
        assert_eq!(sender.last_error(), Some(told));
        let mut receiver = Driven::new(Receiver::new());
        assert_eq!(receiver.hear_json(&message), bad(error));
        assert_eq!(receiver.last_error(), Some(told));
        let mut receiver = receiving();
        assert_eq!(receiver.hear_json(&message), bad(error));
        assert_eq!(receiver.carrier, (true, true));
    }
}

#[test]
fn a_receiver_says_how_it_can_be_reached_only_to_a_sender_that_did() {
    let mut receiver = Driven::new(Receiver::new());
    receiver.command(ReceiverCommand::Transit(TransitInfo::default())).unwrap();
    receiver.hear(&Message::Offer(file())).unwrap();
    assert!(receiver.sent.is_empty());
    receiver.command(ReceiverCommand::Accept).unwrap();
    assert_eq!(receiver.sent, [Message::Answer(Answer::File)]);
    receiver.hear(&transit()).unwrap();
    receiver.hear(&transit()).unwrap();
    assert!(matches!(receiver.events[..], [ReceiverEvent::Offer(_), ReceiverEvent::TransitWanted]));
    receiver.command(ReceiverCommand::Transit(TransitInfo::default())).unwrap();
    assert_eq!(receiver.sent[1..], [transit()]);
    assert_eq!(receiver.carrier, (true, false));
}

#[test]
fn a_receiver_takes_one_offer_and_answers_in_kind() {
    let mut receiver = Driven::new(Receiver::new());
    let text = Message::Offer(Offer::Text("hi".into()));
    receiver.command(ReceiverCommand::Accept).unwrap();
    assert!(receiver.sent.is_empty(), "there is nothing to accept yet");
    receiver.hear(&text).unwrap();
    receiver.hear(&text).unwrap();
    assert!(matches!(receiver.events[..], [ReceiverEvent::Offer(Offer::Text(_))]));
    let mut other = Driven::new(Receiver::new());
    other.hear(&text).unwrap();
    assert_eq!(other.hear(&Message::Offer(file())), Err(PeerMisbehaved::SecondOffer.into()));
    receiver.command(ReceiverCommand::Accept).unwrap();
    assert_eq!(receiver.sent, [Message::Answer(Answer::Text)]);
}

#[test]
fn a_rejected_offer_is_explained_to_the_sender_once() {
    let mut receiver = Driven::new(Receiver::new());
    receiver.hear(&Message::Offer(file())).unwrap();
    let outcome = receiver.command(ReceiverCommand::Reject("not today".into()));
    assert_eq!(outcome, Err(TransferError::Rejected));
    receiver.command(ReceiverCommand::Fail("transfer cancelled".into())).unwrap();
    assert_eq!(receiver.sent, [Message::Error("not today".into())]);
}

#[test]
fn two_receivers_find_out() {
    let mut receiver = Driven::new(Receiver::new());
    let outcome = receiver.hear(&Message::Answer(Answer::File));
    assert_eq!(outcome, Err(PeerMisbehaved::BothReceive.into()));
}

#[test]
fn the_end_of_the_mailbox_matters_only_before_there_is_a_connection() {
    let mut sender = offering(file(), Abilities::all());
    assert_eq!(sender.input(Input::Closed(MAILBOX)), Err(TransferError::MailboxClosed));
    assert_eq!(sending().input(Input::Closed(MAILBOX)), Ok(()));
    assert_eq!(receiving().input(Input::Closed(MAILBOX)), Ok(()));
}

#[test]
fn the_reason_for_a_lost_connection_is_awaited_for_a_moment() {
    let mut sender = sending();
    assert_eq!(sender.input(Input::Closed(CARRIER)), Ok(()));
    assert_eq!(sender.pass(Duration::from_millis(999)), Ok(()));
    assert_eq!(sender.hear(&Message::Error("no".into())), Err(refused()));
    let mut receiver = receiving();
    assert_eq!(receiver.input(Input::Closed(CARRIER)), Ok(()));
    assert_eq!(receiver.session.deadline(), Some(receiver.now + Duration::from_secs(1)));
    assert_eq!(receiver.pass(Duration::from_secs(1)), Err(TransferError::CarrierLost));
    assert_eq!(receiver.last_error(), Some("the connection failed"));
    assert_eq!(receiver.session.deadline(), None);
    let mut receiver = receiving();
    receiver.input(Input::Closed(CARRIER)).unwrap();
    assert_eq!(receiver.input(Input::Closed(MAILBOX)), Err(TransferError::CarrierLost));
}

#[test]
fn a_connection_that_never_opens_ends_it() {
    let mut sender = offering(file(), Abilities::all());
    sender.hear(&transit()).unwrap();
    sender.hear(&Message::Answer(Answer::File)).unwrap();
    assert_eq!(sender.input(Input::Closed(CARRIER)), Err(TransferError::NoCarrier));
    assert!(sender.last_error().unwrap().contains("relay"));
    // One that opens after that is closed again.
    sender.input(Input::Opened(CARRIER)).unwrap();
    assert_eq!(sender.carrier, (true, true));
}

#[test]
fn an_error_of_the_peer_counts_during_the_data_phase_and_not_after_the_end() {
    let mut sender = sending();
    sender.hear(&transit()).unwrap();
    sender.hear(&Message::Offer(file())).unwrap();
    assert_eq!(sender.hear(&Message::Error("no".into())), Err(refused()));
    assert_eq!(sender.carrier, (true, true));
    let mut sender = sending();
    sender.command(SenderCommand::Complete).unwrap();
    assert_eq!(sender.hear(&Message::Error("no".into())), Ok(()));
    let mut receiver = receiving();
    receiver.command(ReceiverCommand::Complete).unwrap();
    assert_eq!(receiver.input(Input::Closed(CARRIER)), Ok(()));
    assert_eq!(receiver.pass(Duration::from_secs(9)), Ok(()));
    assert_eq!(receiver.carrier, (true, false));
}
