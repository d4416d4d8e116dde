//! Discovery: the core's session on a UDP socket.
//!
//! While peers are wanted, it looks for more nodes and offers those that are known, again and again.
//!
//! Each datagram costs a signature check, so only so many are looked at in a second, and only so
//! many of one address; those whom we have asked something are counted apart from strangers.

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

use super::peers::candidates::draw;

/// Takes part in discovery until the node stops; looks for more nodes as long as they are wanted.
pub(super) async fn run(
    socket: UdpSocket,
    mut discovery: Discovery,
    found: mpsc::Sender<Enode>,
    mut wanted: watch::Receiver<bool>,
) {
    let mut budgets = DatagramLimits::new(Instant::now());
    let mut next_search = Instant::now() + SEARCH_INTERVAL;
    // One more, so that what is longer than allowed is seen to be.
    let mut datagram = [0; MAX_DATAGRAM + 1];
    loop {
        while let Some(output) = discovery.poll() {
            match output {
                // What cannot be sent is lost, as any datagram may be.
                DiscoveryOutput::Send(to, bytes) => drop(socket.try_send_to(&bytes, to)),
                // Who is not taken now is offered again.
                DiscoveryOutput::Found(enode) => drop(found.try_send(enode)),
            }
        }
        let deadline = discovery.deadline().min(next_search);
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                next_search = next_search.min(Instant::now() + SEARCH_INTERVAL);
            }
            received = socket.recv_from(&mut datagram) => {
                let now = Instant::now();
                // An error is about a datagram that we sent, and some host that is not there.
                if let Ok((length, from)) = received
                    && budgets.allow(now, from.ip(), discovery.expects(from))
                {
                    let bytes = datagram.get(..length).unwrap_or_default();
                    let _ignored = discovery.handle(now, SystemTime::now().into(), from, bytes);
                }
            }
            () = sleep_until(deadline.into()) => {
                let (now, wall) = (Instant::now(), SystemTime::now().into());
                discovery.handle_timeout(now, wall, &mut OsRng);
                if now >= next_search {
                    let wanted_now = *wanted.borrow();
                    next_search = now + if wanted_now { SEARCH_INTERVAL } else { CHECK_INTERVAL };
                    if wanted_now {
                        discovery.search(now, wall, &mut OsRng);
                        offer(&discovery, &found, &mut OsRng);
                    }
                }
            }
        }
    }
}

/// Offers nodes that were found before, in random order and as many as are taken: of those that were
/// lost or could not be called then, nobody would hear again otherwise.
fn offer(discovery: &Discovery, found: &mpsc::Sender<Enode>, rng: &mut impl RngCore) {
    let mut nodes: Vec<_> = discovery.nodes().collect();
    while let Some(node) = draw(&mut nodes, rng)
        && found.try_send(node).is_ok()
    {}
}

/// What is still looked at in this second: of those whom we have asked something, and of strangers.
/// Strangers may say that they are anybody, so what they use up must not be missing for the others.
#[derive(Debug)]
struct DatagramLimits {
    asked: DatagramLimit,
    strangers: DatagramLimit,
}

impl DatagramLimits {
    fn new(now: Instant) -> Self {
        Self {
            asked: DatagramLimit::new(now, MAX_ASKED, MAX_ASKED_PER_ADDRESS),
            strangers: DatagramLimit::new(now, MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS),
        }
    }

    fn allow(&mut self, now: Instant, address: IpAddr, expected: bool) -> bool {
        expected && self.asked.allows(now, address) || self.strangers.allows(now, address)
    }
}

/// How many datagrams are still looked at in this second.
#[derive(Debug)]
struct DatagramLimit {
    since: Instant,
    total: u32,
    per_address: HashMap<IpAddr, u32>,
    per_wider: HashMap<IpAddr, u32>,
    most: u32,
    most_per_address: u32,
}

impl DatagramLimit {
    fn new(now: Instant, most: u32, most_per_address: u32) -> Self {
        let (per_address, per_wider) = (HashMap::new(), HashMap::new());
        Self { since: now, total: 0, per_address, per_wider, most, most_per_address }
    }

