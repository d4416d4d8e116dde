//! Tests how addresses are counted, also if there are too many.

use std::net::Ipv6Addr;

use super::*;

limited_actions! {
    enum TestAction {
        One,
        Other,
    }
}

const ONE: TestAction = TestAction::One;
const OTHER: TestAction = TestAction::Other;

fn limits(links: u32, one: u32, other: u32, loopback_too: bool) -> Arc<Limits> {
    let per_minute = PerMinute::new(|action| match action {
        TestAction::One => one,
        TestAction::Other => other,
    });
    let allowance = Allowance { links, per_minute, ..Allowance::default() };
    Arc::new(Limits::new(allowance, 0, loopback_too, Instant::now()))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_number_of_links_is_limited_for_each_address() {
    let (limits, now) = (limits(2, 0, 0, false), Instant::now());
    let first = limits.admit(address("192.0.2.1"), now).unwrap();
    let _second = limits.admit(address("::ffff:192.0.2.1"), now).unwrap();
    assert!(limits.admit(address("192.0.2.1"), now).is_none());
    assert!(limits.admit(address("192.0.2.2"), now).is_some());
    drop(first);
    assert!(limits.admit(address("192.0.2.1"), now).is_some());
}

#[test]
fn one_ipv6_network_counts_as_one_address() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let _first = limits.admit(address("2001:db8::1"), now).unwrap();
    assert!(limits.admit(address("2001:db8::ffff:0:0:2"), now).is_none());
    assert!(limits.admit(address("2001:db8:0:1::1"), now).is_some());
}

#[test]
fn actions_are_counted_separately_and_for_one_minute() {
    let (limits, now) = (limits(0, 2, 1, false), Instant::now());
    let permit = limits.admit(address("192.0.2.1"), now).unwrap();
    assert_eq!([(); 3].map(|()| permit.spend(ONE, 1.0, now)), [true, true, false]);
    assert_eq!([(); 2].map(|()| permit.spend(OTHER, 1.0, now)), [true, false]);
    let again = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(!again.spend(ONE, 1.0, now + MINUTE / 4));
    assert!(again.spend(ONE, 1.0, now + MINUTE));
}

#[test]
fn an_action_without_a_limit_is_always_allowed() {
    let (limits, now) = (limits(0, 0, 1, false), Instant::now());
    let permit = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!((0..1000).all(|_| permit.spend(ONE, 1.0, now)));
}

#[test]
fn an_action_is_refused_if_the_service_has_no_limited_actions() {
    let now = Instant::now();
    let limits = Arc::new(Limits::new(Allowance::default(), 0, false, now));
    let permit = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(!permit.spend(ONE, 1.0, now));
}

#[test]
fn an_action_that_costs_more_than_the_limit_is_allowed_once_per_minute() {
    let (limits, now) = (limits(0, 4, 0, false), Instant::now());
    let permit = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(permit.spend(ONE, 1e9, now) && !permit.spend(ONE, 1.0, now));
    assert!(permit.spend(ONE, 1e9, now + MINUTE));
}

#[test]
fn opening_links_is_limited_per_minute() {
    let allowance = Allowance { links_per_minute: 2, ..Allowance::default() };
    let now = Instant::now();
    let limits = Arc::new(Limits::new(allowance, 0, false, now));
    assert!(limits.admit(address("192.0.2.1"), now).is_some());
    assert!(limits.admit(address("192.0.2.1"), now).is_some());
    assert!(limits.admit(address("192.0.2.1"), now).is_none());
    assert!(limits.admit(address("192.0.2.1"), now + MINUTE / 2).is_some());
}

/// Admits as many links of different networks as a table has entries. All links stay open.
fn fill(limits: &Arc<Limits>, now: Instant, network: impl Fn(u32) -> IpAddr) -> Vec<LinkPermit> {
    let count = u32::try_from(MAX_ENTRIES).unwrap();
    (0..count).map(|number| limits.admit(network(number), now).unwrap()).collect()
}

/// One of the 2^32 networks of households in `2001::/32`.
fn household(number: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from((0x2001_u128 << 112) | (u128::from(number) << 64)))
}

/// One of the 2^32 wider networks in `3000::/16`.
fn customer(number: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from((0x3000_u128 << 112) | (u128::from(number) << 80)))
}

#[test]
fn a_client_with_a_hundred_thousand_ipv6_networks_does_not_lock_others_out() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let _passes = fill(&limits, now, household);
    assert_eq!(limits.lock().by_network.entries.len(), MAX_ENTRIES);
    assert!(limits.admit(household(1), now).is_none(), "known networks stay limited");
    let _ipv4 = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(limits.admit(address("192.0.2.1"), now).is_none());
    // New networks are counted together with those of the same wider network.
    let _ipv6 = limits.admit(address("2001:db8::1"), now).unwrap();
    assert!(limits.admit(address("2001:db8:0:1::1"), now).is_none());
    assert!(limits.admit(address("2001:db8:1::1"), now).is_some());
}

#[test]
fn if_the_tables_are_full_new_addresses_are_counted_together() {
    let (limits, now) = (limits(1, 1, 0, false), Instant::now());
    let _passes = fill(&limits, now, household);
    let wide = fill(&limits, now, customer);
    let one = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(one.spend(ONE, 1.0, now) && !one.spend(ONE, 1.0, now));
    assert!(limits.admit(address("192.0.2.2"), now).is_none());
    drop(one);
    assert!(limits.admit(address("192.0.2.2"), now).is_some());
    drop(wide);
    assert!(limits.admit(address("192.0.2.1"), now + SWEEP_PERIOD).is_some());
    assert_eq!(limits.lock().by_wider_network.entries.len(), 1);
}

#[test]
fn unused_entries_are_removed_at_most_once_per_second() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let mut permits = fill(&limits, now, |number| IpAddr::from((number << 4).to_be_bytes()));
    let id = |now| limits.lock().id(address("192.0.2.1"), now).0;
    assert_eq!(id(now), CountsId::Overflow);
    permits.truncate(1000);
    assert_eq!(id(now), CountsId::Overflow, "searched twice in a second");
    assert!(matches!(id(now + SWEEP_PERIOD), CountsId::WiderNetwork(_)));
    assert_eq!(limits.lock().by_wider_network.entries.len(), 1001);
}

#[test]
fn loopback_is_limited_only_if_configured() {
    let now = Instant::now();
    let exempt = limits(1, 1, 1, false);
    let _first = exempt.admit(address("127.0.0.1"), now).unwrap();
    let second = exempt.admit(address("::1"), now).unwrap();
    assert!(second.spend(ONE, 1.0, now) && second.spend(ONE, 1.0, now));
    let limited = limits(1, 1, 1, true);
    let _first = limited.admit(address("127.0.0.1"), now).unwrap();
    assert!(limited.admit(address("127.0.0.1"), now).is_none());
}

#[test]
fn the_hashes_and_counts_of_a_day_are_not_used_on_the_next() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let yesterday = limits.admit(address("192.0.2.1"), now).unwrap();
    let hashes: Vec<u64> = limits.lock().by_wider_network.entries.keys().copied().collect();
    let _today = limits.admit(address("192.0.2.1"), now + KEY_LIFE).unwrap();
    assert!(hashes.iter().all(|hash| !limits.lock().by_wider_network.entries.contains_key(hash)));
    drop(yesterday);
    assert!(limits.admit(address("192.0.2.1"), now + KEY_LIFE).is_none());
}
