//! The contacts of an account, to name people.
//!
//! `who.rs` finds the person that a command names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::group::GroupId;
use wormhole::chat::{AccountId, Client, Contact, Conversation, Destination, GroupInfo, Me};

use super::{explain, groups};
use crate::console::Console;
use crate::printable;

/// The contacts and groups of an account.
#[derive(Debug)]
pub(super) struct People {
    own_account: AccountId,
    own_number: String,
    contacts: BTreeMap<AccountId, Contact>,
    groups: BTreeMap<GroupId, Group>,
    /// The group of which only messages are shown, so that they need not name it.
    here: Option<GroupId>,
}

/// A group, as it is shown.
#[derive(Debug)]
struct Group {
    /// `None` if it is not known yet.
    title: Option<String>,
    members: BTreeSet<AccountId>,
    invited: BTreeSet<AccountId>,
}

impl People {
    /// All contacts.
    ///
    /// # Errors
    /// The client has ended, or a signal came.
    pub(super) async fn new(client: &Client, console: &mut Console) -> Result<Self> {
        let contacts = console.unless_interrupted(client.contacts()).await?;
        let contacts = contacts.map_err(|error| explain::ended(&error))?;
        let groups = groups::all(client, console).await?;
        Ok(Self::from_contacts(client.me(), contacts).with_groups(&groups))
    }

    /// Adds these groups.
    pub(super) fn with_groups(mut self, groups: &[GroupInfo]) -> Self {
        let described = |info: &GroupInfo| {
            let members = info.state.iter().flat_map(|state| state.members.keys().copied());
            let invited = info.state.iter().flat_map(|state| state.invited.keys().copied());
            let title = info.state.as_ref().map(|state| printable::line(&state.title));
            let (members, invited) = (members.collect(), invited.collect());
            (info.id, Group { title, members, invited })
        };
        self.groups = groups.iter().map(described).collect();
        self
    }

    /// Shows only messages of this conversation.
    pub(super) const fn in_conversation(mut self, conversation: Conversation) -> Self {
        if let Conversation::Group(group) = conversation {
            self.here = Some(group);
        }
        self
    }

    /// Says in which group something was written, if there are others.
    pub(super) fn in_group(&self, group: Option<GroupId>) -> String {
        let other = group.filter(|group| self.here != Some(*group));
        other.map(|group| format!(" in {}", self.group(group))).unwrap_or_default()
    }

    /// How a group is called, as it was when this command began.
    pub(super) fn group(&self, group: GroupId) -> String {
        self.group_title(group).unwrap_or(groups::UNKNOWN_TITLE).to_owned()
    }

    /// The title of a group, if it is known.
    pub(super) fn group_title(&self, group: GroupId) -> Option<&str> {
        self.groups.get(&group)?.title.as_deref()
    }

    /// Whether an account is invited to a group.
    pub(super) fn is_invited(&self, group: GroupId, account: AccountId) -> bool {
        self.groups.get(&group).is_some_and(|group| group.invited.contains(&account))
    }

    /// Replaces the contacts and groups with later ones. Returns the earlier ones.
    pub(super) fn replace_with(&mut self, later: Self) -> Self {
        let here = self.here;
        std::mem::replace(self, Self { here, ..later })
    }

    /// The members of a group without the user, as it was when this command began.
    pub(super) fn other_members(&self, group: GroupId) -> impl Iterator<Item = AccountId> {
        let members = self.groups.get(&group).into_iter().flat_map(|group| &group.members);
        members.copied().filter(|account| *account != self.own_account)
    }

    /// With whom a conversation is: a person, or the members of a group.
    pub(super) fn label_in(&self, conversation: Conversation) -> String {
        match conversation {
            Conversation::Account(account) => self.label_of(account),
            Conversation::Group(group) => self.group(group),
            // Later kinds of the SDK.
            _ => conversation.to_string(),
        }
    }

    /// The `WHO` that a command accepts for a conversation.
    pub(super) fn argument_in(&self, conversation: Conversation) -> String {
        match conversation {
            Conversation::Account(account) => self.argument_of(account),
            // Also later kinds of the SDK.
            Conversation::Group(_) | _ => conversation.to_string(),
        }
    }

    /// The other person of a conversation as JSON; `null` for a group.
    pub(super) fn json_in(&self, conversation: Conversation) -> Value {
        match conversation {
            Conversation::Account(account) => self.json_of(account),
            // Also later kinds of the SDK.
            Conversation::Group(_) | _ => Value::Null,
        }
    }

