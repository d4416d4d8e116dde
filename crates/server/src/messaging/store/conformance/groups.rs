//! The logs of groups.

use super::fixture::{Fixture, Person};
use crate::messaging::store::rules::groups::{
    Append, AppendRefusal, GroupPage, MAX_ENTRIES, MAX_ENTRY, MAX_GROUPS, MAX_LINK_ENTRIES,
    MAX_LOG_BYTES, MAX_SHARE, read,
};
use crate::messaging::store::{
    AccountKey, Group, GroupEntry, GroupId, GroupKeys, GroupShare, IntraApp, TokenHash, WorkError,
};

const GROUP: GroupId = GroupId([1; 16]);
const OTHER: GroupId = GroupId([0xff; 16]);
const KEY: TokenHash = TokenHash([2; 32]);
const NEXT_KEY: TokenHash = TokenHash([3; 32]);
const ADMIN: TokenHash = TokenHash([4; 32]);
const NEXT_ADMIN: TokenHash = TokenHash([5; 32]);
const LINK: TokenHash = TokenHash([6; 32]);
const KEYS: GroupKeys = GroupKeys { member: KEY, admin: ADMIN, link: Some(LINK) };
const NEXT_KEYS: GroupKeys = GroupKeys { member: NEXT_KEY, admin: NEXT_ADMIN, link: None };

/// An entry that shows its revision.
fn entry(revision: u32) -> GroupEntry {
    let author = AccountKey(7);
    let entry = format!("entry {revision}\0").into_bytes();
    GroupEntry { revision, author, access: KEY, next: None, entry }
}

fn insert(fixture: &mut Fixture<'_>, group: GroupId, entry: GroupEntry) {
    fixture.rows(move |rows| rows.insert_group_entry(group, &entry));
}

/// The revisions of the entries that a page has.
fn revisions(fixture: &mut Fixture<'_>, from: u32, max_bytes: usize) -> Vec<u32> {
    let entries = fixture.rows(move |rows| rows.group_entries(GROUP, from, max_bytes));
    entries.into_iter().map(|(revision, _)| revision).collect()
}

fn append(
    fixture: &mut Fixture<'_>,
    author: &Person,
    append: &Append,
) -> Result<(), AppendRefusal> {
    let (append, author) = (append.clone(), author.account.clone());
    fixture.rows(move |rows| match append.append(rows, &author) {
        Ok(()) => Ok(Ok(())),
        Err(WorkError::Refused(refusal)) => Ok(Err(refusal)),
        Err(WorkError::Store(error)) => Err(error),
    })
}

/// A request with an entry that shows its revision.
fn request(revision: u32) -> Append {
    let entry = entry(revision).entry;
    let next = (revision == 0).then_some(KEYS);
    Append { group: GROUP, revision, access: KEY, next, entry }
}

fn page(fixture: &mut Fixture<'_>, access: TokenHash, from: u32) -> Option<GroupPage> {
    fixture.rows(move |rows| read(rows, GROUP, &access, from))
}

pub(super) fn the_log_of_a_group_is_read_as_it_was_written(fixture: &mut Fixture<'_>) {
    assert_eq!(fixture.rows(|rows| rows.group(GROUP)), None);
    let group = |latest| Group { creator: AccountKey(7), keys: KEYS, latest };
    fixture.rows(move |rows| rows.put_group(OTHER, &group(u32::MAX)));
    for group in [group(0), Group { keys: NEXT_KEYS, ..group(1) }] {
        let written = group.clone();
        fixture.rows(move |rows| rows.put_group(GROUP, &written));
        assert_eq!(fixture.rows(|rows| rows.group(GROUP)), Some(group));
    }
    let second = GroupEntry { next: Some(NEXT_KEYS), ..entry(2) };
    let third = GroupEntry { next: Some(KEYS), access: LINK, ..entry(u32::MAX) };
    for written in [entry(0), second, third] {
        insert(fixture, GROUP, written.clone());
        fixture.reopen();
        let revision = written.revision;
        let read = fixture.rows(move |rows| rows.group_entry(GROUP, revision));
        assert_eq!(read, Some(written));
    }
    assert_eq!(fixture.rows(|rows| rows.group_entry(GROUP, 1)), None);
    assert_eq!(fixture.rows(|rows| rows.group_entry(OTHER, 0)), None);
    let first = GroupShare { author: AccountKey(7), access: KEY, bytes: 8 };
    assert_eq!(fixture.rows(|rows| rows.group_shares(GROUP)), [first], "others replace keys");
    assert_eq!(fixture.rows(|rows| rows.group_shares(OTHER)), []);
    assert_eq!(fixture.rows(|rows| rows.count_groups(AccountKey(7))), 2);
    assert_eq!(fixture.rows(|rows| rows.count_groups(AccountKey(8))), 0);
}

