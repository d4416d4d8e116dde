//! The statements of a turn. Other nodes may execute turns at the same time, see [`super`].

use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, EnvelopeKind, Timestamp};

use super::columns::{Columns, Read, stored};
use super::rows::kind_number;
use super::transaction::{Parameters, PostgresTables, Stored};
use crate::messaging::store::tables::{
    Owner, PublishedKeys, QueueSize, Reader, RecipientDevice, SenderQueue, StoredMessage,
    SubmissionKey, Tables, TakenMessage, Waiting, WantedKeys,
};
use crate::messaging::store::{
    Account, AccountKey, Acknowledgement, DeviceKey, Found, LastResortKey, Login, LoginName,
    MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, OneTimeKey, Page, PageRequest, StoreError, Which,
};

impl Tables for PostgresTables<'_> {
    fn find(&mut self, logins: &[&Login]) -> Stored<Vec<Vec<Found>>> {
        let mut found: Vec<Vec<Found>> = logins.iter().map(|_| Vec::new()).collect();
        let (mut accounts, mut numbers) = (Named::default(), Named::default());
        let (mut account_devices, mut number_devices) = (Vec::new(), Vec::new());
        for (entry, login) in logins.iter().enumerate() {
            let device = i32::from(login.device.number());
            match &login.name {
                LoginName::Account(id) => {
                    accounts.push(entry, id.as_bytes().as_slice());
                    account_devices.push(device);
                }
                LoginName::Number(number) => {
                    numbers.push(entry, number.as_str());
                    number_devices.push(device);
                }
            }
        }
        if !accounts.names.is_empty() {
            let parameters: Parameters<'_> = &[&accounts.names, &account_devices];
            let rows = self.read(|it| &it.find_by_account, parameters, read_found)?;
            accounts.distribute(rows, &mut found, Vec::push);
        }
        if !numbers.names.is_empty() {
            let parameters: Parameters<'_> = &[&numbers.names, &number_devices];
            let rows = self.read(|it| &it.find_by_number, parameters, read_found)?;
            numbers.distribute(rows, &mut found, Vec::push);
        }
        for (found, login) in found.iter_mut().zip(logins) {
            found.retain(|found| login.app.as_ref().is_none_or(|app| *app == found.app.name));
        }
        Ok(found)
    }

    fn resolve(&mut self, destinations: &[&Destination]) -> Stored<Vec<Option<Account>>> {
        self.load_destinations(destinations)?;
        Ok(destinations.iter().map(|it| self.cache.resolve(it).cloned()).collect())
    }

    fn recipients(&mut self, accounts: &[AccountKey]) -> Stored<Vec<Vec<RecipientDevice>>> {
        let is_unknown = |account: &&AccountKey| self.cache.devices(**account).is_none();
        let unknown: Vec<i64> = accounts.iter().filter(is_unknown).map(|key| key.0).collect();
        if !unknown.is_empty() {
            self.load(|it| &it.load_by_key, &[&unknown])?;
        }
        let devices =
            |account: &AccountKey| self.cache.devices(*account).unwrap_or_default().to_vec();
        Ok(accounts.iter().map(devices).collect())
    }

    fn published_keys(&mut self, devices: &[DeviceKey]) -> Stored<Vec<PublishedKeys>> {
        let mut keys = vec![PublishedKeys::default(); devices.len()];
        for (entry, published) in
            self.read(|it| &it.published_keys, &[&numbers(devices)], read_published)?
        {
            if let Some(place) = keys.get_mut(entry) {
                *place = published;
            }
        }
        Ok(keys)
    }

    fn take_one_time_keys(&mut self, wanted: &[WantedKeys]) -> Stored<Vec<Vec<OneTimeKey>>> {
        let devices: Vec<i64> = wanted.iter().map(|wanted| wanted.device.0).collect();
        let kinds: Vec<i16> = wanted.iter().map(|wanted| kind_number(wanted.kind)).collect();
        let counts: Vec<i64> = wanted.iter().map(|wanted| wanted.count.into()).collect();
        let mut keys: Vec<Vec<OneTimeKey>> = wanted.iter().map(|_| Vec::new()).collect();
        let read = |columns: &mut Columns<'_>| {
            let entry = columns.index()?;
            Ok((entry, columns.number()?, columns.value()?, columns.value()?))
        };
        let parameters: Parameters<'_> = &[&devices, &kinds, &counts];
        for (entry, id, key, signature) in
            self.read(|it| &it.take_one_time_keys, parameters, read)?
        {
            if let (Some(wanted), Some(keys)) = (wanted.get(entry), keys.get_mut(entry)) {
                keys.push(OneTimeKey { kind: wanted.kind, id, key, signature });
            }
        }
        keys.iter_mut().for_each(|keys| keys.sort_unstable_by_key(|key| key.id));
        Ok(keys)
    }

    fn take_messages(
        &mut self,
        acknowledgements: &[&Acknowledgement],
    ) -> Stored<Vec<Option<TakenMessage>>> {
        let mut taken = vec![None; acknowledgements.len()];
        let requests = Acknowledgements::of(acknowledgements);
        for (entry, message, bytes) in requests.take(self)? {
            if let (Some(place), Some(request)) =
                (taken.get_mut(entry), acknowledgements.get(entry))
            {
                self.queues.remove(request.device, bytes);
                *place = Some(message);
            }
        }
        Ok(taken)
    }

    fn owners(&mut self, devices: &[DeviceKey]) -> Stored<Vec<Option<Owner>>> {
        let is_unknown = |device: &&DeviceKey| self.cache.owner(**device).is_none();
        let unknown: Vec<i64> = devices.iter().filter(is_unknown).map(|key| key.0).collect();
        if !unknown.is_empty() {
            self.load(|it| &it.load_by_device, &[&unknown])?;
        }
        Ok(devices.iter().map(|device| self.cache.owner(*device)).collect())
    }

    fn queue_sizes(&mut self, queues: &[SenderQueue]) -> Stored<Vec<QueueSize>> {
        let devices: Vec<DeviceKey> = queues.iter().map(|queue| queue.device).collect();
        self.lock_queues(&devices)?;
        let size = |queue: &SenderQueue| {
            let all = self.queues.size(queue.device);
            QueueSize { all, from_sender: Waiting::default() }
        };
        let mut sizes: Vec<QueueSize> = queues.iter().map(size).collect();
        self.count_of_senders(queues, &mut sizes)?;
        Ok(sizes)
    }

    fn insert_messages(&mut self, messages: &[StoredMessage<'_>]) -> Stored<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut positions = Vec::with_capacity(messages.len());
        for message in messages {
            let position = self.queues.push(message.device, message.bytes());
            let missing = || StoreError("a device has no queue".into());
            positions.push(position.ok_or_else(missing)?);
        }
        let column = |value: fn(&StoredMessage<'_>) -> i64| -> Vec<i64> {
            messages.iter().map(value).collect()
        };
        let devices = column(|message| message.device.0);
        let accepted = column(|message| stored(message.server_timestamp));
        let are_ephemeral: Vec<bool> = messages.iter().map(|it| it.is_ephemeral).collect();
        let are_to_number: Vec<bool> = messages.iter().map(|it| it.is_to_number).collect();
        let kinds = column(|message| message.kind.number().into());
        let guids: Vec<&[u8]> = messages.iter().map(|it| it.guid.as_slice()).collect();
        let sources: Vec<&[u8]> =
            messages.iter().map(|it| it.source.as_bytes().as_slice()).collect();
        let numbers: Vec<&str> = messages.iter().map(|it| it.source_number.as_str()).collect();
        let timestamps = column(|message| stored(message.timestamp));
        let envelopes: Vec<&[u8]> = messages.iter().map(|it| it.envelope.as_slice()).collect();
        let row: Parameters<'_> = &[
            &devices,
            &positions,
            &accepted,
            &are_ephemeral,
            &are_to_number,
            &kinds,
            &guids,
            &sources,
            &numbers,
            &timestamps,
            &envelopes,
        ];
        self.query(|it| &it.insert_messages, row).map(drop)
    }

    fn were_sent(&mut self, submissions: &[SubmissionKey]) -> Stored<Vec<bool>> {
        let mut were_sent = vec![false; submissions.len()];
        if submissions.is_empty() {
            return Ok(were_sent);
        }
        let [timestamps, devices, accounts, contents] = sent_columns(submissions);
        let parameters: Parameters<'_> = &[&timestamps, &devices, &accounts, &contents];
        for entry in self.read(|it| &it.were_sent, parameters, |it| it.index())? {
            if let Some(was_sent) = were_sent.get_mut(entry) {
                *was_sent = true;
            }
        }
        Ok(were_sent)
    }

    fn insert_sent(&mut self, submissions: &[SubmissionKey], now: Timestamp) -> Stored<()> {
        if submissions.is_empty() {
            return Ok(());
        }
        let [timestamps, devices, accounts, contents] = sent_columns(submissions);
        let row: Parameters<'_> = &[&timestamps, &devices, &accounts, &contents, &stored(now)];
        self.query(|it| &it.insert_sent, row).map(drop)
    }

    fn readers(&mut self, devices: &[DeviceKey]) -> Stored<Vec<Option<Reader>>> {
        let is_unknown = |device: &&DeviceKey| self.cache.reader(**device).is_none();
        let unknown: Vec<i64> = devices.iter().filter(is_unknown).map(|key| key.0).collect();
        if !unknown.is_empty() {
            let read = |columns: &mut Columns<'_>| {
                let device = DeviceKey(columns.value()?);
                Ok((device, Reader { signaling_key: columns.value()? }))
            };
            let readers = self.read(|it| &it.readers, &[&unknown], read)?;
            self.cache.add_readers(readers);
        }
        Ok(devices.iter().map(|device| self.cache.reader(*device).cloned()).collect())
    }

    fn pages(&mut self, pages: &[PageRequest], oldest_ephemeral: Timestamp) -> Stored<Vec<Page>> {
        let bytes = |page: &PageRequest| i64::try_from(page.max_bytes).unwrap_or(i64::MAX);
        let devices: Vec<i64> = pages.iter().map(|page| page.device.0).collect();
        let after: Vec<i64> = pages.iter().map(|page| page.after).collect();
        let messages: Vec<i64> = pages.iter().map(|page| page.max_messages.into()).collect();
        let bytes: Vec<i64> = pages.iter().map(bytes).collect();
        let parameters: Parameters<'_> =
            &[&devices, &after, &messages, &bytes, &stored(oldest_ephemeral)];
        let read = |columns: &mut Columns<'_>| {
            Ok((columns.index()?, columns.value()?, columns.value::<Option<Vec<u8>>>()?))
        };
        let mut found = vec![Page::default(); pages.len()];
        for (entry, position, envelope) in self.read(|it| &it.pages, parameters, read)? {
            let Some(page) = found.get_mut(entry) else { continue };
            match envelope {
                Some(envelope) => page.messages.push((position, envelope)),
                None => page.has_more = true,
            }
        }
        Ok(found)
    }
}

