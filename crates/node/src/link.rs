//! One link to one peer, as a task: bytes to and from the `RLPx` peer of the core, packets to and
//! from the hub.
//!
//! Everything that waits is bounded: a link that does not take what it is sent is given up, and one
//! that sends waits for the hub to have room. What comes faster than a peer may send is not read
//! until it is time, so that the other side has to wait as well.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand_core::OsRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep_until, timeout};
use wormhole_kit::network;
use wormhole_whisper::{
    devp2p::{
        base::{DisconnectReason, Hello},
        capability::{Protocol, ProtocolId},
        key::{NodeId, PrivateKey},
        peer::{Config, Peer, PeerError, PeerOutput},
    },
    shh::{Envelope, EnvelopeHash, archive::ArchiveRequest, packet},
};

use super::Direction;
use super::archive::Archive;
use super::budget::{Budget, Budgets};
use super::link::answering::Answering;
use super::link::outbox::{Kind, Outbox};
use super::pending::{Pending, Place};
use crate::net::tune;

mod answering;
mod outbox;

/// What all links of a node share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) key: PrivateKey,
    pub(super) listen_port: u16,
    /// Most bytes of a message on the links that open from now on.
    pub(super) max_message: AtomicUsize,
    pub(super) budgets: Budgets,
    pub(super) events: mpsc::Sender<Event>,
    /// Room for messages on their way to the hub, in KiB.
    pub(super) room: Arc<Semaphore>,
    pub(super) archive: Option<Archive>,
    pub(super) pending: Pending,
    /// Ends when the node stops.
    pub(super) closing: watch::Receiver<()>,
    pub(super) next: AtomicU64,
}

impl Context {
    fn config(&self) -> Config {
        let version = u32::try_from(packet::VERSION).unwrap_or_default();
        let shh = Protocol::new(packet::NAME, version, packet::LENGTH);
        let mut config = Config::new(self.key.clone(), vec![shh]);
        config.listen_port = self.listen_port;
        config.max_message = self.max_message.load(Ordering::Relaxed);
        config
    }
}

/// What a link tells the hub.
#[derive(Debug)]
pub(super) enum Event {
    /// Both have said Hello.
    Opened { link: LinkNumber, hello: Box<Hello>, orders: mpsc::Sender<Order>, end: End },
    /// A packet came. The permit is its share of the room.
    Packet { link: LinkNumber, code: u16, body: Vec<u8>, room: OwnedSemaphorePermit },
    /// A packet of messages has been written.
    Sent(LinkNumber),
    /// The link is gone, or there was none.
    Ended { link: LinkNumber, end: End, why: Ending },
}

/// The name of a link within this node.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LinkNumber(pub(super) u64);

/// The other end of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    /// Who is there: whom we called, or who has proved its name.
    pub(super) id: Option<NodeId>,
}

/// What the hub wants of a link.
#[derive(Debug)]
pub(super) enum Order {
    /// Answer this request from the archive.
    Answer { hash: EnvelopeHash, request: Box<ArchiveRequest> },
    /// Part, and say why.
    Disconnect(DisconnectReason),
    /// Send this packet.
    Send { code: u16, body: Vec<u8> },
}

/// Why a link is gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    /// We wanted it so.
    #[error("closed by us")]
    ByUs,
    /// It said nothing, and others needed its place.
    #[error("made room for others before it shook hands")]
    Evicted,
    /// The network failed.
    #[error("link failed: {0}")]
    Failed(io::ErrorKind),
    /// As the core says.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It does not take what it is sent.
    #[error("peer does not read")]
    Stalled,
}

/// Calls a node and stays with it until the end.
pub(super) async fn call(context: Arc<Context>, link: LinkNumber, id: NodeId, address: SocketAddr) {
    let end = End { address, direction: Direction::Outbound, id: Some(id) };
    let mut closing = context.closing.clone();
    let connected = tokio::select! {
        connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)) => connected,
        _ = closing.changed() => return,
    };
    let why = match (connected, id.public_key()) {
        (Ok(Ok(stream)), Ok(key)) => {
            let peer = Peer::dial(context.config(), key, Instant::now(), &mut OsRng);
            Link::new(&context, link, end, stream, peer).run(None).await
        }
        (Ok(Err(error)), _) => Ending::Failed(error.kind()),
        (Ok(Ok(_)) | Err(_), _) => Ending::Failed(io::ErrorKind::TimedOut),
    };
    let _stopped = context.events.send(Event::Ended { link, end, why }).await;
}

