//! Starts a node: loads what is on disk, opens the sockets, and starts the tasks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use rand_core::OsRng;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use wormhole_kit::UnixTime;
use wormhole_whisper::{
    devp2p::{
        discovery::Discovery,
        enode::{Endpoint, Enode},
        key::PrivateKey,
    },
    shh::{self, Requirements},
};

use super::super::archive::{Archive, ArchiveStore};
use super::super::cover::CoverTraffic;
use super::super::data_folder::DataFolder;
use super::super::envelopes::Broadcast;
use super::super::link::{LinkContext, LinkEvent};
use super::super::min_work_control::MinWorkControl;
use super::super::peers::Peers;
use super::super::{Settings, StartError, discovery, listener};
use super::{ClockWarning, ConnectWaiters, Hub, Inputs, Node, UnsentPosts};

/// Starts a node.
pub(in crate::node) async fn start(mut settings: Settings) -> Result<Node, StartError> {
    // Bootnodes are useful for discovery alone.
    settings.discovery |= !settings.bootnodes.is_empty();
    if settings.listen.is_none() && (settings.discovery || settings.advertise.is_some()) {
        return Err(StartError::NotListening);
    }
    let failed = |_| StartError::Data(std::io::ErrorKind::Other);
    let copy = settings.clone();
    let stored = spawn_blocking(move || Stored::load(&copy)).await.map_err(failed)??;
    let sockets = Sockets::open(&settings).await?;
    let endpoint = sockets.endpoint(settings.advertise)?;
    let (commands, received) = mpsc::channel(MAX_COMMANDS);
    let broadcast = Broadcast::default();
    let enode = Enode { id: stored.key.public_key().node_id(), endpoint };
    let (hub, events) = Hub::new(stored, &settings, endpoint, broadcast.clone());
    let (found, discovered) = mpsc::channel(MAX_DISCOVERED);
    if let Some(listener) = sockets.tcp {
        let links = Arc::clone(&hub.links);
        tokio::spawn(listener::run(listener, links, hub.peers.reputation()));
    }
    if let (Some(socket), Some(endpoint)) = (sockets.udp, endpoint) {
        let (key, bootnodes) = (hub.links.key.clone(), &settings.bootnodes);
        let discovery = Discovery::new(key, endpoint, record_sequence(), bootnodes, Instant::now());
        tokio::spawn(discovery::run(socket, discovery, found, hub.peers.wants_more()));
    }
    tokio::spawn(hub.run(Inputs { commands: received, events, discovered }));
    Ok(Node::new(commands, broadcast, enode))
}

/// The sockets of a node that listens.
struct Sockets {
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
}

impl Sockets {
    async fn open(settings: &Settings) -> Result<Self, StartError> {
        let tcp = match settings.listen {
            Some(address) => Some(TcpListener::bind(address).await.map_err(cannot_listen)?),
            None => None,
        };
        let address = tcp.as_ref().map(TcpListener::local_addr).transpose();
        let address = address.map_err(cannot_listen)?.filter(|_| settings.discovery);
        let udp = match address {
            Some(address) => Some(bind_udp(address, settings.listen).await.map_err(cannot_listen)?),
            None => None,
        };
        Ok(Self { tcp, udp })
    }

    /// The endpoint for the enode.
    fn endpoint(&self, advertise: Option<IpAddr>) -> Result<Option<Endpoint>, StartError> {
        let tcp = self.tcp.as_ref().map(TcpListener::local_addr).transpose();
        let udp = self.udp.as_ref().map(UdpSocket::local_addr).transpose();
        let (tcp, udp) = (tcp.map_err(cannot_listen)?, udp.map_err(cannot_listen)?);
        Ok(tcp.map(|address| Endpoint {
            ip: advertise.unwrap_or_else(|| reachable(address.ip())),
            tcp: address.port(),
            udp: udp.map_or(0, |address| address.port()),
        }))
    }
}

fn cannot_listen(error: std::io::Error) -> StartError {
    StartError::Listen(error.kind())
}