    /// These contacts.
    pub(super) fn from_contacts(me: &Me, contacts: Vec<Contact>) -> Self {
        Self {
            own_account: me.address.account,
            own_number: me.number.to_string(),
            contacts: contacts.into_iter().map(|contact| (contact.account, contact)).collect(),
            groups: BTreeMap::new(),
            here: None,
        }
    }

    /// The contacts, except the user's own account.
    pub(super) fn others(&self) -> impl Iterator<Item = &Contact> + Clone {
        self.contacts.values().filter(|contact| contact.account != self.own_account)
    }

    /// The accounts of contacts and members of groups whose id begins with at least 8 characters that the user has typed.
    pub(super) fn with_short_id(&self, typed: &str) -> BTreeSet<AccountId> {
        let typed = typed.to_lowercase();
        let members = self.groups.values().flat_map(|group| group.members.union(&group.invited));
        let known = members.chain(self.contacts.keys()).copied();
        let is_meant = |account: &AccountId| account.to_string().starts_with(&typed);
        known.filter(|account| typed.len() >= SHORT_ID && is_meant(account)).collect()
    }

    /// The contact of this account, if it has one.
    pub(super) fn get(&self, account: AccountId) -> Option<&Contact> {
        self.contacts.get(&account)
    }

    /// Adds a contact, or replaces the one of this account.
    pub(super) fn insert(&mut self, contact: Contact) {
        self.contacts.insert(contact.account, contact);
    }

    /// How a contact is called: by your own name for it, its number, or its account id, without your own name also by the name in
    /// its profile. If the server has not led from the number to this account, and somebody else has this number, too, it is only
    /// quoted. So is the one of a contact whose safety number is verified: that says nothing about the number.
    pub(super) fn label(&self, contact: &Contact) -> String {
        let label = self.label_without_profile(contact);
        let profile = contact.profile.as_ref().and_then(|profile| profile.name.as_deref());
        match profile.filter(|_| contact.name.is_none()) {
            // After what is known, and quoted: anybody can choose any name.
            Some(name) => {
                let name = printable::line(&name.replace('"', "'"));
                format!("{label} \"{name}\" (from profile)")
            }
            None => label,
        }
    }

    /// The label without the name that the person has chosen.
    pub(super) fn label_without_profile(&self, contact: &Contact) -> String {
        let name = contact.name.as_deref().map(printable::line);
        match (name, number(contact)) {
            (Some(name), Some(number)) if is_bound(contact) => format!("{name} ({number})"),
            (Some(name), _) => name,
            (None, Some(number)) if is_bound(contact) || self.is_only_owner(contact) => number,
            (None, Some(number)) => format!("{} (says it is {number})", contact.account),
            (None, None) => self.short_id(contact.account),
        }
    }

    /// How the contact of an account is called.
    pub(super) fn label_of(&self, account: AccountId) -> String {
        if account == self.own_account {
            return "you".to_owned();
        }
        self.get(account).map_or_else(|| self.short_id(account), |contact| self.label(contact))
    }

    /// The beginning of the id of somebody of whom nothing else is known, if commands accept it: the account is a contact or in a group,
    /// and no other id begins in the same way, as a dishonest server could choose it. Otherwise the whole id.
    fn short_id(&self, account: AccountId) -> String {
        let id = account.to_string();
        let is_only = self.with_similar_id(account).all(|known| *known == account);
        let is_known = self.with_similar_id(account).next().is_some();
        if is_only && is_known { id.chars().take(SHORT_ID).collect() } else { id }
    }

    /// The contacts and members of groups with the same short id as an account, which can be among them.
    fn with_similar_id(&self, account: AccountId) -> impl Iterator<Item = &AccountId> {
        let id = account.as_bytes();
        let with_rest = |rest: u8| {
            let byte = |at: usize| *id.get(at).filter(|_| at < SHORT_ID / 2).unwrap_or(&rest);
            AccountId::from_bytes(std::array::from_fn(byte))
        };
        let similar = with_rest(0)..=with_rest(u8::MAX);
        let sets = self.groups.values().flat_map(|group| [&group.members, &group.invited]);
        let contacts = self.contacts.range(similar.clone()).map(|(known, _)| known);
        contacts.chain(sets.flat_map(move |set| set.range(similar.clone())))
    }

    /// The user's own account.
    pub(super) const fn own(&self) -> AccountId {
        self.own_account
    }

    /// The name of somebody who is mentioned in a text: the one that the user has given.
    pub(super) fn mention(&self, account: AccountId) -> Option<String> {
        if account == self.own_account {
            return Some("you".to_owned());
        }
        self.get(account)?.name.as_deref().map(printable::line)
    }

