//! Groups whose members follow the rules, and others.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;
use crate::address::AccountId;
use crate::key::KeyPair;
use wormhole_kit::Secret;

/// A person, and how they see the group.
struct Person {
    account: AccountId,
    pair: KeyPair,
    view: Option<GroupView>,
}

/// A group with its log, as the server keeps it.
struct World {
    id: GroupId,
    log: Vec<Vec<u8>>,
    people: Vec<Person>,
    rng: ChaCha20Rng,
}

fn change_title(title: &str) -> GroupChange {
    GroupChange::Describe { title: title.to_owned(), description: None }
}

fn create() -> GroupChange {
    GroupChange::Create { title: "Hike".to_owned(), app: None }
}

const ACCEPT: GroupChange = GroupChange::Accept { app: None };

impl World {
    /// Person 0 creates the group; the next `members` are members, and the last one is not.
    fn new(members: usize) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let id = GroupId::random(&mut rng);
        let mut people: Vec<_> = (0..members + 2)
            .map(|_| {
                let mut account = [0; 16];
                rng.fill_bytes(&mut account);
                let account = AccountId::from_bytes(account);
                Person { account, pair: KeyPair::random(&mut rng), view: None }
            })
            .collect();
        let creator = (people[0].account, &people[0].pair);
        let (view, draft) = GroupView::create(id, creator, create(), &mut rng).unwrap();
        people[0].view = Some(view);
        let mut world = Self { id, log: vec![draft.entry], people, rng };
        let invited = (1..=members).map(|number| (world.account(number), None));
        let invite = GroupChange::Invite(invited.collect());
        assert_eq!(world.make(0, &invite).is_ok(), members > 0);
        for number in 1..=members {
            world.welcome(number);
            world.make(number, &ACCEPT).unwrap();
        }
        world
    }

    fn account(&self, number: usize) -> AccountId {
        self.people[number].account
    }

    fn author(&self, number: usize) -> Author {
        let Person { account, pair, .. } = &self.people[number];
        Author { account: *account, identity: *pair.public() }
    }

    fn state(&self, number: usize) -> &GroupState {
        self.people[number].view.as_ref().unwrap().state()
    }

    fn draft(&mut self, number: usize, change: &GroupChange) -> Result<Draft, EntryError> {
        let latest = u64::try_from(self.log.len() - 1).unwrap();
        let person = &self.people[number];
        let author = (person.account, &person.pair);
        person.view.as_ref().unwrap().draft(latest, author, change, &mut self.rng)
    }

    /// A person begins to read the log at its last entry, which person 0 has announced.
    fn welcome(&mut self, number: usize) {
        let known = self.people[0].view.as_ref().unwrap();
        let revision = known.state().revision;
        let announced = Announcement { by: Some(self.author(0)), revision, head: known.head() };
        let entry = &self.log[usize::try_from(revision).unwrap()];
        let keys = EpochKeys { secret: known.secret().unwrap().clone(), admin: None };
        let key = keys.secret.reading_key();
        let mut view = GroupView::begin(self.id, key, &announced, revision, entry).unwrap();
        assert!(view.learn(&keys));
        self.people[number].view = Some(view);
    }

    /// Adds an entry, which everybody reads who can.
    fn make(&mut self, number: usize, change: &GroupChange) -> Result<(), EntryError> {
        let draft = self.draft(number, change)?;
        self.log.push(draft.entry);
        for number in 0..self.people.len() {
            self.catch_up(number, draft.keys.as_slice());
        }
        Ok(())
    }

    /// Reads what is new in the log.
    fn catch_up(&mut self, number: usize, keys: &[EpochKeys]) {
        let Some(view) = &mut self.people[number].view else { return };
        for (revision, entry) in (0_u64..).zip(&self.log) {
            if revision > view.state().revision {
                let _invalid = view.read(revision, entry, keys);
            }
        }
    }
}

/// Checks that an entry is refused everywhere, and that nothing has changed.
fn refuse(world: &World, entry: &[u8], revision: u64, keys: &[EpochKeys], error: EntryError) {
    for person in &world.people {
        let Some(view) = &person.view else { continue };
        let mut after = view.clone();
        assert_eq!(after.read(revision, entry, keys), Err(error));
        assert_eq!(after, *view);
    }
}

