//! Tests of races between two sides, and of their time limits.

use wormhole_kit::{LinkIds, Secret};

use super::*;
use crate::transit::{Hint, Priority, RelayAddress, TcpHint};

#[expect(clippy::disallowed_methods, reason = "a test may start its clock anywhere")]
fn now() -> Instant {
    Instant::now()
}

fn settings(role: Role) -> RaceSettings {
    RaceSettings {
        role,
        side: RelaySide([if role == Role::Sender { 1 } else { 2 }; 8]),
        relays: Vec::new(),
        policy: RelayPolicy::Auto,
        listens: true,
        tor: false,
    }
}

fn key() -> TransitKey {
    TransitKey::new(Secret::new([5; 32]))
}

fn race(settings: RaceSettings) -> Race {
    Race::new(&key(), settings)
}

fn direct(host: &str) -> Hint {
    Hint::Direct(TcpHint::new(host, 1))
}

fn relay(host: &str, priority: f64) -> RelayHint {
    let hint = TcpHint { endpoint: Endpoint::new(host, 4001), priority: Priority::new(priority) };
    RelayHint::tcp(hint)
}

fn outputs(race: &mut Race) -> Vec<Output<Target, Event>> {
    std::iter::from_fn(|| race.poll()).collect()
}

/// The hosts a race wants to connect to now.
fn dialed(race: &mut Race) -> Vec<String> {
    let hosts = outputs(race).into_iter().filter_map(|output| match output {
        Output::Connect(_, target) => Some(match target.address {
            Address::Tcp(endpoint) => endpoint.host,
            Address::WebSocket(url) => url,
        }),
        Output::Send(..) | Output::Close(_) | Output::Event(_) => None,
    });
    hosts.collect()
}

fn start(race: &mut Race, now: Instant, hints: Vec<Hint>) -> Result<(), RaceError> {
    let peer = TransitInfo { abilities: vec![Ability::DirectTcp, Ability::Relay], hints };
    race.handle(now, Input::Command(Command::Start(peer)))
}

const SECOND: Duration = Duration::from_secs(1);

/// A link that came in.
const INCOMING: LinkId = LinkId(1);

#[test]
fn the_sender_says_go_on_the_first_link_and_nevermind_on_the_others() {
    let now = now();
    let mut sender = race(settings(Role::Sender));
    assert_eq!(start(&mut sender, now, vec![direct("a"), direct("b")]), Ok(()));
    for link in [LinkId(0), LinkId(2)] {
        assert_eq!(sender.handle(now, Input::Opened(link)), Ok(()));
    }
    outputs(&mut sender);
    let hello = key().hello(Role::Receiver);
    assert_eq!(sender.handle(now, Input::Bytes(LinkId(2), &hello)), Ok(()));
    let route = Route::Direct(Endpoint::new("b", 1));
    assert_eq!(
        outputs(&mut sender),
        [
            Output::Send(LinkId(2), GO.to_vec()),
            Output::Send(LinkId(0), NEVER_MIND.to_vec()),
            Output::Close(LinkId(0)),
            Output::Event(Event::Connected { link: LinkId(2), route, received: vec![] }),
        ]
    );
    assert_eq!(sender.handle(now, Input::Opened(INCOMING)), Ok(()));
    assert_eq!(outputs(&mut sender), [Output::Close(INCOMING)]);
}

#[test]
fn a_receiver_takes_the_link_on_which_go_comes_with_the_bytes_after_it() {
    let now = now();
    let mut receiver = race(settings(Role::Receiver));
    // The peer may connect before its own hints have reached us.
    assert_eq!(receiver.handle(now, Input::Opened(INCOMING)), Ok(()));
    assert_eq!(outputs(&mut receiver), [Output::Send(INCOMING, key().hello(Role::Receiver))]);
    let script = [&key().hello(Role::Sender)[..], GO, b"record"].concat();
    assert_eq!(receiver.handle(now, Input::Bytes(INCOMING, &script)), Ok(()));
    let connected =
        Event::Connected { link: INCOMING, route: Route::Accepted, received: b"record".to_vec() };
    assert_eq!(outputs(&mut receiver), [Output::Event(connected)]);
}

