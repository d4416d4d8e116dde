use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

const ACCOUNT: AccountId = AccountId::from_bytes([7; 16]);
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn id(number: u32) -> DeviceId {
    DeviceId::new(number).unwrap()
}

fn own(devices: &[(u32, u32)]) -> Vec<OwnDevice> {
    let device = |(number, registration_id): &(u32, u32)| OwnDevice {
        device: id(*number),
        registration_id: *registration_id,
        has_keys: true,
    };
    devices.iter().map(device).collect()
}

fn next(
    previous: Option<&DeviceList>,
    existing: &[(u32, u32)],
    sign: &[u32],
    now: Timestamp,
) -> DeviceList {
    let is_wanted = |(number, _): &&(u32, u32)| sign.contains(number);
    let sign: Vec<_> = existing.iter().filter(is_wanted).map(|it| (id(it.0), it.1)).collect();
    DeviceList::next(previous, ACCOUNT, &own(existing), &sign, now).unwrap()
}

fn named(list: &DeviceList) -> Vec<(u8, u32)> {
    list.devices.iter().map(|it| (it.device.number(), it.registration_id)).collect()
}

fn former(list: &DeviceList) -> Vec<(u8, u32)> {
    list.former.iter().map(|it| (it.device.number(), it.registration_id)).collect()
}

#[test]
fn a_signed_list_reads_as_it_was_signed() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let pair = KeyPair::random(&mut rng);
    let first = next(None, &[(2, 20), (1, 10)], &[], NOW);
    let second = next(Some(&first), &[(1, 10), (3, 30)], &[3], NOW);
    for list in [first, second] {
        let signed = list.sign(&pair, &mut rng);
        assert_eq!(DeviceList::open(&signed, ACCOUNT, pair.public()), Ok(list.clone()));
        assert_eq!(DeviceList::decode(&list.encode()), Ok(list));
    }
}

#[test]
fn attack_9_a_list_is_only_believed_from_its_account() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (pair, other) = (KeyPair::random(&mut rng), KeyPair::random(&mut rng));
    let list = next(None, &[(1, 10)], &[], NOW);
    let signed = list.sign(&pair, &mut rng);
    let open = |bytes: &[u8], account| DeviceList::open(bytes, account, pair.public());
    let foreign = list.sign(&other, &mut rng);
    assert_eq!(open(&foreign, ACCOUNT), Err(DeviceListError::BadSignature));
    let stranger = AccountId::from_bytes([8; 16]);
    assert_eq!(open(&signed, stranger), Err(DeviceListError::OtherAccount));
    for place in 0..signed.len() {
        let mut changed = signed.clone();
        changed[place] ^= 1;
        assert!(open(&changed, ACCOUNT).is_err(), "byte {place}");
        assert!(open(&signed[..place], ACCOUNT).is_err());
    }
    // A signature of the same bytes for another purpose is not valid for a list.
    let other_purpose = proto::encode_signed(list.encode(), pair.sign(&list.encode(), &mut rng));
    assert_eq!(open(&other_purpose, ACCOUNT), Err(DeviceListError::BadSignature));
    let long = vec![0; DeviceList::MAX_BYTES + 1];
    assert_eq!(open(&long, ACCOUNT), Err(DeviceListError::Malformed));
}

#[test]
fn a_list_in_which_a_device_is_named_twice_or_out_of_order_is_malformed() {
    let list = next(None, &[(1, 10), (2, 20)], &[], NOW);
    let mut twice = list.clone();
    twice.devices[1].device = id(1);
    let mut reversed = list.clone();
    reversed.devices.reverse();
    let many = DeviceList { devices: vec![list.devices[0]; MAX_DEVICES + 1], ..list.clone() };
    let zero = DeviceList { revision: 0, ..list.clone() };
    let late = DeviceList { revision: DeviceList::MAX_REVISION + 1, ..list };
    for bad in [twice, reversed, many, zero, late] {
        assert_eq!(DeviceList::decode(&bad.encode()), Err(DeviceListError::Malformed));
    }
}

