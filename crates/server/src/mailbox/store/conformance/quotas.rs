//! Tests of the limits on stored bytes, per address and in total.

use super::*;

cases! {
    the_stored_bytes_of_each_address_are_limited,
    the_stored_bytes_of_the_database_are_limited_and_new_addresses_can_still_allocate,
    the_reserve_is_bounded_and_only_new_addresses_can_use_it,
    a_new_address_gets_only_the_guaranteed_bytes_of_a_full_database,
    bytes_stored_before_a_restart_are_charged_to_the_next_address_that_uses_the_mailbox,
}

fn the_stored_bytes_of_each_address_are_limited(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "quota", 100_000, 0);
    let (one, other): (Arc<AddressUsage>, Arc<AddressUsage>) = Default::default();
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill_up(&mut scratch, &one, "a"), (9, refused.clone()));
    assert_eq!(fill(&mut scratch, &one, "b"), Err(refused), "nor in another mailbox");
    assert_eq!(fill_up(&mut scratch, &other, "c").0, 9);
    assert_eq!(scratch.open("a", "a", 2.0).unwrap().len(), 9, "nothing is lost");
    // The bytes of closed or removed mailboxes can be used again.
    scratch.close("a", "a", "happy", 3.0).unwrap();
    scratch.close("b", "b", "happy", 3.0).unwrap();
    assert_eq!(one.stored.load(Ordering::Relaxed), 0);
    assert_eq!(fill_up(&mut scratch, &one, "a").0, 9);
    assert_eq!(scratch.prune(at(900.0), &[]), Ok(2));
    assert_eq!(one.stored.load(Ordering::Relaxed) + other.stored.load(Ordering::Relaxed), 0);
}

fn the_stored_bytes_of_the_database_are_limited_and_new_addresses_can_still_allocate(
    backend: &dyn Backend,
) {
    let mut scratch = with_quota(backend, "full", 0, 2_000_000);
    let addresses: [Arc<AddressUsage>; 3] = Default::default();
    let stored: Vec<usize> = addresses
        .iter()
        .zip(["a", "b", "c"])
        .map(|(address, id)| {
            let (stored, refusal) = fill_up(&mut scratch, address, id);
            assert_eq!(refusal, StoreError::Refused(Refusal::StorageFull));
            stored
        })
        .collect();
    assert_eq!(stored, [99, 50, 25], "each gets about half of what is left");
    let (identity, new_address) = (identity("d"), Arc::default());
    let by = Caller { address: &new_address, ..caller(&identity, 1.0) };
    scratch.allocate_by(by).unwrap();
}

fn the_reserve_is_bounded_and_only_new_addresses_can_use_it(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "reserve", 0, 2_000_000);
    let addresses: [Arc<AddressUsage>; 20] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let stored = |addresses: &[Arc<AddressUsage>]| -> u64 {
        addresses.iter().map(|address| address.stored.load(Ordering::Relaxed)).sum()
    };
    let before = stored(&addresses);
    assert!((2_000_000..=2_250_000).contains(&before), "{before} bytes");
    // An address with more than the guaranteed bytes cannot use the reserve.
    let full = Err(StoreError::Refused(Refusal::StorageFull));
    assert_eq!(fill(&mut scratch, &addresses[0], "m0"), full);
}

fn a_new_address_gets_only_the_guaranteed_bytes_of_a_full_database(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "minimum", 0, 2_000_000);
    let addresses: [Arc<AddressUsage>; 6] = Default::default();
    for (number, address) in addresses.iter().enumerate() {
        fill_up(&mut scratch, address, &format!("m{number}"));
    }
    let (identity, new_address) = (identity("n"), Arc::<AddressUsage>::default());
    let by = Caller { address: &new_address, ..caller(&identity, 1.0) };
    scratch.allocate_by(by).unwrap();
    let (added, refusal) = fill_up(&mut scratch, &new_address, "n");
    assert_eq!((added, refusal), (6, StoreError::Refused(Refusal::StorageFull)));
}

fn bytes_stored_before_a_restart_are_charged_to_the_next_address_that_uses_the_mailbox(
    backend: &dyn Backend,
) {
    let mut scratch = with_quota(backend, "adopted", 100_000, 0);
    let (before, after): (Arc<AddressUsage>, Arc<AddressUsage>) = Default::default();
    assert_eq!(fill_up(&mut scratch, &before, "a").0, 9);
    let quota = Quota { per_address: 100_000, database: 0 };
    scratch.reopen(StoreLimits { quota, ..StoreLimits::default() });
    let refused = StoreError::Refused(Refusal::TooMuchStored);
    assert_eq!(fill(&mut scratch, &after, "a"), Err(refused));
    let identity = identity("a");
    let by = Caller { address: &after, ..caller(&identity, 1.0) };
    scratch.close_by(by, "a", None).unwrap();
    assert_eq!(after.stored.load(Ordering::Relaxed), 0);
}
