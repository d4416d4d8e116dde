//! A program in the simulated world: a session, and what a driver and an application do for it.

use std::convert::Infallible;
use std::time::Duration;

use wormhole_kit::{Input, Instant, LinkId, Output, Session};
use wormhole_magic::transfer::{
    Abilities, CARRIER, DataReceiver, DataSender, MAILBOX, Offer, Receiver, ReceiverCommand,
    ReceiverEvent, SendStep, Sender, SenderCommand, SenderEvent, TransferAddress, TransferError,
};
use wormhole_magic::transit::TransitInfo;

/// One side of a transfer.
pub(crate) struct Node {
    role: Role,
    /// What the other side announces.
    peer: Abilities,
    outputs: Vec<Output<(), Done>>,
    /// When the next piece of data is sent, or an empty file is ended.
    next_step: Option<Instant>,
}

enum Role {
    Sender { session: Sender, offer: Offer, source: Vec<u8>, at: usize, data: Option<DataSender> },
    Receiver { session: Receiver, content: Vec<u8>, data: Option<DataReceiver> },
}

/// How a side ended well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Done {
    Sent,
    Received(Vec<u8>),
}

/// The first message on each link names it to the server.
pub(crate) const IS_MAILBOX: &[u8] = b"mailbox";
pub(crate) const IS_CARRIER: &[u8] = b"carrier";

impl Node {
    /// A sender of `source`, offered as `offer`.
    pub(crate) fn sender(offer: Offer, source: Vec<u8>, peer: Abilities) -> Self {
        let session = Sender::new(false);
        Self::new(Role::Sender { session, offer, source, at: 0, data: None }, peer)
    }

    pub(crate) fn receiver(peer: Abilities) -> Self {
        let session = Receiver::new();
        Self::new(Role::Receiver { session, content: vec![], data: None }, peer)
    }

    fn new(role: Role, peer: Abilities) -> Self {
        let mut node = Self { role, peer, outputs: vec![], next_step: None };
        node.run(Instant::now()).unwrap();
        node
    }

    /// Does what the session wants, and answers it as an application would.
    fn run(&mut self, now: Instant) -> Result<(), TransferError> {
        loop {
            match &mut self.role {
                Role::Sender { session, .. } => {
                    let Some(output) = session.poll() else { return Ok(()) };
                    if let Some(event) = pass(&mut self.outputs, output) {
                        self.on_sender_event(now, event)?;
                    }
                }
                Role::Receiver { session, .. } => {
                    let Some(output) = session.poll() else { return Ok(()) };
                    if let Some(event) = pass(&mut self.outputs, output) {
                        self.on_receiver_event(now, event)?;
                    }
                }
            }
        }
    }

    fn on_sender_event(&mut self, now: Instant, event: SenderEvent) -> Result<(), TransferError> {
        let Role::Sender { session, offer, data, .. } = &mut self.role else { return Ok(()) };
        let is_text = matches!(offer, Offer::Text(_));
        match event {
            SenderEvent::OfferWanted(_) => {
                let transit = (!is_text).then(TransitInfo::default);
                let offer = SenderCommand::Offer(offer.clone(), transit);
                session.handle(now, Input::Command(offer))
            }
            SenderEvent::Accepted => {
                if is_text {
                    self.outputs.push(Output::Event(Done::Sent));
                }
                Ok(())
            }
            SenderEvent::SendData(machine) => {
                *data = Some(machine);
                self.next_step = Some(now);
                Ok(())
            }
        }
    }

    fn on_receiver_event(
        &mut self,
        now: Instant,
        event: ReceiverEvent,
    ) -> Result<(), TransferError> {
        let Role::Receiver { session, data, .. } = &mut self.role else { return Ok(()) };
        match event {
            ReceiverEvent::TransitWanted => {
                let transit = ReceiverCommand::Transit(TransitInfo::default());
                session.handle(now, Input::Command(transit))
            }
            ReceiverEvent::Offer(offer) => {
                if let Offer::Text(text) = offer {
                    self.outputs.push(Output::Event(Done::Received(text.into_bytes())));
                }
                session.handle(now, Input::Command(ReceiverCommand::Accept))
            }
            ReceiverEvent::ReceiveData(machine) => {
                *data = Some(machine);
                self.receive(now)
            }
        }
    }

    /// Sends one piece of data, or what else is next.
    fn send(&mut self, now: Instant) -> Result<(), TransferError> {
        let Role::Sender { session, source, at, data: Some(data), .. } = &mut self.role else {
            return Ok(());
        };
        self.next_step = None;
        match data.step() {
            SendStep::SendData => {
                let piece: Vec<u8> = source[*at..].iter().copied().take(PIECE).collect();
                *at += piece.len();
                if piece.is_empty() {
                    data.on_source_end().unwrap();
                } else {
                    data.on_data(&piece).unwrap();
                    self.outputs.push(Output::Send(CARRIER, piece));
                }
                let patience = if let SendStep::SendEndUnlessReceived(time) = data.step() {
                    time
                } else {
                    BETWEEN_PIECES
                };
                self.next_step = Some(now + patience);
            }
            SendStep::SendEnd | SendStep::SendEndUnlessReceived(_) => {
                self.outputs.push(Output::Send(CARRIER, vec![]));
                data.on_end_sent();
            }
            SendStep::Receive => {}
            SendStep::Done => {
                self.outputs.push(Output::Close(CARRIER));
                self.outputs.push(Output::Event(Done::Sent));
                session.handle(now, Input::Command(SenderCommand::Complete))?;
            }
        }
        Ok(())
    }

