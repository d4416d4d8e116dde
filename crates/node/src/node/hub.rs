//! The one task that owns the node of the core, and knows every link.
//!
//! Links, the listener, discovery and handles talk to it through bounded channels; it waits for none
//! of them. What a link does not take in time costs the link, never the hub.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rand_core::OsRng;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};
use wormhole_kit::UnixTime;
use wormhole_whisper::{
    devp2p::{
        base::DisconnectReason,
        discovery::Discovery,
        enode::{Endpoint, Enode},
        key::{NodeId, PrivateKey},
    },
    shh::{self, Envelope, EnvelopeHash, Requirements, Work},
};

use super::archive::Archive;
use super::cover::{self, TrafficModel};
use super::data_folder::DataFolder;
use super::discovery;
use super::envelopes::Broadcast;
use super::link::{self, LinkCommand, LinkContext, LinkEvent, LinkId};
use super::listener::{self, SharedReputation};
use super::peers::dialler::{Dialler, PeerCounts};
use super::peers::reputation::Reputation;
use super::peers::table::PeerTable;
use super::read_limits::ReadLimits;
use super::{
    ArchiveComplete, ArchiveSettings, Cover, Inner, MineError, Node, Settings, StartError,
};
use crate::pending_links::PendingLinks;
use crate::{mine, recommended_work};

mod commands;
mod outputs;
mod visits;

pub(super) use commands::Command;

/// Starts a node.
pub(super) async fn start(mut settings: Settings) -> Result<Node, StartError> {
    // Whoever says where to begin the search wants one.
    settings.discovery |= !settings.bootnodes.is_empty();
    if settings.listen.is_none() && (settings.discovery || settings.advertise.is_some()) {
        return Err(StartError::NotListening);
    }
    let failed = |_| StartError::Data(std::io::ErrorKind::Other);
    let asked = settings.clone();
    let kept = spawn_blocking(move || Loaded::load(&asked)).await.map_err(failed)??;
    let refused = |error: std::io::Error| StartError::Listen(error.kind());
    let listener = match settings.listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(refused)?),
        None => None,
    };
    let address = listener.as_ref().map(TcpListener::local_addr).transpose().map_err(refused)?;
    let socket = match address.filter(|_| settings.discovery) {
        Some(address) => Some(bind_udp(address, settings.listen).await.map_err(refused)?),
        None => None,
    };
    let udp = socket.as_ref().map(UdpSocket::local_addr).transpose().map_err(refused)?;
    let endpoint = address.map(|address| Endpoint {
        ip: settings.advertise.unwrap_or_else(|| reachable(address.ip())),
        tcp: address.port(),
        udp: udp.map_or(0, |address| address.port()),
    });
    let (commands, received) = mpsc::channel(MAX_COMMANDS);
    let broadcast = Broadcast::default();
    let enode = Enode { id: kept.key.public_key().node_id(), endpoint };
    let (hub, inputs) = Hub::new(kept, &settings, endpoint, broadcast.clone());
    if let Some(listener) = listener {
        let context = Arc::clone(&hub.context);
        tokio::spawn(listener::run(listener, context, Arc::clone(&hub.blacklist)));
    }
    if let (Some(socket), Some(endpoint)) = (socket, endpoint) {
        let (key, bootnodes) = (hub.context.key.clone(), &settings.bootnodes);
        let discovery = Discovery::new(key, endpoint, seconds(), bootnodes, Instant::now());
        let wanted = hub.wanted.subscribe();
        tokio::spawn(discovery::run(socket, discovery, inputs.finds, wanted));
    }
    tokio::spawn(hub.run(received, inputs.events, inputs.found));
    Ok(Node { inner: Inner { commands, broadcast, enode }.into() })
}

/// Takes the UDP port of the same number, or any if the number was not ours to choose.
async fn bind_udp(tcp: SocketAddr, asked: Option<SocketAddr>) -> std::io::Result<UdpSocket> {
    match UdpSocket::bind(tcp).await {
        Err(error)
            if error.kind() == std::io::ErrorKind::AddrInUse
                && asked.is_some_and(|asked| asked.port() == 0) =>
        {
            UdpSocket::bind(SocketAddr::new(tcp.ip(), 0)).await
        }
        bound => bound,
    }
}

