//! The person that a command names.

use std::borrow::Cow;

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
    if let Ok(destination) = without_separators(who).parse() {
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

/// A phone number without the separators that people write: `+1 (415) 555-0102`. Other text stays as it is.
pub(super) fn without_separators(who: &str) -> Cow<'_, str> {
    if !who.starts_with('+') {
        return Cow::Borrowed(who);
    }
    let (number, app) = who.find('@').map_or((who, ""), |at| who.split_at(at));
    let is_separator = |c: &char| {
        matches!(
            c,
            ' ' | '\u{a0}' | '\u{202f}' | '-' | '\u{2011}' | '\u{2013}' | '.' | '/' | '(' | ')'
        )
    };
    Cow::Owned(number.chars().filter(|c| !is_separator(c)).collect::<String>() + app)
}

fn unknown(who: &str, args: &AccountArgs) -> Failure {
    let shown = printable::line(who);
    if who.starts_with('+') {
        return Failure::usage(format!("'{shown}' is not a complete phone number"))
            .hint("a phone number has + and 10 to 15 digits, such as +14155550102");
    }
    if !who.is_empty() && who.chars().all(|c| c.is_ascii_digit() || c.is_whitespace()) {
        return Failure::usage(format!("'{shown}' does not begin with + and a country code"))
            .hint("write a phone number as +14155550102, or use a name that you have given");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_can_be_written_with_separators() {
        assert_eq!(without_separators("+1 (415) 555-0102"), "+14155550102");
        assert_eq!(without_separators("+49.30/1234 567@com.a-b"), "+49301234567@com.a-b");
        for other in ["Bob (work)", "9d0652a3-dcc3-4d11-975f-74d61598733f", "415 555"] {
            assert_eq!(without_separators(other), other);
        }
    }
}
