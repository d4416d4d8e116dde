//! The nameplate at the server: allocates or claims it, and releases it when the peer is here.
//!
//! Each method that changes what the server should know returns the message to send. A message that cannot be
//! sent is dropped, because [`NameplateClaim::resume`] repeats it on the next connection. A granted claim is
//! repeated only after [`NameplateClaim::doubt`]: if others use the nameplate by then, the claim makes us a side of
//! their mailbox.

use crate::code::Nameplate;
use crate::mailbox::ClientMessage;

/// Our claim to a nameplate.
///
/// | state | input | sends | next |
/// |---|---|---|---|
/// | Unwanted | allocate | allocate | Allocating |
/// | Unwanted | claim | claim | Claiming |
/// | Unwanted | close | | Done |
/// | Allocating | allocated | claim | Claiming |
/// | Claiming | claimed | | Claimed |
/// | Claiming, closing | claimed | release | Releasing |
/// | Claimed | doubt | | Reclaiming |
/// | Reclaiming | claimed | | Claimed |
/// | Claimed, Reclaiming | release, close | release | Releasing |
/// | Releasing | released | | Done |
/// | any other | resume | the last message | |
///
/// When a claim is closed before it is granted, it continues until then, because only a granted claim can be
/// released.
#[derive(Debug)]
pub(super) struct NameplateClaim {
    state: State,
    closing: bool,
}

#[derive(Debug)]
enum State {
    Unwanted,
    Allocating,
    Claiming(Nameplate),
    Claimed(Nameplate),
    Reclaiming(Nameplate),
    Releasing(Nameplate),
    Done,
}

/// The result of a granted claim.
#[derive(Debug, PartialEq)]
pub(super) enum Granted {
    /// The nameplate is ours. Send this message, if any.
    First(Option<ClientMessage>),
    /// It was ours on an earlier connection, too.
    Again,
    /// We did not claim it.
    Unexpected,
}

impl NameplateClaim {
    pub(super) const fn new() -> Self {
        Self { state: State::Unwanted, closing: false }
    }

    /// Allocates a nameplate.
    pub(super) fn allocate(&mut self) -> Option<ClientMessage> {
        if !matches!(self.state, State::Unwanted) {
            return None;
        }
        self.state = State::Allocating;
        self.resume()
    }

    /// Claims this nameplate.
    pub(super) fn claim(&mut self, nameplate: Nameplate) -> Option<ClientMessage> {
        if !matches!(self.state, State::Unwanted | State::Allocating) {
            return None;
        }
        self.state = State::Claiming(nameplate);
        self.resume()
    }

    /// Whether an allocation is expected, so that an `allocated` message is valid.
    pub(super) const fn expects_allocation(&self) -> bool {
        matches!(self.state, State::Allocating)
    }

    /// The server granted the claim.
    pub(super) fn on_claimed(&mut self) -> Granted {
        match &self.state {
            State::Claiming(nameplate) => {
                self.state = State::Claimed(nameplate.clone());
                Granted::First(if self.closing { self.release() } else { None })
            }
            State::Reclaiming(nameplate) => {
                self.state = State::Claimed(nameplate.clone());
                Granted::Again
            }
            State::Unwanted
            | State::Allocating
            | State::Claimed(_)
            | State::Releasing(_)
            | State::Done => Granted::Unexpected,
        }
    }

    /// The connection was lost, and only the nameplate can show whether our mailbox still exists.
    pub(super) fn doubt(&mut self) {
        if let State::Claimed(nameplate) = &self.state {
            self.state = State::Reclaiming(nameplate.clone());
        }
    }

    /// Whether the claim is being verified.
    pub(super) const fn is_reclaiming(&self) -> bool {
        matches!(self.state, State::Reclaiming(_))
    }

    /// Releases the nameplate, if it is ours.
    pub(super) fn release(&mut self) -> Option<ClientMessage> {
        let (State::Claimed(nameplate) | State::Reclaiming(nameplate)) = &self.state else {
            return None;
        };
        self.state = State::Releasing(nameplate.clone());
        self.resume()
    }

    /// The server released the nameplate. Returns whether that was expected.
    pub(super) fn on_released(&mut self) -> bool {
        let expected = matches!(self.state, State::Releasing(_));
        if expected {
            self.state = State::Done;
        }
        expected
    }