/// What may have been there before this start.
struct Loaded {
    folder: Option<DataFolder>,
    key: PrivateKey,
    node: shh::Node,
    archive: Option<(Archive, JoinHandle<()>)>,
}

impl Loaded {
    /// Reads it from disk, or makes it. Blocks.
    fn load(settings: &Settings) -> Result<Self, StartError> {
        let folder = settings.data.as_deref().map(DataFolder::open).transpose()?;
        let key = match (&settings.key, &folder) {
            (Some(key), _) => key.clone(),
            (None, Some(folder)) => folder.node_key()?,
            (None, None) => PrivateKey::random(&mut OsRng),
        };
        let archive = match (&settings.archive, &folder) {
            (Some(archive), Some(folder)) => Some(Archive::open(&folder.archive(), archive)?),
            (Some(_), None) => return Err(StartError::ArchiveWithoutData),
            (None, _) => None,
        };
        let mut node = shh::Node::new(core_settings(settings), Instant::now());
        // First, for how large what waited may be depends on it.
        settings.trusted.iter().for_each(|id| node.trust(*id));
        for record in folder.iter().flat_map(DataFolder::records) {
            node.restore(Instant::now(), SystemTime::now().into(), record);
        }
        Ok(Self { folder, key, node, archive })
    }
}

fn core_settings(settings: &Settings) -> shh::node::Settings {
    let mut wanted = shh::node::Settings::default();
    wanted.requirements = Requirements::new(settings.min_work)
        .with_limits(settings.max_envelope_bytes, settings.max_ttl);
    wanted.pool_bytes = settings.pool_bytes;
    wanted.light = settings.light;
    wanted.restrict_light = settings.restrict_light;
    wanted.strict_bloom = settings.strict_bloom;
    wanted.serves_archive = settings.archive.is_some();
    wanted.limits = settings.limits;
    wanted.darkness = settings.darkness;
    wanted
}

/// The node and what it needs.
struct Hub {
    id: NodeId,
    node: shh::Node,
    context: Arc<LinkContext>,
    /// Links and the listener end when this is dropped.
    closing: watch::Sender<()>,
    /// Whether discovery should look for more nodes.
    wanted: watch::Sender<bool>,
    table: PeerTable,
    dialler: Dialler,
    blacklist: SharedReputation,
    broadcast: Broadcast,
    folder: Option<DataFolder>,
    archive: Option<ServedArchive>,
    /// Answers of mail servers that somebody waits for.
    answers: Vec<(NodeId, EnvelopeHash, oneshot::Sender<ArchiveComplete>)>,
    /// Peers that somebody waits for.
    awaited: Vec<(NodeId, oneshot::Sender<()>)>,
    cover: Option<CoverTraffic>,
    pressure: Pressure,
    /// When it was last said that a clock is wrong.
    clock_doubted: Option<Instant>,
    pool_bytes: usize,
    accepted: u64,
    cut: u64,
    /// Own envelopes that no peer received, the latest last.
    unsent: VecDeque<EnvelopeHash>,
    unsent_count: u64,
}

/// The archive, and what its readers must know.
struct ServedArchive {
    archive: Archive,
    thread: JoinHandle<()>,
    settings: ArchiveSettings,
    /// Whether something was lost lately, which has been said in the log.
    losing: bool,
}

/// Cover traffic under way.
struct CoverTraffic {
    settings: Cover,
    model: TrafficModel,
    next: Instant,
    work: Option<Search>,
}

/// A search for work under way.
type Search = Pin<Box<dyn Future<Output = Result<Envelope, MineError>> + Send>>;

/// How much more work is asked for while too much comes.
#[derive(Debug)]
struct Pressure {
    /// What is asked for otherwise.
    usual: Work,
    raised: bool,
    changed: Option<Instant>,
}

/// What comes to the hub, and the other end of what discovery finds.
struct Inputs {
    events: mpsc::Receiver<LinkEvent>,
    finds: mpsc::Sender<Enode>,
    found: mpsc::Receiver<Enode>,
}

