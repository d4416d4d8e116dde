//! One link to a peer, as a task: it moves bytes between the socket and the `RLPx` session of the core, and
//! packets between that session and the hub.
//!
//! Every queue is bounded. A peer that does not read is disconnected; a peer that sends waits until the
//! hub has room. When a peer exceeds its rate limit, the link stops reading for a while, so that the
//! peer has to wait as well.
//!
//! `devp2p::Peer` does not run in the session loop of `wormhole_kit`. Besides bytes, this loop has to
//! weigh rate limits, commands of the hub and pages of the archive before it decides what to read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::OsRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep_until, timeout};
use wormhole_kit::network;
use wormhole_whisper::{
    devp2p::{
        base::DisconnectReason,
        capability::ProtocolId,
        key::NodeId,
        peer::{Peer, PeerError, PeerOutput},
    },
    shh::{Envelope, EnvelopeHash, archive::ArchiveRequest, packet},
};

use self::archive_reply::{ArchivePart, ArchiveSender};
pub(super) use self::context::LinkContext;
use self::write_queue::{FrameKind, WriteQueue};
use super::Direction;
use super::net::set_options;
use super::peers::OpenedLink;
use super::read_limits::ReadLimit;
use crate::pending_links::PendingSlot;

mod archive_reply;
mod context;
mod write_queue;

/// A report of a link to the hub.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Both sides have sent Hello.
    Opened(OpenedLink),
    /// A packet arrived. The permit is its share of the limit on packets that wait for the hub.
    Packet { link: LinkId, code: u16, body: Vec<u8>, permit: OwnedSemaphorePermit },
    /// A packet of messages has been written.
    MessagesSent(LinkId),
    /// The link has ended, or could not be opened.
    Ended { link: LinkId, info: LinkInfo, reason: CloseReason },
}

/// The number of a link within this node.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct LinkId(pub(super) u64);

/// The data about the other end of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkInfo {
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    /// The node that was dialled, or that has proved its id in the handshake.
    pub(super) id: Option<NodeId>,
}

impl LinkInfo {
    /// The network to which limits per address apply: the IPv4 address, or the first 64 bits of the IPv6
    /// address.
    pub(super) fn network(&self) -> IpAddr {
        network(self.address.ip())
    }
}

/// A request of the hub to a link.
#[derive(Debug)]
pub(super) enum LinkCommand {
    /// Answer this request from the archive.
    AnswerArchiveRequest { hash: EnvelopeHash, request: Box<ArchiveRequest> },
    /// Disconnect for this reason.
    Disconnect(DisconnectReason),
    /// Send this packet.
    Send { code: u16, body: Vec<u8> },
}

/// Why a link has ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseReason {
    /// This node has closed it.
    #[error("closed by us")]
    ByUs,
    /// The oldest connection without a handshake, closed because there were too many.
    #[error("too many connections without a handshake")]
    Evicted,
    /// The connection failed.
    #[error("link failed: {0}")]
    Failed(io::ErrorKind),
    /// The core has ended the session.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The peer did not read for too long.
    #[error("peer does not read")]
    Stalled,
}

/// Connects to a node, and runs the link until it ends.
pub(super) async fn dial(context: Arc<LinkContext>, link: LinkId, id: NodeId, address: SocketAddr) {
    let info = LinkInfo { address, direction: Direction::Outbound, id: Some(id) };
    let mut closing = context.closing.clone();
    let connected = tokio::select! {
        connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)) => connected,
        _ = closing.changed() => return,
    };
    let reason = match (connected, id.public_key()) {
        (Ok(Ok(stream)), Ok(key)) => {
            let peer = Peer::dial(context.peer_config(), key, Instant::now(), &mut OsRng);
            PeerLink::new(&context, link, info, stream, peer).run(None).await
        }
        (Ok(Err(error)), _) => CloseReason::Failed(error.kind()),
        (Ok(Ok(_)) | Err(_), _) => CloseReason::Failed(io::ErrorKind::TimedOut),
    };
    let _stopped = context.events.send(LinkEvent::Ended { link, info, reason }).await;
}

