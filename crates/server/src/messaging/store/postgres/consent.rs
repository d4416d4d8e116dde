//! Rows about who may write to whom, and reports.
//!
//! The decisions of recipients are written in a turn that runs alone. Other turns add requests and acceptances: a statement writes
//! all of them, in the order of their keys, and changes no row in which somebody has decided already.

use tokio_postgres::types::ToSql;
use wormhole_chat::AccountId;

use super::columns::{Columns, Read, stored};
use super::transaction::{Parameters, PostgresTables, Stored};
use crate::messaging::store::rules::consent::{MAX_ACCEPTED, MAX_REQUESTS, MAX_REQUESTS_OF_SENDER};
use crate::messaging::store::{
    Account, AccountKey, Consent, ConsentRows, ConsentState, Pair, ReadConsentRows, Report,
    ReportKey, ReportedMessage,
};

impl ReadConsentRows for PostgresTables<'_> {
    fn consent(&mut self, pair: Pair) -> Stored<Option<Consent>> {
        Ok(self.read_consents(&[pair])?.pop().flatten())
    }

    fn consents_of(
        &mut self,
        recipient: AccountKey,
        state: ConsentState,
        max: u32,
    ) -> Stored<Vec<(Account, Consent)>> {
        let row: [&(dyn ToSql + Sync); 3] = [&recipient.0, &state.number(), &i64::from(max)];
        self.read(|it| &it.consents_of, &row, |it| Ok((it.account()?, it.consent()?)))
    }

    fn count_consents(&mut self, recipient: AccountKey, state: ConsentState) -> Stored<u64> {
        let row: [&(dyn ToSql + Sync); 2] = [&recipient.0, &state.number()];
        let counted = self.read(|it| &it.count_consents, &row, |it| it.number())?;
        Ok(counted.first().copied().unwrap_or_default())
    }

    fn reports(&mut self, max: u32) -> Stored<Vec<Report>> {
        self.read(|it| &it.reports, &[&i64::from(max)], read_report)
    }
}

impl ConsentRows for PostgresTables<'_> {
    fn put_consent(&mut self, pair: Pair, consent: Option<Consent>) -> Stored<()> {
        // Nodes remember who is accepted.
        self.change_accounts();
        let key: [&(dyn ToSql + Sync); 2] = [&pair.recipient.0, &pair.sender.0];
        let Some(Consent { state, since, messages }) = consent else {
            return self.query(|it| &it.delete_consent, &key).map(drop);
        };
        let values: [&(dyn ToSql + Sync); 3] =
            [&state.number(), &stored(since), &i64::from(messages)];
        self.query(|it| &it.put_consent, &[&key[..], &values].concat()).map(drop)
    }

    fn report_key(&self) -> ReportKey {
        self.report_key.clone()
    }

    fn insert_report(&mut self, report: &Report) -> Stored<()> {
        let Report { reporter, reported, message } = report;
        let ReportedMessage { sender, guid, accepted, content } = message;
        let row: [&(dyn ToSql + Sync); 6] = [
            &reporter.as_bytes().as_slice(),
            &stored(*reported),
            &sender.as_bytes().as_slice(),
            &guid.as_slice(),
            &stored(*accepted),
            &content.as_slice(),
        ];
        self.query(|it| &it.insert_report, &row).map(drop)
    }

    fn delete_reports(&mut self, reported: AccountId) -> Stored<u64> {
        self.execute(|it| &it.delete_reports, &[&reported.as_bytes().as_slice()])
    }
}