impl Hub {
    fn new(
        kept: Loaded,
        settings: &Settings,
        endpoint: Option<Endpoint>,
        broadcast: Broadcast,
    ) -> (Self, Inputs) {
        let Loaded { folder, key, node, archive } = kept;
        let (events, received) = mpsc::channel(MAX_EVENTS);
        let (finds, found) = mpsc::channel(MAX_FOUND);
        let (closing, closes) = watch::channel(());
        let now = Instant::now();
        let id = key.public_key().node_id();
        let context = Arc::new(LinkContext {
            key,
            listen_port: endpoint.map_or(0, |endpoint| endpoint.tcp),
            max_message: AtomicUsize::new(node.requirements().max_packet()),
            read_limits: ReadLimits::new(&settings.limits),
            events,
            room: Arc::new(Semaphore::new(usize::try_from(link::ROOM).unwrap_or(usize::MAX))),
            archive: archive.as_ref().map(|(archive, _)| archive.clone()),
            pending: PendingLinks::default(),
            closing: closes,
            next: AtomicU64::new(0),
        });
        let mut dialler = Dialler::default();
        for node in settings.bootnodes.iter().filter(|node| node.id != id) {
            dialler.found(now, node, &mut OsRng);
        }
        for node in settings.static_peers.iter().filter(|node| node.id != id) {
            dialler.add_static(now, node, false);
        }
        let archive = archive.zip(settings.archive.clone()).map(|((archive, thread), settings)| {
            ServedArchive { archive, thread, settings, losing: false }
        });
        let cover = settings.cover.map(|settings| {
            let next = now + cover::pause(settings.mean_interval, &mut OsRng);
            CoverTraffic { settings, model: TrafficModel::default(), next, work: None }
        });
        let hub = Self {
            id,
            node,
            context,
            closing,
            wanted: watch::Sender::new(true),
            table: PeerTable::new(settings),
            dialler,
            blacklist: SharedReputation::default(),
            broadcast,
            folder,
            archive,
            answers: Vec::new(),
            awaited: Vec::new(),
            cover,
            pressure: Pressure { usual: settings.min_work, raised: false, changed: None },
            clock_doubted: None,
            pool_bytes: settings.pool_bytes,
            accepted: 0,
            cut: 0,
            unsent: VecDeque::new(),
            unsent_count: 0,
        };
        (hub, Inputs { events: received, finds, found })
    }

    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<LinkEvent>,
        mut found: mpsc::Receiver<Enode>,
    ) {
        let stopped = loop {
            self.carry_out();
            self.call();
            let deadline = self.deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(reply)) => break Some(reply),
                    Some(command) => self.obey(command),
                    None => break None,
                },
                Some(event) = events.recv() => self.note(event),
                Some(enode) = found.recv() => {
                    self.dialler.found(Instant::now(), &enode, &mut OsRng);
                }
                mined = mined(&mut self.cover) => self.post_cover(mined),
                () = sleep_until(deadline.into()) => self.let_time_pass(),
            }
        };
        self.stop(events).await;
        // Whoever has told us to stop may be gone.
        let _unheard = stopped.map(|reply| reply.send(()));
    }

    fn deadline(&self) -> Instant {
        let cover = self.cover.as_ref().filter(|cover| cover.work.is_none());
        let others = [self.dialler.deadline(), cover.map(|cover| cover.next)];
        others.into_iter().flatten().fold(self.node.deadline(), Instant::min)
    }

    fn let_time_pass(&mut self) {
        let now = Instant::now();
        self.node.handle_timeout(now, SystemTime::now().into(), &mut OsRng);
        self.relax(now);
        let of_peers = self.node.peers().map(|(_, status)| status.min_work);
        let work = recommended_work(self.node.requirements().min_work(), of_peers);
        if let Some(cover) = &mut self.cover
            && cover.work.is_none()
            && now >= cover.next
        {
            let draft = cover.model.draft(&mut OsRng);
            cover.work = Some(Box::pin(mine(draft, Some(work), COVER_TIME)));
        }
    }

    fn post_cover(&mut self, mined: Result<Envelope, MineError>) {
        if let Some(cover) = &mut self.cover {
            cover.work = None;
            cover.next = Instant::now() + cover::pause(cover.settings.mean_interval, &mut OsRng);
        }
        if let Ok(envelope) = mined {
            let (now, wall) = (Instant::now(), SystemTime::now().into());
            // What is not taken leaves a gap in the cover, no more.
            let _posted = self.node.post(now, wall, envelope, &mut OsRng);
        }
    }

    /// Calls whoever is to be called now.
    fn call(&mut self) {
        let now = Instant::now();
        loop {
            let places = self.places();
            let table = &self.table;
            let blacklist = lock(&self.blacklist);
            let skip =
                |id: &NodeId| *id == self.id || table.has(id) || blacklist.is_node_banned(now, id);
            let next = self.dialler.next(now, places, &mut OsRng, skip);
            let Some((id, address)) = next else { break };
            drop(blacklist);
            let link = LinkId(self.context.next.fetch_add(1, Ordering::Relaxed));
            tokio::spawn(link::call(Arc::clone(&self.context), link, id, address));
        }
        let hungry = self.dialler.wants_found(self.places());
        self.wanted.send_if_modified(|wanted| std::mem::replace(wanted, hungry) != hungry);
    }

    fn places(&self) -> PeerCounts {
        self.table.places()
    }

    /// Keeps what a restart needs, and parts with everyone meanwhile: whoever ends the process may not
    /// wait for the last link.
    async fn stop(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        for commands in self.table.drain() {
            // Who does not take it is told by the end of the link.
            let _full = commands.try_send(LinkCommand::Disconnect(DisconnectReason::Quitting));
        }
        let Self { node, context, closing, wanted, broadcast, folder, archive, .. } = self;
        drop((context, closing, wanted));
        let kept = spawn_blocking(move || {
            let kept = folder.as_ref().map_or(Ok(()), |folder| folder.keep(node.records()));
            if let Err(error) = kept {
                tracing::warn!(%error, "envelopes are not kept over the restart");
            }
            folder
        });
        let parted = async { while events.recv().await.is_some() {} };
        let (folder, parted) = tokio::join!(kept, timeout(PARTING, parted));
        if parted.is_err() {
            tracing::debug!("not every link has ended in time");
        }
        broadcast.close();
        if let Some(ServedArchive { archive, thread, .. }) = archive {
            drop(archive);
            // It panics only if something in it is broken, which it has said.
            let _panicked = spawn_blocking(move || thread.join()).await;
        }
        // It is ours until nothing is written any more.
        drop(folder);
    }
}

