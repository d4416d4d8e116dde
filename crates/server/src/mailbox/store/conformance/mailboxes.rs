//! Tests of mailboxes: reading their messages, their limits, and their removal.

use super::*;

cases! {
    messages_are_read_in_the_order_they_were_added,
    a_mailbox_and_its_nameplate_are_removed_when_its_last_side_closes_it,
    a_closed_mailbox_can_be_opened_and_closed_again,
    only_a_side_that_has_joined_a_mailbox_can_add_messages,
    a_full_mailbox_accepts_no_more_messages_and_keeps_the_others,
    readers_of_a_long_mailbox_share_its_messages_in_memory,
}

fn messages_are_read_in_the_order_they_were_added(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "order");
    scratch.open("one", "m", 1.0).unwrap();
    for phase in ["pake", "version", "10", "9"] {
        scratch.add("one", "m", phase, 2.0).unwrap();
    }
    assert_eq!(scratch.open("two", "m", 3.0).unwrap(), ["pake", "version", "10", "9"]);
    let stored = scratch.open_by(caller(&identity("two"), 3.0), "m").unwrap();
    assert_eq!(stored[0].server_rx, time(2.0));
    assert_eq!((stored[0].side.as_str(), stored[0].message.id.as_str()), ("one", "null"));
}

fn a_mailbox_and_its_nameplate_are_removed_when_its_last_side_closes_it(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "close");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 3.0).unwrap();
    scratch.add("one", &mailbox, "pake", 3.0).unwrap();
    scratch.close("one", &mailbox, "happy", 4.0).unwrap();
    assert_eq!(scratch.count(), (1, 1));
    scratch.close("two", &mailbox, "scary", 5.0).unwrap();
    assert_eq!(scratch.count(), (0, 0));
    let both = history(&[1.0, 3.0], &["happy", "scary"], false);
    let scary = Usage::mailbox("app", true, &both, time(5.0), Removal::Closed);
    assert_eq!(scratch.usage(), [scary]);
    assert_eq!(scratch.open("three", &mailbox, 6.0), Ok(Vec::new()));
    // Its nameplate can be picked again.
    let picked: Vec<String> =
        (0..9).map(|n| scratch.allocate(&n.to_string(), 7.0).unwrap()).collect();
    assert!(picked.contains(&"4".into()));
}

fn a_closed_mailbox_can_be_opened_and_closed_again(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "again");
    scratch.open("one", "m", 1.0).unwrap();
    scratch.open("two", "m", 1.0).unwrap();
    scratch.add("one", "m", "pake", 1.0).unwrap();
    scratch.close("one", "m", "happy", 2.0).unwrap();
    assert_eq!(scratch.open("one", "m", 3.0).unwrap(), ["pake"]);
    scratch.close("one", "m", "happy", 4.0).unwrap();
    scratch.close("two", "m", "happy", 5.0).unwrap();
    // A client that did not receive the answer can repeat `close` without harm.
    scratch.close("two", "m", "happy", 6.0).unwrap();
    assert_eq!(scratch.count(), (0, 0));
}

fn only_a_side_that_has_joined_a_mailbox_can_add_messages(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "not-open");
    let not_open = StoreError::Refused(Refusal::NotOpen);
    assert_eq!(scratch.add("one", "m", "pake", 1.0), Err(not_open.clone()));
    scratch.open("one", "m", 1.0).unwrap();
    assert_eq!(scratch.add("two", "m", "pake", 1.0), Err(not_open));
    assert_eq!(scratch.add("one", "m", "pake", 1.0), Ok(()));
}

fn a_full_mailbox_accepts_no_more_messages_and_keeps_the_others(backend: &dyn Backend) {
    let full = StoreError::Refused(Refusal::MailboxFull);
    let mut scratch =
        Scratch::with(backend, "count", StoreLimits { messages: 2, ..StoreLimits::default() });
    scratch.open("one", "m", 1.0).unwrap();
    scratch.add("one", "m", "0", 1.0).unwrap();
    scratch.add("one", "m", "1", 1.0).unwrap();
    assert_eq!(scratch.add("one", "m", "2", 1.0), Err(full.clone()));
    assert_eq!(scratch.open("one", "m", 1.0).unwrap().len(), 2);
    let mut scratch =
        Scratch::with(backend, "bytes", StoreLimits { bytes: 100, ..StoreLimits::default() });
    scratch.open("one", "m", 1.0).unwrap();
    assert_eq!(scratch.add("one", "m", &"x".repeat(200), 1.0), Err(full));
    assert_eq!(scratch.add("one", "m", "0", 1.0), Ok(()));
}

fn readers_of_a_long_mailbox_share_its_messages_in_memory(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "shared");
    scratch.open("one", "m", 1.0).unwrap();
    let long = |phase: &str| NewMessage::new(phase.into(), "a".repeat(100_000), "null".into());
    scratch.add_by(caller(&identity("one"), 1.0), "m", long("0")).unwrap();
    let open = |scratch: &mut Scratch<'_>, side| {
        scratch.open_by(caller(&identity(side), 2.0), "m").unwrap()
    };
    let first = open(&mut scratch, "one");
    scratch.add_by(caller(&identity("one"), 2.0), "m", long("1")).unwrap();
    let second = open(&mut scratch, "two");
    let third = open(&mut scratch, "one");
    assert!(Arc::ptr_eq(&first[0], &second[0]) && Arc::ptr_eq(&second[1], &third[1]));
    let phases: Vec<&str> = third.iter().map(|stored| stored.message.phase.as_str()).collect();
    assert_eq!(phases, ["0", "1"]);
    // Messages that no reader needs any more are read again.
    drop((first, second));
    assert_eq!(open(&mut scratch, "two"), third);
    // The next mailbox may get the same key, but must not get the same messages.
    scratch.close("one", "m", "happy", 3.0).unwrap();
    scratch.close("two", "m", "happy", 3.0).unwrap();
    scratch.open("one", "m", 4.0).unwrap();
    scratch.add_by(caller(&identity("one"), 4.0), "m", long("new")).unwrap();
    assert_eq!(open(&mut scratch, "one")[0].message.phase, "new");
    scratch.store().fail_next_commit();
    let add = Request::Add { mailbox: "m".into(), message: long("undone") };
    scratch.batch("one", vec![add, Request::Open("m".into())], 4.0).unwrap_err();
    scratch.add_by(caller(&identity("one"), 5.0), "m", long("again")).unwrap();
    let phases: Vec<String> =
        open(&mut scratch, "one").iter().map(|stored| stored.message.phase.clone()).collect();
    assert_eq!(phases, ["new", "again"]);
}
