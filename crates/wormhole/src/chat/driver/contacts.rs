//! The accounts that we know, and which account a number leads to.
//!
//! Only the server's answer to our own question binds a number to an account. The numbers in envelopes are shown, but
//! messages are never addressed by them. If a bound number leads to another account, nothing is sent until the user
//! accepts that: otherwise the server could replace a verified person without a changed identity key.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::AccountId;
use wormhole_chat::service::Destination;

use crate::chat::error::QueueError;
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::Resolved;
use crate::chat::store::Contact;

/// All known accounts.
#[derive(Debug, Default)]
pub(in crate::chat) struct Contacts {
    all: BTreeMap<AccountId, Contact>,
    /// Accounts that cannot receive messages: the server is asked again which account their number belongs to.
    unreachable: BTreeSet<AccountId>,
}

impl Contacts {
    pub(super) fn new(contacts: Vec<Contact>) -> Self {
        let all = contacts.into_iter().map(|contact| (contact.account, contact)).collect();
        Self { all, unreachable: BTreeSet::new() }
    }

    pub(in crate::chat) fn get(&self, account: AccountId) -> Option<&Contact> {
        self.all.get(&account)
    }

    pub(in crate::chat) fn all(&self) -> impl Iterator<Item = &Contact> {
        self.all.values()
    }

    /// The contact that a destination means, unless the server must be asked.
    pub(in crate::chat) fn find(&self, to: &Destination) -> Option<&Contact> {
        match to {
            Destination::Account(account) => self.all.get(account),
            // The name may belong to somebody else now.
            Destination::Username(_) => None,
            Destination::Number(_) | Destination::NumberInApp(..) => {
                self.bound(to).filter(|contact| !self.unreachable.contains(&contact.account))
            }
        }
    }

    /// Records that the account can no longer receive messages. Its number may have another account now.
    pub(super) fn set_unreachable(&mut self, account: AccountId) {
        if self.all.contains_key(&account) {
            self.unreachable.insert(account);
        }
    }

    /// Replaces a contact.
    pub(super) fn insert(&mut self, contact: Contact) {
        self.all.insert(contact.account, contact);
    }

    /// Returns the contact with the number and the app that an envelope names. `None` if nothing changes.
    pub(super) fn with_hint(&self, hint: Contact) -> Option<Contact> {
        let Some(known) = self.all.get(&hint.account) else {
            // Anybody can invent accounts. Without a contact, a message is shown with its account alone.
            let strangers = self.all.values().filter(|contact| !contact.is_known()).count();
            return (strangers < MAX_STRANGERS).then_some(hint);
        };
        if is_bound(known) {
            return None;
        }
        let contact = Contact {
            number: hint.number.or_else(|| known.number.clone()),
            app: hint.app.or_else(|| known.app.clone()),
            ..known.clone()
        };
        (contact != *known).then_some(contact)
    }

    /// Returns the contact, updated with the server's answer.
    ///
    /// # Errors
    /// `NumberMoved` if the number is bound to another account. `InvalidAnswer` if the answer is about something else.
    pub(super) fn resolved(
        &mut self,
        to: &Destination,
        answer: &Resolved,
    ) -> Result<Contact, QueueError> {
        let account = answer.account;
        let is_right = match to {
            Destination::Account(wanted) => account == *wanted,
            Destination::Number(_) | Destination::Username(_) => true,
            Destination::NumberInApp(_, app) => answer.app.as_ref() == Some(app),
        };
        if !is_right {
            return Err(RequestError::from(ServerFault::OtherAccount).into());
        }
        if let Some(from) = self.bound(to).map(|contact| contact.account)
            && from != account
        {
            return Err(QueueError::NumberMoved { number: to.clone(), from, to: account });
        }
        self.unreachable.remove(&account);
        let known = self.contact(account);
        let app = answer.app.as_ref().map(ToString::to_string);
        let app = app.filter(|_| !is_bound(&known)).or_else(|| known.app.clone());
        Ok(bind(Contact { app, ..known }, to))
    }

    /// Binds a number to an account, as the user wants. Returns the contacts that change.
    pub(super) fn rebind(&mut self, to: &Destination, account: AccountId) -> Vec<Contact> {
        let previous = self.bound(to).filter(|contact| contact.account != account).cloned();
        let previous = previous.map(|contact| match to {
            Destination::NumberInApp(..) => Contact { is_in_app: false, ..contact },
            Destination::Account(_) | Destination::Number(_) | Destination::Username(_) => {
                Contact { is_default: false, ..contact }
            }
        });
        self.unreachable.remove(&account);
        let known = self.contact(account);
        let contact = match bind(known.clone(), to) {
            contact if is_bound_to(&contact, to) => contact,
            // It was bound to another number.
            _ => bind(Contact { is_default: false, is_in_app: false, ..known }, to),
        };
        previous.into_iter().chain([contact]).collect()
    }

    fn contact(&self, account: AccountId) -> Contact {
        self.all.get(&account).cloned().unwrap_or_else(|| crate::chat::contact(account))
    }

    /// The contact that a number is bound to.
    fn bound(&self, to: &Destination) -> Option<&Contact> {
        self.all.values().find(|contact| is_bound_to(contact, to))
    }
}

