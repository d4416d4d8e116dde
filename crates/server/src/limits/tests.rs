//! How addresses are counted, and what happens when there are too many.

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
fn an_address_has_its_number_of_links_and_others_have_theirs() {
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
fn actions_are_counted_apart_and_forgiven_in_a_minute() {
    let (limits, now) = (limits(0, 2, 1, false), Instant::now());
    let pass = limits.admit(address("192.0.2.1"), now).unwrap();
    assert_eq!([(); 3].map(|()| pass.spend(ONE, 1.0, now)), [true, true, false]);
    assert_eq!([(); 2].map(|()| pass.spend(OTHER, 1.0, now)), [true, false]);
    let again = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(!again.spend(ONE, 1.0, now + MINUTE / 4));
    assert!(again.spend(ONE, 1.0, now + MINUTE));
}

#[test]
fn an_action_without_a_limit_is_always_allowed() {
    let (limits, now) = (limits(0, 0, 1, false), Instant::now());
    let pass = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!((0..1000).all(|_| pass.spend(ONE, 1.0, now)));
}

#[test]
fn an_action_is_refused_if_the_service_has_no_limited_actions() {
    let now = Instant::now();
    let limits = Arc::new(Limits::new(Allowance::default(), 0, false, now));
    let pass = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(!pass.spend(ONE, 1.0, now));
}

#[test]
fn an_action_that_costs_more_than_a_minute_has_is_allowed_once_a_minute() {
    let (limits, now) = (limits(0, 4, 0, false), Instant::now());
    let pass = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(pass.spend(ONE, 1e9, now) && !pass.spend(ONE, 1.0, now));
    assert!(pass.spend(ONE, 1e9, now + MINUTE));
}

#[test]
fn opening_links_is_limited_per_minute_too() {
    let allowance = Allowance { links_per_minute: 2, ..Allowance::default() };
    let now = Instant::now();
    let limits = Arc::new(Limits::new(allowance, 0, false, now));
    assert!(limits.admit(address("192.0.2.1"), now).is_some());
    assert!(limits.admit(address("192.0.2.1"), now).is_some());
    assert!(limits.admit(address("192.0.2.1"), now).is_none());
    assert!(limits.admit(address("192.0.2.1"), now + MINUTE / 2).is_some());
}

/// Admits links of more networks than there are accounts for; all are kept open.
fn fill(limits: &Arc<Limits>, now: Instant, network: impl Fn(u32) -> IpAddr) -> Vec<Pass> {
    let count = u32::try_from(MAX_ACCOUNTS).unwrap();
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
fn a_client_with_a_hundred_thousand_ipv6_networks_locks_nobody_out() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let _passes = fill(&limits, now, household);
    assert_eq!(limits.lock().narrow.accounts.len(), MAX_ACCOUNTS);
    assert!(limits.admit(household(1), now).is_none(), "those that are known stay limited");
    let _ipv4 = limits.admit(address("192.0.2.1"), now).unwrap();
    assert!(limits.admit(address("192.0.2.1"), now).is_none());
    // Newcomers share what one address has with those in the same wider network, no others.
    let _ipv6 = limits.admit(address("2001:db8::1"), now).unwrap();
    assert!(limits.admit(address("2001:db8:0:1::1"), now).is_none());
    assert!(limits.admit(address("2001:db8:1::1"), now).is_some());
}

#[test]
fn addresses_without_room_share_one_account() {
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
    assert_eq!(limits.lock().wide.accounts.len(), 1);
}

#[test]
fn unused_accounts_are_searched_for_once_a_second() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let mut passes = fill(&limits, now, |number| IpAddr::from((number << 4).to_be_bytes()));
    let id = |now| limits.lock().id(address("192.0.2.1"), now).0;
    assert_eq!(id(now), AccountId::Others);
    passes.truncate(1000);
    assert_eq!(id(now), AccountId::Others, "searched twice in a second");
    assert!(matches!(id(now + SWEEP_PERIOD), AccountId::Wide(_)));
    assert_eq!(limits.lock().wide.accounts.len(), 1001);
}

#[test]
fn loopback_is_limited_only_if_asked_for() {
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
fn nothing_of_an_address_is_kept_beyond_a_day() {
    let (limits, now) = (limits(1, 0, 0, false), Instant::now());
    let yesterday = limits.admit(address("192.0.2.1"), now).unwrap();
    let hashes: Vec<u64> = limits.lock().wide.accounts.keys().copied().collect();
    let _today = limits.admit(address("192.0.2.1"), now + KEY_LIFE).unwrap();
    assert!(hashes.iter().all(|hash| !limits.lock().wide.accounts.contains_key(hash)));
    drop(yesterday);
    assert!(limits.admit(address("192.0.2.1"), now + KEY_LIFE).is_none());
}
