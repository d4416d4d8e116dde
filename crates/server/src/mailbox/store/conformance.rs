//! How every store must behave: who gets in, what stays, what the statistics record. Each case runs on each
//! back end.

#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::NewMessage;
use wormhole_testbed::{Durability, Postgres};

use super::*;
use crate::mailbox::usage::{Removal, SideHistory};
use crate::mailbox::wake::NodeId;

/// Where a case keeps its data.
pub(super) trait Backend {
    /// A database of its own for a case. The same name means the same database.
    fn open(&self, name: &str, limits: StoreLimits) -> Box<dyn Store>;
    /// Removes the database.
    fn remove(&self, name: &str);
}

/// A SQLite file in a folder of its own.
struct Sqlite;

impl Sqlite {
    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("wormhole-store-{}-{name}", std::process::id()))
    }
}

impl Backend for Sqlite {
    fn open(&self, name: &str, limits: StoreLimits) -> Box<dyn Store> {
        let folder = Self::folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        Box::new(SqliteStore::open(&folder.join("mailbox.sqlite"), limits).unwrap())
    }

    fn remove(&self, name: &str) {
        let _ = std::fs::remove_dir_all(Self::folder(name));
    }
}

/// A store that is removed at the end of the case.
struct Scratch<'a> {
    backend: &'a dyn Backend,
    name: String,
    store: Option<Box<dyn Store>>,
    removed: Vec<Usage>,
}

impl<'a> Scratch<'a> {
    fn new(backend: &'a dyn Backend, name: &str) -> Self {
        Self::with(backend, name, StoreLimits::default())
    }

