//! The rows that a transaction writes at its end, in one round trip together with the commit. Code that must read them before
//! calls [`PostgresTables::flush_new_rows`].

use tokio_postgres::{Error, Statement};
use wormhole_chat::Timestamp;

use super::columns::stored;
use super::queues::ChangedQueues;
use super::statements::Statements;
use super::transaction::{Parameters, PostgresTables, Session, Stored};
use crate::messaging::store::tables::{StoredMessage, SubmissionKey};

/// Rows that are not written yet.
#[derive(Debug, Default)]
pub(super) struct NewRows {
    messages: MessageColumns,
    sent: SentColumns,
}

/// Messages, as columns.
#[derive(Debug, Default)]
struct MessageColumns {
    devices: Vec<i64>,
    positions: Vec<i64>,
    accepted: Vec<i64>,
    are_ephemeral: Vec<bool>,
    are_to_number: Vec<bool>,
    kinds: Vec<i64>,
    guids: Vec<Vec<u8>>,
    sources: Vec<Vec<u8>>,
    numbers: Vec<String>,
    timestamps: Vec<i64>,
    envelopes: Vec<Vec<u8>>,
}

/// Submissions that are remembered, as columns.
#[derive(Debug, Default)]
struct SentColumns {
    timestamps: Vec<i64>,
    devices: Vec<i64>,
    accounts: Vec<i64>,
    contents: Vec<i64>,
    accepted: Vec<i64>,
}

impl NewRows {
    /// Adds a message at a position of its queue.
    pub(super) fn add_message(&mut self, message: &StoredMessage<'_>, position: i64) {
        let columns = &mut self.messages;
        columns.devices.push(message.device.0);
        columns.positions.push(position);
        columns.accepted.push(stored(message.server_timestamp));
        columns.are_ephemeral.push(message.is_ephemeral);
        columns.are_to_number.push(message.is_to_number);
        columns.kinds.push(message.kind.number().into());
        columns.guids.push(message.guid.to_vec());
        columns.sources.push(message.source.as_bytes().to_vec());
        columns.numbers.push(message.source_number.to_string());
        columns.timestamps.push(stored(message.timestamp));
        columns.envelopes.push(message.envelope.clone());
    }

    /// Adds a submission that is stored now.
    pub(super) fn add_sent(&mut self, key: &SubmissionKey, now: Timestamp) {
        let columns = &mut self.sent;
        columns.timestamps.push(stored(key.timestamp));
        columns.devices.push(key.sender.0);
        columns.accounts.push(key.destination.0);
        columns.contents.push(key.content);
        columns.accepted.push(stored(now));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.messages.devices.is_empty() && self.sent.devices.is_empty()
    }

    /// Writes the rows. The statements are sent at once.
    async fn write(&self, session: &Session) -> Result<(), Error> {
        let Self { messages: new, sent } = self;
        let messages: Parameters<'_> = &[
            &new.devices,
            &new.positions,
            &new.accepted,
            &new.are_ephemeral,
            &new.are_to_number,
            &new.kinds,
            &new.guids,
            &new.sources,
            &new.numbers,
            &new.timestamps,
            &new.envelopes,
        ];
        let remembered: Parameters<'_> =
            &[&sent.timestamps, &sent.devices, &sent.accounts, &sent.contents, &sent.accepted];
        let statements: &Statements = &session.statements;
        tokio::try_join!(
            biased;
            run(session, &statements.insert_messages, !new.devices.is_empty(), messages),
            run(session, &statements.insert_sent, !sent.devices.is_empty(), remembered),
        )?;
        Ok(())
    }
}

/// Everything that a transaction writes together with its commit.
#[derive(Debug, Default)]
pub(super) struct PendingWrites {
    pub(super) rows: NewRows,
    pub(super) queues: ChangedQueues,
    /// Whether accounts or devices have changed.
    pub(super) changes_accounts: bool,
}

impl PendingWrites {
    pub(super) const fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.queues.devices.is_empty() && !self.changes_accounts
    }

    /// Writes everything. The statements are sent at once.
    pub(super) async fn write(&self, session: &Session) -> Result<(), Error> {
        let (statements, queues) = (&session.statements, &self.queues);
        let saved: Parameters<'_> =
            &[&queues.devices, &queues.positions, &queues.messages, &queues.bytes];
        let none: Parameters<'_> = &[];
        tokio::try_join!(
            biased;
            self.rows.write(session),
            run(session, &statements.save_queues, !queues.devices.is_empty(), saved),
            run(session, &statements.change_accounts, self.changes_accounts, none),
        )?;
        Ok(())
    }
}

impl PostgresTables<'_> {
    /// Writes new rows that the next statement must find.
    pub(super) fn flush_new_rows(&mut self) -> Stored<()> {
        let rows = std::mem::take(&mut self.new_rows);
        if rows.is_empty() {
            return Ok(());
        }
        let write = async |session: &Session| Ok(rows.write(session).await?);
        self.run(write)
    }
}

async fn run(
    session: &Session,
    statement: &Statement,
    is_wanted: bool,
    parameters: Parameters<'_>,
) -> Result<(), Error> {
    if is_wanted {
        session.client.execute(statement, parameters).await?;
    }
    Ok(())
}
