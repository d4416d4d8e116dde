//! The actions of clients that are limited per minute and address, and what each request costs.

use std::time::Instant;

use wormhole_magic::mailbox::server::{Refusal, Request};

use crate::limits::{LinkPermit, PerMinute, limited_actions};

limited_actions! {
    /// The kinds of actions that are limited.
    enum MailboxAction {
        /// Adds a message, or lists the nameplates.
        Add,
        /// Allocates or claims a nameplate.
        Claim,
        /// Opens or closes a mailbox, or releases a nameplate.
        OpenOrClose,
    }
}

/// The limits of one address per minute, for each action; 0 means unlimited.
pub(super) fn per_minute(claims: u32, messages: u32) -> PerMinute {
    PerMinute::new(|action| match action {
        MailboxAction::Add => messages,
        MailboxAction::Claim => claims,
        MailboxAction::OpenOrClose => claims.saturating_mul(OPENED_OR_CLOSED_PER_CLAIM),
    })
}

/// Spends the cost of a request.
///
/// # Errors
/// The client's address has exceeded a limit. The error is the answer to the request.
pub(super) fn spend(permit: &LinkPermit, request: &Request, now: Instant) -> Result<(), Refusal> {
    let (action, cost, refusal) = match request {
        Request::Allocate | Request::Claim(_) => {
            (MailboxAction::Claim, 1.0, Refusal::TooManyClaims)
        }
        Request::Close { .. } | Request::Open(_) | Request::Release(_) => {
            (MailboxAction::OpenOrClose, 1.0, Refusal::TooManyClaims)
        }
        Request::Add { message, .. } => {
            let bytes = message.body.len() + message.id.len();
            (MailboxAction::Add, cost_of_message(bytes), Refusal::TooManyMessages)
        }
        Request::List => (MailboxAction::Add, cost_of_message(0), Refusal::TooManyMessages),
        Request::Bind(..) => return Ok(()),
    };
    if permit.spend(action, cost, now) { Ok(()) } else { Err(refusal) }
}

/// The cost of a message: one, and one more for each full [`BYTES_PER_MESSAGE`].
fn cost_of_message(bytes: usize) -> f64 {
    1.0 + f64::from(u32::try_from(bytes / BYTES_PER_MESSAGE).unwrap_or(u32::MAX))
}

/// For each allowed claim, a client may open a mailbox, close it, and release the nameplate.
const OPENED_OR_CLOSED_PER_CLAIM: u32 = 3;

/// Number of bytes of a message that cost as much as another message.
const BYTES_PER_MESSAGE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::limits::{Allowance, Limits};

    fn permit(claims: u32, messages: u32, now: Instant) -> LinkPermit {
        let per_minute = per_minute(claims, messages);
        let allowance = Allowance { per_minute, ..Allowance::default() };
        let limits = Arc::new(Limits::new(allowance, 0, false, now));
        limits.admit([192, 0, 2, 1].into(), now).unwrap()
    }

    #[test]
    fn a_long_message_counts_as_several_messages_but_at_most_as_the_limit_of_a_minute() {
        let now = Instant::now();
        let (permit, later) = (permit(0, 4, now), now + Duration::from_secs(60));
        let may_add = |bytes, now| permit.spend(MailboxAction::Add, cost_of_message(bytes), now);
        assert!(may_add(2 * BYTES_PER_MESSAGE, now) && !may_add(BYTES_PER_MESSAGE, now));
        assert!(may_add(0, now) && !may_add(0, now));
        assert!(may_add(usize::MAX, later) && !may_add(0, later));
    }

    #[test]
    fn opening_and_closing_is_limited_separately_from_claims() {
        let now = Instant::now();
        let permit = permit(1, 0, now);
        assert_eq!(spend(&permit, &Request::Allocate, now), Ok(()));
        assert_eq!(spend(&permit, &Request::Allocate, now), Err(Refusal::TooManyClaims));
        let open = Request::Open("m".into());
        for _ in 0..OPENED_OR_CLOSED_PER_CLAIM {
            assert_eq!(spend(&permit, &open, now), Ok(()));
        }
        assert_eq!(spend(&permit, &open, now), Err(Refusal::TooManyClaims));
        assert_eq!(spend(&permit, &Request::List, now), Ok(()), "messages are not limited");
    }
}