    /// Gives the nameplate up. `asked` says whether the server may know of our claim.
    pub(super) fn close(&mut self, asked: bool) -> Option<ClientMessage> {
        self.closing = true;
        match self.state {
            State::Unwanted => self.state = State::Done,
            State::Allocating | State::Claiming(_) if !asked => self.state = State::Done,
            State::Claimed(_) | State::Reclaiming(_) => return self.release(),
            State::Allocating | State::Claiming(_) | State::Releasing(_) | State::Done => {}
        }
        None
    }

    /// The server rejects our requests, so give up.
    pub(super) fn abandon(&mut self) {
        self.state = State::Done;
    }

    /// Whether the claim is neither granted nor closed.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.state, State::Allocating | State::Claiming(_))
    }

    /// Whether nothing of ours is left at the server.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The message to send on a new connection: the one that was not answered, or a claim to verify.
    pub(super) fn resume(&self) -> Option<ClientMessage> {
        match &self.state {
            State::Allocating => Some(ClientMessage::Allocate),
            State::Claiming(nameplate) | State::Reclaiming(nameplate) => {
                Some(ClientMessage::Claim { nameplate: nameplate.to_string() })
            }
            State::Releasing(nameplate) => {
                Some(ClientMessage::Release { nameplate: Some(nameplate.to_string()) })
            }
            State::Unwanted | State::Claimed(_) | State::Done => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four() -> Nameplate {
        Nameplate::parse("4").unwrap()
    }

    fn claim() -> Option<ClientMessage> {
        Some(ClientMessage::Claim { nameplate: "4".into() })
    }

    fn release() -> Option<ClientMessage> {
        Some(ClientMessage::Release { nameplate: Some("4".into()) })
    }

    #[test]
    fn an_unanswered_step_is_repeated_on_a_new_link() {
        let mut nameplate = NameplateClaim::new();
        assert_eq!(nameplate.resume(), None);
        assert_eq!(nameplate.allocate(), Some(ClientMessage::Allocate));
        assert_eq!(nameplate.resume(), Some(ClientMessage::Allocate));
        assert_eq!(nameplate.claim(four()), claim());
        assert_eq!(nameplate.resume(), claim());
        assert_eq!(nameplate.on_claimed(), Granted::First(None));
        assert_eq!(nameplate.release(), release());
        assert_eq!(nameplate.resume(), release());
        assert!(nameplate.on_released());
        assert_eq!(nameplate.resume(), None);
        assert!(nameplate.is_done());
    }

    #[test]
    fn a_granted_claim_is_repeated_only_while_it_is_in_doubt() {
        let mut nameplate = NameplateClaim::new();
        nameplate.doubt();
        nameplate.claim(four());
        nameplate.doubt();
        assert!(!nameplate.is_reclaiming(), "it was never granted");
        nameplate.on_claimed();
        assert_eq!(nameplate.resume(), None);
        nameplate.doubt();
        for _ in 0..2 {
            assert_eq!(nameplate.resume(), claim());
            assert!(nameplate.is_reclaiming());
        }
        assert_eq!(nameplate.on_claimed(), Granted::Again);
        assert!(!nameplate.is_reclaiming());
        assert_eq!(nameplate.resume(), None);
        nameplate.doubt();
        assert_eq!(nameplate.close(true), release());
        assert_eq!(nameplate.on_claimed(), Granted::Unexpected);
        assert!(nameplate.on_released());
        assert_eq!(nameplate.resume(), None);
    }

    #[test]
    fn a_claim_closed_before_it_is_granted_is_released_when_it_is() {
        let mut nameplate = NameplateClaim::new();
        nameplate.claim(four());
        assert_eq!(nameplate.close(true), None);
        assert!(!nameplate.is_done());
        assert_eq!(nameplate.on_claimed(), Granted::First(release()));
        assert!(nameplate.on_released());
        assert!(nameplate.is_done());
    }

    #[test]
    fn a_claim_the_server_never_heard_of_is_closed_at_once() {
        let mut nameplate = NameplateClaim::new();
        nameplate.claim(four());
        nameplate.close(false);
        assert!(nameplate.is_done());
    }

    #[test]
    fn answers_to_questions_never_asked_change_nothing() {
        let mut nameplate = NameplateClaim::new();
        assert_eq!(nameplate.on_claimed(), Granted::Unexpected);
        assert!(!nameplate.on_released());
        assert!(!nameplate.expects_allocation());
        assert_eq!(nameplate.release(), None);
    }
}