#[test]
fn relays_start_two_seconds_later_class_by_class() {
    let now = now();
    let mut settings = settings(Role::Sender);
    settings.relays = vec![relay("low", -1.0), relay("ours", 0.0)];
    let mut racer = race(settings);
    let theirs = vec![
        Hint::Relay(relay("best", 2.0)),
        direct("a"),
        direct("a"),
        Hint::Relay(relay("ours", 0.0)),
    ];
    assert_eq!(start(&mut racer, now, theirs), Ok(()));
    assert_eq!(dialed(&mut racer), ["a"]);
    assert_eq!(racer.deadline(), Some(now + 2 * SECOND));
    for (second, hosts) in
        [(1, vec![]), (2, vec!["best"]), (3, vec![]), (4, vec!["ours"]), (6, vec!["low"])]
    {
        assert_eq!(racer.handle_timeout(now + second * SECOND), Ok(()));
        assert_eq!(dialed(&mut racer), hosts, "after {second} s");
    }
}

#[test]
fn relays_start_at_once_when_there_is_nothing_direct_to_try() {
    let now = now();
    let mut racer = race(RaceSettings { relays: vec![relay("r", 0.0)], ..settings(Role::Sender) });
    assert_eq!(start(&mut racer, now, vec![]), Ok(()));
    assert_eq!(dialed(&mut racer), ["r"]);
}

#[test]
fn sides_that_allow_nothing_in_common_do_not_wait_for_one_another() {
    let now = now();
    let relays = vec![relay("r", 0.0)];
    let meet = |policy, listens, peer: TransitInfo| {
        let settings =
            RaceSettings { policy, listens, relays: relays.clone(), ..settings(Role::Sender) };
        race(settings).handle(now, Input::Command(Command::Start(peer)))
    };
    let relay_only = TransitInfo {
        abilities: vec![Ability::Relay],
        hints: vec![Hint::Relay(relay("theirs", 0.0))],
    };
    let direct_only =
        TransitInfo { abilities: vec![Ability::DirectTcp], hints: vec![direct("theirs")] };
    assert_eq!(meet(RelayPolicy::Never, true, relay_only.clone()), Err(RaceError::NoCommonMethod));
    assert_eq!(meet(RelayPolicy::Only, false, direct_only.clone()), Err(RaceError::NoCommonMethod));
    assert_eq!(meet(RelayPolicy::Auto, true, relay_only), Ok(()));
    assert_eq!(meet(RelayPolicy::Auto, true, direct_only), Ok(()));
    // One that does not say what it can do may be able to do anything.
    assert_eq!(meet(RelayPolicy::Never, true, TransitInfo::default()), Ok(()));
}

#[test]
fn the_relay_that_was_lost_is_named() {
    let now = now();
    let relays = vec![relay("r", 0.0)];
    let mut racer = race(RaceSettings { relays, listens: false, ..settings(Role::Sender) });
    assert_eq!(start(&mut racer, now, vec![direct("a")]), Ok(()));
    assert_eq!(racer.handle(now, Input::Closed(LinkId(0))), Ok(()));
    assert_eq!(racer.lost_relay(), None);
    assert_eq!(racer.handle(now, Input::Closed(LinkId(2))), Err(RaceError::AllFailed(2)));
    let relay = Address::Tcp(Endpoint::new("r", 4001));
    assert_eq!((racer.lost_relay(), racer.last_lost()), (Some(&relay), Some(&relay)));
}

#[test]
fn a_race_without_possible_connections_ends_at_once() {
    let now = now();
    let relays = vec![relay("r", 0.0)];
    let mut racer = race(RaceSettings { relays, listens: false, ..settings(Role::Sender) });
    assert_eq!(start(&mut racer, now, vec![direct("a")]), Ok(()));
    assert_eq!(dialed(&mut racer), ["a"]);
    assert_eq!(racer.handle(now, Input::Closed(LinkId(0))), Ok(()));
    assert_eq!(dialed(&mut racer), ["r"]);
    assert_eq!(racer.handle(now, Input::Closed(LinkId(2))), Err(RaceError::AllFailed(2)));
    let mut nowhere = race(RaceSettings { listens: false, ..settings(Role::Sender) });
    assert_eq!(start(&mut nowhere, now, vec![]), Err(RaceError::NoCommonMethod));
}