pub(super) fn entries_are_read_in_order_up_to_a_number_of_bytes(fixture: &mut Fixture<'_>) {
    assert_eq!(revisions(fixture, 0, 1000).len(), 0);
    for revision in [3, 1, 2] {
        let long = GroupEntry { entry: vec![7; 100], ..entry(revision) };
        insert(fixture, GROUP, long);
        insert(fixture, OTHER, entry(revision));
    }
    for (from, max_bytes, expected) in [
        (0, 1000, &[1, 2, 3][..]),
        (2, 1000, &[2, 3]),
        (4, 1000, &[]),
        (0, 300, &[1, 2, 3]),
        (0, 299, &[1, 2]),
        (0, 99, &[1]),
        (0, 0, &[1]),
        (2, 0, &[2]),
    ] {
        assert_eq!(revisions(fixture, from, max_bytes), expected, "{from} {max_bytes}");
    }
}

pub(super) fn old_entries_are_removed_but_the_newest_one_stays(fixture: &mut Fixture<'_>) {
    for revision in 0..6 {
        insert(fixture, GROUP, GroupEntry { entry: vec![7; 100], ..entry(revision) });
        insert(fixture, OTHER, entry(revision));
    }
    for (oldest, max_bytes, expected) in [
        (0, 1000, &[0, 1, 2, 3, 4, 5][..]),
        (2, 1000, &[2, 3, 4, 5]),
        (0, 300, &[3, 4, 5]),
        (0, 299, &[4, 5]),
        (0, 0, &[5]),
        (u32::MAX, 0, &[5]),
    ] {
        fixture.rows(move |rows| rows.trim_group(GROUP, oldest, max_bytes));
        assert_eq!(revisions(fixture, 0, 1000), expected, "{oldest} {max_bytes}");
    }
    let others = fixture.rows(|rows| rows.group_entries(OTHER, 0, 1000));
    assert_eq!(others.len(), 6);
}

pub(super) fn a_group_keeps_the_newest_entries(fixture: &mut Fixture<'_>) {
    let [alice, _] = fixture.two_people();
    let all = MAX_ENTRIES + 5;
    for revision in 0..all {
        assert_eq!(append(fixture, &alice, &request(revision)), Ok(()));
    }
    let kept = page(fixture, KEY, 0).unwrap();
    assert_eq!(kept.latest, all - 1);
    let kept: Vec<u32> = kept.entries.into_iter().map(|(revision, _)| revision).collect();
    assert_eq!(kept, (5..all).collect::<Vec<_>>());
    // Long entries leave room for fewer.
    let long = usize::try_from(MAX_LOG_BYTES / 4 + 1).unwrap();
    for revision in all..all + 5 {
        let next = Some(KEYS);
        let request = Append { entry: vec![7; long], access: ADMIN, next, ..request(revision) };
        assert_eq!(append(fixture, &alice, &request), Ok(()));
    }
    let kept = revisions(fixture, 0, usize::MAX);
    assert_eq!(kept, [all + 2, all + 3, all + 4]);
}

