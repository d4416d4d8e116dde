//! Behaviour of the store: who gets in, what stays, what the statistics say.

use std::path::PathBuf;

use super::*;

/// A store in a folder of its own that is gone at the end of the test.
struct Scratch {
    folder: PathBuf,
    store: Option<Store>,
}

impl Scratch {
    fn new(name: &str) -> Self {
        Self::with(name, Capacity { messages: 0, bytes: 0 })
    }

    fn with(name: &str, capacity: Capacity) -> Self {
        let folder =
            std::env::temp_dir().join(format!("wormhole-store-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Store::open(&folder.join("mailbox.sqlite"), capacity).unwrap();
        store.begin().unwrap();
        Self { folder, store: Some(store) }
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// Ends the process without a word, as far as the database can tell.
    fn reopen(&mut self) {
        self.store = None;
        let capacity = Capacity { messages: 0, bytes: 0 };
        let store = Store::open(&self.folder.join("mailbox.sqlite"), capacity).unwrap();
        store.begin().unwrap();
        self.store = Some(store);
    }

    fn claim(&mut self, side: &str, name: &str, at: f64) -> Result<String, StoreError> {
        self.store().claim(&who(side), name, time(at))
    }

    fn open(&mut self, side: &str, id: &str, at: f64) -> Result<Vec<String>, StoreError> {
        let messages = self.store().open_mailbox(&who(side), id, time(at))?;
        Ok(messages.iter().map(|stored| stored.message.phase.clone()).collect())
    }

    fn add(&mut self, side: &str, id: &str, phase: &str, at: f64) -> Result<(), StoreError> {
        let message = NewMessage::new(phase.into(), "00".into(), "null".into());
        self.store().add(&who(side), id, message, time(at)).map(drop)
    }

    fn close(&mut self, side: &str, id: &str, mood: &str, at: f64) -> Result<(), StoreError> {
        self.store().close(&who(side), id, Some(mood.into()), time(at))
    }

    fn release(&mut self, side: &str, name: &str, at: f64) {
        self.store().release(&who(side), name, time(at)).unwrap();
    }

    /// What was retired since the last call.
    fn usage(&mut self) -> Vec<Usage> {
        let usage = self.store().commit().unwrap();
        self.store().begin().unwrap();
        usage
    }

    fn count(&mut self) -> (u64, u64) {
        self.store().count().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.store = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn who(side: &str) -> Identity {
    Identity::new("app".into(), side.into())
}

fn time(seconds: f64) -> UnixTime {
    UnixTime::from_secs(seconds)
}

const CROWDED: StoreError = StoreError::Refused(Refusal::Crowded);

fn visits(added: &[f64], moods: &[&str], crowded: bool) -> super::super::usage::Visits {
    let moods = moods.iter().map(|mood| (*mood).into()).collect();
    super::super::usage::Visits { added: added.into(), moods, crowded }
}

#[test]
fn two_sides_that_claim_one_nameplate_meet_in_one_mailbox() {
    let mut scratch = Scratch::new("meet");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    assert_eq!(mailbox.len(), 13);
    assert!(mailbox.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    assert_eq!(scratch.claim("two", "4", 2.0), Ok(mailbox.clone()));
    assert_eq!(scratch.claim("one", "4", 3.0), Ok(mailbox));
    assert_eq!(scratch.count(), (1, 1));
}

#[test]
fn applications_do_not_see_one_another() {
    let mut scratch = Scratch::new("apps");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    let stranger = Identity::new("other".into(), "one".into());
    let other = scratch.store().claim(&stranger, "4", time(1.0)).unwrap();
    assert_ne!(mailbox, other);
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    assert!(scratch.store().open_mailbox(&stranger, &mailbox, time(2.0)).unwrap().is_empty());
    assert_eq!(scratch.store().list("other"), Ok(vec!["4".into()]));
}

#[test]
fn a_third_side_is_turned_away_and_the_two_may_still_come_back() {
    let mut scratch = Scratch::new("third");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 2.0).unwrap();
    assert_eq!(scratch.claim("three", "4", 3.0), Err(CROWDED));
    assert_eq!(scratch.open("three", &mailbox, 3.0), Err(CROWDED));
    assert_eq!(scratch.close("three", &mailbox, "errory", 3.0), Err(CROWDED));
    let not_open = StoreError::Refused(Refusal::NotOpen);
    assert_eq!(scratch.add("three", &mailbox, "pake", 3.0), Err(not_open));
    // The reference would refuse both of them from here on.
    assert_eq!(scratch.claim("one", "4", 4.0), Ok(mailbox.clone()));
    assert_eq!(scratch.open("two", &mailbox, 4.0), Ok(Vec::new()));
    scratch.add("one", &mailbox, "pake", 5.0).unwrap();
    assert_eq!(scratch.open("two", &mailbox, 6.0), Ok(vec!["pake".into()]));
    // Nor does the third keep the nameplate or the mailbox from being given back.
    scratch.release("one", "4", 7.0);
    scratch.release("two", "4", 7.0);
    scratch.close("one", &mailbox, "happy", 8.0).unwrap();
    scratch.close("two", &mailbox, "happy", 8.0).unwrap();
    assert_eq!(scratch.count(), (0, 0));
}

#[test]
fn the_statistics_remember_a_third_side() {
    let mut scratch = Scratch::new("crowded");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 2.0).unwrap();
    scratch.claim("three", "4", 3.0).unwrap_err();
    scratch.release("one", "4", 4.0);
    scratch.release("two", "4", 5.0);
    scratch.close("one", &mailbox, "happy", 6.0).unwrap();
    scratch.close("two", &mailbox, "happy", 7.0).unwrap();
    let nameplate = visits(&[1.0, 2.0], &[], true);
    let moods = visits(&[1.0, 2.0], &["happy", "happy"], true);
    let expected = [
        Usage::nameplate("app", &nameplate, time(5.0), Retired::Closed),
        Usage::mailbox("app", true, &moods, time(7.0), Retired::Closed),
    ];
    assert_eq!(scratch.usage(), expected);
}

#[test]
fn a_side_that_released_a_nameplate_cannot_claim_it_again_while_it_is_in_use() {
    let mut scratch = Scratch::new("reclaimed");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 1.0).unwrap();
    scratch.release("one", "4", 2.0);
    let reclaimed = StoreError::Refused(Refusal::Reclaimed);
    assert_eq!(scratch.claim("one", "4", 3.0), Err(reclaimed));
    scratch.release("two", "4", 4.0);
    assert_eq!(scratch.store().list("app"), Ok(Vec::new()));
    assert_ne!(scratch.claim("one", "4", 5.0), Ok(mailbox));
}

#[test]
fn releasing_what_one_does_not_have_changes_nothing() {
    let mut scratch = Scratch::new("release");
    scratch.release("one", "4", 1.0);
    scratch.claim("one", "4", 1.0).unwrap();
    scratch.release("two", "4", 2.0);
    scratch.release("one", "not even a nameplate", 2.0);
    assert_eq!(scratch.store().list("app"), Ok(vec!["4".into()]));
}

#[test]
fn allocated_nameplates_are_claimed_short_and_listed_as_strings() {
    let mut scratch = Scratch::new("allocate");
    let mut names: Vec<String> = (0..12)
        .map(|n| scratch.store().allocate(&who(&n.to_string()), time(1.0)).unwrap())
        .collect();
    assert!(names[..9].iter().all(|name| name.len() == 1));
    assert!(names[9..].iter().all(|name| name.len() == 2));
    names.sort();
    assert_eq!(scratch.store().list("app"), Ok(names));
    let name = scratch.store().allocate(&who("me"), time(1.0)).unwrap();
    scratch.claim("me", &name, 2.0).unwrap();
    scratch.claim("you", &name, 2.0).unwrap();
    assert_eq!(scratch.claim("them", &name, 2.0), Err(CROWDED));
}

#[test]
fn beyond_999_nameplates_longer_ones_are_picked() {
    let mut scratch = Scratch::new("long");
    for number in 1..1000 {
        scratch.claim("one", &number.to_string(), 1.0).unwrap();
    }
    let long = scratch.store().allocate(&who("two"), time(1.0)).unwrap();
    assert!((1000..1_000_000).contains(&long.parse::<u32>().unwrap()));
    scratch.release("one", "500", 2.0);
    assert_eq!(scratch.store().allocate(&who("three"), time(1.0)), Ok("500".into()));
}

#[test]
fn messages_are_read_in_the_order_they_were_added() {
    let mut scratch = Scratch::new("order");
    scratch.open("one", "m", 1.0).unwrap();
    for phase in ["pake", "version", "10", "9"] {
        scratch.add("one", "m", phase, 2.0).unwrap();
    }
    assert_eq!(scratch.open("two", "m", 3.0).unwrap(), ["pake", "version", "10", "9"]);
    let stored = scratch.store().open_mailbox(&who("two"), "m", time(3.0)).unwrap();
    assert_eq!(stored[0].server_rx, time(2.0));
    assert_eq!((stored[0].side.as_str(), stored[0].message.id.as_str()), ("one", "null"));
}

#[test]
fn a_mailbox_goes_when_its_last_side_closes_it_and_takes_its_nameplate_along() {
    let mut scratch = Scratch::new("close");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.claim("two", "4", 3.0).unwrap();
    scratch.add("one", &mailbox, "pake", 3.0).unwrap();
    scratch.close("one", &mailbox, "happy", 4.0).unwrap();
    assert_eq!(scratch.count(), (1, 1));
    scratch.close("two", &mailbox, "scary", 5.0).unwrap();
    assert_eq!(scratch.count(), (0, 0));
    let both = visits(&[1.0, 3.0], &["happy", "scary"], false);
    let scary = Usage::mailbox("app", true, &both, time(5.0), Retired::Closed);
    assert_eq!(scratch.usage(), [scary]);
    assert_eq!(scratch.open("three", &mailbox, 6.0), Ok(Vec::new()));
    // Its nameplate is free to be picked again.
    let picked: Vec<String> = (0..9)
        .map(|n| scratch.store().allocate(&who(&n.to_string()), time(7.0)).unwrap())
        .collect();
    assert!(picked.contains(&"4".into()));
}

#[test]
fn a_closed_mailbox_may_be_opened_and_closed_again() {
    let mut scratch = Scratch::new("again");
    scratch.open("one", "m", 1.0).unwrap();
    scratch.open("two", "m", 1.0).unwrap();
    scratch.add("one", "m", "pake", 1.0).unwrap();
    scratch.close("one", "m", "happy", 2.0).unwrap();
    assert_eq!(scratch.open("one", "m", 3.0).unwrap(), ["pake"]);
    scratch.close("one", "m", "happy", 4.0).unwrap();
    scratch.close("two", "m", "happy", 5.0).unwrap();
    // A client that lost the answer repeats its close, to nobody's harm.
    scratch.close("two", "m", "happy", 6.0).unwrap();
    assert_eq!(scratch.count(), (0, 0));
}

#[test]
fn messages_only_go_into_mailboxes_that_their_side_is_in() {
    let mut scratch = Scratch::new("not-open");
    let not_open = StoreError::Refused(Refusal::NotOpen);
    assert_eq!(scratch.add("one", "m", "pake", 1.0), Err(not_open.clone()));
    scratch.open("one", "m", 1.0).unwrap();
    assert_eq!(scratch.add("two", "m", "pake", 1.0), Err(not_open));
    assert_eq!(scratch.add("one", "m", "pake", 1.0), Ok(()));
}

#[test]
fn a_full_mailbox_takes_no_more_and_keeps_what_it_has() {
    let full = StoreError::Refused(Refusal::MailboxFull);
    let mut scratch = Scratch::with("count", Capacity { messages: 2, bytes: 0 });
    scratch.open("one", "m", 1.0).unwrap();
    scratch.add("one", "m", "0", 1.0).unwrap();
    scratch.add("one", "m", "1", 1.0).unwrap();
    assert_eq!(scratch.add("one", "m", "2", 1.0), Err(full.clone()));
    assert_eq!(scratch.open("one", "m", 1.0).unwrap().len(), 2);
    let mut scratch = Scratch::with("bytes", Capacity { messages: 0, bytes: 100 });
    scratch.open("one", "m", 1.0).unwrap();
    assert_eq!(scratch.add("one", "m", &"x".repeat(200), 1.0), Err(full));
    assert_eq!(scratch.add("one", "m", "0", 1.0), Ok(()));
}

#[test]
fn only_what_nobody_uses_or_listens_to_is_pruned() {
    let mut scratch = Scratch::new("prune");
    let old = scratch.claim("one", "1", 100.0).unwrap();
    scratch.add("one", &old, "pake", 100.0).unwrap();
    let used = scratch.claim("one", "2", 100.0).unwrap();
    scratch.add("one", &used, "pake", 500.0).unwrap();
    let heard = scratch.claim("one", "3", 100.0).unwrap();
    let listened = [("app".to_owned(), heard)];
    let pruned = scratch.store().prune(time(900.0), time(240.0), listened.into_iter());
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.store().list("app"), Ok(vec!["2".into(), "3".into()]));
    let one = visits(&[100.0], &[], false);
    let expected = [
        Usage::nameplate("app", &one, time(900.0), Retired::Pruned),
        Usage::mailbox("app", true, &one, time(900.0), Retired::Pruned),
    ];
    assert_eq!(scratch.usage(), expected);
    // What was listened to counts as used at the time of pruning.
    let pruned = scratch.store().prune(time(1200.0), time(540.0), std::iter::empty());
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.store().list("app"), Ok(vec!["3".into()]));
}

#[test]
fn coming_back_keeps_a_mailbox_from_being_pruned() {
    let mut scratch = Scratch::new("touch");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    scratch.open("one", &mailbox, 700.0).unwrap();
    assert_eq!(scratch.store().prune(time(900.0), time(240.0), std::iter::empty()), Ok(0));
}

#[test]
fn what_was_committed_survives_and_what_was_not_is_gone_whole() {
    let mut scratch = Scratch::new("restart");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    scratch.usage();
    scratch.claim("one", "5", 2.0).unwrap();
    scratch.add("one", &mailbox, "version", 2.0).unwrap();
    scratch.reopen();
    assert_eq!(scratch.store().list("app"), Ok(vec!["4".into()]));
    assert_eq!(scratch.claim("two", "4", 3.0), Ok(mailbox.clone()));
    assert_eq!(scratch.open("two", &mailbox, 3.0).unwrap(), ["pake"]);
    // The store knows again which nameplates are free.
    let picked: Vec<String> = (0..8)
        .map(|n| scratch.store().allocate(&who(&n.to_string()), time(4.0)).unwrap())
        .collect();
    assert!(!picked.contains(&"4".into()) && picked.iter().all(|name| name.len() == 1));
}

#[test]
fn a_rolled_back_batch_leaves_nothing_behind() {
    let mut scratch = Scratch::new("rollback");
    for number in 1..=9 {
        scratch.claim("one", &number.to_string(), 1.0).unwrap();
    }
    scratch.store().roll_back().unwrap();
    scratch.store().begin().unwrap();
    assert_eq!(scratch.count(), (0, 0));
    assert_eq!(scratch.store().allocate(&who("one"), time(1.0)).unwrap().len(), 1);
    assert_eq!(scratch.usage(), []);
}

#[test]
fn a_long_mailbox_is_held_once_however_many_are_being_shown_it() {
    let mut scratch = Scratch::new("shared");
    scratch.open("one", "m", 1.0).unwrap();
    let long = |phase: &str| NewMessage::new(phase.into(), "a".repeat(100_000), "null".into());
    scratch.store().add(&who("one"), "m", long("0"), time(1.0)).unwrap();
    let open = |scratch: &mut Scratch, side| {
        scratch.store().open_mailbox(&who(side), "m", time(2.0)).unwrap()
    };
    let first = open(&mut scratch, "one");
    scratch.store().add(&who("one"), "m", long("1"), time(2.0)).unwrap();
    let second = open(&mut scratch, "two");
    let third = open(&mut scratch, "one");
    assert!(Arc::ptr_eq(&first[0], &second[0]) && Arc::ptr_eq(&second[1], &third[1]));
    let phases: Vec<&str> = third.iter().map(|stored| stored.message.phase.as_str()).collect();
    assert_eq!(phases, ["0", "1"]);
    // What its first reader has seen and dropped is read again.
    drop((first, second));
    assert_eq!(open(&mut scratch, "two"), third);
    // The next mailbox may get the same key, and not the same messages.
    scratch.close("one", "m", "happy", 3.0).unwrap();
    scratch.close("two", "m", "happy", 3.0).unwrap();
    scratch.open("one", "m", 4.0).unwrap();
    scratch.store().add(&who("one"), "m", long("new"), time(4.0)).unwrap();
    assert_eq!(open(&mut scratch, "one")[0].message.phase, "new");
    scratch.store().add(&who("one"), "m", long("undone"), time(4.0)).unwrap();
    let undone = open(&mut scratch, "one");
    scratch.store().roll_back().unwrap();
    scratch.store().begin().unwrap();
    scratch.open("one", "m", 5.0).unwrap();
    scratch.store().add(&who("one"), "m", long("again"), time(5.0)).unwrap();
    assert_eq!(open(&mut scratch, "one")[0].message.phase, "again");
    drop(undone);
}