impl PostgresTables<'_> {
    /// Whether recipients want messages of senders; from memory, if they do.
    pub(super) fn cached_consents(&mut self, pairs: &[Pair]) -> Stored<Vec<Option<Consent>>> {
        let accepted = |pair: &Pair| self.cache.accounts.accepted(*pair);
        let unknown: Vec<Pair> =
            pairs.iter().filter(|pair| accepted(pair).is_none()).copied().collect();
        let read = self.read_consents(&unknown)?;
        let mut read = unknown.into_iter().zip(read).peekable();
        let mut consents = Vec::with_capacity(pairs.len());
        for pair in pairs {
            consents.push(match read.next_if(|(unknown, _)| unknown == pair) {
                Some((_, consent)) => {
                    self.cache.accounts.add_accepted(*pair, consent);
                    consent
                }
                None => self.cache.accounts.accepted(*pair),
            });
        }
        Ok(consents)
    }

    fn read_consents(&mut self, pairs: &[Pair]) -> Stored<Vec<Option<Consent>>> {
        let mut consents = vec![None; pairs.len()];
        if pairs.is_empty() {
            return Ok(consents);
        }
        let [recipients, senders] = keys(pairs.iter());
        let read = |columns: &mut Columns<'_>| Ok((columns.index()?, columns.consent()?));
        for (entry, consent) in self.read(|it| &it.consents, &[&recipients, &senders], read)? {
            if let Some(place) = consents.get_mut(entry) {
                *place = Some(consent);
            }
        }
        Ok(consents)
    }

    /// How many recipients have not answered each sender, up to the limit.
    pub(super) fn count_requests(&mut self, senders: &[AccountKey]) -> Stored<Vec<u64>> {
        let keys: Vec<i64> = senders.iter().map(|sender| sender.0).collect();
        let max = i64::try_from(MAX_REQUESTS_OF_SENDER).unwrap_or(i64::MAX);
        let read = |columns: &mut Columns<'_>| Ok((columns.index()?, columns.number()?));
        let mut counts = vec![0; senders.len()];
        for (entry, count) in self.read(|it| &it.count_requests_of, &[&keys, &max], read)? {
            if let Some(place) = counts.get_mut(entry) {
                *place = count;
            }
        }
        Ok(counts)
    }

    /// Writes what a turn has changed, and removes the oldest rows of recipients that have too many.
    pub(super) fn write_consents(&mut self, changed: &[(Pair, Consent)]) -> Stored<()> {
        self.write();
        let [recipients, senders] = keys(changed.iter().map(|(pair, _)| pair));
        let states: Vec<i16> = changed.iter().map(|(_, it)| it.state.number()).collect();
        let since: Vec<i64> = changed.iter().map(|(_, it)| stored(it.since)).collect();
        let messages: Vec<i64> = changed.iter().map(|(_, it)| it.messages.into()).collect();
        let rows: Parameters<'_> = &[&recipients, &senders, &states, &since, &messages];
        self.query(|it| &it.update_consents, rows)?;
        let new = changed.iter().filter(|(_, consent)| consent.messages <= 1);
        for (pair, consent) in new {
            let max = match consent.state {
                ConsentState::Accepted => i64::from(MAX_ACCEPTED),
                ConsentState::Pending => i64::from(MAX_REQUESTS),
                // A recipient that has blocked too many is told so.
                ConsentState::Blocked => continue,
            };
            let row: [&(dyn ToSql + Sync); 3] = [&pair.recipient.0, &consent.state.number(), &max];
            self.query(|it| &it.trim_consents, &row)?;
        }
        Ok(())
    }
}

fn keys<'a>(pairs: impl Iterator<Item = &'a Pair> + Clone) -> [Vec<i64>; 2] {
    let recipients = pairs.clone().map(|pair| pair.recipient.0).collect();
    [recipients, pairs.map(|pair| pair.sender.0).collect()]
}

fn read_report(columns: &mut Columns<'_>) -> Read<Report> {
    let (reporter, reported) = (columns.account_id()?, columns.time()?);
    let (sender, guid) = (columns.account_id()?, columns.array()?);
    let (accepted, content) = (columns.time()?, columns.array()?);
    Ok(Report { reporter, reported, message: ReportedMessage { sender, guid, accepted, content } })
}
