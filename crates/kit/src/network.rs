//! What one party has of the addresses there are. Not where it is, and not whether it is honest.

use std::net::{IpAddr, Ipv6Addr};

/// The network by which whoever is at `address` is counted: an IPv4 address as it is, also where it
/// is written as IPv6, and 64 bits of an IPv6 address. That much everybody has who has any.
pub fn network(address: IpAddr) -> IpAddr {
    beginning(address, 64)
}

/// The network around [`network`]: 48 bits of an IPv6 address, the most that one customer of a
/// provider has as a rule.
pub fn wider_network(address: IpAddr) -> IpAddr {
    beginning(address, 48)
}

fn beginning(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let rest = u128::MAX.checked_shr(bits).unwrap_or_default();
            Ipv6Addr::from_bits(address.to_bits() & !rest).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
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
    fn whoever_has_64_bits_of_an_address_is_one() {
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
