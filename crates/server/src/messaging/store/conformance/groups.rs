//! The logs of groups.

use super::fixture::{Fixture, Person};
use crate::messaging::store::rules::groups::{
    Append, AppendRefusal, GroupPage, MAX_ENTRIES, MAX_GROUPS, MAX_LOG_BYTES, read,
};
use crate::messaging::store::{AccountKey, Group, GroupEntry, GroupId, TokenHash, WorkError};

const GROUP: GroupId = GroupId([1; 16]);
const OTHER: GroupId = GroupId([0xff; 16]);
const KEY: TokenHash = TokenHash([2; 32]);
const NEXT_KEY: TokenHash = TokenHash([3; 32]);

/// An entry that shows its revision.
fn entry(revision: u32) -> GroupEntry {
    let author = AccountKey(7);
    let entry = format!("entry {revision}\0").into_bytes();
    GroupEntry { revision, author, access: KEY, next_access: None, entry }
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
    Append { group: GROUP, revision, access: KEY, next_access: None, entry }
}

fn page(fixture: &mut Fixture<'_>, access: TokenHash, from: u32) -> Option<GroupPage> {
    fixture.rows(move |rows| read(rows, GROUP, &access, from))
}

pub(super) fn the_log_of_a_group_is_read_as_it_was_written(fixture: &mut Fixture<'_>) {
    assert_eq!(fixture.rows(|rows| rows.group(GROUP)), None);
    let group = |latest| Group { creator: AccountKey(7), access: KEY, latest };
    fixture.rows(move |rows| rows.put_group(OTHER, &group(u32::MAX)));
    for group in [group(0), Group { access: NEXT_KEY, ..group(1) }] {
        let written = group.clone();
        fixture.rows(move |rows| rows.put_group(GROUP, &written));
        assert_eq!(fixture.rows(|rows| rows.group(GROUP)), Some(group));
    }
    let second = GroupEntry { next_access: Some(NEXT_KEY), ..entry(u32::MAX) };
    for written in [entry(0), second] {
        insert(fixture, GROUP, written.clone());
        fixture.reopen();
        let revision = written.revision;
        let read = fixture.rows(move |rows| rows.group_entry(GROUP, revision));
        assert_eq!(read, Some(written));
    }
    assert_eq!(fixture.rows(|rows| rows.group_entry(GROUP, 1)), None);
    assert_eq!(fixture.rows(|rows| rows.group_entry(OTHER, 0)), None);
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
        let request = Append { entry: vec![7; long], ..request(revision) };
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
    let rotation = Append { next_access: Some(NEXT_KEY), ..request(1) };
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
    let other = Append { next_access: None, ..current(rotation) };
    assert_eq!(append(fixture, &alice, &other), Err(AppendRefusal::Conflict(1)));
    assert_eq!(page(fixture, NEXT_KEY, 0).unwrap().latest, 1);
}

pub(super) fn an_entry_replaces_the_access_key(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    assert_eq!(append(fixture, &alice, &request(0)), Ok(()));
    let rotation = Append { next_access: Some(NEXT_KEY), ..request(1) };
    assert_eq!(append(fixture, &alice, &rotation), Ok(()));
    assert_eq!(page(fixture, KEY, 0), None);
    assert_eq!(append(fixture, &bob, &request(2)), Err(AppendRefusal::NotFound));
    let next = Append { access: NEXT_KEY, ..request(2) };
    assert_eq!(append(fixture, &bob, &next), Ok(()));
    let entries = page(fixture, NEXT_KEY, 0).unwrap().entries;
    assert_eq!(entries, [0, 1, 2].map(|revision| (revision, entry(revision).entry)));
}

pub(super) fn an_account_creates_a_limited_number_of_groups(fixture: &mut Fixture<'_>) {
    let [alice, bob] = fixture.two_people();
    let key = alice.account.key;
    fixture.rows(move |rows| {
        for number in 0..MAX_GROUPS {
            let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
            let id = GroupId([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
            rows.put_group(id, &Group { creator: key, access: KEY, latest: 0 })?;
        }
        Ok(())
    });
    assert_eq!(append(fixture, &alice, &request(0)), Err(AppendRefusal::TooManyGroups));
    assert_eq!(append(fixture, &bob, &request(0)), Ok(()));
    assert_eq!(append(fixture, &alice, &request(1)), Ok(()), "the group exists");
}
