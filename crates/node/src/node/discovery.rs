//! Discovery: runs the discovery session of the core on a UDP socket.
//!
//! While more peers are wanted, it searches for nodes, and reports those that it knows again and again.
//! Each datagram costs a signature check, so the number of datagrams that are handled in a second is
//! limited, in total and per address; replies to our requests have a limit of their own.
//!
//! `devp2p::Discovery` does not run in the session loop of `wormhole_kit`. Datagrams have no links, and its
//! packets need the wall clock as well as the monotonic one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use rand_core::{OsRng, RngCore};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use wormhole_kit::{network, wider_network};
use wormhole_whisper::devp2p::{
    discovery::{Discovery, DiscoveryOutput, packet::MAX_DATAGRAM},
    enode::Enode,
};

use super::peers::take_random;

/// Runs discovery until the node stops. Searches for more nodes while they are wanted.
pub(super) async fn run(
    socket: UdpSocket,
    mut discovery: Discovery,
    found: mpsc::Sender<Enode>,
    mut wants_more: watch::Receiver<bool>,
) {
    let mut limits = DatagramLimits::new(Instant::now());
    let mut next_search = Instant::now() + SEARCH_INTERVAL;
    // One byte more than allowed, to recognise datagrams that are too long.
    let mut datagram = [0; MAX_DATAGRAM + 1];
    loop {
        handle_outputs(&mut discovery, &socket, &found);
        let deadline = discovery.deadline().min(next_search);
        tokio::select! {
            changed = wants_more.changed() => {
                if changed.is_err() {
                    return;
                }
                next_search = next_search.min(Instant::now() + SEARCH_INTERVAL);
            }
            received = socket.recv_from(&mut datagram) => {
                let now = Instant::now();
                // An error belongs to a datagram that was sent before, to a host that is not there.
                if let Ok((length, from)) = received
                    && limits.allow(now, from.ip(), discovery.expects(from))
                {
                    let bytes = datagram.get(..length).unwrap_or_default();
                    let _ignored = discovery.handle(now, SystemTime::now().into(), from, bytes);
                }
            }
            () = sleep_until(deadline.into()) => {
                let (now, wall) = (Instant::now(), SystemTime::now().into());
                discovery.handle_timeout(now, wall, &mut OsRng);
                if now >= next_search {
                    let searches = *wants_more.borrow();
                    next_search = now + if searches { SEARCH_INTERVAL } else { CHECK_INTERVAL };
                    if searches {
                        discovery.search(now, wall, &mut OsRng);
                        report_known(&discovery, &found, &mut OsRng);
                    }
                }
            }
        }
    }
}

/// Executes all pending outputs of the session.
fn handle_outputs(discovery: &mut Discovery, socket: &UdpSocket, found: &mpsc::Sender<Enode>) {
    while let Some(output) = discovery.poll() {
        match output {
            // A datagram that cannot be sent is lost, as on the network.
            DiscoveryOutput::Send(to, bytes) => drop(socket.try_send_to(&bytes, to)),
            // If the queue is full, the node is reported again later.
            DiscoveryOutput::Found(enode) => drop(found.try_send(enode)),
        }
    }
}

/// Reports nodes that were found before, in random order, as many as fit into the queue. Otherwise a node
/// that could not be dialled, or was lost, would never be dialled again.
fn report_known(discovery: &Discovery, found: &mpsc::Sender<Enode>, rng: &mut impl RngCore) {
    let mut nodes: Vec<_> = discovery.nodes().collect();
    while let Some(node) = take_random(&mut nodes, rng)
        && found.try_send(node).is_ok()
    {}
}

/// How many datagrams are still handled in this second: replies to our requests, and all others. Senders can
/// forge their address, so unrequested datagrams must not use up the limit of the replies.
#[derive(Debug)]
struct DatagramLimits {
    replies: DatagramLimit,
    unrequested: DatagramLimit,
}

impl DatagramLimits {
    fn new(now: Instant) -> Self {
        Self {
            replies: DatagramLimit::new(now, MAX_REPLIES, MAX_REPLIES_PER_ADDRESS),
            unrequested: DatagramLimit::new(now, MAX_UNREQUESTED, MAX_UNREQUESTED_PER_ADDRESS),
        }
    }

    fn allow(&mut self, now: Instant, address: IpAddr, expected: bool) -> bool {
        expected && self.replies.allows(now, address) || self.unrequested.allows(now, address)
    }
}

/// How many datagrams of one kind are still handled in this second.
#[derive(Debug)]
struct DatagramLimit {
    since: Instant,
    total: u32,
    per_address: HashMap<IpAddr, u32>,
    per_wide_network: HashMap<IpAddr, u32>,
    limit: u32,
    limit_per_address: u32,
}

impl DatagramLimit {
    fn new(now: Instant, limit: u32, limit_per_address: u32) -> Self {
        let (per_address, per_wide_network) = (HashMap::new(), HashMap::new());
        Self { since: now, total: 0, per_address, per_wide_network, limit, limit_per_address }
    }

    fn allows(&mut self, now: Instant, address: IpAddr) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now, self.limit, self.limit_per_address);
        }
        let (narrow, wide) = (network(address), wider_network(address));
        let spent = |of: &HashMap<_, _>, key| of.get(key).copied().unwrap_or_default();
        if self.total >= self.limit
            || spent(&self.per_address, &narrow) >= self.limit_per_address
            || spent(&self.per_wide_network, &wide) >= WIDE_FACTOR * self.limit_per_address
        {
            return false;
        }
        *self.per_address.entry(narrow).or_default() += 1;
        *self.per_wide_network.entry(wide).or_default() += 1;
        self.total += 1;
        true
    }
}

