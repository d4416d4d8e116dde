//! Behaviour of the store: who gets in, what stays, what the statistics say.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wormhole_kit::UnixTime;

use super::*;

/// A store in a folder of its own that is gone at the end of the test.
struct Scratch {
    folder: PathBuf,
    store: Option<Store>,
}

impl Scratch {
    fn new(name: &str) -> Self {
        Self::with(name, Capacity::default())
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
        let capacity = Capacity::default();
        let store = Store::open(&self.folder.join("mailbox.sqlite"), capacity).unwrap();
        store.begin().unwrap();
        self.store = Some(store);
    }

    fn claim(&mut self, side: &str, name: &str, at: f64) -> Result<String, StoreError> {
        self.store().claim(caller(&who(side), at), name)
    }

    fn open(&mut self, side: &str, id: &str, at: f64) -> Result<Vec<String>, StoreError> {
        let messages = self.store().open_mailbox(caller(&who(side), at), id)?;
        Ok(messages.iter().map(|stored| stored.message.phase.clone()).collect())
    }

    fn add(&mut self, side: &str, id: &str, phase: &str, at: f64) -> Result<(), StoreError> {
        let message = NewMessage::new(phase.into(), "00".into(), "null".into());
        self.store().add(caller(&who(side), at), id, message).map(drop)
    }

    fn close(&mut self, side: &str, id: &str, mood: &str, at: f64) -> Result<(), StoreError> {
        self.store().close(caller(&who(side), at), id, Some(mood.into()))
    }

    fn release(&mut self, side: &str, name: &str, at: f64) {
        self.store().release(caller(&who(side), at), name).unwrap();
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

/// So many seconds after the beginning on both clocks.
fn moment(seconds: f64) -> Moment {
    set_clock(seconds, seconds)
}

/// A moment at which the wall clock says something else.
fn set_clock(wall: f64, steady: f64) -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Moment { wall: time(wall), steady: *START + Duration::from_secs_f64(steady) }
}

/// Somebody at the usual address.
fn caller(who: &Identity, at: f64) -> Caller<'_> {
    static ADDRESS: LazyLock<Arc<Held>> = LazyLock::new(Arc::default);
    Caller { who, address: &ADDRESS, now: moment(at) }
}

const EXPIRY: Duration = Duration::from_secs(660);

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
    let other = scratch.store().claim(caller(&stranger, 1.0), "4").unwrap();
    assert_ne!(mailbox, other);
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    assert!(scratch.store().open_mailbox(caller(&stranger, 2.0), &mailbox).unwrap().is_empty());
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
        .map(|n| scratch.store().allocate(caller(&who(&n.to_string()), 1.0)).unwrap())
        .collect();
    assert!(names[..9].iter().all(|name| name.len() == 1));
    assert!(names[9..].iter().all(|name| name.len() == 2));
    names.sort();
    assert_eq!(scratch.store().list("app"), Ok(names));
    let name = scratch.store().allocate(caller(&who("me"), 1.0)).unwrap();
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
    let long = scratch.store().allocate(caller(&who("two"), 1.0)).unwrap();
    assert!((1000..1_000_000).contains(&long.parse::<u32>().unwrap()));
    scratch.release("one", "500", 2.0);
    assert_eq!(scratch.store().allocate(caller(&who("three"), 1.0)), Ok("500".into()));
}

#[test]
fn messages_are_read_in_the_order_they_were_added() {
    let mut scratch = Scratch::new("order");
    scratch.open("one", "m", 1.0).unwrap();
    for phase in ["pake", "version", "10", "9"] {
        scratch.add("one", "m", phase, 2.0).unwrap();
    }
    assert_eq!(scratch.open("two", "m", 3.0).unwrap(), ["pake", "version", "10", "9"]);
    let stored = scratch.store().open_mailbox(caller(&who("two"), 3.0), "m").unwrap();
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
        .map(|n| scratch.store().allocate(caller(&who(&n.to_string()), 7.0)).unwrap())
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
    let mut scratch = Scratch::with("count", Capacity { messages: 2, ..Capacity::default() });
    scratch.open("one", "m", 1.0).unwrap();
    scratch.add("one", "m", "0", 1.0).unwrap();
    scratch.add("one", "m", "1", 1.0).unwrap();
    assert_eq!(scratch.add("one", "m", "2", 1.0), Err(full.clone()));
    assert_eq!(scratch.open("one", "m", 1.0).unwrap().len(), 2);
    let mut scratch = Scratch::with("bytes", Capacity { bytes: 100, ..Capacity::default() });
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
    let pruned = scratch.store().prune(moment(900.0), EXPIRY, listened.into_iter());
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.store().list("app"), Ok(vec!["2".into(), "3".into()]));
    let one = visits(&[100.0], &[], false);
    let expected = [
        Usage::nameplate("app", &one, time(900.0), Retired::Pruned),
        Usage::mailbox("app", true, &one, time(900.0), Retired::Pruned),
    ];
    assert_eq!(scratch.usage(), expected);
    // What was listened to counts as used at the time of pruning.
    let pruned = scratch.store().prune(moment(1200.0), EXPIRY, std::iter::empty());
    assert_eq!(pruned, Ok(1));
    assert_eq!(scratch.store().list("app"), Ok(vec!["3".into()]));
}

