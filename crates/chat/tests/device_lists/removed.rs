//! Devices that were removed from a list.

use super::*;

#[test]
fn what_a_device_has_sent_before_it_was_removed_is_read() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "sent before");
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(second);
    // Bob's other device notices it, and Alice learns that before she reads the message.
    world.input(1, ClientInput::Connected);
    world.run(1);
    assert_eq!(world.server.lists[&account(BOB)].0, 3);
    say(&mut world, 0, BOB, "to one");
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "sent before"]);
    assert_eq!((refused(&world, 0), failures(&world, 0)), (0, vec![]));
    assert_eq!(revision(&world, 0, BOB), Some(3));
}

#[test]
fn late_messages_of_a_removed_installation_do_not_bring_its_session_back() {
    let mut world = two();
    let former = link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    // The former session gets the post-quantum ratchet, which a new one does not have at once.
    for text in ["read", "late", "later"] {
        say(&mut world, former, ALICE, text);
        if text == "read" {
            world.exchange();
            say(&mut world, 0, BOB, "got it");
            world.exchange();
        }
    }
    // The same number, installed again, while two messages of the former installation wait.
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(former);
    world.now.0 += 60_000;
    world.input(1, ClientInput::Connected);
    world.run(1);
    let new = link(&mut world, 2);
    say(&mut world, 0, BOB, "welcome");
    let asked = world.server.asked_for_keys.len();
    world.deliver(0);
    assert_eq!(world.devices[0].texts(), ["hi", "read", "late", "later"]);
    // The session with the new installation, which has not answered yet, is still in use.
    say(&mut world, 0, BOB, "again");
    assert_eq!(world.server.asked_for_keys.len(), asked);
    world.deliver(new);
    assert_eq!(world.devices[new].texts(), ["welcome", "again"]);
}

#[test]
fn attack_9_an_installation_whose_number_another_device_has_is_not_read() {
    let mut world = two();
    let old = link(&mut world, 2);
    say(&mut world, old, ALICE, "from the first");
    world.settle();
    say(&mut world, 0, BOB, "to the first");
    world.settle();
    // The device is removed, and another one gets its number. A server lets the old one go on.
    say(&mut world, old, ALICE, "sent before");
    world.server.devices.remove(&address(BOB, 2));
    world.input(1, ClientInput::Connected);
    world.run(1);
    world.now.0 += 1000;
    let new = link(&mut world, 2);
    say(&mut world, new, ALICE, "from the second");
    world.deliver(0);
    let texts = ["hi", "from the first", "sent before", "from the second"];
    assert_eq!(world.devices[0].texts(), texts);
    world.now.0 += 8 * 24 * 60 * 60 * 1000;
    say(&mut world, old, ALICE, "I am still here");
    world.deliver(0);
    assert_eq!(world.devices[0].texts().len(), 4);
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (1, vec![address(BOB, 2)]));
    world.now.0 += 1000;
    say(&mut world, new, ALICE, "and so am I");
    world.deliver(0);
    assert_eq!(world.devices[0].texts().last().unwrap(), "and so am I");
    assert_eq!(refused(&world, 0), 1);
}

#[test]
fn attack_9_what_was_encrypted_for_a_removed_device_is_not_sent_to_it() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, 0, BOB, "to both");
    world.settle();
    world.server.is_down = true;
    say(&mut world, 0, BOB, "secret");
    world.server.is_down = false;
    // Bob removes the device. The server goes on delivering messages to it.
    let removed = world.server.devices.remove(&address(BOB, 2)).unwrap();
    world.input(1, ClientInput::Connected);
    world.run(1);
    world.server.devices.insert(address(BOB, 2), removed);
    world.server.insists = true;
    // Alice sees the newest list.
    let injected = inject(&mut world, 9);
    say(&mut world, injected, ALICE, "I am Bob");
    world.deliver(0);
    assert_eq!(revision(&world, 0, BOB), Some(3));
    world.server.devices.remove(&address(BOB, 9));
    world.devices.remove(injected);
    world.exchange();
    world.exchange();
    assert_eq!(world.devices[second].texts(), ["to both"]);
}

#[test]
fn attack_11_a_device_that_is_gone_is_not_asked_again_after_each_connection() {
    let mut world = two();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "unreadable");
    world.server.devices.remove(&address(BOB, 2));
    world.devices.remove(second);
    world.input(1, ClientInput::Connected);
    world.run(1);
    world.deliver_changed(0, |envelope| {
        *envelope.content.as_mut().unwrap().last_mut().unwrap() ^= 1;
    });
    for _ in 0..20 {
        world.input(0, ClientInput::Connected);
        world.run(0);
    }
    assert!(world.server.in_vain <= 1, "{}", world.server.in_vain);
    // The user learns it when it may not arrive any more.
    world.now.0 += 60 * 60 * 1000;
    world.input(0, ClientInput::Timeout);
    world.run(0);
    let is_report = |event: &&ClientEvent| matches!(event, ClientEvent::NotRead(..));
    assert_eq!(world.devices[0].events.iter().filter(is_report).count(), 1);
}