/// Runs an inbound link until it ends.
pub(super) async fn accept(
    context: Arc<LinkContext>,
    link: LinkId,
    stream: TcpStream,
    address: SocketAddr,
    mut slot: PendingSlot,
) {
    let mut info = LinkInfo { address, direction: Direction::Inbound, id: None };
    let mut closing = context.closing.clone();
    // A link on which nothing arrives takes no memory for the handshake.
    tokio::select! {
        readable = timeout(FIRST_BYTE, stream.readable()) => {
            if !matches!(readable, Ok(Ok(()))) {
                return;
            }
        }
        () = slot.evicted() => return,
        _ = closing.changed() => return,
    }
    let peer = Peer::accept(context.peer_config(), Instant::now(), &mut OsRng);
    let mut open = PeerLink::new(&context, link, info, stream, peer);
    let reason = open.run(Some(slot)).await;
    info.id = open.info.id;
    let _stopped = context.events.send(LinkEvent::Ended { link, info, reason }).await;
}

/// An open link.
struct PeerLink<'a> {
    context: &'a LinkContext,
    link: LinkId,
    info: LinkInfo,
    peer: Peer,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    write_queue: WriteQueue,
    read_limit: ReadLimit,
    /// The commands of the hub, once the handshake is complete.
    commands: Option<mpsc::Receiver<LinkCommand>>,
    /// The reply to a request to the archive, while it is being sent.
    archive_reply: Option<ArchiveSender>,
    /// Why the core has ended the session.
    error: Option<PeerError>,
}

/// The first event.
enum LinkInput {
    ArchivePart(ArchivePart),
    Closing,
    Command(Option<LinkCommand>),
    Deadline,
    Evicted,
    Read(io::Result<usize>),
    Written(io::Result<usize>),
}

impl<'a> PeerLink<'a> {
    fn new(
        context: &'a LinkContext,
        link: LinkId,
        info: LinkInfo,
        stream: TcpStream,
        peer: Peer,
    ) -> Self {
        // A connection works without these options, too.
        let _default = set_options(&stream);
        let (reader, writer) = stream.into_split();
        Self {
            context,
            link,
            info,
            peer,
            reader,
            writer,
            write_queue: WriteQueue::default(),
            read_limit: context.read_limits.before_handshake(Instant::now()),
            commands: None,
            archive_reply: None,
            error: None,
        }
    }

