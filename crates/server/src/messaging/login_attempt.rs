//! Limits of wrong passwords: for each name and network, and for each network. The networks of a wide one are also counted
//! together.
//!
//! An attacker who invents names would otherwise have any number of attempts. But people share addresses (of a provider, an office, or
//! a proxy that does not report its clients), so the wrong passwords of a neighbour must not lock anybody out. Therefore a
//! password with which a device has logged in from a network within a month is not limited there: the node remembers a keyed
//! hash of name, device, password and network. Everything else is limited before the database is asked.
//!
//! If the owner always gets in, then somebody in the same network who guesses the password gets in as well, however many wrong
//! ones came before. No rule avoids this. So only passwords of 16 bytes or more are remembered. Clients generate at least so
//! many, at random, and nobody guesses them. A shorter one keeps its limit, and its owner waits like everybody else.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wormhole_chat::DeviceId;
use wormhole_chat::service::PhoneNumber;
use wormhole_kit::{network, wider_network};
use zeroize::Zeroizing;

use super::api::Credentials;
use super::rate_limits::{Action, RateLimits};
use super::store::{Account, LoginName};

/// A client that claims to have an account.
#[derive(Debug)]
pub(super) struct LoginAttempt<'a> {
    limits: &'a RateLimits,
    credentials: &'a Credentials,
    client: IpAddr,
    now: Instant,
}

impl<'a> LoginAttempt<'a> {
    pub(super) const fn new(
        limits: &'a RateLimits,
        credentials: &'a Credentials,
        client: IpAddr,
        now: Instant,
    ) -> Self {
        Self { limits, credentials, client, now }
    }

    /// Whether the password may be checked.
    ///
    /// # Errors
    /// There were too many wrong ones. Returns the time until the next attempt.
    pub(super) fn check(&self) -> Result<(), Duration> {
        if self.is_known() {
            return Ok(());
        }
        self.limits.check(Action::FailedLogin, self.name(network), self.now)?;
        self.limits.check(Action::FailedLoginFromWide, self.name(wider_network), self.now)?;
        self.limits.check_network(Action::FailedLoginPerNetwork, self.client, self.now)
    }

    /// The password was wrong. Concurrent attempts may have emptied the buckets since they were checked.
    pub(super) fn failed(&self) {
        // It was right once. If it stayed known, it could be sent without a limit.
        self.limits.fill(Action::KnownLogin, self.login());
        let Self { limits, client, now, .. } = *self;
        let _empty = limits.spend(Action::FailedLogin, self.name(network), 1, now);
        let _empty = limits.spend(Action::FailedLoginFromWide, self.name(wider_network), 1, now);
        let _empty = limits.spend_of_network(Action::FailedLoginPerNetwork, client, 1, now);
    }

    /// The password was right, of an account of this number.
    pub(super) fn succeeded(&self, number: &PhoneNumber) {
        let network = wider_network(self.client);
        self.limits.empty(Action::KnownNumber, (number, network), self.now);
        if self.credentials.password.len() >= MIN_UNGUESSABLE {
            self.limits.empty(Action::KnownLogin, self.login(), self.now);
        }
    }

    /// Whether the device has logged in with this password from this network within a month.
    fn is_known(&self) -> bool {
        self.limits.check(Action::KnownLogin, self.login(), self.now).is_err()
    }

    /// The key for counting wrong passwords of a name in a network of this width.
    fn name(&self, width: fn(IpAddr) -> IpAddr) -> (&LoginName, IpAddr) {
        (&self.credentials.name, width(self.client))
    }

    /// The key for remembering a login. One customer of a provider may have all networks of a wide one.
    fn login(&self) -> (&LoginName, DeviceId, &str, IpAddr) {
        let Credentials { name, device, password } = self.credentials;
        (name, *device, password, wider_network(self.client))
    }
}

/// Remembers the password of a device that was registered or linked just now, as if it had logged in. It may do so with the
/// number or with the id of the account.
pub(super) fn remember_new_device(
    limits: &RateLimits,
    account: &Account,
    device: DeviceId,
    password: &Zeroizing<String>,
    client: IpAddr,
) {
    let number = &account.number;
    for name in [LoginName::Account(account.id), LoginName::Number(number.clone())] {
        let credentials = Credentials { name, device, password: password.clone() };
        LoginAttempt::new(limits, &credentials, client, Instant::now()).succeeded(number);
    }
}