#[test]
fn coming_back_keeps_a_mailbox_from_being_pruned() {
    let mut scratch = Scratch::new("touch");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    scratch.open("one", &mailbox, 700.0).unwrap();
    assert_eq!(scratch.store().prune(moment(900.0), EXPIRY, std::iter::empty()), Ok(0));
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
        .map(|n| scratch.store().allocate(caller(&who(&n.to_string()), 4.0)).unwrap())
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
    assert_eq!(scratch.store().allocate(caller(&who("one"), 1.0)).unwrap().len(), 1);
    assert_eq!(scratch.usage(), []);
}

#[test]
fn a_long_mailbox_is_held_once_however_many_are_being_shown_it() {
    let mut scratch = Scratch::new("shared");
    scratch.open("one", "m", 1.0).unwrap();
    let long = |phase: &str| NewMessage::new(phase.into(), "a".repeat(100_000), "null".into());
    scratch.store().add(caller(&who("one"), 1.0), "m", long("0")).unwrap();
    let open = |scratch: &mut Scratch, side| {
        scratch.store().open_mailbox(caller(&who(side), 2.0), "m").unwrap()
    };
    let first = open(&mut scratch, "one");
    scratch.store().add(caller(&who("one"), 2.0), "m", long("1")).unwrap();
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
    scratch.store().add(caller(&who("one"), 4.0), "m", long("new")).unwrap();
    assert_eq!(open(&mut scratch, "one")[0].message.phase, "new");
    scratch.store().add(caller(&who("one"), 4.0), "m", long("undone")).unwrap();
    let undone = open(&mut scratch, "one");
    scratch.store().roll_back().unwrap();
    scratch.store().begin().unwrap();
    scratch.open("one", "m", 5.0).unwrap();
    scratch.store().add(caller(&who("one"), 5.0), "m", long("again")).unwrap();
    assert_eq!(open(&mut scratch, "one")[0].message.phase, "again");
    drop(undone);
}

#[test]
fn a_wall_clock_that_jumps_removes_nothing_too_soon_and_keeps_nothing_for_years() {
    let mut scratch = Scratch::new("clock");
    let mailbox = scratch.claim("one", "1", 100.0).unwrap();
    let prune = |scratch: &mut Scratch, wall, steady| {
        scratch.store().prune(set_clock(wall, steady), EXPIRY, std::iter::empty()).unwrap()
    };
    assert_eq!(prune(&mut scratch, 100.0 + 3600.0, 105.0), 0, "an hour forward");
    // While the clock is ten years ahead, somebody comes.
    let who = who("one");
    let ahead = Caller { now: set_clock(3e8, 400.0), ..caller(&who, 400.0) };
    scratch.store().open_mailbox(ahead, &mailbox).unwrap();
    assert_eq!(prune(&mut scratch, 500.0, 1000.0), 0, "and it is set back");
    assert_eq!(prune(&mut scratch, 900.0, 400.0 + 660.0), 1);
}

