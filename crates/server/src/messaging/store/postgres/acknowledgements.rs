//! Acknowledgements, which name messages in four ways.

use wormhole_chat::{AccountId, EnvelopeKind};

use super::columns::{Columns, Read, stored};
use super::transaction::{Chosen, Parameters, PostgresTables, Stored};
use crate::messaging::store::tables::TakenMessage;
use crate::messaging::store::{Acknowledgement, MessageName};

/// Acknowledgements by the way in which they name a message, as columns. In a fixed order, so that no two transactions
/// wait for each other.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements<'a> {
    positions: Vec<(i64, i64, usize)>,
    guids: Vec<(i64, &'a [u8], usize)>,
    accounts: Vec<(i64, AccountId, i64, usize)>,
    numbers: Vec<(i64, &'a str, i64, usize)>,
}

/// An acknowledgement, the message that it has removed, and the length of its envelope.
pub(super) type RemovedMessage = (usize, TakenMessage, u64);

impl<'a> Acknowledgements<'a> {
    pub(super) fn new(acknowledgements: &[&'a Acknowledgement]) -> Self {
        let mut all = Self::default();
        for (entry, Acknowledgement { device, message }) in acknowledgements.iter().enumerate() {
            let device = device.0;
            match message {
                MessageName::Position(position) => all.positions.push((device, *position, entry)),
                MessageName::Guid(guid) => all.guids.push((device, guid, entry)),
                MessageName::Sent(source, timestamp) => match source.parse() {
                    Ok(account) => all.accounts.push((device, account, stored(*timestamp), entry)),
                    Err(_) => all.numbers.push((device, source, stored(*timestamp), entry)),
                },
            }
        }
        all.positions.sort_unstable();
        all.guids.sort_unstable();
        all.accounts.sort_unstable();
        all.numbers.sort_unstable();
        all
    }

    pub(super) fn take(&self, tables: &mut PostgresTables<'_>) -> Stored<Vec<RemovedMessage>> {
        let mut taken = Vec::new();
        let list = &self.positions;
        let [devices, positions] = [column(list, |it| it.0), column(list, |it| it.1)];
        let places = column(list, |it| it.2);
        take(tables, |it| &it.take_by_position, &[&devices, &positions], &places, &mut taken)?;
        let list = &self.guids;
        let (devices, guids) = (column(list, |it| it.0), column(list, |it| it.1));
        let places = column(list, |it| it.2);
        take(tables, |it| &it.take_by_guid, &[&devices, &guids], &places, &mut taken)?;
        let list = &self.accounts;
        let [devices, times] = [column(list, |it| it.0), column(list, |it| it.2)];
        let sources: Vec<&[u8]> = list.iter().map(|it| it.1.as_bytes().as_slice()).collect();
        let (row, places): (Parameters<'_>, _) =
            (&[&devices, &sources, &times], column(list, |it| it.3));
        take(tables, |it| &it.take_by_account, row, &places, &mut taken)?;
        let list = &self.numbers;
        let [devices, times] = [column(list, |it| it.0), column(list, |it| it.2)];
        let sources = column(list, |it| it.1);
        let (row, places): (Parameters<'_>, _) =
            (&[&devices, &sources, &times], column(list, |it| it.3));
        take(tables, |it| &it.take_by_number, row, &places, &mut taken)?;
        Ok(taken)
    }
}

/// One value of each entry of a list.
fn column<T, V>(list: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    list.iter().map(value).collect()
}

/// Removes the messages that a list names in one way. `places` are those of its entries in the list of all ways.
fn take(
    tables: &mut PostgresTables<'_>,
    statement: Chosen,
    parameters: Parameters<'_>,
    places: &[usize],
    taken: &mut Vec<RemovedMessage>,
) -> Stored<()> {
    if places.is_empty() {
        return Ok(());
    }
    let removed = tables.read(statement, parameters, read_removed)?;
    let placed = |(entry, message, bytes): RemovedMessage| {
        places.get(entry).map(|place| (*place, message, bytes))
    };
    taken.extend(removed.into_iter().filter_map(placed));
    Ok(())
}

fn read_removed(columns: &mut Columns<'_>) -> Read<RemovedMessage> {
    let entry = columns.index()?;
    let kind = EnvelopeKind::from_number(columns.number()?);
    let (source, timestamp) = (columns.account_id()?, columns.time()?);
    let is_to_number = columns.value()?;
    Ok((entry, TakenMessage { kind, source, timestamp, is_to_number }, columns.number()?))
}