    /// Ends a receiver that has everything.
    fn receive(&mut self, now: Instant) -> Result<(), TransferError> {
        let Role::Receiver { session, content, data } = &mut self.role else { return Ok(()) };
        let Some(machine) = data else { return Ok(()) };
        if let Some(report) = machine.report(now) {
            self.outputs.push(Output::Send(CARRIER, report));
        }
        if machine.is_complete()
            && let Some(machine) = data.take()
        {
            self.outputs.push(Output::Send(CARRIER, machine.acknowledge()));
            self.outputs.push(Output::Close(CARRIER));
            self.outputs.push(Output::Event(Done::Received(std::mem::take(content))));
            session.handle(now, Input::Command(ReceiverCommand::Complete))?;
        }
        Ok(())
    }

    fn on_record(&mut self, now: Instant, record: &[u8]) -> Result<(), TransferError> {
        match &mut self.role {
            Role::Sender { data: Some(data), .. } => {
                data.on_record(record).unwrap();
                if data.step() == SendStep::Done { self.send(now) } else { Ok(()) }
            }
            Role::Receiver { data: Some(data), content, .. } => {
                data.on_record(record).unwrap();
                content.extend_from_slice(record);
                self.receive(now)
            }
            Role::Sender { .. } | Role::Receiver { .. } => Ok(()),
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_, ()>) -> Result<(), TransferError> {
        match input {
            Input::Opened(MAILBOX) => {
                self.outputs.push(Output::Send(MAILBOX, IS_MAILBOX.to_vec()));
                match &mut self.role {
                    Role::Sender { session, .. } => {
                        let peer = SenderCommand::PeerAbilities(self.peer);
                        session.handle(now, Input::Command(peer))?;
                    }
                    Role::Receiver { session, .. } => {
                        let peer = ReceiverCommand::PeerAbilities(self.peer);
                        session.handle(now, Input::Command(peer))?;
                    }
                }
            }
            Input::Opened(CARRIER) => {
                self.outputs.push(Output::Send(CARRIER, IS_CARRIER.to_vec()));
            }
            Input::Bytes(CARRIER, record) => return self.on_record(now, record),
            _ => {}
        }
        match &mut self.role {
            Role::Sender { session, .. } => session.handle(now, without_command(input)),
            Role::Receiver { session, .. } => session.handle(now, without_command(input)),
        }
    }
}

/// Passes on what is meant for the network, and returns what is meant for the application.
fn pass<E>(outputs: &mut Vec<Output<(), Done>>, output: Output<TransferAddress, E>) -> Option<E> {
    match output {
        Output::Connect(link, _) => outputs.push(Output::Connect(link, ())),
        Output::Send(link, bytes) => outputs.push(Output::Send(link, bytes)),
        Output::Close(link) => outputs.push(Output::Close(link)),
        Output::Event(event) => return Some(event),
    }
    None
}

fn without_command<C>(input: Input<'_, ()>) -> Input<'_, C> {
    match input {
        Input::Opened(link) => Input::Opened(link),
        Input::Bytes(link, bytes) => Input::Bytes(link, bytes),
        Input::Closed(link) => Input::Closed(link),
        Input::Command(()) => Input::Closed(LinkId(u64::MAX)),
        Input::Committed => Input::Committed,
    }
}

impl Session for Node {
    type Address = ();
    type Command = ();
    type Event = Done;
    type Changes = Infallible;
    type Error = TransferError;

    fn handle(&mut self, now: Instant, input: Input<'_, ()>) -> Result<(), TransferError> {
        let result = self.input(now, input);
        self.run(now)?;
        result
    }

    fn poll(&mut self) -> Option<Output<(), Done>> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    fn deadline(&self) -> Option<Instant> {
        let session = match &self.role {
            Role::Sender { session, .. } => session.deadline(),
            Role::Receiver { session, .. } => session.deadline(),
        };
        session.into_iter().chain(self.next_step).min()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), TransferError> {
        if self.next_step.is_some_and(|at| now >= at) {
            self.send(now)?;
        }
        let result = match &mut self.role {
            Role::Sender { session, .. } => session.handle_timeout(now),
            Role::Receiver { session, .. } => session.handle_timeout(now),
        };
        self.run(now)?;
        result
    }
}

/// Bytes of a record.
const PIECE: usize = 100;

/// Time between two of them: the receiver reports now and then.
const BETWEEN_PIECES: Duration = Duration::from_millis(100);