/// Answers whoever has opened a link to us and stays until the end.
pub(super) async fn answer(
    context: Arc<Context>,
    link: LinkNumber,
    stream: TcpStream,
    address: SocketAddr,
    mut place: Place,
) {
    let mut end = End { address, direction: Direction::Inbound, id: None };
    let mut closing = context.closing.clone();
    // Nothing is spent on a link that says nothing.
    tokio::select! {
        spoken = timeout(FIRST_BYTE, stream.readable()) => if !matches!(spoken, Ok(Ok(()))) {
            return;
        },
        () = place.evicted() => return,
        _ = closing.changed() => return,
    }
    let peer = Peer::accept(context.config(), Instant::now(), &mut OsRng);
    let mut live = Link::new(&context, link, end, stream, peer);
    let why = live.run(Some(place)).await;
    end.id = live.end.id;
    let _stopped = context.events.send(Event::Ended { link, end, why }).await;
}

/// A link while it lives.
struct Link<'a> {
    context: &'a Context,
    link: LinkNumber,
    end: End,
    peer: Peer,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    outbox: Outbox,
    /// What may still be read now.
    budget: Budget,
    orders: Option<mpsc::Receiver<Order>>,
    answering: Option<Answering>,
    /// Why it ends, once that is known.
    ending: Option<Ending>,
}

/// What the next thing was.
enum Happening {
    Evicted,
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Ordered(Option<Order>),
    Found(answering::Found),
    Closing,
    Late,
}

impl<'a> Link<'a> {
    fn new(
        context: &'a Context,
        link: LinkNumber,
        end: End,
        stream: TcpStream,
        peer: Peer,
    ) -> Self {
        // A connection works without, too.
        let _kept = tune(&stream);
        let (reader, writer) = stream.into_split();
        Self {
            context,
            link,
            end,
            peer,
            reader,
            writer,
            outbox: Outbox::default(),
            budget: context.budgets.of_stranger(Instant::now()),
            orders: None,
            answering: None,
            ending: None,
        }
    }