    fn with(backend: &'a dyn Backend, name: &str, limits: StoreLimits) -> Self {
        let store = Some(backend.open(name, limits));
        Self { backend, name: name.into(), store, removed: Vec::new() }
    }

    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap().as_mut()
    }

    /// Starts again on what the database holds.
    fn reopen(&mut self, limits: StoreLimits) {
        self.store = None;
        self.store = Some(self.backend.open(&self.name, limits));
    }

    /// Executes one request in a batch of its own.
    fn execute(&mut self, by: Caller<'_>, mut request: Request) -> Result<Outcome, StoreError> {
        let command = Command { who: by.who, address: by.address, request: &mut request };
        let applied = self.store().apply(&mut [command], &[], by.now)?;
        self.removed.extend(applied.removed);
        match applied.outcomes.into_iter().next().unwrap() {
            Outcome::Answer(Answer::Refused(refusal)) => Err(refusal.into()),
            outcome => Ok(outcome),
        }
    }

    /// Executes requests of one side in one batch.
    fn batch(&mut self, side: &str, requests: Vec<Request>, at: f64) -> Result<(), StoreError> {
        let (who, mut requests) = (who(side), requests);
        let by = caller(&who, at);
        let command = |request| Command { who: by.who, address: by.address, request };
        let mut commands: Vec<Command<'_>> = requests.iter_mut().map(command).collect();
        let mut commands = &mut commands[..];
        while !commands.is_empty() {
            let applied = self.store().apply(commands, &[], by.now)?;
            self.removed.extend(applied.removed);
            commands = &mut commands[applied.outcomes.len()..];
        }
        Ok(())
    }

    fn claim(&mut self, side: &str, name: &str, at: f64) -> Result<String, StoreError> {
        self.claim_by(caller(&who(side), at), name)
    }

    fn claim_by(&mut self, by: Caller<'_>, name: &str) -> Result<String, StoreError> {
        match self.execute(by, Request::Claim(name.into()))? {
            Outcome::Answer(Answer::Claimed(mailbox)) => Ok(mailbox),
            other => panic!("{other:?}"),
        }
    }

    fn allocate(&mut self, side: &str, at: f64) -> Result<String, StoreError> {
        self.allocate_by(caller(&who(side), at))
    }

    fn allocate_by(&mut self, by: Caller<'_>) -> Result<String, StoreError> {
        match self.execute(by, Request::Allocate)? {
            Outcome::Answer(Answer::Allocated(name)) => Ok(name),
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self, app: &str) -> Result<Vec<String>, StoreError> {
        let who = Identity::new(app.into(), "anyone".into());
        match self.execute(caller(&who, 1.0), Request::List)? {
            Outcome::Answer(Answer::Nameplates(names)) => Ok(names),
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self, side: &str, id: &str, at: f64) -> Result<Vec<String>, StoreError> {
        let messages = self.open_by(caller(&who(side), at), id)?;
        Ok(messages.iter().map(|stored| stored.message.phase.clone()).collect())
    }

    fn open_by(&mut self, by: Caller<'_>, id: &str) -> Result<Vec<Arc<StoredMessage>>, StoreError> {
        match self.execute(by, Request::Open(id.into()))? {
            Outcome::Opened { messages, .. } => Ok(messages),
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, side: &str, id: &str, phase: &str, at: f64) -> Result<(), StoreError> {
        let message = NewMessage::new(phase.into(), "00".into(), "null".into());
        self.add_by(caller(&who(side), at), id, message)
    }

    fn add_by(&mut self, by: Caller<'_>, id: &str, message: NewMessage) -> Result<(), StoreError> {
        self.execute(by, Request::Add { mailbox: id.into(), message }).map(drop)
    }

    fn close(&mut self, side: &str, id: &str, mood: &str, at: f64) -> Result<(), StoreError> {
        self.close_by(caller(&who(side), at), id, Some(mood.into()))
    }

    fn close_by(
        &mut self,
        by: Caller<'_>,
        id: &str,
        mood: Option<String>,
    ) -> Result<(), StoreError> {
        self.execute(by, Request::Close { mailbox: id.into(), mood }).map(drop)
    }

    fn release(&mut self, side: &str, name: &str, at: f64) {
        self.execute(caller(&who(side), at), Request::Release(name.into())).unwrap();
    }

    fn prune(&mut self, now: Now, listened: &[MailboxName]) -> Result<usize, StoreError> {
        let listened: Vec<Arc<MailboxName>> = listened.iter().cloned().map(Arc::new).collect();
        self.store().keep_in_use(now, &listened)?;
        let mut mailboxes = 0;
        loop {
            let pruned = self.store().prune(now, EXPIRY)?;
            self.removed.extend(pruned.removed);
            mailboxes += pruned.mailboxes;
            if pruned.is_complete {
                return Ok(mailboxes);
            }
        }
    }

    /// What was removed since the last call.
    fn usage(&mut self) -> Vec<Usage> {
        std::mem::take(&mut self.removed)
    }

    fn count(&mut self) -> (u64, u64) {
        let Counts { nameplates, mailboxes } = self.store().count().unwrap();
        (nameplates, mailboxes)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        self.store = None;
        self.backend.remove(&self.name);
    }
}

fn who(side: &str) -> Identity {
    Identity::new("app".into(), side.into())
}

fn time(seconds: f64) -> UnixTime {
    UnixTime::from_secs_f64(seconds)
}

/// So many seconds after the beginning on both clocks.
fn at(seconds: f64) -> Now {
    set_clock(seconds, seconds)
}

/// A time at which the two clocks differ.
fn set_clock(wall: f64, monotonic: f64) -> Now {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    Now { wall: time(wall), monotonic: *START + Duration::from_secs_f64(monotonic) }
}

/// A side at the usual address.
fn caller(who: &Identity, seconds: f64) -> Caller<'_> {
    static ADDRESS: LazyLock<Arc<Held>> = LazyLock::new(Arc::default);
    Caller { who, address: &ADDRESS, now: at(seconds) }
}

const EXPIRY: Duration = Duration::from_secs(660);

const CROWDED: StoreError = StoreError::Refused(Refusal::Crowded);

fn history(added: &[f64], moods: &[&str], crowded: bool) -> SideHistory {
    let moods = moods.iter().map(|mood| (*mood).into()).collect();
    SideHistory { added: added.into(), moods, crowded }
}

/// A PostgreSQL server with a database for each name.
struct Postgresql {
    postgres: Postgres,
    databases: RefCell<HashSet<String>>,
}

impl Backend for Postgresql {
    fn open(&self, name: &str, limits: StoreLimits) -> Box<dyn Store> {
        let database = format!("case_{}", name.replace('-', "_"));
        if self.databases.borrow_mut().insert(database.clone()) {
            self.postgres.create_database(&database);
        }
        let url = DatabaseUrl::from(self.postgres.url(&database));
        Box::new(PostgresStore::open(&url, limits, NodeId::random(), true).unwrap())
    }

    fn remove(&self, _: &str) {
        // All databases are removed with the server.
    }
}

#[test]
fn postgresql_behaves_like_sqlite() {
    let started = Postgres::start(Durability::Process, None);
    let Some(postgres) = wormhole_testbed::installed_or_skip(started) else { return };
    let backend = Postgresql { postgres, databases: RefCell::default() };
    for (name, case) in CASES {
        println!("{name}");
        case(&backend);
    }
}

/// Declares the cases: a test of its own for each of them on SQLite, and a list for the others.
macro_rules! cases {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[test] fn $case() { super::$case(&super::Sqlite); })*
        }

        /// All cases with their names.
        pub(super) const CASES: &[(&str, fn(&dyn Backend))] = &[$((stringify!($case), $case)),*];
    };
}