#[test]
fn after_a_restart_ages_count_from_the_start_whatever_the_rows_say() {
    for written in [3e9, 100.0] {
        let mut scratch = Scratch::new(&format!("restarted-{written}"));
        scratch.claim("one", "1", 100.0).unwrap();
        let sql = "UPDATE mailboxes SET updated = ?";
        scratch.store().database.execute(sql, [written]).unwrap();
        scratch.store().commit().unwrap();
        scratch.reopen();
        let start = Moment::now().steady;
        let mut prune = |after: u64| {
            let now = Moment { wall: time(1e6), steady: start + Duration::from_secs(after) };
            scratch.store().prune(now, EXPIRY, std::iter::empty()).unwrap()
        };
        assert_eq!(prune(100), 0, "clients have time to come back");
        // A row that looks old is believed then, one that looks young is not believed for ever.
        assert_eq!(prune(300), usize::from(written < 1e6));
        assert_eq!(prune(700), usize::from(written > 1e6));
    }
}

/// A store with quotas for stored bytes.
fn with_quota(name: &str, per_address: u64, database: u64) -> Scratch {
    Scratch::with(name, Capacity { quota: Quota { per_address, database }, ..Capacity::default() })
}

/// Adds a message of 10,000 bytes from an address.
fn fill(scratch: &mut Scratch, address: &Arc<Held>, id: &str) -> Result<(), StoreError> {
    let who = who(id);
    let by = Caller { address, ..caller(&who, 1.0) };
    scratch.store().open_mailbox(by, id)?;
    let message = NewMessage::new("0".into(), "a".repeat(10_000), "null".into());
    scratch.store().add(by, id, message).map(drop)
}

/// Adds messages until one is refused.
fn fill_up(scratch: &mut Scratch, address: &Arc<Held>, id: &str) -> (usize, StoreError) {
    let refused = (0..1000).find_map(|n| Some((n, fill(scratch, address, id).err()?)));
    refused.expect("never refused")
}

#[test]
fn an_address_has_so_much_stored_and_no_more_and_others_have_their_own() {
    let mut scratch = with_quota("quota", 100_000, 0);
    let (one, other): (Arc<Held>, Arc<Held>) = Default::default();
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill_up(&mut scratch, &one, "a"), (9, refused.clone()));
    assert_eq!(fill(&mut scratch, &one, "b"), Err(refused), "nor in another mailbox");
    assert_eq!(fill_up(&mut scratch, &other, "c").0, 9);
    assert_eq!(scratch.open("a", "a", 2.0).unwrap().len(), 9, "nothing is lost");
    // What is closed or pruned may be used again.
    scratch.close("a", "a", "happy", 3.0).unwrap();
    scratch.close("b", "b", "happy", 3.0).unwrap();
    assert_eq!(one.stored.load(Ordering::Relaxed), 0);
    assert_eq!(fill_up(&mut scratch, &one, "a").0, 9);
    assert_eq!(scratch.store().prune(moment(900.0), EXPIRY, std::iter::empty()), Ok(2));
    assert_eq!(one.stored.load(Ordering::Relaxed) + other.stored.load(Ordering::Relaxed), 0);
}

#[test]
fn the_database_has_its_limit_and_leaves_room_for_small_things() {
    let mut scratch = with_quota("full", 0, 2_000_000);
    let addresses: [Arc<Held>; 3] = Default::default();
    let stored: Vec<usize> = addresses
        .iter()
        .zip(["a", "b", "c"])
        .map(|(address, id)| {
            let (stored, refusal) = fill_up(&mut scratch, address, id);
            assert_eq!(refusal, StoreError::Refused(Refusal::StorageFull));
            stored
        })
        .collect();
    // Each gets half of what is left.
    assert_eq!(stored, [99, 50, 25], "each gets about half of what is left");
    let (who, newcomer) = (who("d"), Arc::default());
    let by = Caller { address: &newcomer, ..caller(&who, 1.0) };
    scratch.store().allocate(by).unwrap();
}

#[test]
fn the_reserve_for_newcomers_is_bounded_and_theirs_alone() {
    let mut scratch = with_quota("reserve", 0, 2_000_000);
    let addresses: [Arc<Held>; 20] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let stored = |addresses: &[Arc<Held>]| -> u64 {
        addresses.iter().map(|address| address.stored.load(Ordering::Relaxed)).sum()
    };
    let before = stored(&addresses);
    assert!((2_000_000..=2_250_000).contains(&before), "{before} bytes");
    // An address that has more than the minimum gets nothing of the reserve.
    let full = Err(StoreError::Refused(Refusal::StorageFull));
    assert_eq!(fill(&mut scratch, &addresses[0], "m0"), full);
}

