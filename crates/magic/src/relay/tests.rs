//! Tests each row of the relay's state table.

use proptest::prelude::*;

use super::*;

type Said = Vec<Output<Infallible, Event>>;

const ONE: LinkId = LinkId(1);
const TWO: LinkId = LinkId(3);
const THREE: LinkId = LinkId(5);

/// A relay with its own clock.
struct World {
    relay: Relay,
    now: Instant,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a test may start its clock anywhere")]
    fn new() -> Self {
        Self { relay: Relay::new(Timeouts::default()), now: Instant::now() }
    }

    fn input(&mut self, input: Input<'_, Command>) -> Said {
        let Ok(()) = self.relay.handle(self.now, input);
        self.said()
    }

    fn said(&mut self) -> Said {
        std::iter::from_fn(|| self.relay.poll()).collect()
    }

    fn bytes(&mut self, id: LinkId, bytes: impl AsRef<[u8]>) -> Said {
        self.input(Input::Bytes(id, bytes.as_ref()))
    }

    /// Opens a link that says `line`.
    fn add_or_match(&mut self, id: LinkId, line: &str) -> Said {
        let opened = self.input(Input::Opened(id));
        assert_eq!(opened, []);
        self.bytes(id, line)
    }

    fn wait(&mut self, time: Duration) -> Said {
        self.now += time;
        let Ok(()) = self.relay.handle_timeout(self.now);
        self.said()
    }
}

fn line(token: &str, side: &str) -> String {
    format!("please relay {} for side {}\n", token.repeat(64), side.repeat(16))
}

fn old_line(token: &str) -> String {
    format!("please relay {}\n", token.repeat(64))
}

fn paired(first: LinkId, second: LinkId) -> Said {
    vec![send(first, "ok\n"), send(second, "ok\n"), Output::Event(Event::Paired { first, second })]
}

fn send(id: LinkId, text: &str) -> Output<Infallible, Event> {
    Output::Send(id, text.as_bytes().to_vec())
}

fn ended(total: u64, mood: Mood) -> Output<Infallible, Event> {
    let total = Duration::from_secs(total);
    Output::Event(Event::Ended(Usage { total, waiting: None, bytes: 0, mood }))
}

#[test]
fn two_sides_with_one_token_are_paired_and_get_ok() {
    let mut world = World::new();
    assert_eq!(world.add_or_match(ONE, &line("a", "1")), []);
    assert_eq!(world.relay.waiting(), 1);
    assert_eq!(world.add_or_match(TWO, &line("a", "2")), paired(ONE, TWO));
    assert_eq!(world.relay.waiting(), 0);
}

#[test]
fn the_old_form_pairs_with_anyone_on_its_token() {
    for (one, two) in [
        (old_line("a"), old_line("a")),
        (old_line("a"), line("a", "1")),
        (line("a", "1"), old_line("a")),
    ] {
        let mut world = World::new();
        world.add_or_match(ONE, &one);
        assert_eq!(world.add_or_match(TWO, &two), paired(ONE, TWO));
    }
}

#[test]
fn different_tokens_wait_apart() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    assert_eq!(world.add_or_match(TWO, &line("b", "2")), []);
    assert_eq!(world.relay.waiting(), 2);
}

#[test]
fn a_second_link_of_the_same_side_waits_too_and_is_closed_when_the_other_side_connects() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    assert_eq!(world.add_or_match(TWO, &line("a", "1")), []);
    let mut expected = paired(ONE, THREE);
    expected.extend([Output::Close(TWO), ended(0, Mood::Redundant)]);
    assert_eq!(world.add_or_match(THREE, &line("a", "2")), expected);
}

#[test]
fn too_many_links_of_one_side_cost_the_oldest_its_place() {
    let mut world = World::new();
    for id in (1..17).step_by(2) {
        assert_eq!(world.add_or_match(LinkId(id), &line("a", "1")), []);
    }
    let evicted = [Output::Close(ONE), ended(0, Mood::Redundant)];
    assert_eq!(world.add_or_match(LinkId(17), &line("a", "1")), evicted);
    assert_eq!(world.relay.waiting(), 8);
    assert!(world.add_or_match(LinkId(19), &line("a", "2")).starts_with(&paired(TWO, LinkId(19))));
    assert_eq!(world.relay.waiting(), 0);
}

#[test]
fn a_pair_leaves_its_token_free_for_another() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    world.add_or_match(TWO, &line("a", "2"));
    assert_eq!(world.add_or_match(THREE, &line("a", "1")), []);
    assert_eq!(world.add_or_match(LinkId(7), &line("a", "2")), paired(THREE, LinkId(7)));
}

#[test]
fn an_invalid_handshake_gets_an_answer_and_is_closed() {
    let mut world = World::new();
    let expected = [send(ONE, "bad handshake\n"), Output::Close(ONE), ended(0, Mood::Errory)];
    assert_eq!(world.add_or_match(ONE, "GET / HTTP/1.1\r\nHost: relay\r\n\r\n"), expected);
    assert_eq!(world.bytes(ONE, "more"), []);
}

#[test]
fn a_line_without_an_end_is_refused_at_its_limit() {
    let mut world = World::new();
    assert_eq!(world.add_or_match(ONE, &"x".repeat(MAX_LINE)), []);
    let expected = [send(ONE, "bad handshake\n"), Output::Close(ONE), ended(0, Mood::Errory)];
    assert_eq!(world.bytes(ONE, "x"), expected);
}