fn is_bound_to(contact: &Contact, to: &Destination) -> bool {
    let has = |number: &str| contact.number.as_deref() == Some(number);
    match to {
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

const fn is_bound(contact: &Contact) -> bool {
    contact.is_default || contact.is_in_app
}

/// Binds a number. A contact that is bound to another number or app keeps that one: then the server is asked each time.
fn bind(contact: Contact, to: &Destination) -> Contact {
    let (number, app) = match to {
        Destination::Account(_) | Destination::Username(_) => return contact,
        Destination::Number(number) => (number, None),
        Destination::NumberInApp(number, app) => (number, Some(app.to_string())),
    };
    let has_other_number = contact.number.as_deref() != Some(number.as_str());
    let has_other_app = contact.is_in_app && app.is_some() && contact.app != app;
    if is_bound(&contact) && (has_other_number || has_other_app) {
        return contact;
    }
    let number = Some(number.to_string());
    match app {
        None => Contact { number, is_default: true, ..contact },
        Some(app) => Contact { number, app: Some(app), is_in_app: true, ..contact },
    }
}

/// Maximum number of contacts of which we know only what the server says.
const MAX_STRANGERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use rand_core::OsRng;
    use wormhole_chat::KeyPair;

    use super::*;

    const BOB: AccountId = AccountId::from_bytes([1; 16]);
    const OTHER: AccountId = AccountId::from_bytes([0; 16]);

    fn answer(account: AccountId, app: &str) -> Resolved {
        let identity = *KeyPair::random(&mut OsRng).public();
        Resolved {
            account,
            app: Some(app.parse().unwrap()),
            identity,
            bundles: Vec::new(),
            list: None,
        }
    }

    fn to(text: &str) -> Destination {
        text.parse().unwrap()
    }

    fn hint(account: AccountId, number: &str) -> Contact {
        let (number, app) = (Some(number.to_owned()), Some("com.one".to_owned()));
        Contact { number, app, ..crate::chat::contact(account) }
    }

    /// Contacts that know Bob by his number and his number in the app.
    fn with_bob() -> Contacts {
        let mut contacts = Contacts::default();
        for number in ["+14155550101", "+14155550101@com.one"] {
            let bob = contacts.resolved(&to(number), &answer(BOB, "com.one")).unwrap();
            contacts.insert(bob);
        }
        contacts
    }

    #[test]
    fn numbers_in_envelopes_lead_nowhere() {
        let mut contacts = with_bob();
        assert_eq!(contacts.with_hint(hint(BOB, "+14155550199")), None);
        // Its id comes before Bob's.
        let forged = contacts.with_hint(hint(OTHER, "+14155550101")).unwrap();
        contacts.insert(forged);
        for number in ["+14155550101", "+14155550101@com.one"] {
            assert_eq!(contacts.find(&to(number)).map(|contact| contact.account), Some(BOB));
        }
        let mut contacts = Contacts::default();
        contacts.insert(hint(OTHER, "+14155550101"));
        assert_eq!(contacts.find(&to("+14155550101@com.one")), None);
    }

    #[test]
    fn a_number_leads_to_another_account_only_if_the_user_accepts_it() {
        let mut contacts = with_bob();
        for number in ["+14155550101", "+14155550101@com.one"] {
            contacts.set_unreachable(BOB);
            let number = to(number);
            assert_eq!(contacts.find(&number), None);
            let moved = QueueError::NumberMoved { number: number.clone(), from: BOB, to: OTHER };
            let answer = answer(OTHER, "com.one");
            assert_eq!(contacts.resolved(&number, &answer), Err(moved));
            for contact in contacts.rebind(&number, OTHER) {
                contacts.insert(contact);
            }
            assert_eq!(contacts.find(&number).map(|contact| contact.account), Some(OTHER));
        }
        // The second acceptance has not undone the first.
        let first = contacts.find(&to("+14155550101"));
        assert_eq!(first.map(|contact| contact.account), Some(OTHER));
    }

    #[test]
    fn an_account_that_can_be_reached_again_keeps_its_number() {
        let mut contacts = with_bob();
        contacts.set_unreachable(BOB);
        let bob = contacts.resolved(&to("+14155550101"), &answer(BOB, "com.one")).unwrap();
        assert_eq!(contacts.find(&to("+14155550101")), Some(&bob));
        // Another number of the same account does not replace the first one.
        let bob = contacts.resolved(&to("+14155550102"), &answer(BOB, "com.one")).unwrap();
        assert_eq!(bob.number.as_deref(), Some("+14155550101"));
    }

    #[test]
    fn an_answer_about_something_else_is_refused() {
        let mut contacts = Contacts::default();
        let refused = Err(RequestError::from(ServerFault::OtherAccount).into());
        let account = Destination::Account(BOB);
        assert_eq!(contacts.resolved(&account, &answer(OTHER, "com.one")), refused);
        assert!(contacts.resolved(&account, &answer(BOB, "com.one")).is_ok());
        let number = to("+14155550101@com.one");
        assert_eq!(contacts.resolved(&number, &answer(BOB, "com.two")), refused);
        assert_eq!(
            contacts.resolved(&number, &Resolved { app: None, ..answer(BOB, "a.b") }),
            refused
        );
    }

    #[test]
    fn invented_senders_are_not_remembered_without_limit() {
        let mut contacts = Contacts::default();
        for number in 0..10_000_u32 {
            let mut id = [9; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let hint = crate::chat::contact(AccountId::from_bytes(id));
            contacts.insert(contacts.with_hint(hint).unwrap());
        }
        let hint = crate::chat::contact(AccountId::from_bytes([8; 16]));
        assert_eq!(contacts.with_hint(hint.clone()), None);
        let mut named = contacts.all.values().next().cloned().unwrap();
        named.name = Some("Bob".to_owned());
        contacts.insert(named);
        assert_eq!(contacts.with_hint(hint.clone()), Some(hint));
    }
}
