//! Lists of requests that name things in several ways: each way has a statement of its own.

use wormhole_chat::service::{Destination, Username};

use super::columns::Columns;
use super::transaction::{PostgresTables, Stored};
use crate::messaging::store::AccountKey;

/// Entries of a list that name something in the same way, and their places in the whole list.
#[derive(Debug)]
pub(super) struct Indexed<T> {
    pub(super) places: Vec<usize>,
    pub(super) names: Vec<T>,
}

impl<T> Default for Indexed<T> {
    fn default() -> Self {
        Self { places: Vec::new(), names: Vec::new() }
    }
}

impl<T> Indexed<T> {
    pub(super) fn push(&mut self, place: usize, name: T) {
        self.places.push(place);
        self.names.push(name);
    }

    /// Adds each result to the results of its place in the whole list.
    pub(super) fn distribute<V, R>(
        &self,
        rows: Vec<(usize, V)>,
        results: &mut [R],
        add: fn(&mut R, V),
    ) {
        for (entry, value) in rows {
            let place = self.places.get(entry).copied();
            if let Some(result) = place.and_then(|place| results.get_mut(place)) {
                add(result, value);
            }
        }
    }
}

impl PostgresTables<'_> {
    /// Reads the accounts of destinations that are not in the cache.
    pub(super) fn load_destinations(&mut self, destinations: &[&Destination]) -> Stored<()> {
        let mut ids: Vec<&[u8]> = Vec::new();
        let mut numbers: Vec<&str> = Vec::new();
        let (mut app_numbers, mut apps): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        let mut names: Vec<&str> = Vec::new();
        for destination in destinations {
            match destination {
                known if self.cache.accounts.resolve(known).is_some() => {}
                Destination::Account(id) => ids.push(id.as_bytes()),
                Destination::Number(number) => numbers.push(number.as_str()),
                Destination::NumberInApp(number, app) => {
                    app_numbers.push(number.as_str());
                    apps.push(app.as_str());
                }
                Destination::Username(name) => names.push(name.as_str()),
            }
        }
        if !ids.is_empty() {
            self.load(|it| &it.load_by_id, &[&ids])?;
        }
        if !numbers.is_empty() {
            self.load(|it| &it.load_by_number, &[&numbers])?;
        }
        if !apps.is_empty() {
            self.load(|it| &it.load_by_app, &[&app_numbers, &apps])?;
        }
        if !names.is_empty() {
            self.load_usernames(&names)?;
        }
        Ok(())
    }

    fn load_usernames(&mut self, names: &[&str]) -> Stored<()> {
        let read = |columns: &mut Columns<'_>| Ok((columns.parsed()?, columns.value()?));
        let found: Vec<(Username, i64)> = self.read(|it| &it.usernames, &[&names], read)?;
        let accounts: Vec<i64> = found.iter().map(|(_, account)| *account).collect();
        self.load(|it| &it.load_by_key, &[&accounts])?;
        for (name, account) in found {
            self.cache.accounts.add_username(name, AccountKey(account));
        }
        Ok(())
    }
}
