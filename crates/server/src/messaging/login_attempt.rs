//! Limits of wrong passwords: for each name and network, and for each network.
//!
//! Whoever invents names would otherwise have any number of attempts, and could fill the table of names until it forgets
//! those that matter. But people who share an address must not be locked out by a neighbour: a name that has logged in from
//! a network within a month does not depend on what the others there do.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use wormhole_kit::network;

use super::rate_limits::{Action, RateLimits};
use super::store::LoginName;

/// A client that claims to have an account.
#[derive(Debug)]
pub(super) struct LoginAttempt<'a> {
    limits: &'a RateLimits,
    /// The name and the network.
    owner: (LoginName, IpAddr),
    /// The network, if it has limits of its own.
    network: Option<IpAddr>,
    now: Instant,
}

impl<'a> LoginAttempt<'a> {
    pub(super) fn new(
        limits: &'a RateLimits,
        name: LoginName,
        client: IpAddr,
        now: Instant,
    ) -> Self {
        Self { limits, owner: (name, network(client)), network: limits.network(client), now }
    }

    /// Whether the password may be checked.
    ///
    /// # Errors
    /// There were too many wrong ones. Returns the time until the next attempt.
    pub(super) fn check(&self) -> Result<(), Duration> {
        self.limits.check(Action::FailedLogin, &self.owner, self.now)?;
        match self.network {
            Some(network) if !self.is_known() => {
                self.limits.check(Action::FailedLoginPerNetwork, network, self.now)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The password was wrong. Concurrent attempts may have emptied the buckets since they were checked.
    pub(super) fn failed(&self) {
        let _empty = self.limits.spend(Action::FailedLogin, &self.owner, 1, self.now);
        if let Some(network) = self.network {
            let _empty = self.limits.spend(Action::FailedLoginPerNetwork, network, 1, self.now);
        }
    }

    /// The password was right.
    pub(super) fn succeeded(&self) {
        if self.network.is_some() {
            self.limits.empty(Action::KnownLogin, &self.owner, self.now);
        }
    }

    /// Whether the name has logged in from this network within a month.
    fn is_known(&self) -> bool {
        self.limits.check(Action::KnownLogin, &self.owner, self.now).is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";

    fn attempt<'a>(
        limits: &'a RateLimits,
        number: usize,
        client: &str,
        now: Instant,
    ) -> LoginAttempt<'a> {
        let name = LoginName::Number(format!("+1415{number:07}").parse().unwrap());
        LoginAttempt::new(limits, name, client.parse().unwrap(), now)
    }

    #[test]
    fn invented_names_are_counted_for_their_network_and_lock_out_no_neighbour() {
        let (limits, now) = (RateLimits::new(false), Instant::now());
        attempt(&limits, 1, HERE, now).succeeded();
        let invent = |number| {
            let attempt = attempt(&limits, number, HERE, now);
            attempt.check().map(|()| attempt.failed())
        };
        let allowed = (100..5000).take_while(|number| invent(*number).is_ok()).count();
        assert_eq!(allowed, 1000);
        // Neither do invented names get more buckets, nor do names that somebody else has used.
        let pause = attempt(&limits, 2, HERE, now).check().unwrap_err();
        assert_eq!(pause, Duration::from_secs(1));
        assert_eq!(attempt(&limits, 2, HERE, now + pause).check(), Ok(()));
        assert_eq!(attempt(&limits, 2, THERE, now).check(), Ok(()));
        assert_eq!(attempt(&limits, 1, HERE, now).check(), Ok(()), "it has logged in here");
    }

    #[test]
    fn a_name_that_has_logged_in_is_limited_by_its_own_wrong_passwords() {
        let (limits, now) = (RateLimits::new(false), Instant::now());
        attempt(&limits, 1, HERE, now).succeeded();
        for _ in 0..20 {
            assert_eq!(attempt(&limits, 1, HERE, now).check(), Ok(()));
            attempt(&limits, 1, HERE, now).failed();
        }
        assert!(attempt(&limits, 1, HERE, now).check().is_err());
        assert_eq!(attempt(&limits, 1, THERE, now).check(), Ok(()));
    }

    #[test]
    fn each_login_keeps_a_name_known_for_a_month() {
        let (limits, start) = (RateLimits::new(false), Instant::now());
        let day = |days: u32| start + days * Duration::from_secs(24 * 60 * 60);
        let flood = |days| {
            (100..1100).for_each(|number| attempt(&limits, number, HERE, day(days)).failed());
        };
        attempt(&limits, 1, HERE, day(0)).succeeded();
        attempt(&limits, 1, HERE, day(29)).succeeded();
        flood(31);
        assert_eq!(attempt(&limits, 1, HERE, day(31)).check(), Ok(()));
        assert!(attempt(&limits, 2, HERE, day(31)).check().is_err(), "it has never logged in");
        flood(60);
        assert!(attempt(&limits, 1, HERE, day(60)).check().is_err(), "its login was long ago");
    }

    #[test]
    fn clients_on_this_computer_have_no_limit_of_their_network() {
        let (limits, now) = (RateLimits::new(false), Instant::now());
        for number in 0..2000 {
            let attempt = attempt(&limits, number, "127.0.0.1", now);
            assert_eq!(attempt.check(), Ok(()));
            attempt.failed();
        }
    }
}
