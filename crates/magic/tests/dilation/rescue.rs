//! What happens when a generation fails, where the reference waits for ever.

use std::time::Duration;

use wormhole_kit::{Input, Instant, Session};
use wormhole_magic::dilation::{DilationCommand, DilationError, DilationEvent, DilationMessage};
use wormhole_magic::transit::{Hint, TcpHint};

use crate::hostile::Attack;

/// Lets time pass, and returns the mailbox messages with the seconds after which they came.
fn messages(attack: &mut Attack, seconds: u64) -> Vec<(u64, DilationMessage)> {
    let start: Instant = attack.now;
    let mut found = Vec::new();
    while let Some(deadline) = attack.victim.deadline() {
        if deadline > start + Duration::from_secs(seconds) {
            break;
        }
        attack.now = attack.now.max(deadline);
        attack.victim.handle_timeout(attack.now).unwrap();
        attack.command(DilationCommand::Hints(vec![])).unwrap();
        for event in attack.events.drain(..) {
            if let DilationEvent::Mailbox(message) = event {
                let after = attack.now.saturating_duration_since(start).as_secs();
                found.push((after, DilationMessage::decode(&message).unwrap()));
            }
        }
    }
    found
}

#[test]
fn a_leader_whose_generation_fails_asks_for_the_next_one_less_and_less_often() {
    let mut attack = Attack::new();
    attack.events.clear();
    let found = messages(&mut attack, 100);
    let times: Vec<u64> = found.iter().map(|(at, _)| *at).collect();
    assert!(found.iter().all(|(_, message)| *message == DilationMessage::Reconnect), "{found:?}");
    assert_eq!(times, [5, 12, 23, 40, 65]);
}

#[test]
fn a_leader_that_hears_nothing_drops_the_link_and_asks_for_the_next_one() {
    let mut attack = Attack::new();
    attack.connect();
    attack.events.clear();
    let found = messages(&mut attack, 5);
    assert_eq!(found, [(4, DilationMessage::Reconnect)]);
    assert_eq!(attack.closed.len(), 1);
}

#[test]
fn a_silent_peer_that_was_sending_much_gets_time_to_notice_that_unless_it_is_one_of_ours() {
    for (extended, length, expected) in [(false, 1 << 16, 10), (false, 5, 4), (true, 1 << 16, 4)] {
        let mut attack = Attack::with_peer(|_| {}, extended);
        attack.connect();
        attack.open(2).unwrap();
        attack.data(2, &vec![7; length]).unwrap();
        attack.events.clear();
        let found = messages(&mut attack, expected);
        assert_eq!(found, [(expected, DilationMessage::Reconnect)]);
    }
}

#[test]
fn only_a_peer_of_ours_is_told_that_we_leave() {
    for extended in [false, true] {
        let mut attack = Attack::with_peer(|_| {}, extended);
        attack.events.clear();
        attack.command(DilationCommand::Leave).unwrap();
        let leaving = DilationEvent::Mailbox(DilationMessage::Leaving.encode());
        assert_eq!(attack.events.contains(&leaving), extended);
    }
}

#[test]
fn a_follower_that_lost_its_link_is_believed() {
    let mut attack = Attack::new();
    attack.connect();
    attack.events.clear();
    attack.mailbox(&DilationMessage::Lost).unwrap();
    let reconnect = DilationEvent::Mailbox(DilationMessage::Reconnect.encode());
    assert_eq!(attack.events, [DilationEvent::Disconnected, reconnect]);
    // A late answer to an earlier request changes nothing once the next link is chosen.
    attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    attack.connect();
    attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    assert!(attack.victim.current().is_some());
}

#[test]
fn hints_are_dialled_again_until_a_link_is_chosen() {
    let mut attack = Attack::new();
    let hints = vec![Hint::Direct(TcpHint::new("9.9.9.9", 4000))];
    attack
        .victim
        .handle(
            attack.now,
            Input::Command(DilationCommand::Mailbox(DilationMessage::Hints(hints).encode())),
        )
        .unwrap();
    let mut dialled = 0;
    let end = attack.now + Duration::from_secs(4);
    loop {
        while let Some(output) = attack.victim.poll() {
            dialled += usize::from(matches!(output, wormhole_kit::Output::Connect(..)));
        }
        let Some(next) = attack.victim.deadline().filter(|next| *next <= end) else { break };
        attack.now = next;
        attack.victim.handle_timeout(next).unwrap();
    }
    assert_eq!(dialled, 9);
}