    fn allows(&mut self, now: Instant, address: IpAddr) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now, self.most, self.most_per_address);
        }
        let (narrow, wide) = (network(address), wider_network(address));
        let spent = |of: &HashMap<_, _>, key| of.get(key).copied().unwrap_or_default();
        if self.total >= self.most
            || spent(&self.per_address, &narrow) >= self.most_per_address
            || spent(&self.per_wider, &wide) >= WIDER * self.most_per_address
        {
            return false;
        }
        *self.per_address.entry(narrow).or_default() += 1;
        *self.per_wider.entry(wide).or_default() += 1;
        self.total += 1;
        true
    }
}

/// Datagrams of strangers that are looked at in a second: a tenth of a processor or so.
const MAX_STRANGERS: u32 = 500;

/// Such datagrams of one address.
const MAX_STRANGERS_PER_ADDRESS: u32 = 100;

/// Datagrams of those whom we have asked that are looked at in a second. As many again; a search
/// brings a tenth of it.
const MAX_ASKED: u32 = 500;

/// Such datagrams of one address. An honest node has six to say: a ping, a pong, a question and
/// three for its nodes.
const MAX_ASKED_PER_ADDRESS: u32 = 25;

/// How many times what one address may send its wider network may send. Of IPv4 both are the same.
const WIDER: u32 = 2;

/// Time between two searches while peers are wanted.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two looks at whether peers are wanted.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use wormhole_whisper::devp2p::{enode::Endpoint, key::PrivateKey};

    use super::*;

    #[test]
    fn one_address_cannot_use_up_what_all_may_send() {
        let now = Instant::now();
        let mut budget = DatagramLimit::new(now, MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS);
        let loud: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let allowed = (0..10_000).filter(|_| budget.allows(now, loud)).count();
        assert_eq!(allowed, usize::try_from(MAX_STRANGERS_PER_ADDRESS).unwrap());
        assert!(budget.allows(now, Ipv4Addr::new(192, 0, 2, 2).into()));
        assert!(budget.allows(now + Duration::from_secs(1), loud));
        let v6 = |number: u128| budget.allows(now, Ipv6Addr::from_bits(1 << 100 | number).into());
        let allowed = (0..10_000).map(v6).filter(|allowed| *allowed).count();
        assert_eq!(allowed, usize::try_from(MAX_STRANGERS_PER_ADDRESS).unwrap());
        let many = (0..10_000).filter(|number| {
            budget.allows(now + Duration::from_secs(1), Ipv4Addr::from_bits(*number).into())
        });
        assert!(many.count() < usize::try_from(MAX_STRANGERS).unwrap());
        assert!(budget.per_address.len() <= usize::try_from(MAX_STRANGERS).unwrap());
    }

    #[test]
    fn whoever_has_many_ipv6_networks_may_send_twice_as_much_as_one() {
        let now = Instant::now();
        let mut budget = DatagramLimit::new(now, MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS);
        let house = |number: u128| Ipv6Addr::from_bits(0x2001_0db8 << 96 | number << 64).into();
        let allowed = (0..10_000).filter(|number| budget.allows(now, house(*number)));
        assert_eq!(allowed.count(), usize::try_from(2 * MAX_STRANGERS_PER_ADDRESS).unwrap());
        assert!(budget.allows(now, house(1 << 16)));
        assert!(budget.per_address.len() <= usize::try_from(MAX_STRANGERS).unwrap());
    }

    #[test]
    fn strangers_use_up_nothing_of_what_those_have_whom_we_asked() {
        let now = Instant::now();
        let mut budgets = DatagramLimits::new(now);
        let address = |number: u32| Ipv4Addr::from_bits(number).into();
        let strangers = (0..10_000).filter(|number| budgets.allow(now, address(*number), false));
        assert_eq!(strangers.count(), usize::try_from(MAX_STRANGERS).unwrap());
        let loud = (0..10_000).filter(|_| budgets.allow(now, address(7), true));
        assert_eq!(loud.count(), usize::try_from(MAX_ASKED_PER_ADDRESS).unwrap());
        let asked = (8..10_000).filter(|number| budgets.allow(now, address(*number), true));
        assert_eq!(asked.count(), usize::try_from(MAX_ASKED - MAX_ASKED_PER_ADDRESS).unwrap());
    }

    #[tokio::test]
    async fn what_strangers_say_does_not_drown_the_answers_that_we_wait_for() {
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
        for _ in 0..=MAX_STRANGERS_PER_ADDRESS {
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