/// Shortest password that is remembered, in bytes. Clients generate 16 to 24 random characters.
const MIN_UNGUESSABLE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";
    const RIGHT: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    const WRONG: &str = "BBBBBBBBBBBBBBBBBBBBBB";

    /// The service, as far as it limits logins.
    struct Logins {
        limits: RateLimits,
        now: Instant,
    }

    impl Logins {
        fn new() -> Self {
            Self { limits: RateLimits::new(false), now: Instant::now() }
        }

        fn attempt<T>(
            &self,
            number: usize,
            password: &str,
            client: &str,
            work: impl FnOnce(LoginAttempt<'_>) -> T,
        ) -> T {
            let credentials = Credentials::parse(&format!("+1415{number:07}"), password).unwrap();
            let client = client.parse().unwrap();
            work(LoginAttempt::new(&self.limits, &credentials, client, self.now))
        }

        fn check(&self, number: usize, password: &str, client: &str) -> Result<(), Duration> {
            self.attempt(number, password, client, |attempt| attempt.check())
        }

        /// Whether a wrong password was checked.
        fn fail(&self, number: usize, password: &str, client: &str) -> bool {
            self.attempt(number, password, client, |attempt| {
                attempt.check().map(|()| attempt.failed()).is_ok()
            })
        }

        fn succeed(&self, number: usize, password: &str, client: &str) {
            let owner = format!("+1415{number:07}").parse().unwrap();
            self.attempt(number, password, client, |attempt| attempt.succeeded(&owner));
        }
    }

    #[test]
    fn invented_names_are_counted_for_their_network_and_lock_out_no_neighbour() {
        let mut logins = Logins::new();
        logins.succeed(1, RIGHT, HERE);
        let allowed = (100..5000).take_while(|number| logins.fail(*number, WRONG, HERE)).count();
        assert_eq!(allowed, 1000);
        // Neither do invented names get more buckets, nor do names that somebody else has used.
        assert_eq!(logins.check(2, RIGHT, HERE), Err(Duration::from_secs(1)));
        assert_eq!(logins.check(2, RIGHT, THERE), Ok(()));
        assert_eq!(logins.check(1, RIGHT, HERE), Ok(()), "it has logged in here");
        logins.now += Duration::from_secs(1);
        assert_eq!(logins.check(2, RIGHT, HERE), Ok(()));
    }

    #[test]
    fn a_neighbour_who_guesses_the_password_of_a_name_is_limited_and_does_not_lock_it_out() {
        let logins = Logins::new();
        logins.succeed(1, RIGHT, HERE);
        let guesses = (0..1000).filter(|guess| logins.fail(1, &format!("guess{guess:020}"), HERE));
        assert_eq!(guesses.count(), 20);
        assert_eq!(logins.check(1, RIGHT, HERE), Ok(()));
        // Only there, and only with the same device.
        assert_eq!(logins.check(1, RIGHT, THERE), Ok(()), "nobody has guessed there");
        while logins.fail(1, WRONG, THERE) {}
        assert!(logins.check(1, RIGHT, THERE).is_err());
        let second = Credentials::parse("+14150000001.2", RIGHT).unwrap();
        let second = LoginAttempt::new(&logins.limits, &second, HERE.parse().unwrap(), logins.now);
        assert!(second.check().is_err());
    }

    #[test]
    fn a_password_that_can_be_guessed_keeps_its_limit() {
        let logins = Logins::new();
        let short = &RIGHT[..MIN_UNGUESSABLE - 1];
        logins.succeed(1, short, HERE);
        while logins.fail(1, WRONG, HERE) {}
        assert!(logins.check(1, short, HERE).is_err(), "it would be found without a limit");
        logins.succeed(1, &RIGHT[..MIN_UNGUESSABLE], HERE);
        assert_eq!(logins.check(1, &RIGHT[..MIN_UNGUESSABLE], HERE), Ok(()));
    }

    #[test]
    fn a_password_that_was_right_once_is_limited_when_it_is_wrong() {
        let logins = Logins::new();
        logins.succeed(1, RIGHT, HERE);
        let checked = (0..1000).filter(|_| logins.fail(1, RIGHT, HERE)).count();
        assert_eq!(checked, 20);
    }

    #[test]
    fn each_login_keeps_a_password_known_for_a_month() {
        let mut logins = Logins::new();
        let start = logins.now;
        let mut flood = |day: u32| {
            logins.now = start + day * Duration::from_secs(24 * 60 * 60);
            if day < 30 {
                logins.succeed(1, RIGHT, HERE);
            }
            while logins.fail(1, WRONG, HERE) {}
            logins.check(1, RIGHT, HERE).is_ok()
        };
        assert_eq!([0, 29, 58, 60].map(&mut flood), [true, true, true, false]);
    }

    #[test]
    fn a_client_that_moves_within_its_wide_network_stays_known() {
        let logins = Logins::new();
        logins.succeed(1, RIGHT, "2001:db8:1:1::1");
        for (client, is_known) in [("2001:db8:1:2::1", true), ("2001:db8:2:1::1", false)] {
            while logins.fail(1, WRONG, client) {}
            assert_eq!(logins.check(1, RIGHT, client).is_ok(), is_known, "{client}");
        }
    }

    #[test]
    fn a_customer_with_many_networks_guesses_twice_as_often_as_one_with_one() {
        let logins = Logins::new();
        let client = |network: usize| format!("2001:db8:1:{network:x}::1");
        let guesses = (0..1000).filter(|network| logins.fail(1, WRONG, &client(*network)));
        assert_eq!(guesses.count(), 40);
        let allowed = (100..60_000).filter(|it| logins.fail(*it, WRONG, &client(*it))).count();
        assert_eq!(allowed, 10_000 - 40);
        assert!(logins.fail(1, WRONG, "2001:db8:2::1"));
    }

    #[test]
    fn clients_on_this_computer_have_no_limit_of_their_network_but_one_for_each_name() {
        let logins = Logins::new();
        assert!((0..2000).all(|number| logins.fail(number, WRONG, "127.0.0.1")));
        // A proxy may be there that does not report the addresses of its clients.
        logins.succeed(1, RIGHT, "127.0.0.1");
        while logins.fail(1, WRONG, "127.0.0.1") {}
        assert_eq!(logins.check(1, RIGHT, "127.0.0.1"), Ok(()));
    }
}
