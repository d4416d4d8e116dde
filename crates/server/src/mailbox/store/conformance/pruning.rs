//! Unused mailboxes: which are removed, and when.

use super::*;

cases! {
    only_what_nobody_uses_or_listens_to_is_pruned,
    coming_back_keeps_a_mailbox_from_being_pruned,
    a_wall_clock_that_jumps_removes_nothing_too_soon_and_keeps_nothing_for_years,
}

fn only_what_nobody_uses_or_listens_to_is_pruned(backend: &dyn Backend) {
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
    // What was listened to counts as used at the time of pruning.
    let pruned = scratch.prune(at(1200.0), &[]);
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.list("app"), Ok(vec!["3".into()]));
}

fn coming_back_keeps_a_mailbox_from_being_pruned(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "touch");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    scratch.open("one", &mailbox, 700.0).unwrap();
    assert_eq!(scratch.prune(at(900.0), &[]), Ok(0));
}

fn a_wall_clock_that_jumps_removes_nothing_too_soon_and_keeps_nothing_for_years(
    backend: &dyn Backend,
) {
    let mut scratch = Scratch::new(backend, "clock");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    let prune = |scratch: &mut Scratch<'_>, wall, steady| {
        scratch.prune(set_clock(wall, steady), &[]).unwrap()
    };
    assert_eq!(prune(&mut scratch, 100.0 + 3600.0, 105.0), 0, "an hour forward");
    // While the clock is ten years ahead, somebody comes.
    let who = who("one");
    let ahead = Caller { now: set_clock(3e8, 400.0), ..caller(&who, 400.0) };
    scratch.open_by(ahead, &mailbox).unwrap();
    assert_eq!(prune(&mut scratch, 500.0, 1000.0), 0, "and it is set back");
    assert_eq!(prune(&mut scratch, 900.0, 400.0 + 660.0), 1);
}
