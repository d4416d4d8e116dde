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

use self::archive_reply::ArchiveSender;
use self::write_queue::{FrameKind, WriteQueue};
use super::Direction;
use super::archive::Archive;
use super::net::tune;
use super::read_limits::{ReadLimit, ReadLimits};
use crate::pending_links::{PendingLinks, PendingSlot};

mod archive_reply;
mod write_queue;

/// What all links of a node share.
#[derive(Debug)]
pub(super) struct LinkContext {
    pub(super) key: PrivateKey,
    pub(super) listen_port: u16,
    /// Most bytes of a message on the links that open from now on.
    pub(super) max_message: AtomicUsize,
    pub(super) read_limits: ReadLimits,
    pub(super) events: mpsc::Sender<LinkEvent>,
    /// Room for messages on their way to the hub, in KiB.
    pub(super) room: Arc<Semaphore>,
    pub(super) archive: Option<Archive>,
    pub(super) pending: PendingLinks,
    /// Ends when the node stops.
    pub(super) closing: watch::Receiver<()>,
    pub(super) next: AtomicU64,
}

impl LinkContext {
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
pub(super) enum LinkEvent {
    /// Both have said Hello.
    Opened { link: LinkId, hello: Box<Hello>, commands: mpsc::Sender<LinkCommand>, end: LinkInfo },
    /// A packet came. The permit is its share of the room.
    Packet { link: LinkId, code: u16, body: Vec<u8>, room: OwnedSemaphorePermit },
    /// A packet of messages has been written.
    Sent(LinkId),
    /// The link is gone, or there was none.
    Ended { link: LinkId, end: LinkInfo, why: CloseReason },
}

/// The name of a link within this node.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LinkId(pub(super) u64);

/// The other end of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkInfo {
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    /// Who is there: whom we called, or who has proved its name.
    pub(super) id: Option<NodeId>,
}

/// What the hub wants of a link.
#[derive(Debug)]
pub(super) enum LinkCommand {
    /// ArchiveReply this request from the archive.
    ArchiveReply { hash: EnvelopeHash, request: Box<ArchiveRequest> },
    /// Part, and say why.
    Disconnect(DisconnectReason),
    /// Send this packet.
    Send { code: u16, body: Vec<u8> },
}

/// Why a link is gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseReason {
    /// We wanted it so.
    #[error("closed by us")]
    ByUs,
    /// It said nothing, and others needed its slot.
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
pub(super) async fn call(context: Arc<LinkContext>, link: LinkId, id: NodeId, address: SocketAddr) {
    let end = LinkInfo { address, direction: Direction::Outbound, id: Some(id) };
    let mut closing = context.closing.clone();
    let connected = tokio::select! {
        connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)) => connected,
        _ = closing.changed() => return,
    };
    let why = match (connected, id.public_key()) {
        (Ok(Ok(stream)), Ok(key)) => {
            let peer = Peer::dial(context.config(), key, Instant::now(), &mut OsRng);
            PeerLink::new(&context, link, end, stream, peer).run(None).await
        }
        (Ok(Err(error)), _) => CloseReason::Failed(error.kind()),
        (Ok(Ok(_)) | Err(_), _) => CloseReason::Failed(io::ErrorKind::TimedOut),
    };
    let _stopped = context.events.send(LinkEvent::Ended { link, end, why }).await;
}

/// Answers whoever has opened a link to us and stays until the end.
pub(super) async fn answer(
    context: Arc<LinkContext>,
    link: LinkId,
    stream: TcpStream,
    address: SocketAddr,
    mut slot: PendingSlot,
) {
    let mut end = LinkInfo { address, direction: Direction::Inbound, id: None };
    let mut closing = context.closing.clone();
    // Nothing is spent on a link that says nothing.
    tokio::select! {
        spoken = timeout(FIRST_BYTE, stream.readable()) => if !matches!(spoken, Ok(Ok(()))) {
            return;
        },
        () = slot.evicted() => return,
        _ = closing.changed() => return,
    }
    let peer = Peer::accept(context.config(), Instant::now(), &mut OsRng);
    let mut live = PeerLink::new(&context, link, end, stream, peer);
    let why = live.run(Some(slot)).await;
    end.id = live.end.id;
    let _stopped = context.events.send(LinkEvent::Ended { link, end, why }).await;
}

