//! Groups with several administrators at once: whatever the order of their changes, all members see the same group; and nothing
//! that is not a permitted change has an effect.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::group::{
    AccessHashes, Author, Basis, Draft, EpochKeys, GroupChange, GroupEntry, GroupId, GroupView,
    LinkPassword, Rebased, Role,
};
use wormhole_chat::{AccountId, KeyPair};

/// Number of people; all but the last one become members.
const PEOPLE: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    /// A person wants to change something.
    Want(usize, u8, usize),
    /// A person sends an entry to the server, which accepts it only at the end of the log.
    Send(usize),
    /// A person reads the log.
    Read(usize),
    /// A member sends bytes that are no entry.
    Garbage(Vec<u8>),
}

struct Person {
    account: AccountId,
    pair: KeyPair,
    view: GroupView,
    /// The state for which a change was made, and the change.
    wanted: Option<(Basis, GroupChange)>,
    /// Keys that others have sent.
    keys: Vec<EpochKeys>,
}

struct World {
    id: GroupId,
    log: Vec<Vec<u8>>,
    /// What the server requires.
    access: AccessHashes,
    people: Vec<Person>,
    rng: ChaCha8Rng,
    accepted: usize,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..PEOPLE, 0..9_u8, 0..PEOPLE).prop_map(|(who, what, whom)| Step::Want(who, what, whom)),
        4 => (0..PEOPLE).prop_map(Step::Send),
        2 => (0..PEOPLE).prop_map(Step::Read),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Step::Garbage),
    ]
}

