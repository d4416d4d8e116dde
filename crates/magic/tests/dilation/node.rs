//! One side in the simulated world: the session, an ordered mailbox, and an application that sends and checks streams.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wormhole_kit::{Input, Instant, Output, Secret, Session};
use wormhole_magic::dilation::{
    Dilation, DilationCommand, DilationConfig, DilationError, DilationEvent, DilationKey,
    DilationSide, DilationVersion, SubchannelId,
};
use wormhole_magic::transit::{Endpoint, Hint, RelayHint, RelayPolicy, Route, Target, TcpHint};

/// How a side reaches the other one in a test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Paths {
    Relay,
    Direct,
    Both,
}

/// The settings of side 0 or 1, which leads if `leads`. Half of the seeds use credit.
pub(crate) fn config(leads: bool, paths: Paths, seed: u64) -> DilationConfig {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let key = DilationKey::from_secret(Secret::new([7; 32]));
    let side = if leads { DilationSide::leading(rng) } else { DilationSide::following(rng) };
    let mut config = DilationConfig::new(key, side);
    if seed / 2 % 2 == 1 {
        config.version = DilationVersion::GedCredit;
        config.aes = seed / 4 % 2 == 1;
    }
    if paths != Paths::Direct {
        config.relays = vec![RelayHint::tcp(TcpHint::new("relay.example", 4001))];
    }
    if paths == Paths::Relay {
        config.policy = RelayPolicy::Only;
    }
    config
}

/// Where a side listens.
pub(crate) fn listening(side: usize) -> Endpoint {
    Endpoint::new(format!("192.0.2.{side}"), 4000)
}

/// The session with its application: it opens streams, of which each end sends what follows from the number of the stream,
/// in pieces, and checks what it receives.
pub(crate) struct Node {
    pub(crate) session: Dilation<ChaCha8Rng>,
    /// Dilation messages of the peer that wait for an earlier one.
    mailbox: BTreeMap<u64, Vec<u8>>,
    next_mailbox: u64,
    sent_mailbox: u64,
    hints: Vec<Hint>,
    rng: ChaCha8Rng,
    seed: u64,
    streams: BTreeMap<SubchannelId, Stream>,
    /// Own streams that are still to be opened.
    to_open: VecDeque<u32>,
    /// Bytes in each direction of each stream.
    length: usize,
    pub(crate) generations: usize,
    pub(crate) relayed: bool,
    outputs: VecDeque<Output<Target, NodeEvent>>,
    finished: usize,
    expected: usize,
}

#[derive(Default)]
struct Stream {
    sent: usize,
    received: usize,
}

/// What one side does that concerns others.
#[derive(Debug)]
pub(crate) enum NodeEvent {
    Mailbox(u64, Vec<u8>),
    /// All streams are complete in both directions.
    Done,
}

/// What happens to one side.
#[derive(Clone, Debug)]
pub(crate) enum NodeCommand {
    Mailbox(u64, Vec<u8>),
}

/// The byte at this place of a stream, different for each stream and direction.
fn byte(opened_by: u8, sent_by: u8, number: u32, at: usize) -> u8 {
    let mixed = at.wrapping_mul(31) ^ usize::try_from(number).unwrap().wrapping_mul(7);
    mixed.to_le_bytes()[0] ^ (at >> 8).to_le_bytes()[0] ^ (opened_by * 85) ^ (sent_by * 51)
}

