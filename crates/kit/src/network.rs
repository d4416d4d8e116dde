//! Properties of IP addresses: the network that one party usually controls, and from where an address can be
//! reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network by which clients are counted: an IPv4 address (also if written as IPv6), or the /64 prefix
/// of an IPv6 address, the smallest network that a user gets.
pub fn network(address: IpAddr) -> IpAddr {
    prefix(address, 64)
}

/// The network around [`network`]: 48 bits of an IPv6 address, usually the maximum for one customer of a
/// provider.
pub fn wider_network(address: IpAddr) -> IpAddr {
    prefix(address, 48)
}

fn prefix(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(bits).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & !rest).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// From where an address can be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// From everywhere.
    Global,
    /// From this computer only.
    Loopback,
    /// From one local network, the networks of one organisation, or those of one provider.
    Private,
    /// From nowhere: unspecified, multicast, broadcast or reserved.
    Unusable,
}

/// From where `address` can be reached.
///
/// An IPv4 address embedded in an IPv6 address (mapped, compatible, NAT64, 6to4) counts as that IPv4
/// address, because the system or a translator connects to it.
///
/// ```
/// use wormhole_kit::{Scope, scope};
///
/// assert_eq!(scope("10.0.0.1".parse().unwrap()), Scope::Private);
/// assert_eq!(scope("::ffff:127.0.0.1".parse().unwrap()), Scope::Loopback);
/// ```
pub fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(address) => scope_v4(address),
        IpAddr::V6(address) => scope_v6(address),
    }
}

const fn scope_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        [127, ..] => Scope::Loopback,
        // "This network" (RFC 791); Linux connects 0.0.0.0 to itself. Multicast; reserved.
        [0 | 224..=255, ..] => Scope::Unusable,
        // Private use, link-local, shared by customers of a provider (RFC 6598), protocol
        // assignments (RFC 6890), benchmarks (RFC 2544).
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [169, 254, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0, _]
        | [198, 18..=19, ..] => Scope::Private,
        _ => Scope::Global,
    }
}

const fn scope_v6(address: Ipv6Addr) -> Scope {
    if address.is_loopback() {
        return Scope::Loopback;
    }
    if address.is_unspecified() {
        return Scope::Unusable;
    }
    match address.segments() {
        // Mapped (RFC 4291), compatible (its deprecated predecessor), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            scope_v4(embedded(high, low))
        }
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => scope_v4(embedded(high, low)),
        // NAT64 of a local network (RFC 8215), unique local, link-local, site-local.
        [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff | 0xfe80..=0xfeff, ..] => Scope::Private,
        [0xff00..=0xffff, ..] => Scope::Unusable,
        _ => Scope::Global,
    }
}

const fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> String {
        network(address.parse().unwrap()).to_string()
    }

    #[test]
    fn a_customer_may_have_a_thousand_networks_in_one_wider_network() {
        let wide = |address: &str| wider_network(address.parse().unwrap()).to_string();
        assert_eq!(wide("2001:db8:1:2::1"), wide("2001:db8:1:ffff::1"));
        assert_ne!(wide("2001:db8:1::"), wide("2001:db8:2::"));
        assert_eq!(wide("192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn addresses_of_one_64_bit_prefix_count_as_one_network() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn an_address_is_judged_by_where_a_connection_to_it_would_end() {
        for (addresses, expected) in [
            ("127.0.0.1 127.9.9.9 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1", Scope::Loopback),
            ("10.1.2.3 172.31.0.1 192.168.0.1 169.254.169.254 100.64.0.1", Scope::Private),
            ("fd00::1 fe80::1 fec0::1 ::ffff:10.0.0.1 2002:a00:1:: 198.18.0.1", Scope::Private),
            (
                "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0 224.0.0.1 255.255.255.255 ff02::1",
                Scope::Unusable,
            ),
            ("9.9.9.9 172.32.0.1 100.128.0.1 2620:fe::fe 64:ff9b::909:909", Scope::Global),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(scope(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
