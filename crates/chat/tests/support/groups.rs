//! People in groups.

use wormhole_chat::group::{GroupChange, GroupId, LinkPassword};
use wormhole_chat::{
    AccountId, ClientEvent, ClientInput, Content, DataMessage, GroupEvent, KeyPair, Membership,
    Timestamp,
};

use crate::world::World;

pub(crate) fn text(body: &str) -> Content {
    let mut data = DataMessage::default();
    data.body = Some(body.to_owned());
    Content::Data(Box::new(data))
}

#[allow(dead_code, reason = "each test uses a part")]
impl World {
    /// People with one device each, who know each other.
    pub(crate) fn people(&mut self, count: u8) {
        for account in 1..=count {
            let identity = KeyPair::random(&mut self.rng);
            self.join(account, 1, &identity);
        }
        (0..self.devices.len()).for_each(|which| self.run(which));
        self.introduce();
    }

    /// Everybody knows everybody.
    pub(crate) fn introduce(&mut self) {
        let accounts: Vec<_> = self.devices.iter().map(|device| device.address.account).collect();
        for which in 0..self.devices.len() {
            let others = accounts.iter().filter(|account| **account != accounts[which]);
            for account in others.copied().collect::<Vec<_>>() {
                self.input(which, ClientInput::Keep(account));
            }
        }
    }

    pub(crate) fn account(&self, which: usize) -> AccountId {
        self.devices[which].address.account
    }

    pub(crate) fn create(&mut self, which: usize) -> GroupId {
        let (now, rng) = (self.now, &mut self.rng);
        self.devices[which].client.create_group(now, "Hike", None, rng).unwrap().0
    }

    pub(crate) fn change(&mut self, which: usize, group: GroupId, change: GroupChange) {
        let (now, rng) = (self.now, &mut self.rng);
        self.devices[which].client.change_group(now, group, change, rng).unwrap();
    }

    pub(crate) fn invite(&mut self, which: usize, group: GroupId, people: &[usize]) {
        let people = people.iter().map(|person| (self.account(*person), None));
        let invite = GroupChange::Invite(people.collect());
        self.change(which, group, invite);
    }

    pub(crate) fn remove(&mut self, which: usize, group: GroupId, person: usize) {
        let password = Some(LinkPassword::random(&mut self.rng));
        let account = self.account(person);
        self.change(which, group, GroupChange::Remove { account, password });
    }

    pub(crate) fn say(&mut self, which: usize, group: GroupId, body: &str) -> Timestamp {
        let (now, rng) = (self.now, &mut self.rng);
        self.now.0 += 1;
        self.devices[which].client.send_to_group(now, group, &text(body), rng).unwrap()
    }

    /// A group of all devices' accounts.
    pub(crate) fn group(&mut self) -> GroupId {
        let group = self.create(0);
        let mut people: Vec<_> = (1..self.devices.len()).collect();
        people.dedup_by_key(|which| self.account(*which));
        people.retain(|which| self.account(*which) != self.account(0));
        self.invite(0, group, &people);
        self.settle();
        group
    }

    /// The texts that a device has read in a group.
    pub(crate) fn read(&self, which: usize, group: GroupId) -> Vec<String> {
        let contents = self.devices[which].inbox.iter().map(|received| &received.content);
        let texts = contents.filter_map(|content| match content {
            Content::Group(content) if content.group == group => match content.inner.as_deref() {
                Some(Content::Data(data)) => data.body.clone(),
                other => panic!("{other:?}"),
            },
            _ => None,
        });
        texts.collect()
    }

    pub(crate) fn members(&self, which: usize, group: GroupId) -> usize {
        self.devices[which].client.group_state(group).unwrap().members.len()
    }

    pub(crate) fn membership(&self, which: usize, group: GroupId) -> Option<Membership> {
        self.devices[which].client.group_membership(group)
    }

    pub(crate) fn events(&self, which: usize, group: GroupId) -> Vec<GroupEvent> {
        let events = self.devices[which].events.iter().filter_map(|event| match event {
            ClientEvent::Group(id, event) if *id == group => Some(event.clone()),
            _ => None,
        });
        events.collect()
    }
}
