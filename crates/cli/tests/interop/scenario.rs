//! What must hold between any two peers, through any servers: one function per promise.
//!
//! Where a peer is known to be unable, the scenario asserts the inability; where ours is one of the
//! two, it also asserts how ours reports it.

use std::fs;

use crate::peer::{Manner, Peer, Role, What};
use crate::program::{Finished, Program};
use crate::tree;
use crate::world::{Servers, World};

/// Two peers and those between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) servers: Servers,
    pub(crate) sender: Peer,
    pub(crate) receiver: Peer,
}

impl Pair {
    /// Starts the sender, reads its code, starts the receiver with it.
    fn start(self, world: &World, what: What<'_>, manner: Manner) -> (Program, Program) {
        let sender = world.send(self.sender, what, manner);
        let code = sender.wait_for_word_after(self.sender.before_code());
        let receiver = world.receive(self.receiver, &code, manner);
        (sender, receiver)
    }

    /// As [`Self::start`], until both have ended.
    fn run(self, world: &World, what: What<'_>, manner: Manner) -> (Finished, Finished) {
        let (sender, receiver) = self.start(world, what, manner);
        let receiver = receiver.finish();
        (sender.finish(), receiver)
    }

    /// The finished programs that are ours.
    fn ours<'a>(self, sender: &'a Finished, receiver: &'a Finished) -> Vec<&'a Finished> {
        let both = [(self.sender, sender), (self.receiver, receiver)];
        both.into_iter().filter(|(peer, _)| *peer == Peer::Ours).map(|(_, end)| end).collect()
    }

    fn file_arrives(self, length: usize, manner: Manner) -> Option<(Finished, Finished)> {
        let world = World::new(self.servers)?;
        let sent = tree::noise(length);
        fs::write(world.path("what was sent.bin"), &sent).unwrap();
        let path = world.path("what was sent.bin");
        let (sender, receiver) = self.run(&world, What::Path(&path), manner);
        receiver.succeeded();
        sender.succeeded();
        let arrived = tree::read(&world.path("receiver"));
        let expected = tree::Entry::File { executable: false, bytes: sent };
        let names: Vec<_> = arrived.keys().collect();
        assert_eq!(names, ["what was sent.bin"], "{}", receiver.transcript());
        assert!(arrived["what was sent.bin"] == expected, "the bytes differ");
        Some((sender, receiver))
    }
}

/// Asserts the one clear line with which ours reports a failure, and its exit code.
fn complained(end: &Finished) {
    assert_eq!(end.code, Some(1), "{}\n{}", end.name, end.transcript());
    let complaints = end.stderr.lines().filter(|line| line.starts_with("wormhole: error: "));
    assert_eq!(complaints.count(), 1, "{}\n{}", end.name, end.transcript());
    assert!(!end.stderr.contains("panicked"), "{}\n{}", end.name, end.transcript());
}

/// A sender that waits stays, while its server is replaced and the receiver comes to another one.
pub(crate) fn a_code_outlives_the_move_to_our_servers(pair: Pair) {
    let Some(mut world) = World::new(pair.servers) else { return };
    let sent = tree::noise(1000);
    let path = world.path("moved.bin");
    fs::write(&path, &sent).unwrap();
    let sender = world.send(pair.sender, What::Path(&path), Manner::default());
    let code = sender.wait_for_word_after(pair.sender.before_code());
    world.move_to_our_servers();
    let receiver = world.receive(pair.receiver, &code, Manner::default());
    receiver.finish().succeeded();
    sender.finish().succeeded();
    assert_eq!(fs::read(world.path("receiver/moved.bin")).unwrap(), sent);
}

pub(crate) fn an_empty_file_arrives(pair: Pair) {
    pair.file_arrives(0, Manner::default());
}

pub(crate) fn a_file_of_one_byte_arrives(pair: Pair) {
    pair.file_arrives(1, Manner::default());
}

pub(crate) fn a_file_of_64_mib_arrives(pair: Pair) {
    pair.file_arrives(64 << 20, Manner::default());
}