impl PostgresTables<'_> {
    /// Counts what senders have in long queues. In a short one, no sender can have more than its share.
    fn count_of_senders(&mut self, queues: &[SenderQueue], sizes: &mut [QueueSize]) -> Stored<()> {
        let mut long = Named::default();
        let mut sources: Vec<&[u8]> = Vec::new();
        for (place, (queue, QueueSize { all, .. })) in queues.iter().zip(&*sizes).enumerate() {
            if all.messages >= MAX_QUEUED_MESSAGES / 10 || all.bytes >= MAX_QUEUED_BYTES / 10 {
                long.push(place, queue.device.0);
                sources.push(queue.source.as_bytes());
            }
        }
        if long.names.is_empty() {
            return Ok(());
        }
        let read = |columns: &mut Columns<'_>| {
            let entry = columns.index()?;
            Ok((entry, Waiting { messages: columns.number()?, bytes: columns.number()? }))
        };
        let found = self.read(|it| &it.sender_sizes, &[&long.names, &sources], read)?;
        long.distribute(found, sizes, |size, waiting| size.from_sender = waiting);
        Ok(())
    }

    /// Reads the accounts of destinations that are not in the cache.
    pub(super) fn load_destinations(&mut self, destinations: &[&Destination]) -> Stored<()> {
        let mut ids: Vec<&[u8]> = Vec::new();
        let mut numbers: Vec<&str> = Vec::new();
        let (mut app_numbers, mut apps): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for destination in destinations {
            match destination {
                known if self.cache.resolve(known).is_some() => {}
                Destination::Account(id) => ids.push(id.as_bytes()),
                Destination::Number(number) => numbers.push(number.as_str()),
                Destination::NumberInApp(number, app) => {
                    app_numbers.push(number.as_str());
                    apps.push(app.as_str());
                }
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
        Ok(())
    }
}

/// Entries of a list that name something in the same way, and their places in the whole list.
#[derive(Debug)]
struct Named<T> {
    places: Vec<usize>,
    names: Vec<T>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { places: Vec::new(), names: Vec::new() }
    }
}