    /// The `WHO` that a command accepts for an account.
    pub(super) fn argument_of(&self, account: AccountId) -> String {
        self.get(account).map_or_else(|| account.to_string(), argument)
    }

    /// The person with an account as JSON.
    pub(super) fn json_of(&self, account: AccountId) -> Value {
        match self.get(account) {
            Some(contact) => json(contact),
            None => json!({
                "account": account.to_string(), "number": null, "app": null, "name": null,
                "claimed_number": null, "claimed_app": null, "profile_name": null,
            }),
        }
    }

    /// Whether no other contact has the number of this one, in any app. The number is not your own, either, and the contact is
    /// not verified.
    fn is_only_owner(&self, contact: &Contact) -> bool {
        if contact.verified.is_some() {
            return false;
        }
        let is_other = |it: &Contact| it.account != contact.account && it.number == contact.number;
        let is_own = contact.number.as_deref() == Some(self.own_number.as_str());
        !is_own && !self.contacts.values().any(is_other)
    }
}

/// Number of characters of an account id that are shown: the digits before the first hyphen, which stand for 4 bytes.
const SHORT_ID: usize = 8;

/// Whether the server has led us from the number to this account. Otherwise the number is only what an envelope claims.
pub(super) const fn is_bound(contact: &Contact) -> bool {
    contact.is_default || contact.is_in_app
}

/// Whether a number leads to this contact.
pub(super) fn is_bound_to(contact: &Contact, number: &Destination) -> bool {
    let has = |text: &str| contact.number.as_deref() == Some(text);
    match number {
        Destination::Account(account) => contact.account == *account,
        // No contact is bound to a name.
        Destination::Username(_) => false,
        Destination::Number(number) => contact.is_default && has(number.as_str()),
        Destination::NumberInApp(number, app) => {
            contact.is_in_app
                && has(number.as_str())
                && contact.app.as_deref() == Some(app.as_str())
        }
    }
}

/// The number of a contact, with its app.
fn number(contact: &Contact) -> Option<String> {
    let number = printable::line(contact.number.as_ref()?);
    Some(match &contact.app {
        Some(app) => format!("{number}@{}", printable::line(app)),
        None => number,
    })
}

/// The `WHO` that a command accepts for this contact. A number that is only known from an envelope may be somebody else's.
pub(super) fn argument(contact: &Contact) -> String {
    let in_app = number(contact).filter(|_| contact.is_in_app);
    let plain = contact.number.as_deref().filter(|_| contact.is_default).map(printable::line);
    plain.or(in_app).unwrap_or_else(|| contact.account.to_string())
}

/// A person as JSON. A number that only an envelope names is a claim.
pub(super) fn json(contact: &Contact) -> Value {
    let is_bound = is_bound(contact);
    let known = |value: &Option<String>| value.clone().filter(|_| is_bound);
    let claimed = |value: &Option<String>| value.clone().filter(|_| !is_bound);
    json!({
        "account": contact.account.to_string(), "name": contact.name,
        "number": known(&contact.number), "app": known(&contact.app),
        "claimed_number": claimed(&contact.number), "claimed_app": claimed(&contact.app),
        "profile_name": contact.profile.as_ref().and_then(|profile| profile.name.clone()),
    })
}

/// The id of the group of a conversation, for programs.
pub(super) fn group_json(conversation: Conversation) -> Value {
    match conversation {
        Conversation::Group(group) => group.to_string().into(),
        // Also later kinds of the SDK.
        Conversation::Account(_) | _ => Value::Null,
    }
}