#[test]
fn members_are_invited_accept_and_leave() {
    let mut world = World::new(3);
    assert_eq!(world.state(0).members.len(), 4);
    assert!(world.state(0).invited.is_empty());
    world.make(1, &GroupChange::Leave { successor: None }).unwrap();
    let last = GroupChange::Leave { successor: None };
    let refused = world.make(0, &last);
    assert_eq!(refused, Err(EntryError::NotPermitted(ChangeError::LastAdmin)));
    let successor = Some(world.account(2));
    world.make(0, &GroupChange::Leave { successor }).unwrap();
    assert_eq!(world.state(2).admins().collect::<Vec<_>>(), [world.account(2)]);
    world.make(2, &change_title("Trip")).unwrap();
    assert_eq!(world.state(3), world.state(2));
    assert_eq!(world.state(3).title, "Trip");
}

#[test]
fn only_administrators_change_a_group() {
    let mut world = World::new(2);
    let other = world.account(2);
    let changes = [
        change_title("Mine"),
        GroupChange::Invite([(world.account(3), None)].into()),
        GroupChange::NewEpoch { password: None },
        GroupChange::Remove { account: other, password: None },
        GroupChange::ReplaceIdentity { account: other, identity: *world.people[1].pair.public() },
        GroupChange::SetLink(Some(LinkPassword::from_secret(Secret::new([1; 16])))),
        GroupChange::SetRole { account: world.account(1), role: Role::Admin },
        GroupChange::SetTimer(60),
        GroupChange::Leave { successor: Some(other) },
    ];
    for change in changes {
        let refused = world.make(1, &change);
        assert_eq!(refused, Err(EntryError::NotPermitted(ChangeError::NotAdmin)), "{change:?}");
        world.people[3].view = world.people[0].view.clone();
        let refused = world.make(3, &change);
        assert_eq!(refused, Err(EntryError::NotPermitted(ChangeError::NotMember)), "{change:?}");
    }
}

#[test]
fn attack_18_a_forged_group_change_is_refused_by_everybody() {
    let mut world = World::new(2);
    let view = world.people[0].view.clone().unwrap();
    let revision = view.state().revision + 1;
    let author = Author { account: world.account(1), identity: *world.people[1].pair.public() };
    let mut state = view.state().clone();
    state.revision = revision;
    state.title = "Mine".to_owned();
    let previous = Some(view.head());
    let change = change_title("Mine");
    let entry = GroupEntry { group: world.id, revision, previous, author, change, state };
    let key = view.key();
    let mut sealed =
        |entry: &GroupEntry, pair: &KeyPair| entry.seal(key, pair, &mut world.rng).unwrap();
    let [admin, member] = [&world.people[0].pair, &world.people[1].pair];
    let not_admin = sealed(&entry, member);
    // In the name of the administrator, but signed by the member.
    let mut as_admin = entry.clone();
    as_admin.author = Author { account: world.people[0].account, identity: *admin.public() };
    let not_signed = sealed(&as_admin, member);
    // With a key of the member for the administrator's account.
    let mut other_key = as_admin.clone();
    other_key.author.identity = *member.public();
    let other_key = sealed(&other_key, member);
    // The change is permitted, but leads to another state.
    let mut other_state = as_admin.clone();
    other_state.state.expire_timer = 1;
    let other_state = sealed(&other_state, admin);
    let mut other_group = as_admin.clone();
    other_group.group = GroupId::from_bytes([1; 16]);
    let other_group = sealed(&other_group, admin);
    let good = sealed(&as_admin, admin);
    refuse(&world, &not_admin, revision, &[], ChangeError::NotAdmin.into());
    refuse(&world, &not_signed, revision, &[], EntryError::BadSignature);
    refuse(&world, &other_key, revision, &[], ChangeError::OtherIdentity.into());
    refuse(&world, &other_state, revision, &[], EntryError::WrongState);
    refuse(&world, &other_group, revision, &[], EntryError::NotAuthentic);
    refuse(&world, &good, revision + 1, &[], EntryError::NotAuthentic);
    for length in 0..good.len() {
        let mut view = world.people[1].view.clone().unwrap();
        assert!(view.read(revision, &good[..length], &[]).is_err());
    }
    for number in 0..3 {
        let view = world.people[number].view.as_mut().unwrap();
        assert!(view.read(revision, &good, &[]).is_ok());
    }
}

#[test]
fn attack_18_a_replayed_or_reordered_group_change_is_noticed() {
    let mut world = World::new(1);
    let stale = world.people[1].view.clone().unwrap();
    for title in ["A", "B", "C"] {
        world.make(0, &change_title(title)).unwrap();
    }
    let (last, revision) = (world.log.len() - 1, u64::try_from(world.log.len() - 1).unwrap());
    // Old entries again, in their places and in others.
    refuse(&world, &world.log[last], revision, &[], EntryError::Replayed);
    refuse(&world, &world.log[last - 1], revision - 1, &[], EntryError::Replayed);
    refuse(&world, &world.log[last - 1], revision, &[], EntryError::Forked);
    refuse(&world, &world.log[last - 1], revision + 1, &[], EntryError::NotAuthentic);
    // An entry is left out.
    let mut view = stale.clone();
    let skipped = view.read(revision, &world.log[last], &[]);
    assert_eq!((skipped, view), (Err(EntryError::Forked), stale));
}