pub(crate) fn a_file_arrives_through_the_relay_alone(pair: Pair) {
    let manner = Manner { relay_only: true, ..Manner::default() };
    let Some((sender, receiver)) = pair.file_arrives(300_000, manner) else { return };
    for ours in pair.ours(&sender, &receiver) {
        ours.said("relay");
    }
}

pub(crate) fn a_text_arrives(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    let text = "Grüße, 日本! \"quoted\" and 'quoted'";
    let (sender, receiver) = pair.run(&world, What::Text(text), Manner::default());
    if pair.receiver.knows_text() {
        receiver.succeeded();
        sender.succeeded();
        let shown = receiver.stdout.trim_end().replace("\\'", "'");
        assert_eq!(shown, text, "{}", receiver.transcript());
    } else {
        receiver.failed();
        pair.ours(&sender, &receiver).into_iter().for_each(complained);
    }
}

pub(crate) fn a_folder_with_odd_names_arrives(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    let folder = world.path("-an odd nàme");
    tree::fill_with_odd_names(&folder);
    let (sender, receiver) = pair.run(&world, What::Path(&folder), Manner::default());
    receiver.succeeded();
    sender.succeeded();
    let arrived = world.path("receiver/-an odd nàme");
    let sent = tree::read(&folder);
    let is_whole = pair.sender.keeps_folders_whole(Role::Sender)
        && pair.receiver.keeps_folders_whole(Role::Receiver);
    if pair.sender == Peer::Rust {
        // It sends a tar file, for the receiver to unpack by hand.
        let names = tree::names_in_tar(&arrived.with_file_name("-an odd nàme.tar"));
        for name in tree::files(&sent).keys() {
            assert!(names.contains(&format!("-an odd nàme/{name}")), "{name} is not in {names:?}");
        }
    } else if pair.receiver == Peer::Rust {
        assert!(tree::is_zip(&arrived.with_file_name("-an odd nàme.zip")));
    } else if is_whole {
        assert_eq!(tree::read(&arrived), sent);
    } else {
        let arrived = tree::read(&arrived);
        let arrived = tree::files(&arrived);
        for (name, bytes) in tree::files(&sent) {
            assert!(arrived.get(name) == Some(&bytes), "{name} differs or is missing");
        }
    }
}

/// Only a sender of ours, and a receiver that goes by the zip's table of contents.
pub(crate) fn files_that_change_cost_only_themselves(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    let folder = world.path("changing");
    fs::create_dir(&folder).unwrap();
    for name in ["grows", "shrinks", "stays", "vanishes"] {
        fs::write(folder.join(name), [b'x'; 100_000]).unwrap();
    }
    let manner = Manner { ignore_unsendable: true, ..Manner::default() };
    let sender = world.send(pair.sender, What::Path(&folder), manner);
    let code = sender.wait_for_word_after(pair.sender.before_code());
    fs::write(folder.join("grows"), [b'x'; 100_001]).unwrap();
    fs::write(folder.join("shrinks"), "x").unwrap();
    fs::remove_file(folder.join("vanishes")).unwrap();
    let receiver = world.receive(pair.receiver, &code, manner);
    let (receiver, sender) = (receiver.finish(), sender.finish());
    if pair.receiver == Peer::Ours {
        complained(&receiver);
    } else {
        receiver.succeeded();
    }
    complained(&sender);
    sender.said("3 files changed while they were sent");
    let arrived = tree::read(&world.path("receiver/changing"));
    let whole = |name: &str| {
        (name.to_owned(), tree::Entry::File { executable: false, bytes: vec![b'x'; 100_000] })
    };
    let expected = ["grows", "stays"].map(whole);
    assert!(arrived == expected.into_iter().collect(), "{:?}", arrived.keys());
}

pub(crate) fn both_see_the_same_verifier(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    let manner = Manner { verify: true, sender_types: "yes\n", ..Manner::default() };
    fs::write(world.path("file"), "x").unwrap();
    let path = world.path("file");
    let (sender, receiver) = pair.run(&world, What::Path(&path), manner);
    receiver.succeeded();
    sender.succeeded();
    if pair.sender.knows_verifier() && pair.receiver.knows_verifier() {
        let (sent, received) = (verifier(&sender), verifier(&receiver));
        assert_eq!(sent, received);
        assert_eq!(sent.len(), 64);
    }
}

