//! `share` on both sides.

use super::world::{Running, World};

fn share(world: &World, place: &str, arguments: &[&str]) -> Running {
    Running::start(world.command(place, &[&["share"], arguments].concat()))
}

#[test]
fn both_sides_offer_as_arguments_and_by_typing_and_it_ends_when_both_are_done() {
    let world = World::new();
    world.write("sender/a b", "from the first");
    world.write("sender/unwanted", "x");
    world.write("receiver/d/file", "from the other");
    let mut first = share(&world, "sender", &["a b"]);
    let code = first.code();
    let mut other = share(&world, "receiver", &[&code, "d"]);
    other.wait_for("The other side offers a file (14 Bytes): 'a b'");
    other.wait_for("Accept 'a b'?");
    other.type_in("y\n");
    other.wait_for("Accepting 'a b'.");
    first.wait_for("The other side offers a directory (14 Bytes, 1 file): 'd'");
    first.type_in("y\n'unwanted'\n");
    other.wait_for("Accept 'unwanted'?");
    other.type_in("n\ndone\n");
    first.wait_for("The other side refused 'unwanted'.");
    first.end_input();
    let (first, other) = (first.end(), other.end());
    assert_eq!((first.exit, other.exit), (0, 0), "{first}\n{other}");
    assert!(first.stderr.contains("1 sent, 1 received, 1 refused"), "{first}");
    assert!(other.stderr.contains("The other side offers nothing more."), "{other}");
    assert_eq!(world.read("receiver/a b"), b"from the first");
    assert_eq!(world.read("sender/d/file"), b"from the other");
    assert_eq!(world.names("receiver"), ["a b", "d"]);
}

#[test]
fn programs_share_with_json_and_accept_everything() {
    let world = World::new();
    world.write("sender/a", "abc");
    let mut first = share(&world, "sender", &["--json", "--accept-all", "a"]);
    let line = first.wait_for_lines(1, r#""event":"code""#).remove(0);
    let code: serde_json::Value = serde_json::from_str(&line).unwrap();
    let arguments = ["--json", "--accept-all", "--output", "..", code["code"].as_str().unwrap()];
    let mut other = share(&world, "receiver", &arguments);
    first.end_input();
    other.end_input();
    let (first, other) = (first.end(), other.end());
    assert_eq!((first.exit, other.exit), (0, 0), "{first}\n{other}");
    assert_eq!(world.read("a"), b"abc");
    for (ended, sent, received) in [(&first, 1, 0), (&other, 0, 1)] {
        let events = ended.events();
        let last = events.last().unwrap();
        assert_eq!(last["event"], "session-done");
        assert_eq!((&last["sent"], &last["received"]), (&sent.into(), &received.into()));
        let done = events.iter().find(|event| event["event"] == "done").unwrap();
        assert_eq!(done["bytes"], 3);
    }
}

#[test]
fn the_other_side_needs_share_as_well() {
    let world = World::new();
    world.write("sender/a", "abc");
    let sharing = share(&world, "sender", &["a"]);
    let code = sharing.code();
    let received = world.receive(&["--accept-file", &code]).end();
    received.failed(1, "wormhole share");
    sharing.end().failed(1, "cannot share in both directions");
    assert!(world.names("receiver").is_empty());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_session_on_both_sides() {
    let world = World::new();
    let first = share(&world, "sender", &[]);
    let other = share(&world, "receiver", &[&first.code()]);
    first.wait_for("Connected");
    other.wait_for("Connected");
    first.signal("INT");
    first.end().failed(130, "interrupted");
    assert_eq!(other.end().exit, 1);
}

#[test]
fn a_missing_path_is_an_error_before_a_code_is_made() {
    let world = World::new();
    let ended = share(&world, "sender", &["missing"]).end();
    ended.failed(1, "cannot offer 'missing'");
    assert!(!ended.stderr.contains("Wormhole code is"), "{ended}");
}

#[test]
fn programs_answer_offers_by_their_numbers_and_are_asked_about_one_at_a_time() {
    let world = World::new();
    world.write("sender/a", "abc");
    world.write("sender/b", "bcd");
    let mut first = share(&world, "sender", &["a", "b"]);
    let mut other = share(&world, "receiver", &["--json", &first.code()]);
    let offers = other.wait_for_lines(2, r#""event":"offer""#);
    let id = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["id"].as_u64().unwrap()
    };
    let (oldest, newest) = (id(&offers[0]), id(&offers[1]));
    let asked = other.wait_for_lines(1, r#""event":"question""#);
    assert_eq!(id(&asked[0]), oldest);
    other.type_in(format!("n {newest}\ny {oldest}\n"));
    first.end_input();
    other.end_input();
    let (first, other) = (first.end(), other.end());
    assert_eq!((first.exit, other.exit), (0, 0), "{first}\n{other}");
    assert_eq!(world.names("receiver").len(), 1);
    let questions = other.events().into_iter().filter(|event| event["event"] == "question");
    assert_eq!(questions.count(), 1);
}

#[test]
fn names_that_begin_with_a_dot_are_refused_when_everything_else_is_accepted() {
    let world = World::new();
    world.write("sender/.profile", "abc");
    let mut first = share(&world, "sender", &[".profile"]);
    let mut other = share(&world, "receiver", &["--accept-all", &first.code()]);
    first.wait_for("The other side refused '.profile'.");
    first.end_input();
    other.end_input();
    let (first, other) = (first.end(), other.end());
    assert_eq!((first.exit, other.exit), (0, 0), "{first}\n{other}");
    assert!(world.names("receiver").is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn what_an_interrupted_session_has_left_is_shown_when_the_next_one_starts() {
    let world = World::new();
    world.write("sender/big", super::resume::contents());
    let first = share(&world, "sender", &["big"]);
    let other = share(&world, "receiver", &["--accept-all", &first.code()]);
    let journal = world.path("receiver/big.part.resume");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !journal.exists() {
        assert!(std::time::Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    other.signal("INT");
    other.end().failed(130, "interrupted");
    assert_eq!(first.end().exit, 1);
    let again = share(&world, "receiver", &[]);
    again.wait_for("big.part' is incomplete.");
    again.signal("INT");
    again.end().failed(130, "interrupted");
}

#[cfg(target_os = "linux")]
#[test]
fn no_progress_is_shown_above_the_prompt_if_it_is_hidden() {
    for (options, is_shown) in [("", true), ("--hide-progress ", false)] {
        let world = World::new();
        world.write("sender/big", super::resume::contents());
        let mut first = share(&world, "sender", &["big"]);
        let arguments = format!("share --accept-all {options}{}", first.code());
        let mut other = super::terminal::in_terminal(&world, "receiver", &arguments);
        other.wait_for("Received 'big'");
        other.type_in("done\r");
        first.end_input();
        let other = other.end();
        assert_eq!(other.exit, 0, "{other}");
        assert_eq!(other.out().contains("receiving 'big'"), is_shown, "{other}");
    }
}
