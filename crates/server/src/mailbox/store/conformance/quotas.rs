//! How much an address and the whole database may store.

use super::*;

cases! {
    an_address_has_so_much_stored_and_no_more_and_others_have_their_own,
    the_database_has_its_limit_and_leaves_room_for_small_things,
    the_reserve_for_newcomers_is_bounded_and_theirs_alone,
    a_newcomer_gets_no_more_than_its_minimum_of_a_full_database,
    what_was_stored_before_a_restart_counts_for_the_database_and_for_who_uses_it_next,
}

fn an_address_has_so_much_stored_and_no_more_and_others_have_their_own(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "quota", 100_000, 0);
    let (one, other): (Arc<Held>, Arc<Held>) = Default::default();
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill_up(&mut scratch, &one, "a"), (9, refused.clone()));
    assert_eq!(fill(&mut scratch, &one, "b"), Err(refused), "nor in another mailbox");
    assert_eq!(fill_up(&mut scratch, &other, "c").0, 9);
    assert_eq!(scratch.open("a", "a", 2.0).unwrap().len(), 9, "nothing is lost");
    // What is closed or pruned may be used again.
    scratch.close("a", "a", "happy", 3.0).unwrap();
    scratch.close("b", "b", "happy", 3.0).unwrap();
    assert_eq!(one.stored.load(Ordering::Relaxed), 0);
    assert_eq!(fill_up(&mut scratch, &one, "a").0, 9);
    assert_eq!(scratch.prune(at(900.0), &[]), Ok(2));
    assert_eq!(one.stored.load(Ordering::Relaxed) + other.stored.load(Ordering::Relaxed), 0);
}

fn the_database_has_its_limit_and_leaves_room_for_small_things(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "full", 0, 2_000_000);
    let addresses: [Arc<Held>; 3] = Default::default();
    let stored: Vec<usize> = addresses
        .iter()
        .zip(["a", "b", "c"])
        .map(|(address, id)| {
            let (stored, refusal) = fill_up(&mut scratch, address, id);
            assert_eq!(refusal, StoreError::Refused(Refusal::StorageFull));
            stored
        })
        .collect();
    // Each gets half of what is left.
    assert_eq!(stored, [99, 50, 25], "each gets about half of what is left");
    let (who, newcomer) = (who("d"), Arc::default());
    let by = Caller { address: &newcomer, ..caller(&who, 1.0) };
    scratch.allocate_by(by).unwrap();
}

fn the_reserve_for_newcomers_is_bounded_and_theirs_alone(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "reserve", 0, 2_000_000);
    let addresses: [Arc<Held>; 20] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let stored = |addresses: &[Arc<Held>]| -> u64 {
        addresses.iter().map(|address| address.stored.load(Ordering::Relaxed)).sum()
    };
    let before = stored(&addresses);
    assert!((2_000_000..=2_250_000).contains(&before), "{before} bytes");
    // An address that has more than the minimum gets nothing of the reserve.
    let full = Err(StoreError::Refused(Refusal::StorageFull));
    assert_eq!(fill(&mut scratch, &addresses[0], "m0"), full);
}

fn a_newcomer_gets_no_more_than_its_minimum_of_a_full_database(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "minimum", 0, 2_000_000);
    let addresses: [Arc<Held>; 6] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let (who, newcomer) = (who("n"), Arc::<Held>::default());
    let by = Caller { address: &newcomer, ..caller(&who, 1.0) };
    scratch.allocate_by(by).unwrap();
    let (added, refusal) = fill_up(&mut scratch, &newcomer, "n");
    assert_eq!((added, refusal), (6, StoreError::Refused(Refusal::StorageFull)));
}

fn what_was_stored_before_a_restart_counts_for_the_database_and_for_who_uses_it_next(
    backend: &dyn Backend,
) {
    let mut scratch = with_quota(backend, "adopted", 100_000, 0);
    let (before, after): (Arc<Held>, Arc<Held>) = Default::default();
    assert_eq!(fill_up(&mut scratch, &before, "a").0, 9);
    let quota = Quota { per_address: 100_000, database: 0 };
    scratch.reopen(StoreLimits { quota, ..StoreLimits::default() });
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill(&mut scratch, &after, "a"), Err(refused));
    let who = who("a");
    let by = Caller { address: &after, ..caller(&who, 1.0) };
    scratch.close_by(by, "a", None).unwrap();
    assert_eq!(after.stored.load(Ordering::Relaxed), 0);
}