/// Executes a command, and returns the number of new connections and the mailbox messages.
fn execute(attack: &mut Attack, command: DilationCommand) -> (usize, Vec<DilationMessage>) {
    attack.victim.handle(attack.now, Input::Command(command)).unwrap();
    let (mut dialled, mut said) = (0, Vec::new());
    while let Some(output) = attack.victim.poll() {
        match output {
            wormhole_kit::Output::Connect(..) => dialled += 1,
            wormhole_kit::Output::Event(DilationEvent::Mailbox(message)) => {
                said.push(DilationMessage::decode(&message).unwrap());
            }
            wormhole_kit::Output::Event(_)
            | wormhole_kit::Output::Send(..)
            | wormhole_kit::Output::Close(_) => {}
            wormhole_kit::Output::Commit(never) => match never {},
        }
    }
    (dialled, said)
}

#[test]
fn new_addresses_are_told_to_the_peer_and_everything_is_tried_again_at_once() {
    let mut attack = Attack::new();
    let theirs = DilationMessage::Hints(vec![Hint::Direct(TcpHint::new("9.9.9.9", 4000))]);
    let (dialled, _) = execute(&mut attack, DilationCommand::Mailbox(theirs.encode()));
    assert_eq!(dialled, 1);
    // Nothing is due for a while.
    attack.now += Duration::from_millis(100);
    let ours = vec![Hint::Direct(TcpHint::new("192.0.2.7", 4000))];
    let changed = DilationCommand::AddressesChanged(ours.clone());
    assert_eq!(execute(&mut attack, changed), (1, vec![DilationMessage::Hints(ours)]));
    // Without an address there is nothing to tell.
    let (_, said) = execute(&mut attack, DilationCommand::AddressesChanged(vec![]));
    assert_eq!(said, []);
}

#[test]
fn new_addresses_do_not_disturb_a_direct_connection() {
    let mut attack = Attack::new();
    attack.connect();
    let ours = vec![Hint::Direct(TcpHint::new("192.0.2.7", 4000))];
    assert_eq!(execute(&mut attack, DilationCommand::AddressesChanged(ours)), (0, vec![]));
    assert!(attack.victim.current().is_some());
}

/// A side that waits 15 s for a peer that has closed its connection, and 10 minutes for one that is only gone. Its connection
/// was just closed.
fn closed() -> Attack {
    let mut attack = Attack::with(|config| {
        config.closed_patience = Some(Duration::from_secs(15));
        config.patience = Some(Duration::from_secs(600));
    });
    attack.connect();
    let link = attack.victim.current().unwrap();
    attack.victim.handle(attack.now, Input::Closed(link)).unwrap();
    attack
}

/// Lets time pass until the side gives up. Returns after how many seconds.
fn gives_up_after(attack: &mut Attack) -> u64 {
    let start = attack.now;
    loop {
        attack.now = attack.now.max(attack.victim.deadline().unwrap());
        match attack.victim.handle_timeout(attack.now) {
            Ok(()) => while attack.victim.poll().is_some() {},
            Err(DilationError::PeerGone(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    attack.now.saturating_duration_since(start).as_secs()
}

#[test]
fn a_peer_that_has_closed_the_connection_and_stays_silent_is_given_up_soon() {
    assert_eq!(gives_up_after(&mut closed()), 15);
    let mut attack = closed();
    attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    assert_eq!(gives_up_after(&mut attack), 600);
}

#[test]
fn a_side_that_has_lost_its_own_network_waits_as_long_as_for_any_lost_connection() {
    let mut attack = closed();
    attack.command(DilationCommand::AddressesChanged(vec![])).unwrap();
    assert_eq!(gives_up_after(&mut attack), 600);
}

#[test]
fn the_silence_of_the_peer_counts_only_while_it_can_be_heard() {
    let mut attack = closed();
    attack.command(DilationCommand::MailboxReachable(false)).unwrap();
    assert_eq!(gives_up_after(&mut attack), 600);
    let mut attack = closed();
    attack.command(DilationCommand::MailboxReachable(false)).unwrap();
    attack.now += Duration::from_secs(100);
    attack.command(DilationCommand::MailboxReachable(true)).unwrap();
    assert_eq!(gives_up_after(&mut attack), 15);
}

#[test]
fn a_connection_that_was_closed_says_nothing_about_the_next_one() {
    let mut attack = closed();
    attack.mailbox(&DilationMessage::Reconnecting).unwrap();
    attack.connect();
    // Nothing is heard: the keepalive notices that after 4 s.
    assert_eq!(gives_up_after(&mut attack), 604);
}
