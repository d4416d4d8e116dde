//! Tests of nameplates: the sides that share a mailbox, and free nameplates.

use super::*;

cases! {
    two_sides_that_claim_one_nameplate_meet_in_one_mailbox,
    applications_have_separate_nameplates_and_mailboxes,
    a_third_side_is_rejected_and_both_sides_can_reconnect,
    the_statistics_record_a_third_side,
    a_side_that_released_a_nameplate_cannot_claim_it_again_while_it_is_in_use,
    releasing_a_nameplate_without_a_claim_changes_nothing,
    allocated_nameplates_are_claimed_and_short,
    beyond_999_nameplates_longer_ones_are_picked,
}

fn two_sides_that_claim_one_nameplate_meet_in_one_mailbox(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "meet");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    assert_eq!(mailbox.len(), 13);
    assert!(mailbox.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    assert_eq!(scratch.claim("two", "4", 2.0), Ok(mailbox.clone()));
    assert_eq!(scratch.claim("one", "4", 3.0), Ok(mailbox));
    assert_eq!(scratch.count(), (1, 1));
}

fn applications_have_separate_nameplates_and_mailboxes(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "apps");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    let stranger = Identity::new("other".into(), "one".into());
    let other = scratch.claim_by(caller(&stranger, 1.0), "4").unwrap();
    assert_ne!(mailbox, other);
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    assert!(scratch.open_by(caller(&stranger, 2.0), &mailbox).unwrap().is_empty());
    assert_eq!(scratch.list("other"), Ok(vec!["4".into()]));
}

fn a_third_side_is_rejected_and_both_sides_can_reconnect(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "third");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 2.0).unwrap();
    assert_eq!(scratch.claim("three", "4", 3.0), Err(CROWDED));
    assert_eq!(scratch.open("three", &mailbox, 3.0), Err(CROWDED));
    assert_eq!(scratch.close("three", &mailbox, "errory", 3.0), Err(CROWDED));
    let not_open = StoreError::Refused(Refusal::NotOpen);
    assert_eq!(scratch.add("three", &mailbox, "pake", 3.0), Err(not_open));
    // The reference server would now refuse both of them.
    assert_eq!(scratch.claim("one", "4", 4.0), Ok(mailbox.clone()));
    assert_eq!(scratch.open("two", &mailbox, 4.0), Ok(Vec::new()));
    scratch.add("one", &mailbox, "pake", 5.0).unwrap();
    assert_eq!(scratch.open("two", &mailbox, 6.0), Ok(vec!["pake".into()]));
    // The third side also does not prevent the removal of the nameplate and the mailbox.
    scratch.release("one", "4", 7.0);
    scratch.release("two", "4", 7.0);
    scratch.close("one", &mailbox, "happy", 8.0).unwrap();
    scratch.close("two", &mailbox, "happy", 8.0).unwrap();
    assert_eq!(scratch.count(), (0, 0));
}

fn the_statistics_record_a_third_side(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "crowded");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 2.0).unwrap();
    scratch.claim("three", "4", 3.0).unwrap_err();
    scratch.release("one", "4", 4.0);
    scratch.release("two", "4", 5.0);
    scratch.close("one", &mailbox, "happy", 6.0).unwrap();
    scratch.close("two", &mailbox, "happy", 7.0).unwrap();
    let nameplate = history(&[1.0, 2.0], &[], true);
    let moods = history(&[1.0, 2.0], &["happy", "happy"], true);
    let expected = [
        Usage::nameplate("app", &nameplate, time(5.0), Removal::Closed),
        Usage::mailbox("app", true, &moods, time(7.0), Removal::Closed),
    ];
    assert_eq!(scratch.usage(), expected);
}

fn a_side_that_released_a_nameplate_cannot_claim_it_again_while_it_is_in_use(
    backend: &dyn Backend,
) {
    let mut scratch = Scratch::new(backend, "reclaimed");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 1.0).unwrap();
    scratch.release("one", "4", 2.0);
    let reclaimed = StoreError::Refused(Refusal::Reclaimed);
    assert_eq!(scratch.claim("one", "4", 3.0), Err(reclaimed));
    scratch.release("two", "4", 4.0);
    assert_eq!(scratch.list("app"), Ok(Vec::new()));
    assert_ne!(scratch.claim("one", "4", 5.0), Ok(mailbox));
}

fn releasing_a_nameplate_without_a_claim_changes_nothing(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "release");
    scratch.release("one", "4", 1.0);
    scratch.claim("one", "4", 1.0).unwrap();
    scratch.release("two", "4", 2.0);
    scratch.release("one", "not even a nameplate", 2.0);
    assert_eq!(scratch.list("app"), Ok(vec!["4".into()]));
}

fn allocated_nameplates_are_claimed_and_short(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "allocate");
    let mut names: Vec<String> =
        (0..12).map(|n| scratch.allocate(&n.to_string(), 1.0).unwrap()).collect();
    assert!(names[..9].iter().all(|name| name.len() == 1));
    assert!(names[9..].iter().all(|name| name.len() == 2));
    names.sort();
    assert_eq!(scratch.list("app"), Ok(names));
    let name = scratch.allocate("me", 1.0).unwrap();
    scratch.claim("me", &name, 2.0).unwrap();
    scratch.claim("you", &name, 2.0).unwrap();
    assert_eq!(scratch.claim("them", &name, 2.0), Err(CROWDED));
}

fn beyond_999_nameplates_longer_ones_are_picked(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "long");
    let claims = (1..1000).map(|number: u32| Request::Claim(number.to_string())).collect();
    scratch.batch("one", claims, 1.0).unwrap();
    let long = scratch.allocate("two", 1.0).unwrap();
    assert!((1000..1_000_000).contains(&long.parse::<u32>().unwrap()));
    scratch.release("one", "500", 2.0);
    assert_eq!(scratch.allocate("three", 1.0), Ok("500".into()));
}
