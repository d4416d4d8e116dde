//! How often verification codes are sent to a number, and what strangers cannot do about it.
//!
//! Anybody can ask for codes for any number, and use them up. That must neither keep the owner of the number from
//! registering, nor cost the operator any number of messages. So when the codes of a number are used up:
//!
//! - One more is sent every ten minutes, if somebody asks. A code is valid just as long, so the owner always has a valid
//!   code or can get one.
//! - A network that asks in the meantime gets no message, but the last code can be entered from there.
//! - Each network gets two such answers a day, and all together 100, because each may then enter wrong codes. Networks from
//!   which the number has logged in within a month do not count, so strangers cannot use up theirs.

use std::net::IpAddr;
use std::time::Duration;

use wormhole_chat::service::PhoneNumber;
use wormhole_kit::wider_network;

use super::codes::Transport;
use super::rate_limits::{Action, Budget, RateLimits};

/// A client asks for a code.
#[derive(Clone, Debug)]
pub(super) struct CodeRequest {
    pub(super) transport: Transport,
    pub(super) number: PhoneNumber,
    pub(super) client: IpAddr,
}

/// The decision about a request for a code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Permission {
    /// A code.
    Code,
    /// Nothing, unless the code that was sent a short time ago was used since.
    NewCode,
}

impl CodeRequest {
    /// Counts the request for the network of the client. Call it before the database is asked.
    ///
    /// # Errors
    /// There were too many. Returns the time until the next one.
    pub(super) fn count_for_network(&self, budget: &Budget) -> Result<(), Duration> {
        budget.spend_of_network(Action::CodePerNetwork, self.client, 1)
    }

    /// Counts the request for the number.
    ///
    /// # Errors
    /// There were too many. Returns the time until the next code for any network.
    pub(super) fn permit(&self, budget: &Budget) -> Result<Permission, Duration> {
        let limits = &budget.limits;
        // Every request counts for the network. One customer of a provider may have all networks of a wide one.
        let wide = (&self.number, wider_network(self.client));
        let from_network = budget.spend(Action::ExtraCode, wide, 1);
        let Err(pause) = self.spend_shared(budget) else {
            limits.empty(self.extra(), &self.number, budget.now);
            return Ok(Permission::Code);
        };
        from_network.map_err(|_| pause)?;
        let is_known = limits.check(Action::KnownNumber, wide, budget.now).is_err();
        if !is_known {
            let extra = budget.spend(Action::ExtraCodePerNumber, &self.number, 1);
            extra.map_err(|_| pause)?;
        }
        let extra = budget.spend(self.extra(), &self.number, 1);
        Ok(extra.map_or(Permission::NewCode, |()| Permission::Code))
    }

    /// Takes a code out of those of the number, which all networks share.
    ///
    /// # Errors
    /// They are used up. Returns the time until there is one; nothing is taken.
    fn spend_shared(&self, budget: &Budget) -> Result<(), Duration> {
        let actions = match self.transport {
            Transport::Sms => [Action::SmsCode, Action::SmsCodePerDay],
            Transport::Voice => [Action::VoiceCode, Action::VoiceCodePerDay],
        };
        let check = |action: &Action| budget.limits.check(*action, &self.number, budget.now);
        actions.iter().try_for_each(check)?;
        actions.iter().try_for_each(|action| budget.spend(*action, &self.number, 1))
    }

    /// The code could not be sent, so the next one need not wait.
    pub(super) fn not_sent(&self, limits: &RateLimits) {
        limits.fill(self.extra(), &self.number);
    }