#[test]
fn bytes_before_the_partner_are_impatient() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    world.now += Duration::from_secs(2);
    let expected = [send(ONE, "impatient\n"), Output::Close(ONE), ended(2, Mood::Impatient)];
    assert_eq!(world.bytes(ONE, "transit sender"), expected);
    assert_eq!(world.add_or_match(TWO, &line("a", "2")), []);
}

#[test]
fn bytes_behind_the_line_that_completes_a_pair_are_the_partner_s() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    let mut expected = paired(ONE, TWO);
    expected.push(send(ONE, "early"));
    assert_eq!(world.add_or_match(TWO, &(line("a", "2") + "early")), expected);
}

#[test]
fn closing_one_of_a_pair_closes_the_other_and_records_both_as_one() {
    for (closed, other) in [(ONE, TWO), (TWO, ONE)] {
        let mut world = World::new();
        world.add_or_match(ONE, &line("a", "1"));
        world.now += Duration::from_secs(3);
        world.add_or_match(TWO, &line("a", "2"));
        assert_eq!(world.bytes(ONE, "hello"), [send(TWO, "hello")]);
        assert_eq!(world.input(Input::Command(Command::Carried(TWO, 1000))), []);
        world.now += Duration::from_secs(4);
        let usage = Usage {
            total: Duration::from_secs(7),
            waiting: Some(Duration::from_secs(3)),
            bytes: 1005,
            mood: Mood::Happy,
        };
        let expected = [Output::Close(other), Output::Event(Event::Ended(usage))];
        assert_eq!(world.input(Input::Closed(closed)), expected);
        assert_eq!(world.input(Input::Closed(other)), []);
    }
}

#[test]
fn leaving_early_is_empty_before_the_line_and_lonely_after_it() {
    let mut world = World::new();
    world.add_or_match(ONE, "please rel");
    assert_eq!(world.input(Input::Closed(ONE)), [ended(0, Mood::Empty)]);
    world.add_or_match(TWO, &line("a", "1"));
    assert_eq!(world.input(Input::Closed(TWO)), [ended(0, Mood::Lonely)]);
    assert_eq!(world.add_or_match(THREE, &line("a", "2")), []);
}

#[test]
fn a_link_that_never_gives_its_line_is_closed_at_its_deadline() {
    let mut world = World::new();
    world.add_or_match(ONE, "please rel");
    assert_eq!(world.relay.deadline(), Some(world.now + HANDSHAKE_TIME));
    let early = HANDSHAKE_TIME - Duration::from_millis(1);
    assert_eq!(world.wait(early), []);
    assert_eq!(world.wait(Duration::from_millis(1)), [Output::Close(ONE), ended(60, Mood::Empty)]);
    assert_eq!(world.relay.deadline(), None);
}

#[test]
fn a_link_whose_partner_never_comes_is_closed_at_its_deadline() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    assert_eq!(world.wait(HANDSHAKE_TIME), []);
    let rest = WAITING_TIME - HANDSHAKE_TIME;
    assert_eq!(world.wait(rest), [Output::Close(ONE), ended(3600, Mood::Lonely)]);
    assert_eq!(world.add_or_match(TWO, &line("a", "2")), []);
}

#[test]
fn a_pair_has_no_deadline() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    world.add_or_match(TWO, &line("a", "2"));
    assert_eq!(world.relay.deadline(), None);
}

#[test]
fn draining_closes_everyone_but_the_pairs() {
    let mut world = World::new();
    world.add_or_match(ONE, &line("a", "1"));
    world.add_or_match(TWO, &line("a", "2"));
    world.add_or_match(THREE, &line("b", "1"));
    world.add_or_match(LinkId(7), "please");
    let expected = [
        Output::Close(THREE),
        ended(0, Mood::Lonely),
        Output::Close(LinkId(7)),
        ended(0, Mood::Empty),
    ];
    assert_eq!(world.input(Input::Command(Command::Drain)), expected);
    assert_eq!(world.bytes(ONE, "go on"), [send(TWO, "go on")]);
    let late = LinkId(9);
    assert_eq!(world.input(Input::Opened(late)), [Output::Close(late), ended(0, Mood::Empty)]);
}

/// Joins neighbouring sends to one link, since their boundaries carry no meaning.
fn joined(said: Said) -> Said {
    let mut joined: Said = Vec::new();
    for output in said {
        match (joined.last_mut(), output) {
            (Some(Output::Send(last, all)), Output::Send(id, more)) if *last == id => {
                all.extend(more);
            }
            (_, output) => joined.push(output),
        }
    }
    joined
}

/// Possible input of a client: good and bad lines, with or without something behind.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(line("a", "2")),
        Just(line("a", "1")),
        Just(line("b", "2")),
        Just(old_line("a")),
        Just("x".repeat(2000)),
        "\\PC{0,40}",
    ];
    (start, "[a-z\n]{0,30}").prop_map(|(start, rest)| (start + &rest).into_bytes())
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_outcome(
        bytes in stream(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let whole = World::new();
        let split = World { relay: Relay::new(Timeouts::default()), now: whole.now };
        let said = [(whole, vec![0, bytes.len()]), (split, cuts)].map(|(mut world, cuts)| {
            world.add_or_match(ONE, &line("a", "1"));
            let mut said = world.input(Input::Opened(TWO));
            for cut in cuts.windows(2) {
                said.extend(world.bytes(TWO, &bytes[cut[0]..cut[1]]));
            }
            said.extend(world.input(Input::Closed(TWO)));
            joined(said)
        });
        prop_assert_eq!(&said[0], &said[1]);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(handshake) = Handshake::decode(&bytes) {
            prop_assert!(bytes.len() <= MAX_LINE);
            prop_assert_eq!(handshake.fits(&handshake), handshake.side.is_none());
        }
    }
}
