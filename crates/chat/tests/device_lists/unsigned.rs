//! Devices that their account has not signed: they get no messages, and theirs are not read.

use super::*;

#[test]
fn attack_9_a_device_that_nobody_has_signed_gets_nothing_and_is_shown_once() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    for text in ["one", "two", "three"] {
        say(&mut world, 0, BOB, text);
    }
    world.exchange();
    let mut texts = world.devices[1].texts();
    texts.sort_unstable();
    assert_eq!(texts, ["hello", "one", "three", "two"]);
    assert!(world.devices[injected].texts().is_empty());
    assert_eq!((unsigned(&world, 0), failures(&world, 0)), (vec![address(BOB, 2)], vec![]));
    world.crash(0);
    say(&mut world, 0, BOB, "four");
    world.settle();
    assert_eq!(world.devices[1].texts().last().unwrap(), "four");
    assert_eq!(unsigned(&world, 0).len(), 1);
    // Bob's own device shows it, too.
    assert_eq!(unsigned(&world, 1), [address(BOB, 2)]);
}

#[test]
fn attack_9_a_server_that_insists_on_an_unsigned_device_makes_messages_fail() {
    let mut world = two();
    inject(&mut world, 2);
    world.server.insists = true;
    say(&mut world, 0, BOB, "one");
    assert_eq!(failures(&world, 0), [SendFailure::UnsignedDevice]);
    // An honest server is told once, and the next message arrives.
    world.server.insists = false;
    say(&mut world, 0, BOB, "two");
    world.exchange();
    assert_eq!(world.devices[1].texts(), ["hello", "two"]);
}

#[test]
fn attack_9_nothing_from_an_unsigned_device_is_read() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    say(&mut world, injected, ALICE, "I am Bob");
    world.exchange();
    world.exchange();
    assert_eq!(world.devices[0].texts(), ["hi"]);
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (1, vec![address(BOB, 2)]));
    // Bob does not believe what it says about messages that he has written.
    assert_eq!(world.devices[1].inbox.len(), 1);
    assert!(refused(&world, 1) > 0);
    // The owner signs it.
    let shown = shown_to(&world, BOB);
    let update = update(&mut world, 1, &shown, Some(2));
    let new = update.publish.unwrap();
    world.server.lists.insert(account(BOB), (new.revision, new.list));
    say(&mut world, 0, BOB, "welcome");
    world.settle();
    assert_eq!(world.devices[injected].texts(), ["welcome"]);
    say(&mut world, injected, ALICE, "now I am");
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "now I am"]);
}

#[test]
fn attack_9_an_unsigned_device_of_our_own_account_gets_no_copies() {
    let mut world = two();
    let second = link(&mut world, 2);
    let injected = inject(&mut world, 3);
    for text in ["one", "two"] {
        say(&mut world, 1, ALICE, text);
    }
    world.settle();
    assert_eq!(world.devices[0].texts(), ["hi", "one", "two"]);
    // Copies of both.
    let is_copy = |received: &&Received| match &received.content {
        Content::Sync(sync) => matches!(SyncMessage::decode(sync), Ok(SyncMessage::Sent(_))),
        _ => false,
    };
    assert_eq!(world.devices[second].inbox.iter().filter(is_copy).count(), 2);
    assert!(world.devices[injected].inbox.is_empty());
    assert_eq!(unsigned(&world, 1), [address(BOB, 3)]);
}

#[test]
fn attack_9_messages_of_an_unsigned_device_do_not_stop_those_of_others() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    for _ in 0..70 {
        say(&mut world, injected, ALICE, "I am Bob");
    }
    // No list can be fetched, so few messages wait for it. The others are not read.
    world.server.is_down = true;
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0), unsigned(&world, 0)), (32, 38, vec![]));
    world.server.is_down = false;
    world.input(0, ClientInput::Connected);
    world.run(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (0, 70));
    assert_eq!(unsigned(&world, 0), [address(BOB, 2)]);
    // It may have been signed since, which is asked once in an hour.
    say(&mut world, injected, ALICE, "I am Bob");
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (0, 71));
    // The newest list is known for some time.
    say(&mut world, injected, ALICE, "I am Bob");
    world.server.is_down = true;
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (0, 72));
    world.server.is_down = false;
    world.now.0 += 11 * 60 * 1000;
    say(&mut world, injected, ALICE, "I am Bob");
    world.server.is_down = true;
    world.deliver(0);
    assert_eq!((waiting(&world), refused(&world, 0)), (1, 72));
}