pub(super) fn an_entry_needs_the_next_revision_and_the_access_key(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    for revision in [1, u32::MAX] {
        let refused = append(fixture, &alice, &request(revision));
        assert_eq!(refused, Err(AppendRefusal::NotFound), "there is no group");
    }
    assert_eq!(page(fixture, KEY, 0), None);
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()));
    assert_eq!(append(fixture, &bob, &request(1)), Ok(()));
    let wrong = |revision| Append { access: NEXT_KEY, ..request(revision) };
    for revision in [0, 1, 2, 3] {
        let refused = append(fixture, &bob, &wrong(revision));
        assert_eq!(refused, Err(AppendRefusal::NotFound), "{revision}");
    }
    assert_eq!(page(fixture, NEXT_KEY, 0), None);
    for revision in [0, 1, 3, u32::MAX] {
        let other = Append { entry: b"other".to_vec(), ..request(revision) };
        assert_eq!(append(fixture, &alice, &other), Err(AppendRefusal::Conflict(1)), "{revision}");
    }
    let stored = page(fixture, KEY, 1).unwrap();
    assert_eq!(stored, GroupPage { entries: vec![(1, entry(1).entry)], latest: 1 });
}

pub(super) fn a_repeated_entry_is_stored_once(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let rotation = rotation();
    for repeated in [request(0), rotation.clone()] {
        for _ in 0..2 {
            assert_eq!(append(fixture, &alice, &repeated), Ok(()));
        }
    }
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()), "with the key of that time");
    // Somebody else, other bytes, or another next key are not the same.
    assert_eq!(append(fixture, &bob, &rotation), Err(AppendRefusal::NotFound));
    let current = |append: Append| Append { access: NEXT_KEY, ..append };
    assert_eq!(append(fixture, &bob, &current(rotation.clone())), Err(AppendRefusal::Conflict(1)));
    let other = Append { next: None, ..current(rotation) };
    assert_eq!(append(fixture, &alice, &other), Err(AppendRefusal::Conflict(1)));
    assert_eq!(page(fixture, NEXT_KEY, 0).unwrap().latest, 1);
}

/// An administrator replaces all keys.
fn rotation() -> Append {
    Append { access: ADMIN, next: Some(NEXT_KEYS), ..request(1) }
}

pub(super) fn an_entry_of_an_administrator_replaces_the_keys(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()));
    assert_eq!(append(fixture, &alice, &rotation()), Ok(()));
    for old in [KEY, ADMIN, LINK] {
        assert_eq!(page(fixture, old, 0), None);
        let refused = append(fixture, &bob, &Append { access: old, ..request(2) });
        assert_eq!(refused, Err(AppendRefusal::NotFound));
    }
    let next = Append { access: NEXT_KEY, ..request(2) };
    assert_eq!(append(fixture, &bob, &next), Ok(()));
    let entries = page(fixture, NEXT_ADMIN, 0).unwrap().entries;
    assert_eq!(entries, [0, 1, 2].map(|revision| (revision, entry(revision).entry)));
    assert_eq!(page(fixture, NEXT_KEY, 0).map(|page| page.entries), Some(entries));
}

pub(super) fn attack_18_neither_a_member_nor_a_link_replaces_keys(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()));
    for access in [KEY, LINK] {
        for next in [NEXT_KEYS, KEYS] {
            let stolen = Append { access, next: Some(next), ..request(1) };
            assert_eq!(append(fixture, &bob, &stolen), Err(AppendRefusal::NotAdmin));
        }
    }
    assert_eq!(append(fixture, &alice, &rotation()), Ok(()), "it can still be removed");
}