#[test]
fn policies_leave_out_what_they_should() {
    let now = now();
    let hints = || vec![direct("a"), Hint::Relay(relay("theirs", 0.0))];
    let dialed_under = |policy, tor| {
        let relays = vec![relay("ours", 0.0)];
        let mut racer = race(RaceSettings { relays, policy, tor, ..settings(Role::Sender) });
        assert_eq!(start(&mut racer, now, hints()), Ok(()));
        let first = dialed(&mut racer);
        assert_eq!(racer.handle_timeout(now + 10 * SECOND), Ok(()));
        assert_eq!(dialed(&mut racer), Vec::<String>::new());
        first
    };
    assert_eq!(dialed_under(RelayPolicy::Never, false), ["a"]);
    // A relay that the peer names could tell it our address.
    assert_eq!(dialed_under(RelayPolicy::Only, false), ["ours"]);
    assert_eq!(dialed_under(RelayPolicy::Only, true), ["ours", "theirs"]);
}

#[test]
fn through_tor_only_what_it_reaches_is_tried() {
    let now = now();
    let hints = vec![
        direct("10.0.0.1"),
        direct("2001:db8::1"),
        direct("198.51.100.7"),
        Hint::Tor(TcpHint::new("abc.onion", 1)),
    ];
    let mut racer = race(RaceSettings { tor: true, ..settings(Role::Sender) });
    assert_eq!(start(&mut racer, now, hints.clone()), Ok(()));
    assert_eq!(dialed(&mut racer), ["198.51.100.7", "abc.onion"]);
    let mut racer = race(settings(Role::Sender));
    assert_eq!(start(&mut racer, now, hints), Ok(()));
    assert_eq!(dialed(&mut racer), ["10.0.0.1", "198.51.100.7", "2001:db8::1"]);
}

#[test]
fn this_computer_is_dialed_only_if_the_peer_offers_nothing_else() {
    let dialed = |hosts: &[&str]| {
        let mut racer = race(settings(Role::Sender));
        let hints = hosts.iter().map(|host| direct(host)).collect();
        assert_eq!(start(&mut racer, now(), hints), Ok(()));
        dialed(&mut racer)
    };
    let here = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "127.9.9.9", "a.LocalHost."];
    for host in here {
        assert_eq!(dialed(&[host]), [host]);
        assert_eq!(dialed(&[host, "10.0.0.1"]), ["10.0.0.1"], "{host}");
    }
    assert_eq!(dialed(&["0.0.0.0", "::", "224.0.0.1"]), Vec::<String>::new());
    assert_eq!(dialed(&["a", "fd00::1"]), ["a", "fd00::1"]);
}

/// The addresses that may be dialed at once, each with its permit.
fn permits(race: &mut Race) -> Vec<(String, Permit)> {
    let targets = outputs(race).into_iter().filter_map(|output| match output {
        Output::Connect(_, Target { address: Address::Tcp(to), permit }) => Some((to.host, permit)),
        Output::Connect(..) | Output::Send(..) | Output::Close(_) | Output::Event(_) => None,
    });
    targets.collect()
}

#[test]
fn every_address_carries_what_the_driver_has_to_check() {
    let now = now();
    let relays = vec![relay("10.0.0.1", 0.0)];
    let mut racer = race(RaceSettings { relays, ..settings(Role::Sender) });
    // Our own relay stays ours when the peer names it, too.
    let theirs = [relay("10.0.0.1", 0.0), relay("10.0.0.2", 0.0)].map(Hint::Relay);
    assert_eq!(start(&mut racer, now, theirs.to_vec()), Ok(()));
    let expected = [("10.0.0.1", Permit::Anywhere), ("10.0.0.2", Permit::PublicOrOwnNetwork)];
    assert_eq!(permits(&mut racer), expected.map(|(host, permit)| (host.to_owned(), permit)));
    for (hosts, permit) in
        [(&["a", "b"][..], Permit::NotThisComputer), (&["127.0.0.1"], Permit::Anywhere)]
    {
        let mut racer = race(settings(Role::Sender));
        assert_eq!(start(&mut racer, now, hosts.iter().map(|host| direct(host)).collect()), Ok(()));
        assert!(permits(&mut racer).iter().all(|(_, found)| *found == permit), "{hosts:?}");
    }
}

