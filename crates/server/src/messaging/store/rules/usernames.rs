//! The names that accounts choose: each belongs to one account of the service.

use wormhole_chat::service::Username;

use crate::messaging::store::{Account, Rows, WorkError};

/// Why an account does not get a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum NameRefusal {
    /// Another account has it.
    Taken,
}

/// Replaces the name of an account; `None` removes it.
///
/// # Errors
/// Another account has this name.
pub(in crate::messaging) fn choose(
    rows: &mut dyn Rows,
    account: &Account,
    name: Option<&Username>,
) -> Result<(), WorkError<NameRefusal>> {
    if let Some(name) = name
        && let Some(owner) = rows.account_with_name(name)?
    {
        return if owner.key == account.key {
            Ok(())
        } else {
            Err(WorkError::Refused(NameRefusal::Taken))
        };
    }
    Ok(rows.put_username(account.key, name)?)
}