/// A link while it lives.
struct PeerLink<'a> {
    context: &'a LinkContext,
    link: LinkId,
    end: LinkInfo,
    peer: Peer,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    write_queue: WriteQueue,
    /// What may still be read now.
    read_limit: ReadLimit,
    commands: Option<mpsc::Receiver<LinkCommand>>,
    answering: Option<ArchiveSender>,
    /// Why it ends, once that is known.
    ending: Option<CloseReason>,
}

/// What the next thing was.
enum LinkInput {
    Evicted,
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Ordered(Option<LinkCommand>),
    Found(archive_reply::ArchivePart),
    Closing,
    Late,
}

impl<'a> PeerLink<'a> {
    fn new(
        context: &'a LinkContext,
        link: LinkId,
        end: LinkInfo,
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
            write_queue: WriteQueue::default(),
            read_limit: context.read_limits.of_stranger(Instant::now()),
            commands: None,
            answering: None,
            ending: None,
        }
    }

    /// Lives until the end, and tells why it came.
    async fn run(&mut self, mut slot: Option<PendingSlot>) -> CloseReason {
        let mut buffer = vec![0; READ];
        loop {
            if self.handle_outputs(&mut slot).await {
                let _late = timeout(LAST_WORDS, self.write_queue.flush(&mut self.writer)).await;
                return self.ending.take().unwrap_or(CloseReason::ByUs);
            }
            match self.wait(&mut slot, &mut buffer).await {
                LinkInput::Evicted => return CloseReason::Evicted,
                LinkInput::Read(Ok(0)) => return CloseReason::Failed(io::ErrorKind::UnexpectedEof),
                LinkInput::Read(Ok(count)) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    let result = self.peer.handle(Instant::now(), bytes);
                    self.read_limit.charge(Instant::now(), self.peer.take_cost());
                    self.record_error(result);
                }
                LinkInput::Read(Err(error)) | LinkInput::Written(Err(error)) => {
                    return CloseReason::Failed(error.kind());
                }
                LinkInput::Written(Ok(count)) => {
                    if self.write_queue.written(count) == Some(FrameKind::Messages) {
                        let _stopped = self.context.events.send(LinkEvent::Sent(self.link)).await;
                    }
                }
                LinkInput::Ordered(order) => self.handle_command(order),
                LinkInput::Found(found) => self.send_archive_part(found),
                LinkInput::Closing => self.peer.disconnect(DisconnectReason::Quitting),
                LinkInput::Late if self.write_queue.is_stalled() => return CloseReason::Stalled,
                LinkInput::Late => {
                    let result = self.peer.handle_timeout(Instant::now());
                    self.record_error(result);
                }
            }
        }
    }

    async fn wait(&mut self, slot: &mut Option<PendingSlot>, buffer: &mut [u8]) -> LinkInput {
        let now = Instant::now();
        let pause = self.read_limit.settled().filter(|until| now < *until);
        let deadlines = [self.peer.deadline(), self.write_queue.deadline(), pause];
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(now + SILENCE);
        let has_room = self.write_queue.has_room();
        // What is read may make the hub want an answer.
        let heeds =
            |commands: &mpsc::Receiver<LinkCommand>| has_room || commands.len() < MAX_COMMANDS / 2;
        let may_read = self.write_queue.may_read() && self.commands.as_ref().is_none_or(heeds);
        let mut closing = self.context.closing.clone();
        tokio::select! {
            () = evicted(slot) => LinkInput::Evicted,
            read = self.reader.read(buffer), if may_read && pause.is_none() => LinkInput::Read(read),
            written = self.writer.write(self.write_queue.front()), if !self.write_queue.is_empty() => {
                LinkInput::Written(written)
            }
            order = next(&mut self.commands), if has_room => LinkInput::Ordered(order),
            found = archive_reply::next(&mut self.answering), if has_room => LinkInput::Found(found),
            _ = closing.changed() => LinkInput::Closing,
            () = sleep_until(deadline.into()) => LinkInput::Late,
        }
    }

    /// Does what the core wants done. Returns whether that was to close.
    async fn handle_outputs(&mut self, slot: &mut Option<PendingSlot>) -> bool {
        let link = self.link;
        while let Some(output) = self.peer.poll() {
            let event = match output {
                PeerOutput::Send(bytes) => {
                    self.write_queue.push(bytes, FrameKind::ArchiveReply);
                    continue;
                }
                PeerOutput::Close => return true,
                PeerOutput::Opened { hello, .. } => {
                    *slot = None;
                    self.end.id = Some(hello.id);
                    self.read_limit = self
                        .context
                        .read_limits
                        .of_address(Instant::now(), counted_address(&self.end));
                    let (commands, received) = mpsc::channel(MAX_COMMANDS);
                    self.commands = Some(received);
                    LinkEvent::Opened { link, hello, commands, end: self.end }
                }
                PeerOutput::Message { code, payload: body, .. } => {
                    let share = u32::try_from(body.len().div_ceil(1024)).unwrap_or(u32::MAX);
                    let share = share.clamp(1, ROOM);
                    let room = Arc::clone(&self.context.room).acquire_many_owned(share).await;
                    let Ok(room) = room else { return true };
                    LinkEvent::Packet { link, code, body, room }
                }
            };
            if self.context.events.send(event).await.is_err() {
                return true;
            }
        }
        false
    }

    fn handle_command(&mut self, order: Option<LinkCommand>) {
        match order {
            Some(LinkCommand::Send { code, body }) => self.send(code, &body),
            Some(LinkCommand::Disconnect(reason)) => self.peer.disconnect(reason),
            Some(LinkCommand::ArchiveReply { hash, request }) => {
                // One at a time: who asks for more has to wait.
                if self.answering.is_none()
                    && let Some(archive) = &self.context.archive
                {
                    self.answering = Some(ArchiveSender::new(archive.clone(), hash, *request));
                }
            }
            None => self.peer.disconnect(DisconnectReason::Requested),
        }
    }

    fn send_archive_part(&mut self, found: archive_reply::ArchivePart) {
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
                packet::MESSAGES => FrameKind::Messages,
                packet::ACKNOWLEDGED => FrameKind::ArchiveReply,
                _ => FrameKind::Other,
            };
            self.write_queue.push(bytes, kind);
        }
    }

    fn record_error(&mut self, result: Result<(), PeerError>) {
        if let Err(error) = result {
            self.ending = Some(error.into());
        }
    }
}

async fn evicted(slot: &mut Option<PendingSlot>) {
    match slot {
        Some(slot) => slot.evicted().await,
        None => std::future::pending().await,
    }
}

async fn next(commands: &mut Option<mpsc::Receiver<LinkCommand>>) -> Option<LinkCommand> {
    match commands {
        Some(commands) => commands.recv().await,
        None => std::future::pending().await,
    }
}

/// The address by which a peer is counted.
pub(super) fn counted_address(end: &LinkInfo) -> IpAddr {
    network(end.address.ip())
}

/// The only protocol we offer.
const SHH: ProtocolId = ProtocolId(0);

/// KiB of messages on their way from all links to the hub.
pub(super) const ROOM: u32 = 32 * 1024;

/// Bytes read at once.
const READ: usize = 16 * 1024;

/// Orders that wait before the hub gives a link up.
const MAX_COMMANDS: usize = 64;

/// Time until a call is answered.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time until whoever has opened a link says something.
const FIRST_BYTE: Duration = Duration::from_secs(5);

/// Time for what was said last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The core always has a deadline while a link lives; this is for the moment after.
const SILENCE: Duration = Duration::from_secs(30);
