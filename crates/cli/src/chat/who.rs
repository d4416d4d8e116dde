//! The person that a command names.

use anyhow::Result;
use wormhole::chat::{Client, Contact, Destination};

use super::explain;
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
    console: &mut Console,
) -> Result<Destination> {
    if let Ok(destination) = who.parse() {
        return Ok(destination);
    }
    let contacts = console.unless_interrupted(client.contacts()).await?;
    let contacts = contacts.map_err(|error| explain::ended(&error))?;
    let mut named = contacts.iter().filter(|contact| contact.name.as_deref() == Some(who));
    let shown = printable::line(who);
    match (named.next(), named.next()) {
        (Some(contact), None) => Ok(Destination::Account(contact.account)),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("you have named several people {shown:?}"))
                .hint("use the phone number or the account id: `wormhole chat contacts` lists them")
                .into())
        }
        (None, _) => Err(Failure::usage(format!(
            "{shown:?} is neither a phone number nor an account id, and you have named nobody so"
        ))
        .hint("a phone number begins with + and the country code, such as +14155550102")
        .into()),
    }
}

/// The contact that `who` means. Asks the server if it is not known yet.
///
/// # Errors
/// There is no such account, or the server cannot be asked.
pub(super) async fn contact(who: &str, client: &Client, console: &mut Console) -> Result<Contact> {
    let destination = destination(who, client, console).await?;
    let found = console.unless_interrupted(client.resolve(&destination)).await?;
    found.map_err(|error| explain::send(&error).into())
}

/// How a contact is called: by your own name for it, its number, or its account id.
pub(super) fn label(contact: &Contact) -> String {
    match (&contact.name, number(contact)) {
        (Some(name), Some(number)) => format!("{} ({number})", printable::line(name)),
        (Some(name), None) => printable::line(name),
        (None, Some(number)) => number,
        (None, None) => contact.account.to_string(),
    }
}

/// The number of a contact, with its app.
pub(super) fn number(contact: &Contact) -> Option<String> {
    let number = printable::line(contact.number.as_ref()?);
    Some(match &contact.app {
        Some(app) => format!("{number}@{}", printable::line(app)),
        None => number,
    })
}

/// What a command accepts as `WHO` for this contact. A number that is only known from an envelope may be somebody else's.
pub(super) fn argument(contact: &Contact) -> String {
    let number = number(contact).filter(|_| contact.is_in_app);
    number.unwrap_or_else(|| contact.account.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_server_cannot_control_the_terminal() {
        let account = "9d0652a3-dcc3-4d11-975f-74d61598733f".parse().unwrap();
        let mut contact = Contact {
            account,
            number: Some("+1415\x1b[2J".into()),
            app: Some("one\n".into()),
            name: None,
            verified: None,
            is_default: false,
            is_in_app: false,
        };
        assert_eq!(label(&contact), "+1415\\u{1b}[2J@one");
        contact.name = Some("Bob\u{202e}".into());
        assert!(label(&contact).starts_with("Bob\\u{202e} ("));
        (contact.number, contact.name) = (None, None);
        assert_eq!(label(&contact), account.to_string());
    }
}
