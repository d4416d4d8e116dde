//! Codes and registrations on a real database, with a clock and networks of our own.

use std::path::PathBuf;
use std::time::Instant;

use wormhole_chat::DeviceId;

use super::*;
use crate::messaging::random;
use crate::messaging::rate_limits::{Action, Budget, RateLimits};
use crate::messaging::store::{IntraApp, SqliteStore, TokenHash};

/// A database with two apps, in a folder that is removed at the end of the test.
pub(in super::super) struct Fixture {
    folder: PathBuf,
    store: SqliteStore,
    budget: Budget,
    pub(in super::super) now: Timestamp,
}

impl Fixture {
    pub(in super::super) fn new(name: &str) -> Self {
        let name = format!("wormhole-registration-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut store = SqliteStore::open(&folder.join("messaging.sqlite")).unwrap();
        for app in ["com.a", "com.b"] {
            let add =
                |rows: &mut dyn Rows| rows.insert_app(&app.parse().unwrap(), IntraApp::Delivered);
            store.edit(add).unwrap().unwrap();
        }
        let budget = Budget { limits: RateLimits::new(false).into(), now: Instant::now() };
        Self { folder, store, budget, now: Timestamp(1_700_000_000_000) }
    }

    /// Asks for a code from a network. `new` is sent if no code is pending.
    pub(in super::super) fn ask(&mut self, network: &str, new: u32) -> u32 {
        let (now, asker) = (self.now, network.parse().unwrap());
        let new = VerificationCode(new);
        let choose = |rows: &mut dyn Rows| choose_code(rows, &number(), asker, new, now);
        self.store.edit(choose).unwrap().code.0
    }

    /// Counts a wrong code that a network has entered for another number, for which it has not asked.
    fn guess_elsewhere(&self, last_digits: u32, network: &str) {
        let number = format!("+1415555{last_digits:04}").parse().unwrap();
        let pending = Some(PendingCode::new(VerificationCode(RIGHT), self.now));
        let entered = VerificationCode(WRONG);
        let entered = self.guesses(network).enter(&number, pending, entered, self.now);
        assert!(matches!(entered, Entered::Wrong(_)), "{entered:?}");
    }

    /// Enters a code in a network; returns the status of a refusal.
    fn enter(&mut self, code: u32, network: &str) -> Result<Account, u16> {
        self.register(code, network, "com.a", DirectoryChoice::default())
    }

    pub(in super::super) fn register(
        &mut self,
        code: u32,
        network: &str,
        app: &str,
        directory: DirectoryChoice,
    ) -> Result<Account, u16> {
        let registration = Registration {
            code: VerificationCode(code),
            guesses: self.guesses(network),
            number: number(),
            app: ClaimedApp { credentials: None, default: Some(app.parse().unwrap()) },
            rejects_registered: false,
            id: random::account_id(),
            device: new_device(),
            directory,
            access: AccessChoice::default(),
        };
        let now = self.now;
        let result = self.decide(|rows| registration.register(rows, now));
        result.map_err(|refusal| match refusal {
            RegistrationRefusal::Limited(_) => 413,
            RegistrationRefusal::WrongCode => 403,
            other @ (RegistrationRefusal::Registered | RegistrationRefusal::WrongApp) => {
                panic!("{other:?}")
            }
        })
    }

    /// Executes work that may be refused. What was written before is stored.
    pub(in super::super) fn decide<T, R>(
        &mut self,
        mut work: impl FnMut(&mut dyn Rows) -> Result<T, WorkError<R>>,
    ) -> Result<T, R> {
        let result = self.store.edit(|rows| match work(rows) {
            Ok(value) => Ok(Ok(value)),
            Err(WorkError::Refused(refusal)) => Ok(Err(refusal)),
            Err(WorkError::Store(error)) => Err(error),
        });
        result.unwrap()
    }

    /// The limits of a client in a network.
    pub(in super::super) fn guesses(&self, network: &str) -> Guesses {
        Guesses { budget: self.budget.clone(), address: network.parse().unwrap() }
    }

    pub(in super::super) fn wait(&mut self, duration: Duration) {
        self.now.0 += u64::try_from(duration.as_millis()).unwrap();
        self.budget.now += duration;
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(in super::super) fn new_device() -> DeviceColumns {
    DeviceColumns {
        number: DeviceId::PRIMARY,
        password: TokenHash([0; 32]),
        salt: [0; 16],
        registration_id: 1,
        signaling_key: None,
        name: None,
        fetches_messages: true,
        push: None,
        attributes: "{}".into(),
        created: Timestamp(0),
        last_seen: Timestamp(0),
    }
}

pub(in super::super) fn number() -> PhoneNumber {
    "+14155550101".parse().unwrap()
}

/// One of many networks.
pub(in super::super) fn other(number: usize) -> String {
    format!("198.51.100.{number}")
}

pub(in super::super) const HOME: &str = "192.0.2.1";
const RIGHT: u32 = 123_456;
const WRONG: u32 = 654_321;
pub(in super::super) const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn a_code_that_is_valid_is_sent_again_instead_of_another() {
    let mut fixture = Fixture::new("again");
    assert_eq!(fixture.ask(HOME, RIGHT), RIGHT);
    fixture.wait(9 * MINUTE);
    assert_eq!(fixture.ask(HOME, WRONG), RIGHT);
    // It is valid for ten minutes after it was last sent.
    fixture.wait(9 * MINUTE);
    assert!(fixture.enter(RIGHT, HOME).is_ok());
    assert_eq!(fixture.ask(HOME, 222_222), 222_222);
    fixture.wait(10 * MINUTE);
    assert_eq!(fixture.enter(222_222, HOME), Err(403));
    assert_eq!(fixture.ask(HOME, 333_333), 333_333);
}

#[test]
fn strangers_have_ten_guesses_and_the_owner_still_registers() {
    let mut fixture = Fixture::new("ten");
    fixture.ask(HOME, RIGHT);
    for attempt in 0..20 {
        assert_eq!(fixture.enter(WRONG, &other(attempt)), Err(403));
    }
    // Refused like a wrong one, so that nobody learns whether a code is pending.
    assert_eq!(fixture.enter(RIGHT, &other(21)), Err(403));
    // Somebody who changes the network asks for the code again.
    assert_eq!(fixture.ask(&other(22), WRONG), RIGHT);
    assert!(fixture.enter(RIGHT, &other(22)).is_ok());
    fixture.ask(HOME, RIGHT);
    for attempt in 0..10 {
        assert_eq!(fixture.enter(WRONG, &other(attempt)), Err(403));
    }
    assert!(fixture.enter(RIGHT, HOME).is_ok());
}

#[test]
fn strangers_who_ask_for_the_code_have_five_guesses_each_and_do_not_keep_the_owner_out() {
    let mut fixture = Fixture::new("askers");
    for attempt in 0..100 {
        fixture.ask(&other(attempt), RIGHT);
        for _ in 0..5 {
            assert_eq!(fixture.enter(WRONG, &other(attempt)), Err(403));
        }
        assert_eq!(fixture.enter(RIGHT, &other(attempt)), Err(413));
    }
    assert_eq!(fixture.ask(HOME, WRONG), RIGHT);
    for _ in 0..4 {
        assert_eq!(fixture.enter(WRONG, HOME), Err(403));
    }
    assert!(fixture.enter(RIGHT, HOME).is_ok());
}

#[test]
fn all_networks_of_a_customer_guess_as_one() {
    let mut fixture = Fixture::new("customer");
    let network = |number: usize| format!("2001:db8:1:{number:x}::1");
    for number in 0..5 {
        fixture.ask(&network(number), RIGHT);
        assert_eq!(fixture.enter(WRONG, &network(number)), Err(403));
    }
    fixture.ask(&network(5), RIGHT);
    assert_eq!(fixture.enter(RIGHT, &network(5)), Err(413));
    fixture.ask("2001:db8:2::1", RIGHT);
    assert!(fixture.enter(RIGHT, "2001:db8:2::1").is_ok());
}

#[test]
fn a_network_guesses_ten_times_a_day_and_keeps_nobody_else_from_registering() {
    let mut fixture = Fixture::new("network");
    for attempt in 0..10 {
        // Each code is given up before ten guesses.
        fixture.wait(10 * MINUTE);
        fixture.ask(HOME, 200_000 + attempt);
        assert_eq!(fixture.enter(WRONG, HOME), Err(403));
    }
    // The last code is still valid.
    let right = fixture.ask(HOME, RIGHT);
    assert_eq!(fixture.enter(right, HOME), Err(413));
    assert!(fixture.enter(right, &other(1)).is_ok());
    fixture.wait(DAY);
    fixture.ask(HOME, RIGHT);
    assert!(fixture.enter(RIGHT, HOME).is_ok());
}

#[test]
fn all_strangers_together_guess_fifty_times_a_day() {
    let mut fixture = Fixture::new("all");
    for attempt in 0..50 {
        fixture.ask(HOME, RIGHT + u32::try_from(attempt).unwrap());
        assert_eq!(fixture.enter(WRONG, &other(attempt)), Err(403));
        fixture.wait(10 * MINUTE);
    }
    let code = fixture.ask(HOME, RIGHT);
    // A few guesses are possible again after more than eight hours.
    let spent = (0..50).filter(|_| fixture.budget.spend(Action::WrongCode, number(), 1).is_ok());
    assert!(spent.count() < 20);
    assert_eq!(fixture.enter(code, &other(60)), Err(403));
    assert!(fixture.enter(code, HOME).is_ok());
}

#[test]
fn wrong_codes_of_neighbours_do_not_keep_anybody_from_registering() {
    let mut fixture = Fixture::new("neighbours");
    let guesses = fixture.guesses(HOME);
    let neighbour = guesses.budget.limits.network(guesses.address).unwrap();
    while guesses.budget.spend(Action::WrongCodePerNetwork, neighbour, 1).is_ok() {}
    let code = fixture.ask(HOME, RIGHT);
    assert!(fixture.enter(code, HOME).is_ok());
    // But there is no second attempt.
    fixture.ask(HOME, RIGHT);
    assert_eq!(fixture.enter(WRONG, HOME), Err(403));
    assert_eq!(fixture.enter(RIGHT, HOME), Err(413));
}

#[test]
fn a_network_guesses_a_hundred_codes_that_it_has_not_asked_for() {
    let mut fixture = Fixture::new("guesses");
    let stranger = other(1);
    fixture.ask(HOME, RIGHT);
    for number in 1000..1099 {
        fixture.guess_elsewhere(number, &stranger);
    }
    // One is left.
    assert!(fixture.enter(RIGHT, &stranger).is_ok());
    fixture.guess_elsewhere(1099, &stranger);
    let code = fixture.ask(HOME, RIGHT);
    assert_eq!(fixture.enter(code, &stranger), Err(403));
    // Other networks can enter it, and this one can again after half a minute.
    fixture.guess_elsewhere(1100, &other(2));
    fixture.wait(MINUTE / 2);
    assert!(fixture.enter(code, &stranger).is_ok());
}

#[test]
fn the_networks_of_a_customer_guess_ten_times_as_many_codes_as_one() {
    let mut fixture = Fixture::new("wide");
    let network = |number: u32| format!("2001:db8:1:{number:x}::1");
    fixture.ask(HOME, RIGHT);
    for number in 0..1000 {
        fixture.guess_elsewhere(1000 + number, &network(number));
    }
    assert_eq!(fixture.enter(RIGHT, &network(2000)), Err(403));
    assert!(fixture.enter(RIGHT, "2001:db8:2::1").is_ok());
}

#[test]
fn a_network_enters_a_thousand_first_wrong_codes_that_it_has_asked_for() {
    let mut fixture = Fixture::new("first");
    let guesses = fixture.guesses(HOME);
    let network = guesses.budget.limits.network(guesses.address).unwrap();
    assert!(guesses.budget.spend(Action::FirstWrongCodePerNetwork, network, 999).is_ok());
    let code = fixture.ask(HOME, RIGHT);
    assert_eq!(fixture.enter(WRONG, HOME), Err(403));
    assert!(fixture.enter(code, HOME).is_ok(), "the second one has a limit of its own");
    let code = fixture.ask(HOME, RIGHT);
    assert_eq!(fixture.enter(code, HOME), Err(413));
    // Another network is not affected. This one waits for six seconds.
    fixture.ask(&other(1), WRONG);
    assert_eq!(fixture.enter(WRONG, &other(1)), Err(403));
    fixture.wait(MINUTE / 10);
    assert!(fixture.enter(code, HOME).is_ok());
}

#[test]
fn a_bare_number_means_the_first_app_unless_it_was_verified_long_ago() {
    let mut fixture = Fixture::new("default");
    let register = |fixture: &mut Fixture, app: &str| {
        fixture.ask(HOME, RIGHT);
        fixture.register(RIGHT, HOME, app, DirectoryChoice::default()).unwrap()
    };
    let first = register(&mut fixture, "com.a");
    assert!(first.is_default);
    fixture.wait(TRUST_IN_NUMBER);
    assert!(!register(&mut fixture, "com.b").is_default);
    // The owner of the first account proves again that the number is theirs.
    let again = register(&mut fixture, "com.a");
    assert_eq!((again.key, again.verified, again.is_default), (first.key, fixture.now, true));
    fixture.wait(TRUST_IN_NUMBER + MINUTE);
    assert!(register(&mut fixture, "com.b").is_default);
    let accounts = fixture.store.edit(|rows| rows.accounts_of(&number())).unwrap();
    assert_eq!(accounts.iter().filter(|account| account.is_default).count(), 1);
}

#[test]
fn a_second_registration_keeps_what_the_owner_decided_about_the_directory() {
    let mut fixture = Fixture::new("directory");
    let mut register = |is_discoverable, shows_app| {
        fixture.ask(HOME, RIGHT);
        let choice = DirectoryChoice { is_discoverable, shows_app };
        let account = fixture.register(RIGHT, HOME, "com.a", choice).unwrap();
        (account.is_discoverable, account.shows_app)
    };
    assert_eq!(register(None, None), (true, false));
    assert_eq!(register(Some(false), Some(true)), (false, true));
    assert_eq!(register(None, None), (false, true));
    assert_eq!(register(Some(true), None), (true, true));
}