#[test]
fn attack_18_a_log_that_shows_two_members_different_changes_is_noticed() {
    let mut world = World::new(1);
    let [ours, theirs] = ["A", "B"].map(|title| world.draft(0, &change_title(title)).unwrap());
    assert_eq!(ours.revision, theirs.revision);
    for (number, draft) in [&ours, &theirs].into_iter().enumerate() {
        let view = world.people[number].view.as_mut().unwrap();
        view.read(draft.revision, &draft.entry, &[]).unwrap();
    }
    world.log.push(ours.entry);
    let next = world.draft(0, &change_title("C")).unwrap();
    let deceived = world.people[1].view.as_mut().unwrap();
    assert_eq!(deceived.read(next.revision, &next.entry, &[]), Err(EntryError::Forked));
}

#[test]
fn attack_18_a_removed_member_reads_nothing_later_and_cannot_come_back_by_the_old_link() {
    let mut world = World::new(2);
    let password = LinkPassword::random(&mut world.rng);
    world.make(0, &GroupChange::SetLink(Some(password.clone()))).unwrap();
    assert_eq!(world.state(0).epoch, 0);
    let link = world.people[1].view.as_ref().unwrap().link().unwrap();
    assert_eq!(link.to_string().parse(), Ok(link.clone()));
    let removed = world.account(1);
    let next = LinkPassword::random(&mut world.rng);
    // The password must change, too.
    for password in [None, Some(password)] {
        let refused = world.draft(0, &GroupChange::Remove { account: removed, password });
        assert_eq!(refused, Err(ChangeError::BadLink.into()));
    }
    let before = world.people[1].view.clone().unwrap();
    let change = GroupChange::Remove { account: removed, password: Some(next) };
    let draft = world.draft(0, &change).unwrap();
    let keys = draft.keys.clone().unwrap();
    let required = draft.replaces.unwrap();
    let known = world.people[1].view.as_ref().unwrap();
    let access = |secret: &GroupSecret| secret.access(world.id).hash();
    assert_eq!(access(&keys.secret), required.member);
    assert_ne!(required.member, access(known.secret().unwrap()));
    let with_link = link.key.link_access(world.id, &link.password).hash();
    assert!(required.link.is_some_and(|link| link != with_link));
    let mut view = before;
    assert_eq!(view.read(draft.revision, &draft.entry, &[]), Err(EntryError::NotAuthentic));
    let start = link.announcement();
    let with_link = GroupView::begin(world.id, link.key, &start, draft.revision, &draft.entry);
    assert_eq!(with_link, Err(EntryError::NotAuthentic));
    world.log.push(draft.entry);
    for number in [0, 2] {
        world.catch_up(number, std::slice::from_ref(&keys));
        assert_eq!(world.state(number).epoch, 1);
        assert!(!world.state(number).members.contains_key(&removed));
    }
    // Even with the new secret, the old password opens nothing.
    world.people[1].view = world.people[0].view.clone();
    let join = GroupChange::Join { password: link.password, app: None };
    assert_eq!(world.draft(1, &join), Err(ChangeError::BadLink.into()));
}

#[test]
fn somebody_with_the_link_joins_until_it_is_disabled() {
    let mut world = World::new(0);
    let joiner = 1;
    let password = LinkPassword::random(&mut world.rng);
    world.make(0, &GroupChange::SetLink(Some(password))).unwrap();
    let link = world.people[0].view.as_ref().unwrap().link().unwrap();
    let revision = world.state(0).revision;
    let entry = world.log.last().unwrap();
    let start = link.announcement();
    let view = GroupView::begin(world.id, link.key.clone(), &start, revision, entry).unwrap();
    world.people[joiner].view = Some(view);
    let join = |password| GroupChange::Join { password, app: None };
    let guessed = LinkPassword::random(&mut world.rng);
    assert_eq!(world.draft(joiner, &join(guessed)), Err(ChangeError::BadLink.into()));
    world.make(joiner, &join(link.password.clone())).unwrap();
    assert_eq!(world.state(0).members.len(), 2);
    let again = world.draft(joiner, &join(link.password));
    assert_eq!(again, Err(ChangeError::AlreadyMember.into()));
    world.make(0, &GroupChange::SetLink(None)).unwrap();
    assert_eq!(world.state(0).epoch, 1);
    assert_eq!(world.people[0].view.as_ref().unwrap().link(), None);
}

