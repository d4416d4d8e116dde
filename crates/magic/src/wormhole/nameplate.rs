//! The nameplate at the server: allocates or claims it, and releases it when the peer is here.
//!
//! Each method that changes what the server should know returns the message to send. A message that cannot be
//! sent is dropped, because [`NameplateClaim::resume`] repeats it on the next connection. A granted claim is
//! repeated only after [`NameplateClaim::verify`]: if others use the nameplate by then, the claim makes us a side of
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
/// | Claimed | verify | | Reclaiming |
/// | Reclaiming | claimed | | Claimed |
/// | Claimed, Reclaiming | release, close | release | Releasing |
/// | Releasing | released | | Done |
/// | any other | resume | the last message | |
///
/// When a claim is closed before it is granted, it continues until then, because only a granted claim can be
/// released.
#[derive(Debug)]
pub(super) struct NameplateClaim {
    state: NameplateState,
    closing: bool,
}

#[derive(Debug)]
enum NameplateState {
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
        Self { state: NameplateState::Unwanted, closing: false }
    }

    /// Allocates a nameplate.
    pub(super) fn allocate(&mut self) -> Option<ClientMessage> {
        if !matches!(self.state, NameplateState::Unwanted) {
            return None;
        }
        self.state = NameplateState::Allocating;
        self.resume()
    }

    /// Claims this nameplate.
    pub(super) fn claim(&mut self, nameplate: Nameplate) -> Option<ClientMessage> {
        if !matches!(self.state, NameplateState::Unwanted | NameplateState::Allocating) {
            return None;
        }
        self.state = NameplateState::Claiming(nameplate);
        self.resume()
    }

    /// Whether an allocation is expected, so that an `allocated` message is valid.
    pub(super) const fn expects_allocation(&self) -> bool {
        matches!(self.state, NameplateState::Allocating)
    }

    /// The server granted the claim.
    pub(super) fn on_claimed(&mut self) -> Granted {
        match &self.state {
            NameplateState::Claiming(nameplate) => {
                self.state = NameplateState::Claimed(nameplate.clone());
                Granted::First(if self.closing { self.release() } else { None })
            }
            NameplateState::Reclaiming(nameplate) => {
                self.state = NameplateState::Claimed(nameplate.clone());
                Granted::Again
            }
            NameplateState::Unwanted
            | NameplateState::Allocating
            | NameplateState::Claimed(_)
            | NameplateState::Releasing(_)
            | NameplateState::Done => Granted::Unexpected,
        }
    }

    /// The connection was lost, and only the nameplate can show whether our mailbox still exists.
    pub(super) fn verify(&mut self) {
        if let NameplateState::Claimed(nameplate) = &self.state {
            self.state = NameplateState::Reclaiming(nameplate.clone());
        }
    }

    /// Whether the claim is being verified.
    pub(super) const fn is_reclaiming(&self) -> bool {
        matches!(self.state, NameplateState::Reclaiming(_))
    }

    /// Releases the nameplate, if it is ours.
    pub(super) fn release(&mut self) -> Option<ClientMessage> {
        let (NameplateState::Claimed(nameplate) | NameplateState::Reclaiming(nameplate)) =
            &self.state
        else {
            return None;
        };
        self.state = NameplateState::Releasing(nameplate.clone());
        self.resume()
    }

    /// The server released the nameplate. Returns whether that was expected.
    pub(super) fn on_released(&mut self) -> bool {
        let expected = matches!(self.state, NameplateState::Releasing(_));
        if expected {
            self.state = NameplateState::Done;
        }
        expected
    }

    /// Gives the nameplate up. `asked` says whether the server may know of our claim.
    pub(super) fn close(&mut self, asked: bool) -> Option<ClientMessage> {
        self.closing = true;
        match self.state {
            NameplateState::Unwanted => self.state = NameplateState::Done,
            NameplateState::Allocating | NameplateState::Claiming(_) if !asked => {
                self.state = NameplateState::Done;
            }
            NameplateState::Claimed(_) | NameplateState::Reclaiming(_) => return self.release(),
            NameplateState::Allocating
            | NameplateState::Claiming(_)
            | NameplateState::Releasing(_)
            | NameplateState::Done => {}
        }
        None
    }

    /// The server rejects our requests, so give up.
    pub(super) fn abandon(&mut self) {
        self.state = NameplateState::Done;
    }

    /// Whether the claim is neither granted nor closed.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.state, NameplateState::Allocating | NameplateState::Claiming(_))
    }

    /// Whether nothing of ours is left at the server.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, NameplateState::Done)
    }

    /// The message to send on a new connection: the one that was not answered, or a claim to verify.
    pub(super) fn resume(&self) -> Option<ClientMessage> {
        match &self.state {
            NameplateState::Allocating => Some(ClientMessage::Allocate),
            NameplateState::Claiming(nameplate) | NameplateState::Reclaiming(nameplate) => {
                Some(ClientMessage::Claim { nameplate: nameplate.to_string() })
            }
            NameplateState::Releasing(nameplate) => {
                Some(ClientMessage::Release { nameplate: Some(nameplate.to_string()) })
            }
            NameplateState::Unwanted | NameplateState::Claimed(_) | NameplateState::Done => None,
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
        nameplate.verify();
        nameplate.claim(four());
        nameplate.verify();
        assert!(!nameplate.is_reclaiming(), "it was never granted");
        nameplate.on_claimed();
        assert_eq!(nameplate.resume(), None);
        nameplate.verify();
        for _ in 0..2 {
            assert_eq!(nameplate.resume(), claim());
            assert!(nameplate.is_reclaiming());
        }
        assert_eq!(nameplate.on_claimed(), Granted::Again);
        assert!(!nameplate.is_reclaiming());
        assert_eq!(nameplate.resume(), None);
        nameplate.verify();
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
    fn a_claim_that_was_never_sent_is_closed_at_once() {
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