    /// Runs until the link ends. Returns the reason.
    async fn run(&mut self, mut slot: Option<PendingSlot>) -> CloseReason {
        let mut buffer = vec![0; READ_SIZE];
        loop {
            if self.handle_outputs(&mut slot).await {
                let _late = timeout(CLOSE_TIME, self.write_queue.flush(&mut self.writer)).await;
                return self.error.take().map_or(CloseReason::ByUs, CloseReason::Peer);
            }
            match self.next_input(&mut slot, &mut buffer).await {
                LinkInput::ArchivePart(part) => self.send_archive_part(part),
                LinkInput::Closing => self.peer.disconnect(DisconnectReason::Quitting),
                LinkInput::Command(command) => self.handle_command(command),
                LinkInput::Deadline if self.write_queue.is_stalled() => {
                    return CloseReason::Stalled;
                }
                LinkInput::Deadline => {
                    let result = self.peer.handle_timeout(Instant::now());
                    self.error = result.err().or_else(|| self.error.take());
                }
                LinkInput::Evicted => return CloseReason::Evicted,
                LinkInput::Read(Ok(0)) => return CloseReason::Failed(io::ErrorKind::UnexpectedEof),
                LinkInput::Read(Ok(count)) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    let result = self.peer.handle(Instant::now(), bytes);
                    self.read_limit.charge(Instant::now(), self.peer.take_message_bytes());
                    self.error = result.err().or_else(|| self.error.take());
                }
                LinkInput::Read(Err(error)) | LinkInput::Written(Err(error)) => {
                    return CloseReason::Failed(error.kind());
                }
                LinkInput::Written(Ok(count)) => {
                    if self.write_queue.written(count) == Some(FrameKind::Messages) {
                        let sent = LinkEvent::MessagesSent(self.link);
                        let _stopped = self.context.events.send(sent).await;
                    }
                }
            }
        }
    }

    async fn next_input(&mut self, slot: &mut Option<PendingSlot>, buffer: &mut [u8]) -> LinkInput {
        let now = Instant::now();
        let pause = self.read_limit.blocked_until().filter(|until| now < *until);
        let deadlines = [self.peer.deadline(), self.write_queue.deadline(), pause];
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(now + DEFAULT_DEADLINE);
        let has_room = self.write_queue.has_room();
        // A packet that is read may make the hub send commands.
        let accepts = |it: &mpsc::Receiver<LinkCommand>| has_room || it.len() < MAX_COMMANDS / 2;
        let may_read = self.write_queue.may_read() && self.commands.as_ref().is_none_or(accepts);
        let mut closing = self.context.closing.clone();
        tokio::select! {
            () = evicted(slot) => LinkInput::Evicted,
            read = self.reader.read(buffer), if may_read && pause.is_none() => LinkInput::Read(read),
            written = self.writer.write(self.write_queue.front()), if !self.write_queue.is_empty() => {
                LinkInput::Written(written)
            }
            command = next_command(&mut self.commands), if has_room => LinkInput::Command(command),
            part = archive_reply::next(&mut self.archive_reply), if has_room => {
                LinkInput::ArchivePart(part)
            }
            _ = closing.changed() => LinkInput::Closing,
            () = sleep_until(deadline.into()) => LinkInput::Deadline,
        }
    }

    /// Executes all pending outputs of the session. Returns whether the link is to be closed.
    async fn handle_outputs(&mut self, slot: &mut Option<PendingSlot>) -> bool {
        while let Some(output) = self.peer.poll() {
            let event = match output {
                PeerOutput::Send(bytes) => {
                    self.write_queue.push(bytes, FrameKind::Reply);
                    continue;
                }
                PeerOutput::Close => return true,
                PeerOutput::Opened { hello, .. } => {
                    *slot = None;
                    self.info.id = Some(hello.id);
                    let limits = &self.context.read_limits;
                    self.read_limit = limits.after_handshake(Instant::now(), self.info.network());
                    let (commands, received) = mpsc::channel(MAX_COMMANDS);
                    self.commands = Some(received);
                    let (link, info) = (self.link, self.info);
                    LinkEvent::Opened(OpenedLink { link, hello, commands, info })
                }
                PeerOutput::Message { code, payload: body, .. } => {
                    let permit = self.context.permit(body.len()).await;
                    let Some(permit) = permit else { return true };
                    LinkEvent::Packet { link: self.link, code, body, permit }
                }
            };
            if self.context.events.send(event).await.is_err() {
                return true;
            }
        }
        false
    }

    fn handle_command(&mut self, command: Option<LinkCommand>) {
        match command {
            Some(LinkCommand::Send { code, body }) => self.send(code, &body),
            Some(LinkCommand::Disconnect(reason)) => self.peer.disconnect(reason),
            Some(LinkCommand::AnswerArchiveRequest { hash, request }) => {
                // One reply at a time: requests during a reply are ignored.
                if self.archive_reply.is_none()
                    && let Some(archive) = &self.context.archive
                {
                    let reply = ArchiveSender::new(archive.clone(), hash, *request);
                    self.archive_reply = Some(reply);
                }
            }
            None => self.peer.disconnect(DisconnectReason::Requested),
        }
    }

    fn send_archive_part(&mut self, part: ArchivePart) {
        // A peer with the default limits would disconnect because of a larger envelope, and never get the
        // rest.
        let fits = |envelope: &Envelope| envelope.encoded().len() <= packet::LONGEST_FOR_ALL;
        for envelope in part.envelopes.into_iter().filter(fits) {
            self.send(packet::DIRECT, envelope.encoded());
        }
        if let Some(complete) = part.complete {
            self.archive_reply = None;
            self.send(packet::ARCHIVE_COMPLETE, &complete);
        }
    }

    fn send(&mut self, code: u16, body: &[u8]) {
        // This fails if the packet does not fit into a frame, or the session has ended. Nobody needs it
        // then.
        if self.peer.send(SHH, code, body).is_ok()
            && let Some(PeerOutput::Send(bytes)) = self.peer.poll()
        {
            let kind = match code {
                packet::MESSAGES => FrameKind::Messages,
                packet::ACKNOWLEDGED => FrameKind::Reply,
                _ => FrameKind::Other,
            };
            self.write_queue.push(bytes, kind);
        }
    }
}

async fn evicted(slot: &mut Option<PendingSlot>) {
    match slot {
        Some(slot) => slot.evicted().await,
        None => std::future::pending().await,
    }
}

async fn next_command(commands: &mut Option<mpsc::Receiver<LinkCommand>>) -> Option<LinkCommand> {
    match commands {
        Some(commands) => commands.recv().await,
        None => std::future::pending().await,
    }
}

/// The only protocol that this node offers.
const SHH: ProtocolId = ProtocolId(0);

/// Bytes to read at a time.
const READ_SIZE: usize = 16 * 1024;

/// Maximum number of commands that wait for a link. The hub disconnects a peer whose queue is full.
const MAX_COMMANDS: usize = 64;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time until the first byte arrives on an inbound link.
const FIRST_BYTE: Duration = Duration::from_secs(5);

/// Time to send what is in the queue when a link is closed.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Used when the core has no deadline, which is only so just before the link ends.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
