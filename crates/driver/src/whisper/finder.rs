//! Discovery: the core's session on a UDP socket.
//!
//! While peers are wanted, it looks for more nodes and offers those that are known, again and again.
//!
//! Each datagram costs a signature check, so only so many are looked at in a second, and only so
//! many of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use rand_core::{OsRng, RngCore};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use wormhole_kit::network;
use wormhole_whisper::devp2p::{
    discovery::{Discovery, DiscoveryOutput, packet::MAX_DATAGRAM},
    enode::Enode,
};

use super::found::draw;

/// Takes part in discovery until the node stops; looks for more nodes as long as they are wanted.
pub(super) async fn look(
    socket: UdpSocket,
    mut discovery: Discovery,
    found: mpsc::Sender<Enode>,
    mut wanted: watch::Receiver<bool>,
) {
    let mut budget = Budget::new(Instant::now());
    let mut next_search = Instant::now() + HUNGRY;
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
                next_search = next_search.min(Instant::now() + HUNGRY);
            }
            received = socket.recv_from(&mut datagram) => {
                let now = Instant::now();
                // An error is about a datagram that we sent, and some host that is not there.
                if let Ok((length, from)) = received
                    && budget.allows(now, from.ip())
                {
                    let bytes = datagram.get(..length).unwrap_or_default();
                    let _ignored = discovery.handle(now, SystemTime::now().into(), from, bytes);
                }
            }
            () = sleep_until(deadline.into()) => {
                let (now, wall) = (Instant::now(), SystemTime::now().into());
                discovery.handle_timeout(now, wall, &mut OsRng);
                if now >= next_search {
                    let hungry = *wanted.borrow();
                    next_search = now + if hungry { HUNGRY } else { SATED };
                    if hungry {
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

/// How many datagrams are still looked at in this second.
#[derive(Debug)]
struct Budget {
    since: Instant,
    total: u32,
    per_address: HashMap<IpAddr, u32>,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { since: now, total: 0, per_address: HashMap::new() }
    }

    fn allows(&mut self, now: Instant, address: IpAddr) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        if self.total >= MAX_PER_SECOND {
            return false;
        }
        let count = self.per_address.entry(network(address)).or_default();
        if *count >= MAX_PER_ADDRESS {
            return false;
        }
        *count += 1;
        self.total += 1;
        true
    }
}

/// Datagrams that are looked at in a second: a tenth of a processor or so.
const MAX_PER_SECOND: u32 = 500;

/// Datagrams of one address that are looked at in a second.
const MAX_PER_ADDRESS: u32 = 100;

/// Time between two searches while peers are wanted.
const HUNGRY: Duration = Duration::from_secs(5);

/// Time between two looks at whether peers are wanted.
const SATED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn one_address_cannot_use_up_what_all_may_send() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let loud: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let allowed = (0..10_000).filter(|_| budget.allows(now, loud)).count();
        assert_eq!(allowed, usize::try_from(MAX_PER_ADDRESS).unwrap());
        assert!(budget.allows(now, Ipv4Addr::new(192, 0, 2, 2).into()));
        assert!(budget.allows(now + Duration::from_secs(1), loud));
        let v6 = |number: u128| budget.allows(now, Ipv6Addr::from_bits(1 << 100 | number).into());
        let allowed = (0..10_000).map(v6).filter(|allowed| *allowed).count();
        assert_eq!(allowed, usize::try_from(MAX_PER_ADDRESS).unwrap());
        let many = (0..10_000).filter(|number| {
            budget.allows(now + Duration::from_secs(1), Ipv4Addr::from_bits(*number).into())
        });
        assert!(many.count() < usize::try_from(MAX_PER_SECOND).unwrap());
        assert!(budget.per_address.len() <= usize::try_from(MAX_PER_SECOND).unwrap());
    }
}