cases! {
    two_sides_that_claim_one_nameplate_meet_in_one_mailbox,
    applications_do_not_see_one_another,
    a_third_side_is_turned_away_and_the_two_may_still_come_back,
    the_statistics_remember_a_third_side,
    a_side_that_released_a_nameplate_cannot_claim_it_again_while_it_is_in_use,
    releasing_what_one_does_not_have_changes_nothing,
    allocated_nameplates_are_claimed_short_and_listed_as_strings,
    beyond_999_nameplates_longer_ones_are_picked,
    messages_are_read_in_the_order_they_were_added,
    a_mailbox_goes_when_its_last_side_closes_it_and_takes_its_nameplate_along,
    a_closed_mailbox_may_be_opened_and_closed_again,
    messages_only_go_into_mailboxes_that_their_side_is_in,
    a_full_mailbox_takes_no_more_and_keeps_what_it_has,
    only_what_nobody_uses_or_listens_to_is_pruned,
    coming_back_keeps_a_mailbox_from_being_pruned,
    committed_batches_survive_and_failed_batches_are_gone_whole,
    a_failed_batch_leaves_nothing_behind,
    a_long_mailbox_is_held_once_however_many_are_being_shown_it,
    a_wall_clock_that_jumps_removes_nothing_too_soon_and_keeps_nothing_for_years,
    an_address_has_so_much_stored_and_no_more_and_others_have_their_own,
    the_database_has_its_limit_and_leaves_room_for_small_things,
    the_reserve_for_newcomers_is_bounded_and_theirs_alone,
    a_newcomer_gets_no_more_than_its_minimum_of_a_full_database,
    what_was_stored_before_a_restart_counts_for_the_database_and_for_who_uses_it_next,
    what_a_failed_batch_stored_counts_for_nobody,
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

fn applications_do_not_see_one_another(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "apps");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    let stranger = Identity::new("other".into(), "one".into());
    let other = scratch.claim_by(caller(&stranger, 1.0), "4").unwrap();
    assert_ne!(mailbox, other);
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    assert!(scratch.open_by(caller(&stranger, 2.0), &mailbox).unwrap().is_empty());
    assert_eq!(scratch.list("other"), Ok(vec!["4".into()]));
}

fn a_third_side_is_turned_away_and_the_two_may_still_come_back(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "third");
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

fn the_statistics_remember_a_third_side(backend: &dyn Backend) {
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

fn releasing_what_one_does_not_have_changes_nothing(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "release");
    scratch.release("one", "4", 1.0);
    scratch.claim("one", "4", 1.0).unwrap();
    scratch.release("two", "4", 2.0);
    scratch.release("one", "not even a nameplate", 2.0);
    assert_eq!(scratch.list("app"), Ok(vec!["4".into()]));
}