/// The id of the account of a conversation, for programs.
pub(super) fn account_json(conversation: Conversation) -> Value {
    match conversation {
        Conversation::Account(account) => account.to_string().into(),
        // Also later kinds of the SDK.
        Conversation::Group(_) | _ => Value::Null,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use wormhole::chat::PublicKey;

    use super::*;

    const ALICE: &str = "+14155550101";
    const BOB: &str = "+14155550102";

    fn contact(first_byte: u8) -> Contact {
        Contact {
            account: AccountId::from_bytes([first_byte; 16]),
            number: Some(BOB.to_owned()),
            app: Some("com.two".to_owned()),
            name: None,
            verified: None,
            profile: None,
            is_default: false,
            is_in_app: false,
        }
    }

    /// The contacts of an account that is in a group.
    pub(in crate::chat) fn with_group(
        own: AccountId,
        id: GroupId,
        members: &[AccountId],
    ) -> People {
        let members = members.iter().copied().collect();
        let group = Group { title: Some("Walks".to_owned()), members, invited: BTreeSet::new() };
        let groups = BTreeMap::from([(id, group)]);
        People { own_account: own, groups, ..people([]) }
    }

    /// The contacts of Alice.
    fn people<const N: usize>(contacts: [Contact; N]) -> People {
        People {
            own_account: AccountId::from_bytes([9; 16]),
            own_number: ALICE.to_owned(),
            contacts: contacts.map(|contact| (contact.account, contact)).into(),
            groups: BTreeMap::new(),
            here: None,
        }
    }

    #[test]
    fn only_numbers_that_the_server_led_to_are_used_as_arguments() {
        let mut contact = contact(1);
        assert_eq!(argument(&contact), contact.account.to_string());
        contact.is_in_app = true;
        assert_eq!(argument(&contact), format!("{BOB}@com.two"));
        contact.is_default = true;
        assert_eq!(argument(&contact), BOB);
    }

    #[test]
    fn a_number_that_somebody_else_has_is_shown_as_a_claim() {
        let (stranger, mut bob) = (contact(1), contact(2));
        let number = format!("{BOB}@com.two");
        let claim = format!("{} (says it is {number})", stranger.account);
        assert_eq!(people([stranger.clone()]).label(&stranger), number);
        assert_eq!(people([stranger.clone(), bob.clone()]).label(&stranger), claim);
        (bob.is_default, bob.app) = (true, Some("com.one".to_owned()));
        let people = people([stranger.clone(), bob.clone()]);
        assert_eq!(people.label(&stranger), claim);
        assert_eq!(people.label(&bob), format!("{BOB}@com.one"));
        let named = Contact { name: Some("Bob".into()), ..stranger };
        assert_eq!(people.label(&named), "Bob");
        let named = Contact { name: Some("Bob".into()), ..bob };
        assert_eq!(people.label(&named), format!("Bob ({BOB}@com.one)"));
    }

    #[test]
    fn the_number_of_a_verified_contact_is_a_claim_unless_the_server_led_to_it() {
        let key = PublicKey::decode(&[&[5][..], &[9; 32]].concat()).unwrap();
        let stranger = Contact { verified: Some(key), ..contact(1) };
        let number = format!("{BOB}@com.two");
        let claim = format!("{} (says it is {number})", stranger.account);
        assert_eq!(people([stranger.clone()]).label(&stranger), claim);
        let bound = Contact { is_in_app: true, ..stranger };
        assert_eq!(people([bound.clone()]).label(&bound), number);
    }

    #[test]
    fn nobody_else_is_shown_with_your_own_number() {
        let stranger = Contact { number: Some(ALICE.to_owned()), ..contact(1) };
        let claim = format!("{} (says it is {ALICE}@com.two)", stranger.account);
        assert_eq!(people([stranger.clone()]).label(&stranger), claim);
    }

    #[test]
    fn the_own_account_is_not_another_person() {
        let (own, bob) = (contact(9), contact(1));
        let people = people([own, bob.clone()]);
        assert_eq!(people.others().collect::<Vec<_>>(), [&bob]);
    }

    #[test]
    fn names_from_the_server_cannot_control_the_terminal() {
        let mut contact = contact(1);
        let label = |contact: &Contact| people([]).label(contact);
        (contact.number, contact.app) = (Some("+1415\x1b[2J".into()), Some("one\n".into()));
        assert_eq!(label(&contact), "+1415\\u{1b}[2J@one");
        contact.is_default = true;
        assert_eq!(label(&contact), "+1415\\u{1b}[2J@one");
        contact.name = Some("Bob\u{202e}".into());
        assert!(label(&contact).starts_with("Bob\\u{202e} ("));
        (contact.number, contact.name) = (None, None);
        let id = contact.account;
        assert_eq!(label(&contact), id.to_string());
        assert_eq!(people([contact]).label_of(id), "01010101");
    }

    #[test]
    fn ids_that_begin_in_the_same_way_are_shown_in_full() {
        let ids =
            [[1; 16], [[1; 4], [0; 4], [255; 4], [9; 4]].concat().try_into().unwrap(), [2; 16]];
        let [bob, other, carol] = ids.map(AccountId::from_bytes);
        let walks = GroupId::from_bytes([1; 16]);
        let people = with_group(AccountId::from_bytes([9; 16]), walks, &[bob, other, carol]);
        assert_eq!(people.label_of(bob), bob.to_string());
        assert_eq!(people.label_of(other), other.to_string());
        assert_eq!(people.label_of(carol), "02020202");
        assert_eq!(people.with_short_id("01010101"), BTreeSet::from([bob, other]));
        assert_eq!(people.with_short_id("02020202-02"), BTreeSet::from([carol]));
        assert!(people.with_short_id("0202020").is_empty());
    }
}
