//! Mentions of people in texts: `@name`, with a name that the user has given.

use wormhole::chat::{AccountId, BodyRange, Contact, TextPart, text_parts};

use super::people::People;

/// The mentions in a text that the user has written: names of contacts after @.
pub(super) fn find<'a>(
    text: &str,
    contacts: impl Iterator<Item = &'a Contact> + Clone,
) -> Vec<BodyRange> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        let (before, rest) = text.split_at(at);
        if before.ends_with(char::is_alphanumeric) {
            continue;
        }
        let named = contacts.clone().filter_map(|contact| named(contact, &rest[1..]));
        if let Some((length, account)) = named.max() {
            found.extend(BodyRange::mention(text, at..at + 1 + length, account));
        }
    }
    found
}

/// The length of the name with which a text begins, if it is the one of this contact.
fn named(contact: &Contact, text: &str) -> Option<(usize, AccountId)> {
    let name = contact.name.as_deref().filter(|name| !name.is_empty())?;
    let rest = text.strip_prefix(name)?;
    let is_whole = !rest.starts_with(char::is_alphanumeric);
    is_whole.then_some((name.len(), contact.account))
}

/// A text with the names that the user has given to those who are mentioned.
pub(super) fn shown(text: &str, ranges: &[BodyRange], people: &People) -> String {
    let parts = text_parts(text, ranges).into_iter().map(|part| match part {
        TextPart::Text(text) => text.to_owned(),
        TextPart::Mention { account, text } => match people.mention(account) {
            Some(name) => format!("@{name}"),
            None if text == PLACEHOLDER => format!("@{account}"),
            None => text.to_owned(),
        },
    });
    parts.collect()
}

/// The character that some clients write in the place of a name.
const PLACEHOLDER: &str = "\u{fffc}";

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(number: u8, name: &str) -> Contact {
        Contact {
            account: AccountId::from_bytes([number; 16]),
            number: None,
            app: None,
            name: Some(name.to_owned()),
            verified: None,
            profile: None,
            is_default: false,
            is_in_app: false,
        }
    }

    #[test]
    fn the_longest_name_after_an_at_sign_is_mentioned() {
        let contacts = [contact(1, "Bob"), contact(2, "Bob Smith"), contact(3, "")];
        let mentioned = |text: &str| {
            let ranges = find(text, contacts.iter());
            let parts = text_parts(text, &ranges).into_iter().filter_map(|part| match part {
                TextPart::Mention { account, text } => {
                    Some((account.as_bytes()[0], text.to_owned()))
                }
                TextPart::Text(_) => None,
            });
            parts.collect::<Vec<_>>()
        };
        let expected = [(2, "@Bob Smith".to_owned()), (1, "@Bob".to_owned())];
        assert_eq!(mentioned("hi @Bob Smith, and @Bob!"), expected);
        assert_eq!(mentioned("@Bobby, a@Bob, @Eve, @"), []);
    }
}
