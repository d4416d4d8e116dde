//! The person that a command names.

use anyhow::Result;
use wormhole::chat::{Client, Contact, Destination};

use super::explain;
use crate::args::chat::AccountArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// The destination that `who` means: a number, an account id, or the name of a contact.
///
/// # Errors
/// It is none of these, or several contacts have this name.
pub(super) async fn destination(
    who: &str,
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<Destination> {
    if let Ok(destination) = who.parse() {
        return Ok(destination);
    }
    let contacts = console.unless_interrupted(client.contacts()).await?;
    let contacts = contacts.map_err(|error| explain::ended(&error))?;
    let mut named = contacts.iter().filter(|contact| contact.name.as_deref() == Some(who));
    match (named.next(), named.next()) {
        (Some(contact), None) => Ok(Destination::Account(contact.account)),
        (Some(_), Some(_)) => {
            let shown = printable::line(who);
            let contacts = explain::command("contacts", args);
            Err(Failure::usage(format!("you have given the name '{shown}' to several people"))
                .hint(format!("use the phone number or the account id: {contacts} lists them"))
                .into())
        }
        (None, _) => Err(unknown(who, args).into()),
    }
}

fn unknown(who: &str, args: &AccountArgs) -> Failure {
    let shown = printable::line(who);
    if who.starts_with('+') {
        return Failure::usage(format!("'{shown}' is not a complete phone number"))
            .hint("a phone number has + and 10 to 15 digits, such as +14155550102");
    }
    if !who.is_empty() && who.chars().all(|c| c.is_ascii_digit() || c.is_whitespace()) {
        return Failure::usage(format!("'{shown}' has no country code"))
            .hint("a phone number begins with + and the country code, such as +14155550102");
    }
    let contacts = explain::command("contacts", args);
    Failure::usage(format!("no contact is called '{shown}'")).hint(format!(
        "{contacts} lists your contacts. A phone number begins with +, such as +14155550102"
    ))
}

/// The contact that `who` means. Asks the server if it is not known yet.
///
/// # Errors
/// There is no such account, it is the user's own, or the server cannot be asked.
pub(super) async fn contact(
    who: &str,
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<Contact> {
    let destination = destination(who, client, args, console).await?;
    let found = console.unless_interrupted(client.resolve(&destination)).await?;
    let contact = found.map_err(|error| explain::send(&error, args))?;
    if contact.account == client.me().address.account {
        return Err(explain::own_number().into());
    }
    Ok(contact)
}

/// How a contact is called: by your own name for it, its number, or its account id. A number that nobody has checked is only
/// quoted: anybody could claim it.
pub(super) fn label(contact: &Contact) -> String {
    let name = contact.name.as_deref().map(printable::line);
    match (name, number(contact)) {
        (Some(name), Some(number)) if is_bound(contact) => format!("{name} ({number})"),
        (Some(name), _) => name,
        (None, Some(number)) if is_bound(contact) => number,
        (None, Some(number)) => format!("{} (says it is {number})", contact.account),
        (None, None) => contact.account.to_string(),
    }
}

/// Whether the server has led us from the number to this account. Otherwise the number is only what an envelope claims.
pub(super) const fn is_bound(contact: &Contact) -> bool {
    contact.is_default || contact.is_in_app
}

/// The number of a contact, with its app.
fn number(contact: &Contact) -> Option<String> {
    let number = printable::line(contact.number.as_ref()?);
    Some(match &contact.app {
        Some(app) => format!("{number}@{}", printable::line(app)),
        None => number,
    })
}

/// What a command accepts as `WHO` for this contact. A number that is only known from an envelope may be somebody else's.
pub(super) fn argument(contact: &Contact) -> String {
    let in_app = number(contact).filter(|_| contact.is_in_app);
    let plain = contact.number.as_deref().filter(|_| contact.is_default).map(printable::line);
    plain.or(in_app).unwrap_or_else(|| contact.account.to_string())
}

#[cfg(test)]
mod tests {
    use wormhole::chat::AccountId;

    use super::*;

    fn contact(account: AccountId) -> Contact {
        Contact {
            account,
            number: None,
            app: None,
            name: None,
            verified: None,
            is_default: false,
            is_in_app: false,
        }
    }

    #[test]
    fn only_numbers_that_the_server_led_to_are_used_as_arguments() {
        let account: AccountId = "9d0652a3-dcc3-4d11-975f-74d61598733f".parse().unwrap();
        let mut contact = contact(account);
        (contact.number, contact.app) = (Some("+14155550102".into()), Some("com.two".into()));
        assert_eq!(argument(&contact), account.to_string());
        contact.is_in_app = true;
        assert_eq!(argument(&contact), "+14155550102@com.two");
        contact.is_default = true;
        assert_eq!(argument(&contact), "+14155550102");
    }

    #[test]
    fn a_number_that_only_an_envelope_names_is_not_shown_as_the_sender() {
        let account: AccountId = "9d0652a3-dcc3-4d11-975f-74d61598733f".parse().unwrap();
        let mut contact = contact(account);
        (contact.number, contact.app) = (Some("+14155550102".into()), Some("com.two".into()));
        assert_eq!(label(&contact), format!("{account} (says it is +14155550102@com.two)"));
        contact.name = Some("Bob".into());
        assert_eq!(label(&contact), "Bob");
        contact.is_in_app = true;
        assert_eq!(label(&contact), "Bob (+14155550102@com.two)");
        contact.name = None;
        assert_eq!(label(&contact), "+14155550102@com.two");
    }

    #[test]
    fn names_from_the_server_cannot_control_the_terminal() {
        let account: AccountId = "9d0652a3-dcc3-4d11-975f-74d61598733f".parse().unwrap();
        let mut contact = contact(account);
        (contact.number, contact.app) = (Some("+1415\x1b[2J".into()), Some("one\n".into()));
        assert!(label(&contact).ends_with("(says it is +1415\\u{1b}[2J@one)"));
        contact.is_default = true;
        assert_eq!(label(&contact), "+1415\\u{1b}[2J@one");
        contact.name = Some("Bob\u{202e}".into());
        assert!(label(&contact).starts_with("Bob\\u{202e} ("));
        (contact.number, contact.name) = (None, None);
        assert_eq!(label(&contact), account.to_string());
    }
}