/// Binds the UDP port with the number of the TCP port; or any port, if the TCP port was chosen by the
/// system and its number is taken for UDP.
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

/// The data that an earlier run of the node left on disk.
pub(super) struct Stored {
    folder: Option<DataFolder>,
    key: PrivateKey,
    core: shh::Node,
    archive: Option<(ArchiveStore, JoinHandle<()>)>,
}

impl Stored {
    /// Reads it from disk; creates what is missing. Blocks.
    pub(super) fn load(settings: &Settings) -> Result<Self, StartError> {
        let folder = settings.data.as_deref().map(DataFolder::open).transpose()?;
        let key = match (&settings.key, &folder) {
            (Some(key), _) => key.clone(),
            (None, Some(folder)) => folder.node_key()?,
            (None, None) => PrivateKey::random(&mut OsRng),
        };
        let archive = match (&settings.archive, &folder) {
            (Some(archive), Some(folder)) => {
                Some(ArchiveStore::open(&folder.create_archive_file()?, archive)?)
            }
            (Some(_), None) => return Err(StartError::ArchiveWithoutData),
            (None, _) => None,
        };
        let mut core = shh::Node::new(core_settings(settings), Instant::now());
        // Before the envelopes, because trust decides how large our own may be.
        settings.trusted.iter().for_each(|id| core.trust(*id));
        for record in folder.iter().flat_map(DataFolder::records) {
            core.restore(Instant::now(), SystemTime::now().into(), record);
        }
        Ok(Self { folder, key, core, archive })
    }
}

fn core_settings(settings: &Settings) -> shh::node::Settings {
    let requirements = Requirements::new(settings.min_work);
    shh::node::Settings {
        requirements: requirements.with_limits(settings.max_envelope_bytes, settings.max_ttl),
        pool_bytes: settings.pool_bytes,
        light: settings.light,
        restrict_light: settings.restrict_light,
        strict_bloom: settings.strict_bloom,
        serves_archive: settings.archive.is_some(),
        limits: settings.limits,
        privacy: settings.privacy,
    }
}

impl Hub {
    /// Assembles the parts. Returns the channel of the events of links, too.
    pub(super) fn new(
        stored: Stored,
        settings: &Settings,
        endpoint: Option<Endpoint>,
        broadcast: Broadcast,
    ) -> (Self, mpsc::Receiver<LinkEvent>) {
        let Stored { folder, key, core, archive } = stored;
        let (events, received) = mpsc::channel(MAX_EVENTS);
        let (closing, closes) = watch::channel(());
        let now = Instant::now();
        let peers = Peers::new(key.public_key().node_id(), settings, now);
        let listen_port = endpoint.map_or(0, |endpoint| endpoint.tcp);
        let mut links = LinkContext::new(key, listen_port, &settings.limits, events, closes);
        links.set_max_message(core.requirements().max_packet());
        links.archive = archive.as_ref().map(|(store, _)| store.clone());
        let hub = Self {
            core,
            peers,
            archive: Archive::new(archive, settings.archive.clone()),
            cover: settings.cover.map(|cover| CoverTraffic::new(cover, now)),
            min_work_control: MinWorkControl::new(settings.min_work, settings.pool_bytes),
            broadcast,
            unsent: UnsentPosts::default(),
            waiters: ConnectWaiters::default(),
            clock_warning: ClockWarning::default(),
            folder,
            links: Arc::new(links),
            closing,
            accepted: 0,
        };
        (hub, received)
    }
}

/// An address at which a listener on all addresses can be reached, at least from this computer.
const fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// The sequence number of the node record: seconds since 1970, so that it grows with every start.
fn record_sequence() -> u64 {
    UnixTime::from(SystemTime::now()).as_secs()
}

/// Maximum number of waiting commands of handles.
const MAX_COMMANDS: usize = 256;

/// Maximum number of waiting events of links. The bytes of their packets have a separate limit.
const MAX_EVENTS: usize = 1024;

/// Maximum number of discovered nodes that wait for the hub.
const MAX_DISCOVERED: usize = 64;