    const fn extra(&self) -> Action {
        match self.transport {
            Transport::Sms => Action::ExtraSmsCode,
            Transport::Voice => Action::ExtraVoiceCode,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const HOME: &str = "192.0.2.1";
    const MINUTE: Duration = Duration::from_secs(60);
    const BOTH: [Transport; 2] = [Transport::Sms, Transport::Voice];

    /// Requests for codes for one number.
    struct Requests(Budget);

    impl Requests {
        fn new() -> Self {
            Self(Budget { limits: RateLimits::new(false).into(), now: Instant::now() })
        }

        fn ask(&self, transport: Transport, client: &str) -> Result<Permission, Duration> {
            let number = "+14155550101".parse().unwrap();
            let client = client.parse().unwrap();
            CodeRequest { transport, number, client }.permit(&self.0)
        }

        /// Strangers use up what the number gets in a day.
        fn use_up(&self) {
            let number: PhoneNumber = "+14155550101".parse().unwrap();
            for (action, all) in [(Action::SmsCodePerDay, 50), (Action::VoiceCodePerDay, 10)] {
                assert_eq!(self.0.spend(action, &number, all), Ok(()));
            }
        }
    }

    /// An address in one of many wide networks.
    fn stranger(number: usize) -> String {
        format!("2001:db8:{number:x}::1")
    }

    #[test]
    fn one_network_gets_what_the_number_may_get() {
        let mut requests = Requests::new();
        let sent = |requests: &Requests| {
            (0..10).filter(|_| requests.ask(Transport::Sms, HOME).is_ok()).count()
        };
        assert_eq!(sent(&requests), 2);
        requests.0.now += MINUTE;
        assert_eq!(sent(&requests), 2);
        let mut calls = 0;
        for _ in 0..30 {
            requests.0.now += 2 * MINUTE;
            calls += usize::from(requests.ask(Transport::Voice, HOME).is_ok());
        }
        assert_eq!(calls, 10);
    }

    #[test]
    fn a_network_that_asks_too_often_is_refused_before_its_app_is_looked_up() {
        let requests = Requests::new();
        let request = CodeRequest {
            transport: Transport::Sms,
            number: "+14155550101".parse().unwrap(),
            client: HOME.parse().unwrap(),
        };
        let allowed = (0..2000).filter(|_| request.count_for_network(&requests.0).is_ok());
        assert_eq!(allowed.count(), 1000);
        // The number has lost no code.
        assert_eq!(requests.ask(Transport::Sms, &stranger(1)), Ok(Permission::Code));
        assert_eq!(requests.ask(Transport::Sms, &stranger(2)), Ok(Permission::Code));
    }

    #[test]
    fn the_owner_always_has_a_code_or_gets_one_however_strangers_ask() {
        let mut requests = Requests::new();
        requests.use_up();
        // Then a stranger asks each minute, always before the owner.
        let mut sent = BOTH.map(|_| requests.0.now);
        for minute in 0..25 {
            requests.0.now += MINUTE;
            for (transport, sent) in BOTH.iter().zip(&mut sent) {
                for client in [stranger(100 + minute), format!("198.51.100.{minute}")] {
                    match requests.ask(*transport, &client) {
                        Ok(Permission::Code) => *sent = requests.0.now,
                        Ok(Permission::NewCode) => {}
                        Err(pause) => panic!("{transport} after {minute} minutes: {pause:?}"),
                    }
                }
                assert!(requests.0.now - *sent < 10 * MINUTE, "{transport}: no code is valid");
            }
        }
    }

    #[test]
    fn eleven_strangers_do_not_keep_the_owner_from_a_code_and_do_not_make_the_operator_pay() {
        let requests = Requests::new();
        let ask = |network| requests.ask(Transport::Sms, &stranger(network));
        let answers: Vec<Permission> =
            (0..11).flat_map(|network| [ask(network), ask(network)]).flatten().collect();
        let sent = answers.iter().filter(|it| **it == Permission::Code).count();
        assert_eq!((answers.len(), sent), (2 * 11, 2));
        assert_eq!(requests.ask(Transport::Sms, HOME), Ok(Permission::NewCode));
        // Nobody has called the owner yet.
        assert_eq!(requests.ask(Transport::Voice, HOME), Ok(Permission::Code));
    }

    #[test]
    fn all_strangers_together_get_a_hundred_answers_but_networks_of_the_owner_get_theirs() {
        let requests = Requests::new();
        let number: PhoneNumber = "+14155550101".parse().unwrap();
        let home: IpAddr = HOME.parse().unwrap();
        requests.0.limits.empty(Action::KnownNumber, (&number, home), requests.0.now);
        let ask = |client: &str| requests.ask(Transport::Sms, client);
        let asked = (0..500).filter(|network| ask(&stranger(*network)).is_ok()).count();
        assert_eq!(asked, 2 + 100);
        assert_eq!(ask("198.51.100.1"), Err(MINUTE / 2));
        let answers = [ask(HOME), ask(HOME), ask(HOME)];
        assert_eq!(answers, [Ok(Permission::NewCode), Ok(Permission::NewCode), Err(MINUTE / 2)]);
    }

    #[test]
    fn a_code_that_was_not_sent_delays_no_other_one() {
        let requests = Requests::new();
        for network in 0..2 {
            assert_eq!(requests.ask(Transport::Sms, &stranger(network)), Ok(Permission::Code));
        }
        assert_eq!(requests.ask(Transport::Sms, &stranger(2)), Ok(Permission::NewCode));
        let request = CodeRequest {
            transport: Transport::Sms,
            number: "+14155550101".parse().unwrap(),
            client: HOME.parse().unwrap(),
        };
        request.not_sent(&requests.0.limits);
        assert_eq!(request.permit(&requests.0), Ok(Permission::Code));
    }
}