pub(crate) fn nothing_arrives_when_the_verifiers_differ(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    let manner = Manner { verify: true, sender_types: "no\n", ..Manner::default() };
    fs::write(world.path("file"), "x").unwrap();
    let path = world.path("file");
    let (sender, receiver) = pair.run(&world, What::Path(&path), manner);
    receiver.failed();
    sender.failed();
    pair.ours(&sender, &receiver).into_iter().for_each(complained);
    assert!(tree::read(&world.path("receiver")).is_empty());
}

pub(crate) fn a_wrong_code_fails_on_both_sides(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    fs::write(world.path("file"), "x").unwrap();
    let path = world.path("file");
    let sender = world.send(pair.sender, What::Path(&path), Manner::default());
    let code = sender.wait_for_word_after(pair.sender.before_code());
    let receiver = world.receive(pair.receiver, &format!("{code}-wrong"), Manner::default());
    let (receiver, sender) = (receiver.finish(), sender.finish());
    receiver.failed();
    sender.failed();
    for ours in pair.ours(&sender, &receiver) {
        complained(ours);
        ours.said("code");
    }
    assert!(tree::read(&world.path("receiver")).is_empty());
}

pub(crate) fn a_refused_offer_ends_both_sides(pair: Pair) {
    let Some(world) = World::new(pair.servers) else { return };
    fs::write(world.path("file"), "x").unwrap();
    let path = world.path("file");
    let manner = Manner { receiver_types: Some("n\n"), ..Manner::default() };
    let (sender, receiver) = pair.run(&world, What::Path(&path), manner);
    sender.failed();
    if pair.sender == Peer::Ours {
        complained(&sender);
        sender.said("reject");
    }
    if pair.receiver == Peer::Ours {
        complained(&receiver);
    }
    assert!(tree::read(&world.path("receiver")).is_empty());
}

pub(crate) fn the_receiver_notices_a_dying_sender(pair: Pair) {
    dies_halfway(pair, Role::Sender);
}

pub(crate) fn the_sender_notices_a_dying_receiver(pair: Pair) {
    dies_halfway(pair, Role::Receiver);
}

/// One side dies while bytes flow: a peer is killed, ours is interrupted as by Ctrl-C. The other
/// side must end by itself.
fn dies_halfway(pair: Pair, dying: Role) {
    let Some(world) = World::new(pair.servers) else { return };
    tree::endless_file(&world.path("endless"));
    let path = world.path("endless");
    let (mut sender, mut receiver) = pair.start(&world, What::Path(&path), Manner::default());
    if pair.sender == Peer::Ours {
        sender.wait_for("Sending (");
    } else {
        receiver.wait_for("Receiving (");
    }
    let (victim, role) = match dying {
        Role::Sender => (&mut sender, pair.sender),
        Role::Receiver => (&mut receiver, pair.receiver),
    };
    if role == Peer::Ours {
        victim.interrupt();
    } else {
        victim.kill();
    }
    let (receiver, sender) = (receiver.finish(), sender.finish());
    receiver.failed();
    sender.failed();
    for (peer, side, end) in
        [(pair.sender, Role::Sender, &sender), (pair.receiver, Role::Receiver, &receiver)]
    {
        match peer {
            Peer::Ours if side == dying => assert_eq!(end.code, Some(130), "{}", end.transcript()),
            Peer::Ours => complained(end),
            Peer::Debian | Peer::Python | Peer::Rust | Peer::William => {}
        }
    }
    if pair.receiver == Peer::Ours {
        let left = tree::names(&world.path("receiver"));
        assert!(left.iter().all(|name| name.ends_with(".part")), "left behind: {left:?}");
    }
}

/// The verifier a program has shown.
fn verifier(end: &Finished) -> String {
    let both = format!("{}{}", end.stdout, end.stderr);
    let (_, rest) = ["Verification string: ", "erifier "]
        .iter()
        .find_map(|label| both.split_once(label))
        .expect("a verifier is shown");
    rest.chars()
        .skip_while(|c| !c.is_ascii_hexdigit())
        .take_while(char::is_ascii_hexdigit)
        .collect()
}