impl Node {
    /// Side 0 or 1, where each side opens this many streams with this many bytes in each direction.
    pub(crate) fn new(
        side: usize,
        paths: Paths,
        seed: u64,
        (streams, length): (u32, usize),
        now: Instant,
    ) -> Self {
        let seed = seed * 2 + u64::try_from(side).unwrap();
        let config = config(side == 0, paths, seed);
        let endpoint = listening(side);
        let direct = Hint::Direct(TcpHint::new(endpoint.host, endpoint.port));
        let hints = if paths == Paths::Relay { vec![] } else { vec![direct] };
        let session = Dilation::new(config, now, ChaCha8Rng::seed_from_u64(seed));
        let mut node = Self {
            session,
            mailbox: BTreeMap::new(),
            next_mailbox: 0,
            sent_mailbox: 0,
            hints,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0xffff),
            seed,
            streams: BTreeMap::new(),
            to_open: (0..streams).collect(),
            length,
            generations: 0,
            relayed: false,
            outputs: VecDeque::new(),
            finished: 0,
            expected: 2 * usize::try_from(streams).unwrap(),
        };
        node.run(now).unwrap();
        node
    }

    /// Lets time pass, even if the application has nothing left to do.
    pub(crate) fn advance(&mut self, now: Instant) -> Result<(), DilationError> {
        self.session.handle_timeout(now)?;
        self.run(now)
    }

    fn command(&mut self, now: Instant, command: DilationCommand) -> Result<(), DilationError> {
        self.session.handle(now, Input::Command(command))
    }

    /// Handles all outputs of the session, and writes as much as it wants.
    fn run(&mut self, now: Instant) -> Result<(), DilationError> {
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Connect(id, target) => {
                        self.outputs.push_back(Output::Connect(id, target));
                    }
                    Output::Send(id, bytes) => self.outputs.push_back(Output::Send(id, bytes)),
                    Output::Close(id) => self.outputs.push_back(Output::Close(id)),
                    Output::Event(event) => self.on_event(now, event)?,
                }
            }
            if !self.write(now)? {
                return Ok(());
            }
        }
    }

    /// Opens a stream or writes a piece; returns whether there was anything to do.
    fn write(&mut self, now: Instant) -> Result<bool, DilationError> {
        use rand_core::RngCore;
        if !self.session.wants_input() {
            return Ok(false);
        }
        if let Some(number) = self.to_open.pop_front() {
            self.streams.insert(SubchannelId::Ours(number), Stream::default());
            let open = DilationCommand::Open { number, subprotocol: "echo".into() };
            self.command(now, open)?;
            return Ok(true);
        }
        let length = self.length;
        // Some applications do not look whether the peer accepts data.
        let waits = !self.seed.is_multiple_of(3);
        let accepts = |id: &SubchannelId| !waits || self.session.accepts_data(*id);
        let mut open =
            self.streams.iter_mut().filter(|(id, stream)| stream.sent <= length && accepts(id));
        let Some((id, stream)) = open.next() else { return Ok(false) };
        let id = *id;
        let size = 1 + usize::try_from(self.rng.next_u32()).unwrap() % (length / 2).max(1);
        let from = stream.sent;
        let to = (from + size).min(length);
        // One more than the length means: finished.
        stream.sent = if to == length { length + 1 } else { to };
        let (opener, number) = self.stream(id);
        let ours = self.own_number();
        let data = (from..to).map(|at| byte(opener, ours, number, at)).collect();
        self.command(now, DilationCommand::Write(id, data))?;
        if to == length {
            self.command(now, DilationCommand::Finish(id))?;
        }
        Ok(true)
    }

    fn own_number(&self) -> u8 {
        u8::from(self.session.role() == Some(wormhole_magic::dilation::DilationRole::Follower))
    }

    /// Who has opened a stream, and its number among the streams of that side.
    fn stream(&self, id: SubchannelId) -> (u8, u32) {
        match id {
            SubchannelId::Ours(number) => (self.own_number(), number),
            SubchannelId::Theirs(wire) => (1 - self.own_number(), (wire - 1) / 2),
        }
    }

    fn on_event(&mut self, now: Instant, event: DilationEvent) -> Result<(), DilationError> {
        match event {
            DilationEvent::Mailbox(message) => {
                let event = NodeEvent::Mailbox(self.sent_mailbox, message);
                self.sent_mailbox += 1;
                self.outputs.push_back(Output::Event(event));
            }
            DilationEvent::HintsWanted => {
                self.generations += 1;
                self.command(now, DilationCommand::Hints(self.hints.clone()))?;
            }
            DilationEvent::Opened { id, subprotocol } => {
                assert_eq!(subprotocol, "echo");
                assert!(self.streams.insert(id, Stream::default()).is_none(), "opened twice");
            }
            DilationEvent::Data(id, data) => {
                let (opener, number) = self.stream(id);
                let theirs = 1 - self.own_number();
                let stream = self.streams.get_mut(&id).unwrap();
                for (at, found) in (stream.received..).zip(&data) {
                    assert_eq!(byte(opener, theirs, number, at), *found, "{id:?} at {at}");
                }
                stream.received += data.len();
                self.command(now, DilationCommand::Consumed(id, data.len()))?;
            }
            DilationEvent::Finished(id) => {
                assert_eq!(self.streams[&id].received, self.length, "{id:?}");
                self.finished += 1;
                if self.finished == self.expected {
                    self.outputs.push_back(Output::Event(NodeEvent::Done));
                }
            }
            DilationEvent::Connected(route) => {
                self.relayed = matches!(route, Route::Relay(_));
            }
            DilationEvent::Disconnected | DilationEvent::Writable(_) => {}
            event => panic!("unknown event {event:?}"),
        }
        Ok(())
    }
}

impl Session for Node {
    type Address = Target;
    type Command = NodeCommand;
    type Event = NodeEvent;
    type Changes = Infallible;
    type Error = DilationError;

    fn handle(&mut self, now: Instant, input: Input<'_, NodeCommand>) -> Result<(), DilationError> {
        match input {
            Input::Opened(id) => self.session.handle(now, Input::Opened(id))?,
            Input::Bytes(id, bytes) => self.session.handle(now, Input::Bytes(id, bytes))?,
            Input::Closed(id) => self.session.handle(now, Input::Closed(id))?,
            Input::Command(NodeCommand::Mailbox(number, message)) => {
                self.mailbox.insert(number, message);
                while let Some(message) = self.mailbox.remove(&self.next_mailbox) {
                    self.next_mailbox += 1;
                    self.command(now, DilationCommand::Mailbox(message))?;
                }
            }
            Input::Committed => {}
        }
        self.run(now)
    }

    fn poll(&mut self) -> Option<Output<Target, NodeEvent>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        // A side without work left has nothing to do, however long the connection lives.
        (self.finished < self.expected || !self.session.is_delivered())
            .then(|| self.session.deadline())
            .flatten()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DilationError> {
        self.advance(now)
    }
}

/// How long a simulation may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);