#[test]
fn the_first_list_has_all_devices_and_later_ones_those_that_were_signed() {
    let first = next(None, &[(2, 20), (1, 10)], &[], NOW);
    assert_eq!((first.revision, named(&first)), (1, vec![(1, 10), (2, 20)]));
    let same = next(Some(&first), &[(1, 10), (2, 20), (3, 30)], &[], NOW);
    assert!(same.has_same_devices(&first) && same.revision == 2);
    assert!(!same.has(id(3), 30) && !same.reads(id(3), None, NOW));
    let third = next(Some(&same), &[(1, 10), (2, 20), (3, 30)], &[3], NOW);
    assert_eq!((third.revision, named(&third)), (3, vec![(1, 10), (2, 20), (3, 30)]));
    assert!(third.has(id(3), 30) && !third.has(id(3), 31));
}

#[test]
fn attack_9_another_device_with_the_number_of_a_signed_one_is_not_signed() {
    let first = next(None, &[(1, 10)], &[], NOW);
    let existing = own(&[(1, 10), (2, 21)]);
    let second = DeviceList::next(Some(&first), ACCOUNT, &existing, &[(id(2), 20)], NOW).unwrap();
    assert_eq!(named(&second), [(1, 10)]);
}

#[test]
fn attack_9_a_list_whose_revision_leaves_no_room_for_later_ones_is_not_believed() {
    let list = next(None, &[(1, 10)], &[], NOW);
    let at = |revision| DeviceList { revision, ..list.clone() };
    assert!(at(1 << 32).may_follow(None) && !at((1 << 32) + 1).may_follow(None));
    for pinned in [1, 1 << 40] {
        assert!(at(pinned + (1 << 16)).may_follow(Some(&at(pinned))));
        assert!(!at(pinned + (1 << 16) + 1).may_follow(Some(&at(pinned))));
    }
}

#[test]
fn a_removed_device_gets_nothing_but_what_it_has_sent_can_be_read() {
    let first = next(None, &[(1, 10), (2, 20)], &[], NOW);
    let second = next(Some(&first), &[(1, 10), (2, 21)], &[], NOW);
    assert_eq!((named(&second), former(&second)), (vec![(1, 10)], vec![(2, 20)]));
    let reads = |id_of, sent| second.reads(id(2), id_of, Timestamp(sent));
    assert!(!second.has(id(2), 20) && reads(Some(20), NOW.0) && reads(None, NOW.0));
    assert!(!reads(Some(21), NOW.0));
    // Messages that it dates after its removal are not read; clocks may be wrong by a week.
    assert!(reads(Some(20), NOW.0 + MAX_LATE) && !reads(Some(20), NOW.0 + MAX_LATE + 1));
    assert!(second.reads(id(1), Some(10), Timestamp(u64::MAX)));
    // Another device gets its number.
    let third = next(Some(&second), &[(1, 10), (2, 21)], &[2], NOW);
    assert_eq!((named(&third), former(&third)), (vec![(1, 10), (2, 21)], vec![(2, 20)]));
    // A device that comes back is not a former one.
    let fourth = next(Some(&third), &[(1, 10), (2, 20)], &[2], NOW);
    assert_eq!((named(&fourth), former(&fourth)), (vec![(1, 10), (2, 20)], vec![(2, 21)]));
    let later = Timestamp(NOW.0 + FORMER_TIME);
    assert_eq!(former(&next(Some(&fourth), &[(1, 10), (2, 20)], &[], later)), vec![]);
}

#[test]
fn a_list_stays_short_however_often_devices_change() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let pair = KeyPair::random(&mut rng);
    let mut list = next(None, &[(1, 1)], &[], NOW);
    for round in 1..100 {
        let existing: Vec<_> = (1..=20).map(|number| (number, u32::MAX - round)).collect();
        let all: Vec<_> = (1..=20).collect();
        list = next(Some(&list), &existing, &all, Timestamp(u64::MAX >> 1));
    }
    assert_eq!((list.devices.len(), list.former.len()), (MAX_DEVICES, MAX_FORMER));
    let signed = list.sign(&pair, &mut rng);
    assert!(signed.len() <= DeviceList::MAX_BYTES, "{} bytes", signed.len());
    assert_eq!(DeviceList::open(&signed, ACCOUNT, pair.public()), Ok(list.clone()));
    list.revision = DeviceList::MAX_REVISION;
    assert_eq!(DeviceList::next(Some(&list), ACCOUNT, &[], &[], NOW), None);
}