    /// Lives until the end, and tells why it came.
    async fn run(&mut self, mut place: Option<Place>) -> Ending {
        let mut buffer = vec![0; READ];
        loop {
            if self.carry_out(&mut place).await {
                let _late = timeout(LAST_WORDS, self.outbox.flush(&mut self.writer)).await;
                return self.ending.take().unwrap_or(Ending::ByUs);
            }
            match self.wait(&mut place, &mut buffer).await {
                Happening::Evicted => return Ending::Evicted,
                Happening::Read(Ok(0)) => return Ending::Failed(io::ErrorKind::UnexpectedEof),
                Happening::Read(Ok(count)) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    let result = self.peer.handle(Instant::now(), bytes);
                    self.budget.charge(Instant::now(), self.peer.take_cost());
                    self.note(result);
                }
                Happening::Read(Err(error)) | Happening::Written(Err(error)) => {
                    return Ending::Failed(error.kind());
                }
                Happening::Written(Ok(count)) => {
                    if self.outbox.written(count) == Some(Kind::Bundle) {
                        let _stopped = self.context.events.send(Event::Sent(self.link)).await;
                    }
                }
                Happening::Ordered(order) => self.obey(order),
                Happening::Found(found) => self.pass_on(found),
                Happening::Closing => self.peer.disconnect(DisconnectReason::Quitting),
                Happening::Late if self.outbox.is_stalled() => return Ending::Stalled,
                Happening::Late => {
                    let result = self.peer.handle_timeout(Instant::now());
                    self.note(result);
                }
            }
        }
    }

    async fn wait(&mut self, place: &mut Option<Place>, buffer: &mut [u8]) -> Happening {
        let now = Instant::now();
        let pause = self.budget.settled().filter(|until| now < *until);
        let deadlines = [self.peer.deadline(), self.outbox.deadline(), pause];
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(now + SILENCE);
        let has_room = self.outbox.has_room();
        // What is read may make the hub want an answer.
        let heeds = |orders: &mpsc::Receiver<Order>| has_room || orders.len() < MAX_ORDERS / 2;
        let may_read = self.outbox.may_read() && self.orders.as_ref().is_none_or(heeds);
        let mut closing = self.context.closing.clone();
        tokio::select! {
            () = evicted(place) => Happening::Evicted,
            read = self.reader.read(buffer), if may_read && pause.is_none() => Happening::Read(read),
            written = self.writer.write(self.outbox.front()), if !self.outbox.is_empty() => {
                Happening::Written(written)
            }
            order = next(&mut self.orders), if has_room => Happening::Ordered(order),
            found = answering::next(&mut self.answering), if has_room => Happening::Found(found),
            _ = closing.changed() => Happening::Closing,
            () = sleep_until(deadline.into()) => Happening::Late,
        }
    }

    /// Does what the core wants done. Returns whether that was to close.
    async fn carry_out(&mut self, place: &mut Option<Place>) -> bool {
        let link = self.link;
        while let Some(output) = self.peer.poll() {
            let event = match output {
                PeerOutput::Send(bytes) => {
                    self.outbox.push(bytes, Kind::Answer);
                    continue;
                }
                PeerOutput::Close => return true,
                PeerOutput::Opened { hello, .. } => {
                    *place = None;
                    self.end.id = Some(hello.id);
                    self.budget = self.context.budgets.of_address(Instant::now(), host(&self.end));
                    let (orders, received) = mpsc::channel(MAX_ORDERS);
                    self.orders = Some(received);
                    Event::Opened { link, hello, orders, end: self.end }
                }
                PeerOutput::Message { code, payload: body, .. } => {
                    let share = u32::try_from(body.len().div_ceil(1024)).unwrap_or(u32::MAX);
                    let share = share.clamp(1, ROOM);
                    let room = Arc::clone(&self.context.room).acquire_many_owned(share).await;
                    let Ok(room) = room else { return true };
                    Event::Packet { link, code, body, room }
                }
            };
            if self.context.events.send(event).await.is_err() {
                return true;
            }
        }
        false
    }

    fn obey(&mut self, order: Option<Order>) {
        match order {
            Some(Order::Send { code, body }) => self.send(code, &body),
            Some(Order::Disconnect(reason)) => self.peer.disconnect(reason),
            Some(Order::Answer { hash, request }) => {
                // One at a time: who asks for more has to wait.
                if self.answering.is_none()
                    && let Some(archive) = &self.context.archive
                {
                    self.answering = Some(Answering::new(archive.clone(), hash, *request));
                }
            }
            None => self.peer.disconnect(DisconnectReason::Requested),
        }
    }

    fn pass_on(&mut self, found: answering::Found) {
        // A longer one would end the link of whoever takes no more than usual, and what is behind it
        // would never come.
        let fits = |envelope: &Envelope| envelope.encoded().len() <= packet::LONGEST_FOR_ALL;
        for envelope in found.envelopes.into_iter().filter(fits) {
            self.send(packet::DIRECT, envelope.encoded());
        }
        if let Some(done) = found.done {
            self.answering = None;
            self.send(packet::ARCHIVE_COMPLETE, &done);
        }
    }

    fn send(&mut self, code: u16, body: &[u8]) {
        // What does not fit into a frame, or comes too late, is of no use to anyone.
        if self.peer.send(SHH, code, body).is_ok()
            && let Some(PeerOutput::Send(bytes)) = self.peer.poll()
        {
            let kind = match code {
                packet::MESSAGES => Kind::Bundle,
                packet::ACKNOWLEDGED => Kind::Answer,
                _ => Kind::Other,
            };
            self.outbox.push(bytes, kind);
        }
    }

    fn note(&mut self, result: Result<(), PeerError>) {
        if let Err(error) = result {
            self.ending = Some(error.into());
        }
    }
}

async fn evicted(place: &mut Option<Place>) {
    match place {
        Some(place) => place.evicted().await,
        None => std::future::pending().await,
    }
}

async fn next(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

/// The address by which a peer is counted.
pub(super) fn host(end: &End) -> IpAddr {
    network(end.address.ip())
}

/// The only protocol we offer.
const SHH: ProtocolId = ProtocolId(0);

/// KiB of messages on their way from all links to the hub.
pub(super) const ROOM: u32 = 32 * 1024;

/// Bytes read at once.
const READ: usize = 16 * 1024;

/// Orders that wait before the hub gives a link up.
const MAX_ORDERS: usize = 64;

/// Time until a call is answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time until whoever has opened a link says something.
const FIRST_BYTE: Duration = Duration::from_secs(5);

/// Time for what was said last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The core always has a deadline while a link lives; this is for the moment after.
const SILENCE: Duration = Duration::from_secs(30);
