//! The addresses to which we may connect when a peer chose them.
//!
//! A peer names relays and its own addresses. Without these rules, it could make this computer
//! connect to services that only this computer or its local network can reach.

use std::net::{IpAddr, SocketAddr};

use if_addrs::IfAddr;
use wormhole_kit::{Scope, scope};
use wormhole_magic::transit::{NAME_ADDRESSES, Permit};

use super::LinkFailure;

/// Keeps only the permitted addresses.
///
/// # Errors
/// There are addresses, but none is permitted.
pub(super) fn filter(
    permit: Permit,
    mut addresses: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, LinkFailure> {
    if permit == Permit::Anywhere {
        return Ok(addresses);
    }
    let own = if permit == Permit::PublicOrOwnNetwork { own_networks() } else { Vec::new() };
    addresses.retain(|address| allows(permit, address.ip(), &own));
    addresses.truncate(NAME_ADDRESSES);
    if addresses.is_empty() { Err(LinkFailure::PrivateAddress) } else { Ok(addresses) }
}

/// Checks a host to which a proxy connects. It is in another network than this computer, so only public addresses are
/// useful.
///
/// # Errors
/// The host is an address that is not public, or the name of the proxy's own computer.
pub(super) fn check_host(permit: Permit, host: &str) -> Result<(), LinkFailure> {
    let is_local = match host.parse::<IpAddr>() {
        Ok(address) => scope(address) != Scope::Global,
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    };
    let is_forbidden = permit != Permit::Anywhere && is_local;
    if is_forbidden { Err(LinkFailure::PrivateAddress) } else { Ok(()) }
}

fn allows(permit: Permit, address: IpAddr, own: &[Network]) -> bool {
    match (permit, scope(address)) {
        (Permit::Anywhere, _) | (_, Scope::Global) => true,
        (Permit::NotThisComputer, scope) => scope == Scope::Private,
        (Permit::PublicOrOwnNetwork, Scope::Private) => own.iter().any(|it| it.contains(address)),
        (Permit::PublicOrOwnNetwork, Scope::Loopback | Scope::Unusable) => false,
    }
}

/// A network in which this computer has an address.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: IpAddr,
    /// Number of leading bits that all its addresses share.
    prefix: u32,
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32_u32.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128_u32.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The networks of all interfaces; empty if the system does not report them.
fn own_networks() -> Vec<Network> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let networks = interfaces.into_iter().map(|interface| match interface.addr {
        IfAddr::V4(v4) => Network { address: v4.ip.into(), prefix: v4.prefixlen.into() },
        IfAddr::V6(v6) => Network { address: v6.ip.into(), prefix: v6.prefixlen.into() },
    });
    // An interface without a network has prefix length 0, which would include every address.
    networks.filter(|network| network.prefix > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(permit: Permit, address: &str) -> bool {
        let own = [("192.168.7.20", 24), ("fd00:7::20", 64), ("127.0.0.1", 8)];
        let own =
            own.map(|(address, prefix)| Network { address: address.parse().unwrap(), prefix });
        allows(permit, address.parse().unwrap(), &own)
    }

    #[test]
    fn a_relay_that_a_peer_names_is_public_or_in_a_network_of_ours() {
        for address in ["9.9.9.9", "2620:fe::fe", "192.168.7.1", "::ffff:192.168.7.1", "fd00:7::1"]
        {
            assert!(allowed(Permit::PublicOrOwnNetwork, address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "192.168.8.1",
            "169.254.169.254",
            "100.64.0.1",
            "fd00:8::1",
            "fe80::1",
            "64:ff9b::7f00:1",
            "64:ff9b::c0a8:701",
        ] {
            assert!(!allowed(Permit::PublicOrOwnNetwork, address), "{address}");
        }
    }

    #[test]
    fn a_peer_may_listen_in_any_network_but_not_on_this_computer() {
        for address in ["9.9.9.9", "10.0.0.1", "100.64.0.1", "fd00:8::1"] {
            assert!(allowed(Permit::NotThisComputer, address), "{address}");
        }
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] {
            assert!(!allowed(Permit::NotThisComputer, address), "{address}");
        }
    }

    #[test]
    fn names_that_lead_to_many_addresses_are_cut_short_and_forbidden_ones_are_named() {
        let many: Vec<_> = (1..=100).map(|n| SocketAddr::from(([9, 9, 9, n], 1))).collect();
        assert_eq!(filter(Permit::PublicOrOwnNetwork, many.clone()).unwrap().len(), NAME_ADDRESSES);
        assert_eq!(filter(Permit::Anywhere, many.clone()), Ok(many));
        let here = vec![SocketAddr::from(([127, 0, 0, 1], 1))];
        assert_eq!(filter(Permit::NotThisComputer, here), Err(LinkFailure::PrivateAddress));
    }

    #[test]
    fn a_proxy_is_not_asked_for_local_addresses_that_somebody_else_chose() {
        for host in [
            "127.0.0.1",
            "::1",
            "192.168.1.2",
            "10.0.0.1",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
        ] {
            let checked = check_host(Permit::PublicOrOwnNetwork, host);
            assert_eq!(checked, Err(LinkFailure::PrivateAddress), "{host}");
            assert_eq!(check_host(Permit::Anywhere, host), Ok(()));
        }
        for host in ["example.org", "localhost.example.org", "9.9.9.9"] {
            assert_eq!(check_host(Permit::PublicOrOwnNetwork, host), Ok(()), "{host}");
        }
    }
}