fn allocated_nameplates_are_claimed_short_and_listed_as_strings(backend: &dyn Backend) {
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

fn messages_are_read_in_the_order_they_were_added(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "order");
    scratch.open("one", "m", 1.0).unwrap();
    for phase in ["pake", "version", "10", "9"] {
        scratch.add("one", "m", phase, 2.0).unwrap();
    }
    assert_eq!(scratch.open("two", "m", 3.0).unwrap(), ["pake", "version", "10", "9"]);
    let stored = scratch.open_by(caller(&who("two"), 3.0), "m").unwrap();
    assert_eq!(stored[0].server_rx, time(2.0));
    assert_eq!((stored[0].side.as_str(), stored[0].message.id.as_str()), ("one", "null"));
}

fn a_mailbox_goes_when_its_last_side_closes_it_and_takes_its_nameplate_along(
    backend: &dyn Backend,
) {
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
    // Its nameplate is free to be picked again.
    let picked: Vec<String> =
        (0..9).map(|n| scratch.allocate(&n.to_string(), 7.0).unwrap()).collect();
    assert!(picked.contains(&"4".into()));
}

fn a_closed_mailbox_may_be_opened_and_closed_again(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "again");
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

fn messages_only_go_into_mailboxes_that_their_side_is_in(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "not-open");
    let not_open = StoreError::Refused(Refusal::NotOpen);
    assert_eq!(scratch.add("one", "m", "pake", 1.0), Err(not_open.clone()));
    scratch.open("one", "m", 1.0).unwrap();
    assert_eq!(scratch.add("two", "m", "pake", 1.0), Err(not_open));
    assert_eq!(scratch.add("one", "m", "pake", 1.0), Ok(()));
}

fn a_full_mailbox_takes_no_more_and_keeps_what_it_has(backend: &dyn Backend) {
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

fn committed_batches_survive_and_failed_batches_are_gone_whole(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "restart");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    let message = NewMessage::new("version".into(), "00".into(), "null".into());
    let add = Request::Add { mailbox: mailbox.clone(), message };
    scratch.store().fail_next_commit();
    scratch.batch("one", vec![Request::Claim("5".into()), add], 2.0).unwrap_err();
    scratch.reopen(StoreLimits::default());
    assert_eq!(scratch.list("app"), Ok(vec!["4".into()]));
    assert_eq!(scratch.claim("two", "4", 3.0), Ok(mailbox.clone()));
    assert_eq!(scratch.open("two", &mailbox, 3.0).unwrap(), ["pake"]);
    // The store knows again which nameplates are free.
    let picked: Vec<String> =
        (0..8).map(|n| scratch.allocate(&n.to_string(), 4.0).unwrap()).collect();
    assert!(!picked.contains(&"4".into()) && picked.iter().all(|name| name.len() == 1));
}

fn a_failed_batch_leaves_nothing_behind(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "rollback");
    scratch.store().fail_next_commit();
    let claims = (1..=9).map(|number: u32| Request::Claim(number.to_string())).collect();
    scratch.batch("one", claims, 1.0).unwrap_err();
    assert_eq!(scratch.count(), (0, 0));
    assert_eq!(scratch.allocate("one", 1.0).unwrap().len(), 1);
    assert_eq!(scratch.usage(), []);
}

fn a_long_mailbox_is_held_once_however_many_are_being_shown_it(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "shared");
    scratch.open("one", "m", 1.0).unwrap();
    let long = |phase: &str| NewMessage::new(phase.into(), "a".repeat(100_000), "null".into());
    scratch.add_by(caller(&who("one"), 1.0), "m", long("0")).unwrap();
    let open =
        |scratch: &mut Scratch<'_>, side| scratch.open_by(caller(&who(side), 2.0), "m").unwrap();
    let first = open(&mut scratch, "one");
    scratch.add_by(caller(&who("one"), 2.0), "m", long("1")).unwrap();
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
    scratch.add_by(caller(&who("one"), 4.0), "m", long("new")).unwrap();
    assert_eq!(open(&mut scratch, "one")[0].message.phase, "new");
    scratch.store().fail_next_commit();
    let add = Request::Add { mailbox: "m".into(), message: long("undone") };
    scratch.batch("one", vec![add, Request::Open("m".into())], 4.0).unwrap_err();
    scratch.add_by(caller(&who("one"), 5.0), "m", long("again")).unwrap();
    let phases: Vec<String> =
        open(&mut scratch, "one").iter().map(|stored| stored.message.phase.clone()).collect();
    assert_eq!(phases, ["new", "again"]);
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

