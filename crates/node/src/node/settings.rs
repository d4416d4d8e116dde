//! The settings of a node. With the defaults it does not listen, dials nobody, and keeps nothing on disk.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use wormhole_whisper::{
    devp2p::{
        enode::Enode,
        key::{NodeId, PrivateKey},
    },
    shh::{
        SymmetricKey, Work,
        node::{DEFAULT_POOL_BYTES, Limits, Privacy},
        requirements::{DEFAULT_MAX_SIZE, DEFAULT_MAX_TTL},
    },
};

/// The settings of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The TCP address on which to listen for peers. With port 0 the system chooses one.
    pub listen: Option<SocketAddr>,
    /// Whether to search for peers over UDP, on the port of `listen` (discovery v4). Needs `listen`.
    pub discovery: bool,
    /// The address at which other nodes reach this one, if it is behind a router. Needs `listen`.
    pub advertise: Option<IpAddr>,
    /// Nodes with which discovery starts. Turns discovery on.
    pub bootnodes: Vec<Enode>,
    /// Nodes to dial, again whenever their link is lost. They count towards no limit.
    pub static_peers: Vec<Enode>,
    /// Nodes whose direct messages are accepted. They count towards no limit.
    pub trusted: Vec<NodeId>,
    /// Maximum number of peers at the same time. With discovery, half of them may be inbound, and the rest is outbound.
    pub max_peers: usize,
    /// Maximum number of peers at the same time from one address, or 64 bits of an IPv6 address; twice as many
    /// from 48 bits of one.
    pub max_peers_per_address: usize,
    /// The work that envelopes must have.
    pub min_work: Work,
    /// Largest envelope to accept, in bytes.
    pub max_envelope_bytes: usize,
    /// Longest TTL of an envelope to accept, in seconds.
    pub max_ttl: u32,
    /// Bytes of memory for envelopes.
    pub pool_bytes: usize,
    /// Whether to forward only own envelopes.
    pub light: bool,
    /// Whether a light node refuses another one.
    pub restrict_light: bool,
    /// Whether to trust the Bloom filters of peers. If not, they are read as go-ethereum reads them, which
    /// loses a bit for 4 % of the topics.
    pub strict_bloom: bool,
    /// Limits on what peers may send.
    pub limits: Limits,
    /// Measures that hide which envelopes were created by this node.
    pub privacy: Privacy,
    /// Cover traffic: dummy envelopes that hide when real ones are sent.
    pub cover: Option<Cover>,
    /// The folder for the key, the envelopes and the archive. Without it, a restart loses them.
    pub data: Option<PathBuf>,
    /// The node's key, instead of the one in the folder.
    pub key: Option<PrivateKey>,
    /// The archive for readers that were offline; `None` for no archive. Needs `data`.
    pub archive: Option<ArchiveSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: None,
            discovery: false,
            advertise: None,
            bootnodes: Vec::new(),
            static_peers: Vec::new(),
            trusted: Vec::new(),
            max_peers: Self::DEFAULT_MAX_PEERS,
            max_peers_per_address: DEFAULT_MAX_PER_ADDRESS,
            min_work: Work::DEFAULT_MINIMUM,
            max_envelope_bytes: DEFAULT_MAX_SIZE,
            max_ttl: DEFAULT_MAX_TTL,
            pool_bytes: DEFAULT_POOL_BYTES,
            light: false,
            restrict_light: true,
            strict_bloom: false,
            limits: Limits::default(),
            privacy: Privacy::default(),
            cover: None,
            data: None,
            key: None,
            archive: None,
        }
    }
}

impl Settings {
    /// Default for the most peers. As in go-ethereum.
    pub const DEFAULT_MAX_PEERS: usize = 50;

    /// A node on this computer only, on a port that the system chooses. For tests.
    pub fn loopback() -> Self {
        Self { listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)), ..Self::default() }
    }
}

/// How often to send meaningless envelopes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cover {
    /// Mean of the random time between two of them.
    pub mean_interval: Duration,
}

impl Cover {
    /// Sends one dummy envelope per `mean_interval` on average.
    pub const fn every(mean_interval: Duration) -> Self {
        Self { mean_interval }
    }
}

/// The settings of an archive.
#[derive(Clone, Debug)]
pub struct ArchiveSettings {
    /// The key that decrypts requests, made from the password that readers know.
    pub key: SymmetricKey,
    /// The work that requests must have.
    pub min_work: Work,
    /// Envelopes are deleted after this time.
    pub max_age: Duration,
    /// Maximum number of bytes of envelopes. The oldest ones are deleted first.
    pub max_bytes: u64,
}

impl ArchiveSettings {
    /// Default for the time after which envelopes are deleted: a month.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Default for the most bytes of envelopes: a gigabyte.
    pub const DEFAULT_MAX_BYTES: u64 = 1 << 30;

    /// The defaults, for requests that are encrypted with `key`.
    pub const fn new(key: SymmetricKey) -> Self {
        let (max_age, max_bytes) = (Self::DEFAULT_MAX_AGE, Self::DEFAULT_MAX_BYTES);
        Self { key, min_work: Work::DEFAULT_MINIMUM, max_age, max_bytes }
    }
}

/// Default for the most peers of one address: enough for a household.
const DEFAULT_MAX_PER_ADDRESS: usize = 8;