#[test]
fn attack_9_a_device_that_was_just_signed_is_read_although_the_list_was_checked_a_moment_ago() {
    let mut world = two();
    let injected = inject(&mut world, 2);
    say(&mut world, injected, ALICE, "I am Bob");
    world.deliver(0);
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (1, vec![address(BOB, 2)]));
    // Other devices do not use up what this one may make Alice ask.
    for device in 3..5 {
        let other = inject(&mut world, device);
        for _ in 0..5 {
            say(&mut world, other, ALICE, "I am Bob");
            world.deliver(0);
        }
    }
    assert_eq!(refused(&world, 0), 11);
    let shown = shown_to(&world, BOB);
    let new = update(&mut world, 1, &shown, Some(2)).publish.unwrap();
    world.server.lists.insert(account(BOB), (new.revision, new.list));
    say(&mut world, injected, ALICE, "now I am");
    world.deliver(0);
    assert_eq!(
        (world.devices[0].texts().last().unwrap().as_str(), refused(&world, 0)),
        ("now I am", 11)
    );
}

#[test]
fn attack_9_two_accounts_do_not_use_up_the_places_of_a_third() {
    let mut world = two();
    let mut injected = vec![inject(&mut world, 2)];
    for person in [3, 4] {
        let which = world.join(person, 1, &identity(person));
        world.run(which);
        say(&mut world, 0, person, "hello");
        say(&mut world, which, ALICE, "hi");
        world.settle();
        world.server.has_lists = false;
        let second = world.join(person, 2, &identity(person));
        world.run(second);
        world.server.has_lists = true;
        injected.push(second);
    }
    let before = refused(&world, 0);
    for (which, count) in [(injected[0], 40), (injected[1], 40), (injected[2], 3)] {
        for _ in 0..count {
            say(&mut world, which, ALICE, "read me");
        }
    }
    world.server.is_down = true;
    world.deliver(0);
    // Each of the first two has 32 places at most, and gives some to the third.
    assert_eq!((waiting(&world), refused(&world, 0) - before), (64, 19));
    assert_eq!(world.server.devices[&address(ALICE, 1)].waiting_from(account(4)), 3);
}

#[test]
fn attack_9_an_answer_from_before_a_message_does_not_decide_about_it() {
    let mut world = two();
    inject(&mut world, 9);
    let data = DataMessage { body: Some("to all".to_owned()), ..DataMessage::default() };
    world.input(0, ClientInput::Send(account(BOB), Content::Data(Box::new(data))));
    let early = world.run_until(0, |request| matches!(request, Request::Bundles(_)));
    let older = world.server.lists[&account(BOB)].clone();
    let second = link(&mut world, 2);
    say(&mut world, second, ALICE, "I am new");
    world.hand_out(0);
    let newest = world.server.lists.insert(account(BOB), older).unwrap();
    world.answer(0, early);
    world.server.lists.insert(account(BOB), newest);
    world.run(0);
    assert_eq!(
        (world.devices[0].texts().last().unwrap().as_str(), refused(&world, 0)),
        ("I am new", 0)
    );
    assert_eq!(revision(&world, 0, BOB), Some(2));
}

#[test]
fn attack_9_a_device_that_changes_its_registration_id_is_reported_once() {
    let mut world = two();
    for _ in 0..20 {
        world.now.0 += 1000;
        let injected = inject(&mut world, 2);
        say(&mut world, injected, ALICE, "I am Bob");
        world.deliver(0);
    }
    assert_eq!((refused(&world, 0), unsigned(&world, 0)), (20, vec![address(BOB, 2)]));
    let of_bob: Vec<_> = world.devices[0].client.unsigned_devices(account(BOB)).collect();
    assert_eq!(of_bob.len(), 1);
}