#[test]
fn an_invitation_with_a_key_is_only_for_that_key() {
    let mut world = World::new(0);
    let expected = *KeyPair::random(&mut world.rng).public();
    world.make(0, &GroupChange::Invite([(world.account(1), Some(expected))].into())).unwrap();
    world.welcome(1);
    assert_eq!(world.draft(1, &ACCEPT), Err(ChangeError::OtherIdentity.into()));
    world.make(0, &GroupChange::Remove { account: world.account(1), password: None }).unwrap();
    assert_eq!(world.state(0).epoch, 1);
    world.welcome(1);
    assert_eq!(world.draft(1, &ACCEPT), Err(ChangeError::NotInvited.into()));
}

#[test]
fn an_announced_entry_is_pinned() {
    let mut world = World::new(0);
    world.make(0, &change_title("A")).unwrap();
    let view = world.people[0].view.clone().unwrap();
    let by = Some(world.author(0));
    let wrong = Announcement { by, revision: 1, head: EntryHash([0; 32]) };
    let begin = |announced: &Announcement, revision: usize| {
        let place = u64::try_from(revision).unwrap();
        let entry = &world.log[revision];
        let begun = GroupView::begin(world.id, view.key().clone(), announced, place, entry);
        begun.map(|begun| begun.state().clone())
    };
    assert_eq!(begin(&wrong, 1), Err(EntryError::Forked));
    let right = Announcement { by, revision: 1, head: view.head() };
    assert_eq!(begin(&right, 1), Ok(view.state().clone()));
    assert_eq!(begin(&right, 0), Err(EntryError::Replayed));
    // The announced entry was deleted since: the inviter must be an administrator, and the author of the next one.
    let mut other = world.author(0);
    other.identity = *world.people[1].pair.public();
    for by in [None, Some(world.author(1)), Some(other)] {
        let later = Announcement { by, revision: 0, head: view.head() };
        assert_eq!(begin(&later, 1), Err(EntryError::Forked));
    }
    let later = Announcement { by, revision: 0, head: view.head() };
    assert_eq!(begin(&later, 1), Ok(view.state().clone()));
}

#[test]
fn a_member_who_was_away_for_long_trusts_an_administrator() {
    let mut world = World::new(1);
    let stale = world.people[1].view.clone().unwrap();
    for number in 0..40 {
        world.make(0, &GroupChange::SetTimer(number + 1)).unwrap();
    }
    let last = world.log.len() - 1;
    let mut view = stale.clone();
    let read = view.read(u64::try_from(last).unwrap(), &world.log[last], &[]).unwrap();
    assert!(read.after_gap);
    assert_eq!(view.state(), world.state(0));
    // Not an ordinary member.
    world.make(1, &GroupChange::Leave { successor: None }).unwrap();
    let mut view = stale;
    let last = world.log.len() - 1;
    let read = view.read(u64::try_from(last).unwrap(), &world.log[last], &[]);
    assert_eq!(read, Err(EntryError::Forked));
}

#[test]
fn the_texts_and_the_number_of_members_are_limited() {
    let mut world = World::new(0);
    for title in ["", "  ", "a\nb", &"a".repeat(129)] {
        let refused = world.draft(0, &change_title(title));
        assert_eq!(refused, Err(ChangeError::BadTitle.into()), "{title:?}");
    }
    let description = Some("a".repeat(1025));
    let long = GroupChange::Describe { title: "a".to_owned(), description };
    assert_eq!(world.draft(0, &long), Err(ChangeError::BadDescription.into()));
    let people = |count: u16| {
        let account = |number: u16| {
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&number.to_be_bytes());
            AccountId::from_bytes(bytes)
        };
        GroupChange::Invite((0..count).map(|number| (account(number), None)).collect())
    };
    assert_eq!(world.draft(0, &people(1000)), Err(ChangeError::Full.into()));
    world.make(0, &people(999)).unwrap();
    let one = GroupChange::Invite([(world.account(1), None)].into());
    assert_eq!(world.draft(0, &one), Err(ChangeError::Full.into()));
}