#[test]
fn a_newcomer_gets_no_more_than_its_minimum_of_a_full_database() {
    let mut scratch = with_quota("minimum", 0, 2_000_000);
    let addresses: [Arc<Held>; 6] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let (who, newcomer) = (who("n"), Arc::<Held>::default());
    let by = Caller { address: &newcomer, ..caller(&who, 1.0) };
    scratch.store().allocate(by).unwrap();
    let (added, refusal) = fill_up(&mut scratch, &newcomer, "n");
    assert_eq!((added, refusal), (6, StoreError::Refused(Refusal::StorageFull)));
}

#[test]
fn what_was_stored_before_a_restart_counts_for_the_database_and_for_who_uses_it_next() {
    let mut scratch = with_quota("adopted", 100_000, 0);
    let (before, after): (Arc<Held>, Arc<Held>) = Default::default();
    assert_eq!(fill_up(&mut scratch, &before, "a").0, 9);
    scratch.store().commit().unwrap();
    scratch.store = None;
    let quota = Quota { per_address: 100_000, database: 0 };
    let capacity = Capacity { quota, ..Capacity::default() };
    let store = Store::open(&scratch.folder.join("mailbox.sqlite"), capacity).unwrap();
    store.begin().unwrap();
    scratch.store = Some(store);
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill(&mut scratch, &after, "a"), Err(refused));
    let who = who("a");
    let by = Caller { address: &after, ..caller(&who, 1.0) };
    scratch.store().close(by, "a", None).unwrap();
    assert_eq!(after.stored.load(Ordering::Relaxed), 0);
}

#[test]
fn what_was_rolled_back_counts_for_nobody() {
    let mut scratch = with_quota("undone", 100_000, 0);
    let address: Arc<Held> = Arc::default();
    fill(&mut scratch, &address, "a").unwrap();
    scratch.usage();
    let before = address.stored.load(Ordering::Relaxed);
    fill(&mut scratch, &address, "a").unwrap();
    fill(&mut scratch, &address, "b").unwrap();
    scratch.close("a", "a", "happy", 1.0).unwrap();
    scratch.store().roll_back().unwrap();
    scratch.store().begin().unwrap();
    assert_eq!(address.stored.load(Ordering::Relaxed), before);
    scratch.close("a", "a", "happy", 1.0).unwrap();
    assert_eq!(address.stored.load(Ordering::Relaxed), 0);
}

#[test]
fn the_file_gets_shorter_after_what_it_held_is_gone() {
    let mut scratch = Scratch::new("shorter");
    let address: Arc<Held> = Arc::default();
    fill(&mut scratch, &address, "a").unwrap();
    for _ in 0..400 {
        scratch.add("a", "a", &"x".repeat(100_000), 1.0).unwrap();
    }
    scratch.usage();
    let length = |scratch: &Scratch| {
        let file = |name| std::fs::metadata(scratch.folder.join(name)).unwrap().len();
        file("mailbox.sqlite") + file("mailbox.sqlite-wal")
    };
    assert!(length(&scratch) > 30_000_000);
    scratch.close("a", "a", "happy", 1.0).unwrap();
    scratch.store().commit().unwrap();
    while scratch.store().reclaim().unwrap() {}
    assert!(length(&scratch) < 6_000_000, "{}", length(&scratch));
    scratch.store().begin().unwrap();
    fill(&mut scratch, &address, "b").unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_that_is_removed_or_replaced_is_noticed() {
    for replaced in [false, true] {
        let mut scratch = Scratch::new(&format!("gone-{replaced}"));
        let path = scratch.folder.join("mailbox.sqlite");
        assert_eq!(scratch.store().check_file(), Ok(()));
        std::fs::remove_file(&path).unwrap();
        if replaced {
            std::fs::write(&path, "something else").unwrap();
        }
        let error = scratch.store().check_file().unwrap_err().to_string();
        assert!(error.ends_with("removed or replaced while the server was using it"), "{error}");
    }
    let mut scratch = Scratch::new("log-gone");
    scratch.claim("one", "1", 1.0).unwrap();
    scratch.usage();
    assert_eq!(scratch.store().check_file(), Ok(()));
    std::fs::remove_file(scratch.folder.join("mailbox.sqlite-wal")).unwrap();
    assert!(scratch.store().check_file().is_err());
}