/// A store with quotas for stored bytes.
fn with_quota<'a>(
    backend: &'a dyn Backend,
    name: &str,
    per_address: u64,
    database: u64,
) -> Scratch<'a> {
    Scratch::with(
        backend,
        name,
        StoreLimits { quota: Quota { per_address, database }, ..StoreLimits::default() },
    )
}

/// Adds a message of 10,000 bytes from an address.
fn fill(scratch: &mut Scratch<'_>, address: &Arc<Held>, id: &str) -> Result<(), StoreError> {
    let who = who(id);
    let by = Caller { address, ..caller(&who, 1.0) };
    scratch.open_by(by, id)?;
    let message = NewMessage::new("0".into(), "a".repeat(10_000), "null".into());
    scratch.add_by(by, id, message).map(drop)
}

/// Adds messages until one is refused.
fn fill_up(scratch: &mut Scratch<'_>, address: &Arc<Held>, id: &str) -> (usize, StoreError) {
    let refused = (0..1000).find_map(|n| Some((n, fill(scratch, address, id).err()?)));
    refused.expect("never refused")
}

fn an_address_has_so_much_stored_and_no_more_and_others_have_their_own(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "quota", 100_000, 0);
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
    assert_eq!(scratch.prune(at(900.0), &[]), Ok(2));
    assert_eq!(one.stored.load(Ordering::Relaxed) + other.stored.load(Ordering::Relaxed), 0);
}

fn the_database_has_its_limit_and_leaves_room_for_small_things(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "full", 0, 2_000_000);
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
    scratch.allocate_by(by).unwrap();
}

fn the_reserve_for_newcomers_is_bounded_and_theirs_alone(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "reserve", 0, 2_000_000);
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

fn a_newcomer_gets_no_more_than_its_minimum_of_a_full_database(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "minimum", 0, 2_000_000);
    let addresses: [Arc<Held>; 6] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let (who, newcomer) = (who("n"), Arc::<Held>::default());
    let by = Caller { address: &newcomer, ..caller(&who, 1.0) };
    scratch.allocate_by(by).unwrap();
    let (added, refusal) = fill_up(&mut scratch, &newcomer, "n");
    assert_eq!((added, refusal), (6, StoreError::Refused(Refusal::StorageFull)));
}

fn what_was_stored_before_a_restart_counts_for_the_database_and_for_who_uses_it_next(
    backend: &dyn Backend,
) {
    let mut scratch = with_quota(backend, "adopted", 100_000, 0);
    let (before, after): (Arc<Held>, Arc<Held>) = Default::default();
    assert_eq!(fill_up(&mut scratch, &before, "a").0, 9);
    let quota = Quota { per_address: 100_000, database: 0 };
    scratch.reopen(StoreLimits { quota, ..StoreLimits::default() });
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill(&mut scratch, &after, "a"), Err(refused));
    let who = who("a");
    let by = Caller { address: &after, ..caller(&who, 1.0) };
    scratch.close_by(by, "a", None).unwrap();
    assert_eq!(after.stored.load(Ordering::Relaxed), 0);
}

fn what_a_failed_batch_stored_counts_for_nobody(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "undone", 100_000, 0);
    let address: Arc<Held> = Arc::default();
    fill(&mut scratch, &address, "a").unwrap();
    let before = address.stored.load(Ordering::Relaxed);
    let (who, message) = (who("a"), NewMessage::new("0".into(), "a".repeat(10_000), "null".into()));
    let mut requests = [
        Request::Add { mailbox: "a".into(), message },
        Request::Open("b".into()),
        Request::Close { mailbox: "a".into(), mood: Some("happy".into()) },
    ];
    let command = |request| Command { who: &who, address: &address, request };
    let mut commands: Vec<Command<'_>> = requests.iter_mut().map(command).collect();
    scratch.store().fail_next_commit();
    scratch.store().apply(&mut commands, &[], at(1.0)).unwrap_err();
    assert_eq!(address.stored.load(Ordering::Relaxed), before);
    scratch.close("a", "a", "happy", 1.0).unwrap();
    assert_eq!(address.stored.load(Ordering::Relaxed), 0);
}
