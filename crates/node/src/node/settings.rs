//! What whoever runs a node decides. The defaults make a node that listens nowhere, calls nobody
//! and keeps nothing on disk.

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
        node::{DEFAULT_POOL_BYTES, Darkness, Limits},
        requirements::{DEFAULT_MAX_SIZE, DEFAULT_MAX_TTL},
    },
};

/// What whoever runs a node decides.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where to listen for peers over TCP; a port of 0 lets the system choose.
    pub listen: Option<SocketAddr>,
    /// Whether to look for peers over UDP, at the port of `listen` (discovery v4). Needs `listen`.
    pub discovery: bool,
    /// The address at which others reach us, where a router stands between. Needs `listen`.
    pub advertise: Option<IpAddr>,
    /// Nodes at which discovery begins; where there are any, it does.
    pub bootnodes: Vec<Enode>,
    /// Nodes to call again whenever their link is lost. They count towards no limit.
    pub static_peers: Vec<Enode>,
    /// Nodes whose direct messages are looked at. They count towards no limit.
    pub trusted: Vec<NodeId>,
    /// Most peers at the same time. With discovery, half of them may call us, and we call the others.
    pub max_peers: usize,
    /// Most peers at the same time from one address, or 64 bits of an IPv6 address; twice as many
    /// from 48 bits of one.
    pub max_peers_per_address: usize,
    /// Work to ask of envelopes.
    pub min_work: Work,
    /// Largest envelope to take, in bytes.
    pub max_envelope_bytes: usize,
    /// Longest life of an envelope to take, in seconds.
    pub max_ttl: u32,
    /// Bytes of memory for envelopes.
    pub pool_bytes: usize,
    /// Whether to pass on only what we say ourselves.
    pub light: bool,
    /// Whether a light node refuses another one.
    pub restrict_light: bool,
    /// Whether peers' Bloom filters are taken to be right; else what go-ethereum makes of them, which
    /// loses a bit of 4 % of the topics.
    pub strict_bloom: bool,
    /// What peers may send.
    pub limits: Limits,
    /// What hides our own traffic.
    pub darkness: Darkness,
    /// Envelopes of no meaning, to hide when there are others.
    pub cover: Option<Cover>,
    /// The folder that keeps the key, the envelopes and the archive over a restart.
    pub data: Option<PathBuf>,
    /// The node's key, instead of that of the folder.
    pub key: Option<PrivateKey>,
    /// Whether and how to keep an archive for readers who were away. Needs `data`.
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
            darkness: Darkness::default(),
            cover: None,
            data: None,
            key: None,
            archive: None,
        }
    }
}

impl Settings {
    /// Most peers unless told otherwise. As in go-ethereum.
    pub const DEFAULT_MAX_PEERS: usize = 50;

    /// A node on this machine alone, at a port that the system chooses: for tests and trials.
    pub fn loopback() -> Self {
        Self { listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)), ..Self::default() }
    }
}

/// How often to send envelopes that mean nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Cover {
    /// Mean of the random time between two of them.
    pub mean_interval: Duration,
}

impl Cover {
    /// One in so much time, in the mean.
    pub const fn every(mean_interval: Duration) -> Self {
        Self { mean_interval }
    }
}

/// What to keep for readers who were away.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArchiveSettings {
    /// What opens the requests: the key of the password that readers were told.
    pub key: SymmetricKey,
    /// Work to ask of requests.
    pub min_work: Work,
    /// Nothing is kept longer than this.
    pub max_age: Duration,
    /// Most bytes of envelopes; the oldest leave first.
    pub max_bytes: u64,
}

impl ArchiveSettings {
    /// How long something is kept unless told otherwise: a month.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Most bytes of envelopes unless told otherwise: a gigabyte.
    pub const DEFAULT_MAX_BYTES: u64 = 1 << 30;

    /// As much as by default, for those who know what `key` is.
    pub const fn new(key: SymmetricKey) -> Self {
        let (max_age, max_bytes) = (Self::DEFAULT_MAX_AGE, Self::DEFAULT_MAX_BYTES);
        Self { key, min_work: Work::DEFAULT_MINIMUM, max_age, max_bytes }
    }
}

/// Most peers of one address unless told otherwise: a household, not a farm.
const DEFAULT_MAX_PER_ADDRESS: usize = 8;