/// Unrequested datagrams that are handled in a second: they take about a tenth of a processor.
const MAX_UNREQUESTED: u32 = 500;

/// Unrequested datagrams of one address.
const MAX_UNREQUESTED_PER_ADDRESS: u32 = 100;

/// Replies that are handled in a second. A search brings a tenth of that.
const MAX_REPLIES: u32 = 500;

/// Replies of one address. An honest node sends six datagrams: ping, pong, findnode, and three with
/// neighbours.
const MAX_REPLIES_PER_ADDRESS: u32 = 25;

/// The wider network of an IPv6 address may send this many times as much as one address. For IPv4 both are
/// the same.
const WIDE_FACTOR: u32 = 2;

/// Time between two searches while more peers are wanted.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two checks whether more peers are wanted.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use wormhole_whisper::devp2p::{enode::Endpoint, key::PrivateKey};

    use super::*;

    #[test]
    fn one_address_cannot_use_up_the_limit_of_all() {
        let now = Instant::now();
        let mut limit = DatagramLimit::new(now, MAX_UNREQUESTED, MAX_UNREQUESTED_PER_ADDRESS);
        let loud: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let allowed = (0..10_000).filter(|_| limit.allows(now, loud)).count();
        assert_eq!(allowed, usize::try_from(MAX_UNREQUESTED_PER_ADDRESS).unwrap());
        assert!(limit.allows(now, Ipv4Addr::new(192, 0, 2, 2).into()));
        assert!(limit.allows(now + Duration::from_secs(1), loud));
        let v6 = |number: u128| limit.allows(now, Ipv6Addr::from_bits(1 << 100 | number).into());
        let allowed = (0..10_000).map(v6).filter(|allowed| *allowed).count();
        assert_eq!(allowed, usize::try_from(MAX_UNREQUESTED_PER_ADDRESS).unwrap());
        let many = (0..10_000).filter(|number| {
            limit.allows(now + Duration::from_secs(1), Ipv4Addr::from_bits(*number).into())
        });
        assert!(many.count() < usize::try_from(MAX_UNREQUESTED).unwrap());
        assert!(limit.per_address.len() <= usize::try_from(MAX_UNREQUESTED).unwrap());
    }

    #[test]
    fn many_ipv6_networks_of_one_owner_may_send_twice_as_much_as_one_address() {
        let now = Instant::now();
        let mut limit = DatagramLimit::new(now, MAX_UNREQUESTED, MAX_UNREQUESTED_PER_ADDRESS);
        let address = |number: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64).into();
        let allowed = (0..10_000).filter(|number| limit.allows(now, address(*number)));
        assert_eq!(allowed.count(), usize::try_from(2 * MAX_UNREQUESTED_PER_ADDRESS).unwrap());
        assert!(limit.allows(now, address(1 << 16)));
        assert!(limit.per_address.len() <= usize::try_from(MAX_UNREQUESTED).unwrap());
    }

    #[test]
    fn unrequested_datagrams_do_not_use_up_the_limit_of_replies() {
        let now = Instant::now();
        let mut limits = DatagramLimits::new(now);
        let address = |number: u32| Ipv4Addr::from_bits(number).into();
        let strangers = (0..10_000).filter(|number| limits.allow(now, address(*number), false));
        assert_eq!(strangers.count(), usize::try_from(MAX_UNREQUESTED).unwrap());
        let loud = (0..10_000).filter(|_| limits.allow(now, address(7), true));
        assert_eq!(loud.count(), usize::try_from(MAX_REPLIES_PER_ADDRESS).unwrap());
        let asked = (8..10_000).filter(|number| limits.allow(now, address(*number), true));
        assert_eq!(asked.count(), usize::try_from(MAX_REPLIES - MAX_REPLIES_PER_ADDRESS).unwrap());
    }

    #[tokio::test]
    async fn unrequested_datagrams_do_not_displace_replies() {
        let bind = || async { UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap() };
        let (socket, other, stranger) = (bind().await, bind().await, bind().await);
        let node = |socket: &UdpSocket, bootnodes: &[Enode]| {
            let (key, at) = (PrivateKey::random(&mut OsRng), socket.local_addr().unwrap());
            let endpoint = Endpoint { ip: at.ip(), udp: at.port(), tcp: at.port() };
            let enode = Enode { id: key.public_key().node_id(), endpoint: Some(endpoint) };
            (enode, Discovery::new(key, endpoint, 1, bootnodes, Instant::now()))
        };
        let (enode, mut asked) = node(&other, &[]);
        let (_, discovery) = node(&socket, &[enode]);
        let ours = socket.local_addr().unwrap();
        let (finds, mut found) = mpsc::channel(1);
        let (_wanted, wanted) = watch::channel(true);
        tokio::spawn(run(socket, discovery, finds, wanted));

        let mut ping = [0; MAX_DATAGRAM];
        let (length, from) = other.recv_from(&mut ping).await.unwrap();
        for _ in 0..=MAX_UNREQUESTED_PER_ADDRESS {
            stranger.send_to(&[7; MAX_DATAGRAM / 10], ours).await.unwrap();
        }
        let wall = SystemTime::now().into();
        asked.handle(Instant::now(), wall, from, &ping[..length]).unwrap();
        while let Some(DiscoveryOutput::Send(to, answer)) = asked.poll() {
            other.send_to(&answer, to).await.unwrap();
        }
        let heard = tokio::time::timeout(Duration::from_secs(10), found.recv()).await;
        assert_eq!(heard.expect("in time"), Some(enode));
    }
}