#[test]
fn an_entry_of_the_largest_group_fits() {
    let mut world = World::new(0);
    let mut state = world.state(0).clone();
    let app = Some("a".repeat(128).parse().unwrap());
    let identity = *world.people[0].pair.public();
    let mut number = [0; 16];
    while state.members.len() < MAX_MEMBERS {
        world.rng.fill_bytes(&mut number);
        let member = Member { identity, role: Role::Admin, app: app.clone() };
        state.members.insert(AccountId::from_bytes(number), member);
    }
    let view = world.people[0].view.as_ref().unwrap();
    let author = Author { account: world.account(0), identity };
    let change = change_title(&"a".repeat(128));
    let (revision, previous) = (0, Some(view.head()));
    let entry = GroupEntry { group: world.id, revision, previous, author, change, state };
    let sealed = entry.seal(view.key(), &world.people[0].pair, &mut world.rng).unwrap();
    assert!(sealed.len() <= MAX_ENTRY, "{}", sealed.len());
    assert_eq!(GroupEntry::open(&sealed, world.id, 0, view.key()), Ok(entry));
}

#[test]
fn a_lost_race_is_repeated_if_it_still_makes_sense() {
    let world = World::new(2);
    let before = world.state(0).clone();
    let author = Author { account: world.account(0), identity: *world.people[0].pair.public() };
    let [one, two] = [1, 2].map(|number| world.account(number));
    let apply = |change: &GroupChange| before.apply(author, change, before.revision + 1).unwrap();
    let rebase =
        |after: &GroupState, change: &GroupChange| after.rebase(before.basis(), author, change);
    let timer = apply(&GroupChange::SetTimer(60));
    let again = change_title("B");
    assert_eq!(rebase(&timer, &again), Rebased::Again(again.clone()));
    assert_eq!(rebase(&timer, &GroupChange::SetTimer(60)), Rebased::Done);
    let remove = |account| GroupChange::Remove { account, password: None };
    let removed = apply(&remove(one));
    assert_eq!(rebase(&removed, &remove(one)), Rebased::Done);
    assert_eq!(rebase(&removed, &remove(two)), Rebased::Again(remove(two)));
    assert_eq!(rebase(&removed, &GroupChange::NewEpoch { password: None }), Rebased::Done);
    let promote = GroupChange::SetRole { account: one, role: Role::Admin };
    assert_eq!(rebase(&removed, &promote), Rebased::Impossible(ChangeError::NotMember));
    // The member whom we want to remove has left, but still knows the secret.
    let leaver = Author { account: one, identity: *world.people[1].pair.public() };
    let left = before.apply(leaver, &GroupChange::Leave { successor: None }, before.revision + 1);
    let new_epoch = GroupChange::NewEpoch { password: None };
    assert_eq!(rebase(&left.unwrap(), &remove(one)), Rebased::Again(new_epoch));
    // A password that was chosen in case that the link is enabled.
    let password = Some(LinkPassword::from_secret(Secret::new([1; 16])));
    let with = GroupChange::Remove { account: one, password: password.clone() };
    assert_eq!(rebase(&before, &with), Rebased::Again(remove(one)));
    let linked =
        apply(&GroupChange::SetLink(Some(LinkPassword::from_secret(Secret::new([2; 16])))));
    assert_eq!(rebase(&linked, &with), Rebased::Again(with.clone()));
    assert_eq!(rebase(&linked, &GroupChange::SetLink(password)), Rebased::Done);
}

#[test]
fn a_stored_view_reads_as_it_was_and_prints_no_secret() {
    let mut world = World::new(1);
    world.make(0, &change_title("Private")).unwrap();
    let view = world.people[0].view.clone().unwrap();
    assert_eq!(GroupView::decode(&view.encode()), Ok(view.clone()));
    assert_eq!(GroupView::decode(&view.encode()[..40]), Err(EntryError::Malformed));
    let other = world.people[1].view.clone().unwrap();
    assert_eq!(other.admin_key(), None);
    assert_eq!(GroupView::decode(&other.encode()), Ok(other));
    assert_eq!(GroupView::decode(&[2]), Err(EntryError::UnknownVersion(2)));
    let printed = format!("{view:?} {:?}", change_title("Private"));
    assert!(!printed.contains("Private"), "{printed}");
}

#[test]
fn only_a_complete_link_is_read() {
    let link = GroupLink {
        group: GroupId::from_bytes([1; 16]),
        key: ReadingKey::from_secret(Secret::new([2; 32])),
        password: LinkPassword::from_secret(Secret::new([3; 16])),
        revision: 5,
        head: EntryHash([4; 32]),
    };
    let text = link.to_string();
    assert_eq!(format!("{text}&more=1").parse(), Ok(link.clone()));
    for length in 0..text.len() {
        assert_eq!(text[..length].parse::<GroupLink>(), Err(NotAGroupLink));
    }
    let padding = "a".repeat(2048);
    assert_eq!(format!("{text}&more={padding}").parse::<GroupLink>(), Err(NotAGroupLink));
    assert!(!format!("{link:?}").contains("0202"));
}