pub(super) fn attack_18_a_link_permits_one_entry_of_each_account(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()));
    let with_link = |revision| Append { access: LINK, ..request(revision) };
    assert_eq!(page(fixture, LINK, 0).unwrap().latest, 0);
    assert_eq!(append(fixture, &bob, &with_link(1)), Ok(()));
    assert_eq!(append(fixture, &bob, &with_link(1)), Ok(()), "the same again");
    assert_eq!(append(fixture, &bob, &with_link(2)), Err(AppendRefusal::AlreadyJoined));
    assert_eq!(append(fixture, &alice, &with_link(2)), Ok(()));
    assert_eq!(append(fixture, &bob, &request(3)), Ok(()), "a member");
    // However many accounts somebody has, entries of members stay.
    let all = u32::try_from(MAX_LINK_ENTRIES).unwrap();
    for revision in 4..all + 2 {
        let entry =
            GroupEntry { author: AccountKey(1000 + i64::from(revision)), ..entry(revision) };
        insert(fixture, GROUP, GroupEntry { access: LINK, ..entry });
    }
    fixture.rows(move |rows| {
        rows.put_group(GROUP, &Group { creator: AccountKey(7), keys: KEYS, latest: all + 1 })
    });
    let app = fixture.app("com.c", IntraApp::Delivered);
    let carol = fixture.person(&app, "+14155550103");
    assert_eq!(append(fixture, &carol, &with_link(all + 2)), Err(AppendRefusal::LinkUsed));
    assert_eq!(append(fixture, &carol, &request(all + 2)), Ok(()));
    // A new link, after which the old one opens nothing.
    let link = Some(TokenHash([7; 32]));
    let next = Some(GroupKeys { link, ..KEYS });
    let renewed = Append { access: ADMIN, next, ..request(all + 3) };
    assert_eq!(append(fixture, &alice, &renewed), Ok(()));
    assert_eq!(append(fixture, &carol, &with_link(all + 4)), Err(AppendRefusal::NotFound));
    let with_link = Append { access: TokenHash([7; 32]), ..request(all + 4) };
    assert_eq!(append(fixture, &carol, &with_link), Ok(()));
}

pub(super) fn attack_18_neither_a_member_nor_a_link_displaces_the_log(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()));
    let long = |revision| Append { entry: vec![7; MAX_ENTRY], ..request(revision) };
    let half =
        |revision| Append { entry: vec![7; MAX_ENTRY / 2], access: LINK, ..request(revision) };
    let share = u32::try_from(MAX_SHARE).unwrap() / u32::try_from(MAX_ENTRY).unwrap();
    for revision in 1..=share {
        assert_eq!(append(fixture, &bob, &long(revision)), Ok(()));
    }
    let next = share + 1;
    assert_eq!(append(fixture, &bob, &long(next)), Err(AppendRefusal::TooMuch));
    assert_eq!(append(fixture, &bob, &request(next)), Ok(()), "Bob can leave");
    assert_eq!(append(fixture, &alice, &long(next + 1)), Ok(()), "others have their own share");
    // Those with the link have one together.
    let mut revision = next + 2;
    let app = fixture.app("com.c", IntraApp::Delivered);
    for number in 0..2 * share {
        let person = fixture.person(&app, &format!("+1415555{:04}", 200 + number));
        assert_eq!(append(fixture, &person, &half(revision)), Ok(()));
        revision += 1;
    }
    let last = fixture.person(&app, "+14155550300");
    assert_eq!(append(fixture, &last, &half(revision)), Err(AppendRefusal::LinkUsed));
    assert_eq!(revisions(fixture, 0, usize::MAX).len(), usize::try_from(revision).unwrap());
}

pub(super) fn an_account_creates_a_limited_number_of_groups(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let key = alice.account.key;
    fixture.rows(move |rows| {
        for number in 0..MAX_GROUPS {
            let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
            let id = GroupId([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
            rows.put_group(id, &Group { creator: key, keys: KEYS, latest: 0 })?;
        }
        Ok(())
    });
    assert_eq!(append(fixture, &alice, &request(0)), Err(AppendRefusal::TooManyGroups));
    assert_eq!(append(fixture, &bob, &request(0)), Ok(()));
    assert_eq!(append(fixture, &alice, &request(1)), Ok(()), "the group exists");
}