impl World {
    /// A group with two administrators and two members.
    fn new() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let id = GroupId::random(&mut rng);
        let accounts = (1..).map(|number| AccountId::from_bytes([number; 16]));
        let keys: Vec<_> = (0..PEOPLE).map(|_| KeyPair::random(&mut rng)).collect();
        let account = AccountId::from_bytes([1; 16]);
        let create = GroupChange::Create { title: "Hike".into(), app: None };
        let (view, draft) = GroupView::create(id, (account, &keys[0]), create, &mut rng).unwrap();
        let access = draft.replaces.unwrap();
        let people = accounts.zip(keys).map(|(account, pair)| Person {
            account,
            pair,
            view: view.clone(),
            wanted: None,
            keys: Vec::new(),
        });
        let (people, log) = (people.collect(), vec![draft.entry]);
        let mut world = Self { id, log, access, people, rng, accepted: 0 };
        let members = 1..PEOPLE - 1;
        let invited = members.clone().map(|number| (world.people[number].account, None));
        world.make(0, GroupChange::Invite(invited.collect()));
        for number in members {
            world.make(number, GroupChange::Accept { app: None });
        }
        let account = world.people[1].account;
        world.make(0, GroupChange::SetRole { account, role: Role::Admin });
        assert_eq!(world.people[0].view.state().admins().count(), 2);
        world
    }

    fn make(&mut self, who: usize, change: GroupChange) {
        self.people[who].wanted = Some((self.people[who].view.state().basis(), change));
        self.send(who);
        (0..PEOPLE).for_each(|who| self.read(who));
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Want(who, what, whom) => {
                let change = self.change(what, whom);
                let person = &mut self.people[who];
                person.wanted.get_or_insert_with(|| (person.view.state().basis(), change));
            }
            Step::Send(who) => self.send(who),
            Step::Read(who) => self.read(who),
            Step::Garbage(bytes) => self.log.push(bytes),
        }
    }

    fn change(&mut self, what: u8, whom: usize) -> GroupChange {
        let account = self.people[whom].account;
        let password = Some(LinkPassword::random(&mut self.rng));
        match what {
            0 => GroupChange::Describe { title: format!("Title {whom}"), description: None },
            1 => GroupChange::SetTimer(u32::try_from(whom).unwrap()),
            2 => GroupChange::SetRole { account, role: Role::Admin },
            3 => GroupChange::SetRole { account, role: Role::Member },
            4 => GroupChange::Remove { account, password },
            5 => GroupChange::Invite([(account, None)].into()),
            6 => GroupChange::SetLink(password.filter(|_| whom > 1)),
            7 => GroupChange::Leave { successor: Some(account) },
            _ => GroupChange::NewEpoch { password },
        }
    }

    /// Sends the wanted change, if the person has read the whole log and still has access.
    fn send(&mut self, who: usize) {
        let latest = u64::try_from(self.log.len() - 1).unwrap();
        let person = &mut self.people[who];
        let Some((before, change)) = person.wanted.clone() else { return };
        let author = Author { account: person.account, identity: *person.pair.public() };
        let change = match person.view.state().rebase(before, author, &change) {
            Rebased::Again(change) => change,
            Rebased::Done | Rebased::Impossible(_) => return person.wanted = None,
        };
        if !person.view.has_keys_for(&change) {
            return;
        }
        let author = (person.account, &person.pair);
        let draft = person.view.draft(latest, author, &change, &mut self.rng).unwrap();
        let shown = person.view.access_for(&draft, None).unwrap().hash();
        let is_admin = shown == self.access.admin;
        let has_access = is_admin || draft.replaces.is_none() && shown == self.access.member;
        // A member who has not read everything makes an entry that the others refuse; the server cannot know.
        if has_access && draft.revision == latest + 1 {
            self.accept(who, draft);
        }
    }

    fn accept(&mut self, who: usize, draft: Draft) {
        let (revision, previous) = (draft.revision, self.people[who].view.state().revision);
        let is_up_to_date = self.newest() == previous;
        let Draft { entry, keys, replaces, .. } = draft;
        if !is_up_to_date {
            // A real client reads before it sends; this one lost the race.
            return self.read(who);
        }
        let mut view = self.people[who].view.clone();
        view.read(revision, &entry, keys.as_slice()).unwrap();
        self.log.push(entry);
        self.accepted += 1;
        self.people[who].wanted = None;
        self.access = replaces.unwrap_or(self.access);
        for person in &mut self.people {
            let state = view.state();
            let is_in = state.members.contains_key(&person.account);
            if is_in || state.invited.contains_key(&person.account) {
                let is_admin = state.is_admin(person.account);
                let admin = view.admin_key().filter(|_| is_admin).cloned();
                person.keys.push(EpochKeys { secret: view.secret().unwrap().clone(), admin });
            }
        }
        self.people[who].view = view;
    }

    /// The revision of the last valid entry.
    fn newest(&self) -> u64 {
        self.people.iter().map(|person| person.view.state().revision).max().unwrap_or_default()
    }

    fn read(&mut self, who: usize) {
        let person = &mut self.people[who];
        for (revision, entry) in (0_u64..).zip(&self.log) {
            let before = person.view.clone();
            if person.view.read(revision, entry, &person.keys).is_err() {
                assert_eq!(person.view, before);
            }
        }
        for keys in &person.keys {
            person.view.learn(keys);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_members_see_the_same_group_whatever_the_order_of_changes(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.run(step));
        (0..PEOPLE).for_each(|who| world.read(who));
        let newest = world.newest();
        let last = world.people.iter().find(|person| person.view.state().revision == newest);
        let state = last.unwrap().view.state();
        for person in &world.people {
            if state.members.contains_key(&person.account) {
                prop_assert_eq!(person.view.state(), state);
                prop_assert_eq!(person.view.secret(), last.unwrap().view.secret());
                let is_admin = state.is_admin(person.account);
                prop_assert!(person.view.admin_key().is_some() || !is_admin);
            }
        }
        let is_admin = |account: &AccountId| state.is_admin(*account);
        prop_assert!(state.members.is_empty() || state.members.keys().any(is_admin));
    }

    #[test]
    fn attack_18_a_modified_group_change_has_no_effect(
        place in any::<prop::sample::Index>(),
        bits in 1..=255_u8,
        length in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new();
        let view = world.people[0].view.clone();
        let author = (world.people[0].account, &world.people[0].pair);
        let latest = view.state().revision;
        let change = GroupChange::SetTimer(60);
        let good = view.draft(latest, author, &change, &mut world.rng).unwrap();
        let mut flipped = good.entry.clone();
        flipped[place.index(good.entry.len())] ^= bits;
        let truncated = good.entry[..length.index(good.entry.len())].to_vec();
        for bad in [flipped, truncated] {
            let mut after = view.clone();
            prop_assert!(after.read(good.revision, &bad, &[]).is_err());
            prop_assert_eq!(&after, &view);
        }
        // A member who has the secret modifies what is inside.
        let entry = GroupEntry::open(&good.entry, world.id, good.revision, view.key()).unwrap();
        let mut content = entry.encode().to_vec();
        let index = place.index(content.len());
        content[index] ^= bits;
        if let Ok(mut entry) = GroupEntry::decode(&content) {
            entry.author.identity = *world.people[2].pair.public();
            let sealed = entry.seal(view.key(), &world.people[2].pair, &mut world.rng);
            let mut after = view.clone();
            prop_assert!(after.read(good.revision, &sealed.unwrap(), &[]).is_err());
            prop_assert_eq!(&after, &view);
        }
    }
}
