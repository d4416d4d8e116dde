//! Codes of six digits: how long they are valid, and how often they may be guessed.
//!
//! Whoever guesses codes is limited by number and network, so that an attacker elsewhere does not keep the owner of a
//! number from registering.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use wormhole_chat::Timestamp;
use wormhole_chat::service::PhoneNumber;
use wormhole_kit::network;

use crate::messaging::rate_limits::{Action, Budget};
use crate::messaging::store::{PendingCode, VerificationCode};

/// The limits of a client that enters codes.
#[derive(Debug)]
pub(in crate::messaging) struct Guesses {
    pub(in crate::messaging) budget: Budget,
    pub(in crate::messaging) address: IpAddr,
}

/// What became of a code that was entered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Entered {
    /// There were too many wrong codes. Another may be entered after this time.
    Limited(Duration),
    /// Remove it: it is valid once.
    Right,
    /// Store what is left of the right one, if there is one.
    Wrong(Option<PendingCode>),
}

impl Guesses {
    /// Counts an attempt, right or wrong.
    ///
    /// # Errors
    /// There were too many. Returns the time until the next one.
    pub(in crate::messaging) fn spend(
        &self,
        action: Action,
        owner: impl Hash,
    ) -> Result<(), Duration> {
        self.budget.spend(action, (owner, network(self.address)), 1)
    }

    /// Compares a code with the pending one.
    pub(super) fn enter(
        &self,
        number: &PhoneNumber,
        pending: Option<PendingCode>,
        entered: Option<VerificationCode>,
        now: Timestamp,
    ) -> Entered {
        let Some(pending) = pending else { return Entered::Wrong(None) };
        if let Err(pause) = self.check(number) {
            return Entered::Limited(pause);
        }
        if !pending.is_valid(now) {
            return Entered::Wrong(None);
        }
        if entered.is_some_and(|code| code.matches(pending.code)) {
            return Entered::Right;
        }
        self.count(number);
        Entered::Wrong(Some(PendingCode { attempts: pending.attempts + 1, ..pending }))
    }

    /// Whether another wrong code would be allowed.
    fn check(&self, number: &PhoneNumber) -> Result<(), Duration> {
        let Budget { limits, now } = &self.budget;
        limits.check(Action::WrongCode, number, *now)?;
        let from_network = (number, network(self.address));
        limits.check(Action::WrongCodeFromNetwork, from_network, *now)?;
        let network = limits.network(self.address);
        network.map_or(Ok(()), |it| limits.check(Action::WrongCodePerNetwork, it, *now))
    }

    /// Counts a wrong code.
    fn count(&self, number: &PhoneNumber) {
        let from_network = (number, network(self.address));
        let counted = [
            self.budget.spend(Action::WrongCode, number, 1),
            self.budget.spend(Action::WrongCodeFromNetwork, from_network, 1),
            self.budget.limits.network(self.address).map_or(Ok(()), |network| {
                self.budget.spend(Action::WrongCodePerNetwork, network, 1)
            }),
        ];
        debug_assert!(counted.iter().all(Result::is_ok), "they were checked before");
    }
}

impl PendingCode {
    /// A code that nobody has entered yet.
    pub(super) const fn new(code: VerificationCode, sent: Timestamp) -> Self {
        Self { code, sent, attempts: 0 }
    }

    /// Whether it can be used.
    pub(super) const fn is_valid(&self, now: Timestamp) -> bool {
        now.since(self.sent) < CODE_LIFE && self.attempts < MAX_ATTEMPTS
    }
}

/// How long a code is valid after it was last sent, in milliseconds.
const CODE_LIFE: u64 = 10 * 60 * 1000;

/// How many wrong codes may be entered before a code is useless.
const MAX_ATTEMPTS: u32 = 10;
