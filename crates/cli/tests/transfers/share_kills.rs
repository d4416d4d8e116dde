//! Sessions of `share` whose programs are killed, and that continue with a new code.

use std::time::{Duration, Instant};

use super::resume::contents;
use super::world::{Running, World};

/// Both sides, which accept everything.
struct Session {
    first: Running,
    other: Running,
}

impl Session {
    /// Starts a session in which each side offers these paths.
    fn start(world: &World, first: &[&str], other: &[&str]) -> Self {
        let start = |place, arguments: &[&str]| {
            let arguments = [&["share", "--accept-all"], arguments].concat();
            Running::start(world.command(place, &arguments))
        };
        let first = start("sender", first);
        let code = first.code();
        let other = start("receiver", &[&[code.as_str()], other].concat());
        Self { first, other }
    }

    fn kill(self) {
        self.first.signal("KILL");
        self.other.signal("KILL");
        for side in [self.first, self.other] {
            assert_eq!(side.end().exit, 128 + 9);
        }
    }
}

/// The number of MB at which a transfer was continued.
fn continued_at(side: &Running, name: &str) -> f64 {
    let at = side.last_after(&format!("Continuing '{name}' at "));
    let (number, unit) = at.split_once(' ').unwrap();
    assert!(unit.starts_with("MB"), "{at}");
    number.parse().unwrap()
}

#[test]
fn both_programs_are_killed_twice_and_only_what_is_missing_is_sent_again() {
    let world = World::new();
    let contents = contents();
    world.write("sender/small", "complete");
    world.write("sender/d/a", &contents[..24 << 20]);
    world.write("sender/d/b", &contents);
    world.write("receiver/up", &contents);
    let session = Session::start(&world, &["small", "d"], &["up"]);
    session.other.wait_for("Received 'small'");
    let length = |name: &str| world.path(name).metadata().map_or(0, |file| file.len());
    let deadline = Instant::now() + Duration::from_secs(60);
    // The first file of the directory is complete, and the journals of both directions exist.
    while length("receiver/d.part/b") < 12 << 20 || length("sender/up.part.resume") == 0 {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(2));
    }
    session.kill();
    assert_eq!(world.read("receiver/small"), b"complete");

    let session = Session::start(&world, &["d"], &["up"]);
    assert!(continued_at(&session.other, "d") >= 25.1);
    assert!(continued_at(&session.first, "up") >= 4.1);
    session.kill();

    let mut session = Session::start(&world, &["d"], &["up"]);
    assert!(continued_at(&session.other, "d") >= 25.1);
    assert!(continued_at(&session.first, "up") >= 4.1);
    session.first.end_input();
    session.other.end_input();
    for ended in [session.first.end(), session.other.end()] {
        assert!(ended.exit == 0 && ended.stderr.contains("1 sent, 1 received"), "{ended}");
    }
    assert!(world.read("receiver/d/a") == contents[..24 << 20]);
    assert!(world.read("receiver/d/b") == contents && world.read("sender/up") == contents);
    assert_eq!(world.names("receiver"), ["d", "small", "up"]);
    assert_eq!(world.names("sender"), ["d", "small", "up"]);
}

#[test]
fn an_offer_that_was_killed_before_its_answer_leaves_nothing() {
    let world = World::new();
    world.write("sender/a", "abc");
    let first = Running::start(world.command("sender", &["share", "a"]));
    let other = Running::start(world.command("receiver", &["share", &first.code()]));
    other.wait_for("Accept 'a'?");
    Session { first, other }.kill();
    assert!(world.names("receiver").is_empty());
    let mut again = Session::start(&world, &["a"], &[]);
    again.first.end_input();
    again.other.end_input();
    assert_eq!((again.first.end().exit, again.other.end().exit), (0, 0));
    assert_eq!(world.read("receiver/a"), b"abc");
}
