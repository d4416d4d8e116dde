//! The statements of a turn. Other nodes may execute turns at the same time, see [`super`].

use wormhole_chat::Timestamp;
use wormhole_chat::service::Destination;

use super::acknowledgements::Acknowledgements;
use super::columns::{Columns, Read, stored};
use super::entries::Indexed;
use super::transaction::{Parameters, PostgresTables, Stored};
use crate::messaging::store::tables::{
    DeviceReader, Owner, PublishedKeys, QueueSize, QueueUse, RecipientDevice, SenderQueue,
    StoredMessage, SubmissionKey, Tables, TakenMessage, WantedKeys,
};
use crate::messaging::store::{
    Account, AccountKey, Acknowledgement, Consent, DeviceKey, Found, LastResortKey, Login,
    LoginName, OneTimeKey, Page, PageRequest, Pair, StoreError,
};

impl Tables for PostgresTables<'_> {
    fn find(&mut self, logins: &[&Login]) -> Stored<Vec<Vec<Found>>> {
        let mut found: Vec<Vec<Found>> = logins.iter().map(|_| Vec::new()).collect();
        let (mut accounts, mut numbers) = (Indexed::default(), Indexed::default());
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
        Ok(found)
    }

    fn resolve(&mut self, destinations: &[&Destination]) -> Stored<Vec<Option<Account>>> {
        self.load_destinations(destinations)?;
        Ok(destinations.iter().map(|it| self.cache.accounts.resolve(it).cloned()).collect())
    }

    fn recipients(&mut self, accounts: &[AccountKey]) -> Stored<Vec<Vec<RecipientDevice>>> {
        let is_unknown = |account: &&AccountKey| self.cache.accounts.devices(**account).is_none();
        let unknown: Vec<i64> = accounts.iter().filter(is_unknown).map(|key| key.0).collect();
        if !unknown.is_empty() {
            self.load(|it| &it.load_by_key, &[&unknown])?;
        }
        let devices = |account: &AccountKey| {
            self.cache.accounts.devices(*account).unwrap_or_default().to_vec()
        };
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
        let kinds: Vec<i16> = wanted.iter().map(|wanted| wanted.kind.number()).collect();
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
        if keys.iter().any(|keys| !keys.is_empty()) {
            self.write();
        }
        keys.iter_mut().for_each(|keys| keys.sort_unstable_by_key(|key| key.id));
        Ok(keys)
    }

    fn take_messages(
        &mut self,
        acknowledgements: &[&Acknowledgement],
    ) -> Stored<Vec<Option<TakenMessage>>> {
        let mut taken = vec![None; acknowledgements.len()];
        let requests = Acknowledgements::new(acknowledgements);
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
        let is_unknown = |device: &&DeviceKey| self.cache.accounts.owner(**device).is_none();
        let unknown: Vec<i64> = devices.iter().filter(is_unknown).map(|key| key.0).collect();
        if !unknown.is_empty() {
            self.load(|it| &it.load_by_device, &[&unknown])?;
        }
        Ok(devices.iter().map(|device| self.cache.accounts.owner(*device)).collect())
    }

    fn queue_sizes(&mut self, queues: &[SenderQueue]) -> Stored<Vec<QueueSize>> {
        let devices: Vec<DeviceKey> = queues.iter().map(|queue| queue.device).collect();
        self.lock_queues(&devices)?;
        let size = |queue: &SenderQueue| {
            let all = self.queues.size(queue.device);
            QueueSize { all, from_sender: QueueUse::default() }
        };
        let mut sizes: Vec<QueueSize> = queues.iter().map(size).collect();
        self.count_of_senders(queues, &mut sizes)?;
        Ok(sizes)
    }

    fn insert_messages(&mut self, messages: &[StoredMessage<'_>]) -> Stored<()> {
        for message in messages {
            let position = self.queues.push(message.device, message.bytes());
            let missing = || StoreError::Inconsistent("a device has no queue");
            self.new_rows.add_message(message, position.ok_or_else(missing)?);
        }
        Ok(())
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
        submissions.iter().for_each(|submission| self.new_rows.add_sent(submission, now));
        Ok(())
    }

    fn consents(&mut self, pairs: &[Pair]) -> Stored<Vec<Option<Consent>>> {
        self.cached_consents(pairs)
    }

    fn count_requests_of(&mut self, senders: &[AccountKey]) -> Stored<Vec<u64>> {
        self.count_requests(senders)
    }

    fn update_consents(&mut self, changed: &[(Pair, Consent)]) -> Stored<()> {
        self.write_consents(changed)
    }

    fn readers(&mut self, devices: &[DeviceKey]) -> Stored<Vec<Option<DeviceReader>>> {
        let is_unknown = |device: &&DeviceKey| self.cache.reader(**device).is_none();
        let unknown: Vec<i64> = devices.iter().filter(is_unknown).map(|key| key.0).collect();
        if !unknown.is_empty() {
            let read = |columns: &mut Columns<'_>| {
                let device = DeviceKey(columns.value()?);
                Ok((device, DeviceReader { signaling_key: columns.value()? }))
            };
            let readers = self.read(|it| &it.readers, &[&unknown], read)?;
            self.cache.add_readers(readers);
        }
        Ok(devices.iter().map(|device| self.cache.reader(*device).cloned()).collect())
    }

    fn pages(&mut self, pages: &[PageRequest], oldest_ephemeral: Timestamp) -> Stored<Vec<Page>> {
        self.flush_new_rows()?;
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
        let mut long = Indexed::default();
        let mut sources: Vec<&[u8]> = Vec::new();
        for (place, (queue, QueueSize { all, .. })) in queues.iter().zip(&*sizes).enumerate() {
            if all.limits_senders() {
                long.push(place, queue.device.0);
                sources.push(queue.source.as_bytes());
            }
        }
        if long.names.is_empty() {
            return Ok(());
        }
        self.flush_new_rows()?;
        let read = |columns: &mut Columns<'_>| {
            let entry = columns.index()?;
            Ok((entry, QueueUse { messages: columns.number()?, bytes: columns.number()? }))
        };
        let found = self.read(|it| &it.sender_sizes, &[&long.names, &sources], read)?;
        long.distribute(found, sizes, |size, waiting| size.from_sender = waiting);
        Ok(())
    }
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
