//! Messages to many whose sender shows credentials: who gets them, and what they use up.

use std::time::Instant;

use super::fixture::{Fixture, Person, job};
use super::requests::{consent, decided, pair, two_people_with_requests};
use super::sealed::{devices_of, sealed_for, to_many};
use crate::messaging::rate_limits::{Action, Budget, RateLimits};
use crate::messaging::store::rules::consent::{ALLOWANCE, Decision};
use crate::messaging::store::{
    ConsentState, MAX_QUEUED_MESSAGES, SealedProof, SealedSent, SealedSubmission, Turn,
};

/// A message of somebody with credentials to others.
fn group_message(from: &Person, to: &[&Person], timestamp: u64) -> SealedSubmission {
    let to: Vec<_> = to.iter().map(|person| devices_of(person)).collect();
    let proof = SealedProof::Device(Box::new(from.sender(0)));
    to_many(sealed_for(&to), proof, timestamp)
}

fn send(fixture: &mut Fixture<'_>, budget: &Budget, submission: SealedSubmission) -> SealedSent {
    let sealed = vec![job(submission)];
    let mut turn = Turn { sealed, budget: Some(budget.clone()), ..Turn::default() };
    fixture.apply(&mut turn).unwrap();
    turn.sealed.remove(0).answer.unwrap()
}

/// The result that the client of the sender sees.
fn shown(sent: &SealedSent) -> Option<(usize, usize)> {
    match sent {
        SealedSent::Stored { unknown, full, .. } => Some((unknown.len(), full.len())),
        SealedSent::Limited(_)
        | SealedSent::Mismatched(_)
        | SealedSent::NotFound
        | SealedSent::QueueFull
        | SealedSent::RefusedIntraApp
        | SealedSent::Unauthorized
        | SealedSent::UnknownSender => None,
    }
}

fn budget() -> Budget {
    Budget { limits: RateLimits::new(false).into(), now: Instant::now() }
}

/// Whether everything that contacts of somebody may send is left.
fn is_untouched(budget: &Budget, person: &Person) -> bool {
    budget.check(Action::InboundKib, person.account.key, 131_072).is_ok()
}

pub(super) fn attack_11_a_stranger_sends_as_little_to_many_as_to_one(fixture: &mut Fixture<'_>) {
    let [alice, bob] = two_people_with_requests(fixture);
    let budget = budget();
    for timestamp in 1..=u64::from(ALLOWANCE) + 3 {
        let sent = send(fixture, &budget, group_message(&alice, &[&bob], timestamp));
        // Alice keeps what is not delivered yet.
        let waits = usize::from(timestamp > u64::from(ALLOWANCE));
        assert_eq!(shown(&sent), Some((0, waits)));
    }
    let delivered: Vec<u64> = (1..=u64::from(ALLOWANCE)).collect();
    assert_eq!(fixture.timestamps(bob.device()), delivered);
    let pair = pair(&bob, &alice);
    assert_eq!(consent(fixture, pair), Some((ConsentState::Pending, ALLOWANCE)));
    // It is the same allowance as for messages to one.
    fixture.send(alice.write(&bob, 20));
    assert_eq!(fixture.timestamps(bob.device()), delivered);
    assert!(is_untouched(&budget, &bob));
    let accepted = decided(fixture, &bob, alice.account.id, Decision::Accept);
    assert_eq!(accepted, Ok(()));
    // The sender sends the withheld messages again.
    let waited = u64::from(ALLOWANCE) + 1;
    let sent = send(fixture, &budget, group_message(&alice, &[&bob], waited));
    assert_eq!(shown(&sent), Some((0, 0)));
    assert_eq!(fixture.timestamps(bob.device()).last(), Some(&waited));
    assert!(!is_untouched(&budget, &bob));
}

pub(super) fn attack_11_strangers_who_send_to_many_do_not_use_up_what_contacts_may_send(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = two_people_with_requests(fixture);
    let app = bob.app.clone();
    let carol = fixture.person(&app, "+14155550103");
    let dave = fixture.person(&app, "+14155550104");
    assert_eq!(decided(fixture, &bob, carol.account.id, Decision::Accept), Ok(()));
    let budget = budget();
    // Other strangers have written to Bob.
    assert_eq!(budget.spend(Action::Request, bob.account.key, 999), Ok(()));
    for (from, timestamp) in [(&alice, 1), (&dave, 2), (&carol, 3)] {
        let sent = send(fixture, &budget, group_message(from, &[&bob], timestamp));
        assert_eq!(shown(&sent), Some((0, usize::from(timestamp == 2))));
        if timestamp < 3 {
            assert!(is_untouched(&budget, &bob));
        }
    }
    // The share of strangers was used up by the first message.
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
    // A message that is not stored costs nothing, and the answer does not show who is blocked.
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Block), Ok(()));
    let sent = send(fixture, &budget, group_message(&alice, &[&bob, &carol], 4));
    assert_eq!(shown(&sent), Some((0, 0)));
    assert_eq!(fixture.timestamps(bob.device()), [1, 3]);
    assert_eq!(fixture.timestamps(carol.device()), [4]);
}

pub(super) fn a_blocked_sender_to_many_gets_the_same_answers_as_an_accepted_one(
    fixture: &mut Fixture<'_>,
) {
    let [alice, bob] = two_people_with_requests(fixture);
    let many = u64::from(ALLOWANCE) + 3;
    for (decision, first) in [(Decision::Accept, 1), (Decision::Block, 101)] {
        assert_eq!(decided(fixture, &bob, alice.account.id, decision), Ok(()));
        for timestamp in first..first + many {
            let sent = fixture.send_sealed(group_message(&alice, &[&bob], timestamp));
            assert_eq!(shown(&sent), Some((0, 0)));
        }
    }
    let delivered: Vec<u64> = (1..=many).collect();
    assert_eq!(fixture.timestamps(bob.device()), delivered);
}

pub(super) fn a_stranger_to_many_does_not_notice_that_it_is_blocked(fixture: &mut Fixture<'_>) {
    let [alice, bob] = two_people_with_requests(fixture);
    for timestamp in 1..=u64::from(ALLOWANCE) + 2 {
        fixture.send_sealed(group_message(&alice, &[&bob], timestamp));
    }
    // Further messages wait, before and after the decision.
    for decision in [None, Some(Decision::Block)] {
        if let Some(decision) = decision {
            assert_eq!(decided(fixture, &bob, alice.account.id, decision), Ok(()));
        }
        let sent = fixture.send_sealed(group_message(&alice, &[&bob], 50));
        assert_eq!(shown(&sent), Some((0, 1)));
    }
}

pub(super) fn a_message_to_many_for_a_full_queue_uses_up_nothing(fixture: &mut Fixture<'_>) {
    let [alice, bob] = two_people_with_requests(fixture);
    assert_eq!(decided(fixture, &bob, alice.account.id, Decision::Accept), Ok(()));
    let mut timestamp = 0;
    while {
        timestamp += 1;
        let sent = fixture.send_sealed(group_message(&alice, &[&bob], timestamp));
        shown(&sent) == Some((0, 0))
    } {
        assert!(timestamp < MAX_QUEUED_MESSAGES);
    }
    let budget = budget();
    let sent = send(fixture, &budget, group_message(&alice, &[&bob], timestamp + 1));
    assert_eq!(shown(&sent), Some((0, 1)));
    assert!(is_untouched(&budget, &bob));
}