impl<T> Named<T> {
    fn push(&mut self, place: usize, name: T) {
        self.places.push(place);
        self.names.push(name);
    }

    /// Adds each result to the results of its place in the whole list.
    fn distribute<V, R>(&self, rows: Vec<(usize, V)>, results: &mut [R], add: fn(&mut R, V)) {
        for (entry, value) in rows {
            let place = self.places.get(entry).copied();
            if let Some(result) = place.and_then(|place| results.get_mut(place)) {
                add(result, value);
            }
        }
    }
}

/// Acknowledgements by the way in which they name a message, as columns. In a fixed order, so that no two transactions
/// wait for each other.
#[derive(Debug, Default)]
struct Acknowledgements<'a> {
    positions: Vec<(i64, i64, usize)>,
    guids: Vec<(i64, &'a [u8], usize)>,
    accounts: Vec<(i64, AccountId, i64, usize)>,
    numbers: Vec<(i64, &'a str, i64, usize)>,
}

/// An acknowledgement, the message that it has removed, and the length of its envelope.
type Taken = (usize, TakenMessage, u64);

impl<'a> Acknowledgements<'a> {
    fn of(acknowledgements: &[&'a Acknowledgement]) -> Self {
        let mut all = Self::default();
        for (entry, Acknowledgement { device, message }) in acknowledgements.iter().enumerate() {
            let device = device.0;
            match message {
                Which::Position(position) => all.positions.push((device, *position, entry)),
                Which::Guid(guid) => all.guids.push((device, guid, entry)),
                Which::Sent(source, timestamp) => match source.parse() {
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

    fn take(&self, tables: &mut PostgresTables<'_>) -> Stored<Vec<Taken>> {
        let mut taken = Vec::new();
        let read = read_taken;
        if !self.positions.is_empty() {
            let devices: Vec<i64> = self.positions.iter().map(|it| it.0).collect();
            let positions: Vec<i64> = self.positions.iter().map(|it| it.1).collect();
            let rows = tables.read(|it| &it.take_by_position, &[&devices, &positions], read)?;
            taken.extend(restore(rows, |entry| self.positions.get(entry).map(|it| it.2)));
        }
        if !self.guids.is_empty() {
            let devices: Vec<i64> = self.guids.iter().map(|it| it.0).collect();
            let guids: Vec<&[u8]> = self.guids.iter().map(|it| it.1).collect();
            let rows = tables.read(|it| &it.take_by_guid, &[&devices, &guids], read)?;
            taken.extend(restore(rows, |entry| self.guids.get(entry).map(|it| it.2)));
        }
        if !self.accounts.is_empty() {
            let devices: Vec<i64> = self.accounts.iter().map(|it| it.0).collect();
            let sources: Vec<&[u8]> =
                self.accounts.iter().map(|it| it.1.as_bytes().as_slice()).collect();
            let times: Vec<i64> = self.accounts.iter().map(|it| it.2).collect();
            let rows =
                tables.read(|it| &it.take_by_account, &[&devices, &sources, &times], read)?;
            taken.extend(restore(rows, |entry| self.accounts.get(entry).map(|it| it.3)));
        }
        if !self.numbers.is_empty() {
            let devices: Vec<i64> = self.numbers.iter().map(|it| it.0).collect();
            let sources: Vec<&str> = self.numbers.iter().map(|it| it.1).collect();
            let times: Vec<i64> = self.numbers.iter().map(|it| it.2).collect();
            let rows = tables.read(|it| &it.take_by_number, &[&devices, &sources, &times], read)?;
            taken.extend(restore(rows, |entry| self.numbers.get(entry).map(|it| it.3)));
        }
        Ok(taken)
    }
}

/// Replaces the entry of a sorted list by its place in the original one.
fn restore(rows: Vec<Taken>, place: impl Fn(usize) -> Option<usize>) -> Vec<Taken> {
    let restored = |(entry, message, bytes)| Some((place(entry)?, message, bytes));
    rows.into_iter().filter_map(restored).collect()
}

fn read_found(columns: &mut Columns<'_>) -> Read<(usize, Found)> {
    let entry = columns.index()?;
    let (account, device) = (columns.account()?, columns.device()?);
    Ok((entry, Found { account, device, app: columns.app()? }))
}

fn read_published(columns: &mut Columns<'_>) -> Read<(usize, PublishedKeys)> {
    let entry = columns.index()?;
    let (signed, kyber_last_resort) = (columns.signed_key()?, columns.signed_key()?);
    let (id, key): (_, Option<Vec<u8>>) = (columns.value()?, columns.value()?);
    let last_resort = columns.optional_id(id)?.zip(key);
    let last_resort = last_resort.map(|(id, key)| LastResortKey { id, key });
    Ok((entry, PublishedKeys { signed, last_resort, kyber_last_resort }))
}

fn read_taken(columns: &mut Columns<'_>) -> Read<Taken> {
    let entry = columns.index()?;
    let kind = EnvelopeKind::from_number(columns.number()?);
    let (source, timestamp) = (columns.account_id()?, columns.time()?);
    let is_to_number = columns.value()?;
    Ok((entry, TakenMessage { kind, source, timestamp, is_to_number }, columns.number()?))
}

fn sent_columns(submissions: &[SubmissionKey]) -> [Vec<i64>; 4] {
    let column = |value: fn(&SubmissionKey) -> i64| submissions.iter().map(value).collect();
    [
        column(|key| stored(key.timestamp)),
        column(|key| key.sender.0),
        column(|key| key.destination.0),
        column(|key| key.content),
    ]
}

fn numbers(devices: &[DeviceKey]) -> Vec<i64> {
    devices.iter().map(|device| device.0).collect()
}