async fn mined(cover: &mut Option<CoverTraffic>) -> Result<Envelope, MineError> {
    match cover.as_mut().and_then(|cover| cover.work.as_mut()) {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

pub(super) fn lock(blacklist: &SharedReputation) -> MutexGuard<'_, Reputation> {
    // Nothing panics while it holds the lock.
    blacklist.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a listener is reached that listens everywhere: at least from here.
const fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// Seconds since 1970: grows with every start.
fn seconds() -> u64 {
    UnixTime::from(SystemTime::now()).as_secs()
}

/// Commands that wait.
const MAX_COMMANDS: usize = 256;

/// Events of links that wait; how many bytes of packets is a matter of their room.
const MAX_EVENTS: usize = 1024;

/// Nodes that were found and wait.
const MAX_FOUND: usize = 64;

/// Time for all links to end.
const PARTING: Duration = Duration::from_secs(3);

/// Longest search for the work of one cover envelope.
const COVER_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_restart_needs_is_kept_before_the_last_link_has_ended() {
        let path = std::env::temp_dir().join(format!("wormhole-{}-hub", std::process::id()));
        let settings = Settings { data: Some(path.clone()), ..Settings::loopback() };
        let kept = Loaded::load(&settings).unwrap();
        let (hub, inputs) = Hub::new(kept, &settings, None, Broadcast::default());
        // A link has this as long as it lives.
        let link = Arc::clone(&hub.context);
        let stopping = tokio::spawn(hub.stop(inputs.events));
        let kept = async {
            while !path.join("pool").exists() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PARTING, kept).await.expect("before the links are given up");
        drop(link);
        stopping.await.unwrap();
        std::fs::remove_dir_all(path).unwrap();
    }
}
