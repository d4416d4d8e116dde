//! Codes of six digits: how long they are valid, and how often they may be guessed.
//!
//! Six digits can be guessed, so guesses are limited. But a stranger who knows a number must not keep its owner from registering, so
//! wrong codes count for the network that has sent them. A network that has asked for the code has guesses of its own; all
//! others together have a few, and when these are used up, a right code from such a network is refused like a wrong one: its
//! user asks for the code again, from this network. So no answer shows a stranger whether a code is pending.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use wormhole_chat::Timestamp;
use wormhole_chat::service::PhoneNumber;
use wormhole_kit::{network, wider_network};

use crate::messaging::rate_limits::{Action, Budget};
use crate::messaging::store::{Askers, NetworkHash, PendingCode, VerificationCode};

/// The limits of a client that enters codes.
#[derive(Debug)]
pub(in crate::messaging) struct Guesses {
    pub(in crate::messaging) budget: Budget,
    pub(in crate::messaging) address: IpAddr,
}

/// The result for a code that was entered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Entered {
    /// The network has entered too many wrong codes. It may enter another one after this time.
    Limited(Duration),
    /// Remove it: it is valid once.
    Right,
    /// Store the remaining guesses of the right code, if the number has one.
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
        entered: VerificationCode,
        now: Timestamp,
    ) -> Entered {
        let Some(mut pending) = pending.filter(|it| it.is_valid(now)) else {
            return Entered::Wrong(None);
        };
        let asker = pending.askers.attempts(NetworkHash::of(number, self.address));
        let limit = match asker {
            Some(attempts) => self.check_asker(number, attempts).map_err(Entered::Limited),
            None => self.check_other(number, pending.attempts).map_err(|_| Entered::Wrong(None)),
        };
        if let Err(refused) = limit {
            return refused;
        }
        if entered.matches(pending.code) {
            return Entered::Right;
        }
        self.count(number, asker);
        if asker.is_some() {
            pending.askers.count(NetworkHash::of(number, self.address));
        } else {
            pending.attempts += 1;
        }
        Entered::Wrong(Some(pending))
    }

    /// Whether a network that has asked for a code may enter another one. Many people may share the address of their
    /// provider, so the first one has a limit of its own, which is hard to use up: each needs a code for another number.
    fn check_asker(&self, number: &PhoneNumber, attempts: u32) -> Result<(), Duration> {
        self.check_number(number)?;
        match attempts {
            0 => self.check_network(Action::FirstWrongCodePerNetwork),
            1..MAX_ATTEMPTS_OF_ASKER => self.check_network(Action::WrongCodePerNetwork),
            _ => Err(CODE_LIFE),
        }
    }

    /// Whether a network that has not asked for the code may enter one.
    fn check_other(&self, number: &PhoneNumber, attempts: u32) -> Result<(), Duration> {
        if attempts >= MAX_ATTEMPTS_OF_OTHERS {
            return Err(CODE_LIFE);
        }
        self.check_number(number)?;
        self.check_network(Action::WrongCodePerNetwork)?;
        self.budget.limits.check(Action::WrongCode, number, self.budget.now)
    }

    fn check_number(&self, number: &PhoneNumber) -> Result<(), Duration> {
        let from_network = (number, wider_network(self.address));
        self.budget.limits.check(Action::WrongCodeFromNetwork, from_network, self.budget.now)
    }

    fn check_network(&self, action: Action) -> Result<(), Duration> {
        let Budget { limits, now } = &self.budget;
        limits.check_network(action, self.address, *now)
    }

    /// Counts a wrong code. An empty bucket stays empty.
    fn count(&self, number: &PhoneNumber, asker: Option<u32>) {
        let from_network = (number, wider_network(self.address));
        let _empty = self.budget.spend(Action::WrongCodeFromNetwork, from_network, 1);
        let action = match asker {
            Some(0) => Action::FirstWrongCodePerNetwork,
            Some(_) | None => Action::WrongCodePerNetwork,
        };
        let _empty = self.budget.spend_of_network(action, self.address, 1);
        if asker.is_none() {
            let _empty = self.budget.spend(Action::WrongCode, number, 1);
        }
    }
}

impl PendingCode {
    /// A code that nobody has entered yet.
    pub(super) const fn new(code: VerificationCode, sent: Timestamp) -> Self {
        Self { code, sent, attempts: 0, askers: Askers::none() }
    }

    /// Whether it can be used.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        u128::from(now.since(self.sent)) < CODE_LIFE.as_millis()
    }
}

/// How long a code is valid after somebody has last asked for it.
pub(super) const CODE_LIFE: Duration = Duration::from_secs(10 * 60);

/// How many wrong codes a network that has asked for the code may enter.
const MAX_ATTEMPTS_OF_ASKER: u32 = 5;

/// How many wrong codes all other networks together may enter.
const MAX_ATTEMPTS_OF_OTHERS: u32 = 10;
