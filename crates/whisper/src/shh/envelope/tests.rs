use std::time::Duration;

use super::*;

const NOW: u32 = 1_575_000_000;

fn wall() -> UnixTime {
    UnixTime::from_secs_f64(f64::from(NOW) + 0.5)
}

fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    Instant::now()
}

/// An envelope sent `sent` seconds from now with this TTL.
fn envelope(sent: i32, ttl: u32) -> Envelope {
    let expiry = NOW.wrapping_add_signed(sent).wrapping_add(ttl);
    Draft { expiry, ttl, topic: Topic([1, 2, 3, 4]), data: vec![7; 30] }.finish(5)
}

fn check(envelope: Envelope) -> Result<ValidEnvelope, EnvelopeError> {
    envelope.check(&Requirements::new(Work::NONE), instant(), wall())
}

#[test]
fn a_finished_draft_reads_back_with_the_same_fields() {
    for (data, nonce) in
        [(vec![], 0), (vec![0x7f], 127), (vec![0x80], 128), (vec![1; 300], 1 << 40)]
    {
        let draft = Draft { expiry: NOW, ttl: 1, topic: Topic([9; 4]), data: data.clone() };
        let envelope = draft.finish(nonce);
        assert_eq!(Envelope::parse(envelope.encoded()).as_ref(), Ok(&envelope));
        assert_eq!((envelope.data(), envelope.nonce()), (data.as_slice(), nonce));
        assert_eq!(envelope.size(), 20 + data.len());
    }
}

#[test]
fn required_work_uses_the_largest_definition_of_size() {
    let draft = Draft { expiry: NOW, ttl: 50, topic: Topic([9; 4]), data: vec![1; 300] };
    let full = draft.finish(u64::MAX).encoded().len();
    assert!(full > 320);
    let work = Work::new(2.0_f64.powi(20) / 320.0 / 50.0).unwrap();
    assert_eq!(work.bits_needed(320, 50), 20);
    assert_eq!(draft.bits_needed(work), 21);
}

#[test]
fn clocks_may_differ_by_ten_seconds() {
    assert!(check(envelope(10, 50)).is_ok());
    assert_eq!(check(envelope(11, 50)), Err(EnvelopeError::FromTheFuture { seconds: 11 }));
}

#[test]
fn peers_are_not_disconnected_or_banned_for_tolerable_clock_differences() {
    let tolerated = check(envelope(20, 50)).unwrap_err();
    assert_eq!(tolerated, EnvelopeError::FromTheFuture { seconds: 20 });
    assert!(!tolerated.is_misbehaviour());
    let far = [(21, 50), (-71, 50)].map(|(sent, ttl)| check(envelope(sent, ttl)).unwrap_err());
    assert_eq!(far[0], EnvelopeError::FromFarInTheFuture { seconds: 21 });
    assert!(far.iter().all(|far| far.is_misbehaviour() && far.depends_on_clock()));
}

#[test]
fn too_little_work_because_of_a_slow_clock_is_not_misbehaviour() {
    let early = envelope(5, 50);
    let (on_time, now) = (early.work(), early.work_if_early(6));
    let asked = |work: f64| Requirements::new(Work::new(work).unwrap());
    let enough = early.clone().check(&asked(on_time.as_f64()), instant(), wall()).unwrap_err();
    assert_eq!(enough, EnvelopeError::TooLittleWorkYet(now));
    assert!(!enough.is_misbehaviour() && enough.depends_on_clock());
    let too_little = early.check(&asked(1.01 * on_time.as_f64()), instant(), wall()).unwrap_err();
    assert_eq!(too_little, EnvelopeError::TooLittleWork(now));
    assert!(too_little.is_misbehaviour() && !too_little.depends_on_clock());
}

#[test]
fn an_envelope_from_the_future_needs_work_for_a_longer_lifetime() {
    let on_time = check(envelope(0, 50)).unwrap();
    let early = check(envelope(5, 50)).unwrap();
    assert_eq!(on_time.work(), on_time.envelope().work());
    assert_eq!(early.work(), early.envelope().work_if_early(6));
}

#[test]
fn an_envelope_expires_after_its_last_second() {
    assert!(check(envelope(-50, 50)).is_ok());
    assert_eq!(check(envelope(-51, 50)), Err(EnvelopeError::Expired { seconds: 1 }));
    assert_eq!(check(envelope(-70, 50)), Err(EnvelopeError::Expired { seconds: 20 }));
    assert_eq!(check(envelope(-71, 50)), Err(EnvelopeError::LongExpired { seconds: 21 }));
}

#[test]
fn a_ttl_of_zero_or_too_long_is_rejected_but_not_misbehaviour() {
    assert_eq!(check(envelope(0, 0)), Err(EnvelopeError::NoTtl));
    let limit = super::super::requirements::DEFAULT_MAX_TTL;
    assert!(check(envelope(0, limit)).is_ok());
    let refusal = check(envelope(0, limit + 1)).unwrap_err();
    assert_eq!(refusal, EnvelopeError::TtlTooLong { ttl: limit + 1, limit });
    assert!(!refusal.is_misbehaviour() && !EnvelopeError::NoTtl.is_misbehaviour());
}

#[test]
fn size_work_and_topic_are_checked() {
    let later = instant() + Duration::from_secs(80);
    let small = Requirements::new(Work::NONE).with_limits(49, 100);
    let refused = Err(EnvelopeError::TooLarge { size: 50, limit: 49 });
    assert_eq!(envelope(0, 50).check(&small, later, wall()), refused);

    let worked = envelope(0, 50);
    let work = worked.work();
    let more = Requirements::new(Work::new(work.as_f64() * 1.01).unwrap());
    let refused = Err(EnvelopeError::TooLittleWork(work));
    assert_eq!(worked.check(&more, later, wall()), refused);

    let mut narrow = Requirements::new(Work::NONE);
    narrow.set_bloom(instant(), super::super::Bloom::EMPTY);
    let refused = Err(EnvelopeError::NotWanted(Topic([1, 2, 3, 4])));
    assert_eq!(envelope(0, 50).check(&narrow, later, wall()), refused);
}

#[test]
fn envelopes_that_were_valid_recently_are_dropped_but_not_misbehaviour() {
    let later = instant() + Duration::from_secs(60);
    let worked = envelope(0, 50);
    let work = worked.work();
    let mut raised = Requirements::new(Work::NONE);
    raised.set_min_work(instant(), Work::new(work.as_f64() * 1.01).unwrap());
    let refused = worked.check(&raised, later, wall()).unwrap_err();
    assert_eq!(refused, EnvelopeError::TooLittleWorkNow(work));
    let mut narrow = Requirements::new(Work::NONE);
    narrow.set_bloom(instant(), super::super::Bloom::EMPTY);
    let other = envelope(0, 50).check(&narrow, later, wall()).unwrap_err();
    assert_eq!(other, EnvelopeError::NotWantedAnyMore(Topic([1, 2, 3, 4])));
    assert!(!refused.is_misbehaviour() && !other.is_misbehaviour());
}

#[test]
fn an_envelope_prints_neither_data_nor_nonce() {
    let envelope = envelope(0, 50);
    let expected = format!("Envelope({}, 0x01020304 for 50 s, {} bytes)", envelope.hash(), 44);
    assert_eq!(format!("{envelope:?}"), expected);
}
