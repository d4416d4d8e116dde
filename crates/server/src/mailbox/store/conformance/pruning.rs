//! Tests of the removal of unused mailboxes.

use super::*;

cases! {
    only_mailboxes_without_use_and_listeners_are_removed,
    opening_a_mailbox_again_prevents_its_removal,
    a_jump_of_the_wall_clock_does_not_change_when_mailboxes_expire,
}

fn only_mailboxes_without_use_and_listeners_are_removed(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "prune");
    let old = scratch.claim("one", "1", 100.0).unwrap();
    scratch.add("one", &old, "pake", 100.0).unwrap();
    let used = scratch.claim("one", "2", 100.0).unwrap();
    scratch.add("one", &used, "pake", 500.0).unwrap();
    let heard = scratch.claim("one", "3", 100.0).unwrap();
    let listened = [MailboxName { app: "app".into(), mailbox: heard }];
    let pruned = scratch.prune(at(900.0), &listened);
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.list("app"), Ok(vec!["2".into(), "3".into()]));
    let one = history(&[100.0], &[], false);
    let expected = [
        Usage::nameplate("app", &one, time(900.0), Removal::Pruned),
        Usage::mailbox("app", true, &one, time(900.0), Removal::Pruned),
    ];
    assert_eq!(scratch.usage(), expected);
    // A mailbox with listeners counts as used at the time of pruning.
    let pruned = scratch.prune(at(1200.0), &[]);
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.list("app"), Ok(vec!["3".into()]));
}

fn opening_a_mailbox_again_prevents_its_removal(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "touch");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    scratch.open("one", &mailbox, 700.0).unwrap();
    assert_eq!(scratch.prune(at(900.0), &[]), Ok(0));
}

fn a_jump_of_the_wall_clock_does_not_change_when_mailboxes_expire(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "clock");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    let prune = |scratch: &mut Scratch<'_>, wall, steady| {
        scratch.prune(set_clock(wall, steady), &[]).unwrap()
    };
    assert_eq!(prune(&mut scratch, 100.0 + 3600.0, 105.0), 0, "an hour forward");
    // A client opens the mailbox while the clock is ten years ahead.
    let identity = identity("one");
    let ahead = Caller { now: set_clock(3e8, 400.0), ..caller(&identity, 400.0) };
    scratch.open_by(ahead, &mailbox).unwrap();
    assert_eq!(prune(&mut scratch, 500.0, 1000.0), 0, "and it is set back");
    assert_eq!(prune(&mut scratch, 900.0, 400.0 + 660.0), 1);
}