#[test]
fn through_tor_no_address_is_tried_that_is_written_as_a_private_one() {
    let now = now();
    let private = ["127.0.0.1", "10.0.0.1", "100.64.0.1", "::1", "localhost", "0.0.0.0"];
    let hints = |host: &str| {
        let url = if host.contains(':') {
            format!("ws://[{host}]:1/")
        } else {
            format!("ws://{host}:1/")
        };
        let websocket = RelayAddress::WebSocket { url, priority: Priority::default() };
        vec![
            Hint::Tor(TcpHint::new(host, 1)),
            direct(host),
            Hint::Relay(relay(host, 0.0)),
            Hint::Relay(RelayHint { name: None, addresses: vec![websocket] }),
        ]
    };
    for host in private {
        let mut racer = race(RaceSettings { tor: true, ..settings(Role::Sender) });
        assert_eq!(start(&mut racer, now, hints(host)), Ok(()));
        assert_eq!(racer.handle_timeout(now + 30 * SECOND), Ok(()));
        assert_eq!(dialed(&mut racer), Vec::<String>::new(), "{host}");
    }
}

#[test]
fn a_relayed_link_asks_the_relay_first() {
    let now = now();
    let mut racer = race(RaceSettings { relays: vec![relay("r", 0.0)], ..settings(Role::Sender) });
    assert_eq!(start(&mut racer, now, vec![]), Ok(()));
    assert_eq!(racer.handle(now, Input::Opened(LinkId(0))), Ok(()));
    let line = key().relay_line(RelaySide([1; 8]));
    assert!(outputs(&mut racer).contains(&Output::Send(LinkId(0), line)));
    assert_eq!(racer.handle(now, Input::Bytes(LinkId(0), b"ok\n")), Ok(()));
    assert_eq!(outputs(&mut racer), [Output::Send(LinkId(0), key().hello(Role::Sender))]);
}

#[test]
fn a_link_without_the_key_is_closed_and_the_race_continues() {
    let now = now();
    let mut racer = race(settings(Role::Receiver));
    assert_eq!(start(&mut racer, now, vec![]), Ok(()));
    assert_eq!(racer.handle(now, Input::Opened(INCOMING)), Ok(()));
    outputs(&mut racer);
    let noise = [b'x'; 200];
    assert_eq!(racer.handle(now, Input::Bytes(INCOMING, &noise)), Ok(()));
    assert_eq!(outputs(&mut racer), [Output::Close(INCOMING)]);
    assert_eq!(racer.deadline(), Some(now + RACE_TIMEOUT));
}

#[test]
fn many_links_without_the_key_do_not_prevent_the_connection_of_the_peer() {
    let now = now();
    let mut racer = race(settings(Role::Sender));
    let mut ids = LinkIds::incoming();
    for _ in 0..1000 {
        assert_eq!(racer.handle(now, Input::Opened(ids.allocate())), Ok(()));
    }
    let link = ids.allocate();
    assert!(racer.links.len() <= MAX_UNAUTHENTICATED);
    assert_eq!(racer.handle(now, Input::Opened(link)), Ok(()));
    let hello = key().hello(Role::Receiver);
    assert_eq!(racer.handle(now, Input::Bytes(link, &hello)), Ok(()));
    let connected =
        |output: &Output<_, _>| matches!(output, Output::Event(Event::Connected { .. }));
    assert!(outputs(&mut racer).iter().any(connected));
}

#[test]
fn a_race_in_which_nothing_happens_is_given_up_after_a_minute() {
    let now = now();
    let mut racer = race(settings(Role::Receiver));
    assert_eq!(start(&mut racer, now, vec![direct("a")]), Ok(()));
    outputs(&mut racer);
    assert_eq!(racer.handle_timeout(now + 59 * SECOND), Ok(()));
    assert_eq!(outputs(&mut racer), []);
    assert_eq!(racer.handle_timeout(now + 60 * SECOND), Err(RaceError::TimedOut(RACE_TIMEOUT)));
    assert_eq!(outputs(&mut racer), [Output::Close(LinkId(0))]);
    assert_eq!(racer.deadline(), None);
    assert_eq!(racer.handle_timeout(now + 61 * SECOND), Ok(()));
}
