//! Reads all rows that a batch needs, in one or two round trips.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rand_core::OsRng;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use wormhole_kit::UnixTime;
use wormhole_magic::mailbox::server::{NewMessage, Request, StoredMessage};

use super::snapshot::{Cell, ServerRow, Snapshot};
use super::{Session, SessionError};
use crate::mailbox::store::records::{Mailbox, Nameplate, Side, Sides};
use crate::mailbox::store::replay_cache::ReplayCache;
use crate::mailbox::store::short_nameplates::ShortNameplates;
use crate::mailbox::store::{
    Command, Cursor, FetchedMessages, MAX_ANSWER_BYTES, MAX_LISTED, MailboxName, NewMessages,
};

/// The names that a batch uses, as parallel columns.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    nameplate_apps: Vec<&'a [u8]>,
    nameplate_names: Vec<&'a [u8]>,
    mailbox_apps: Vec<&'a [u8]>,
    mailbox_ids: Vec<&'a [u8]>,
    /// Applications that allocate a nameplate, once for each allocation.
    allocating: Vec<&'a str>,
    listed: Vec<&'a [u8]>,
}

impl<'a> Wanted<'a> {
    /// The names that these requests use.
    pub(super) fn by(commands: &'a [Command<'_>], hide_nameplates: bool) -> Self {
        let mut wanted = Self::default();
        for command in commands {
            let app = &command.client.app;
            match &*command.request {
                Request::Claim(name) | Request::Release(name) => wanted.nameplate(app, name),
                Request::Open(id)
                | Request::Add { mailbox: id, .. }
                | Request::Close { mailbox: id, .. } => wanted.mailbox(app, id),
                Request::Allocate => wanted.allocating.push(app),
                Request::List if !hide_nameplates => wanted.listed.push(app.as_bytes()),
                Request::List | Request::Bind(..) => {}
            }
        }
        wanted.listed.sort_unstable();
        wanted.listed.dedup();
        wanted
    }

    fn nameplate(&mut self, app: &'a str, name: &'a str) {
        self.nameplate_apps.push(app.as_bytes());
        self.nameplate_names.push(name.as_bytes());
    }

    /// Adds a mailbox.
    pub(super) fn mailbox(&mut self, app: &'a str, id: &'a str) {
        self.mailbox_apps.push(app.as_bytes());
        self.mailbox_ids.push(id.as_bytes());
    }
}

/// The rows that the first round trip of a transaction has read.
#[derive(Debug)]
pub(super) struct FirstRound {
    pub(super) version: i32,
    pub(super) server: ServerRow,
    nameplates: Vec<Row>,
    mailboxes: Vec<Row>,
    short_names: Vec<Row>,
    lists: Vec<Row>,
}

/// Starts a transaction, waits until no other node has one, and reads the rows of these names.
pub(super) async fn begin(
    session: &Session,
    wanted: &Wanted<'_>,
) -> Result<FirstRound, SessionError> {
    let statements = &session.statements;
    let Wanted { nameplate_apps, nameplate_names, mailbox_apps, mailbox_ids, .. } = wanted;
    let mut allocating: Vec<&[u8]> = wanted.allocating.iter().map(|app| app.as_bytes()).collect();
    allocating.sort_unstable();
    allocating.dedup();
    let named: [&(dyn ToSql + Sync); 4] =
        [nameplate_apps, nameplate_names, mailbox_apps, mailbox_ids];
    let (short, listed): ([&(dyn ToSql + Sync); 1], [&(dyn ToSql + Sync); 2]) =
        ([&allocating], [&wanted.listed, &MAX_LISTED]);
    // All statements are sent in this order before the first result arrives.
    let (begun, server, nameplates, mailboxes, short_names, lists) = tokio::join!(
        biased;
        session.client.batch_execute("BEGIN"),
        session.query(&statements.lock, &[]),
        session.query(&statements.nameplates, &named),
        session.query(&statements.mailboxes, &named),
        unless_empty(&allocating, session.query(&statements.short_names, &short)),
        unless_empty(&wanted.listed, session.query(&statements.lists, &listed)),
    );
    begun?;
    let server = server?;
    let row =
        server.first().ok_or_else(|| SessionError::Failed("wormhole_server is empty".into()))?;
    Ok(FirstRound {
        version: row.try_get(0)?,
        server: ServerRow {
            uptime: row.try_get(1)?,
            stored_bytes: row.try_get(2)?,
            next_mailbox: row.try_get(3)?,
            last_message: row.try_get(4)?,
        },
        nameplates: nameplates?,
        mailboxes: mailboxes?,
        short_names: short_names?,
        lists: lists?,
    })
}

async fn unless_empty(
    wanted: &[&[u8]],
    query: impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if wanted.is_empty() { Ok(Vec::new()) } else { query.await }
}

impl FirstRound {
    /// The rows as tables.
    pub(super) fn into_snapshot(
        self,
        wanted: &Wanted<'_>,
        uptime: f64,
    ) -> Result<Snapshot, SessionError> {
        let mut snapshot = Snapshot::new(self.server, uptime);
        for row in &self.nameplates {
            let (key, nameplate) = read_nameplate(row)?;
            snapshot.nameplates.insert(key, Cell::stored(nameplate));
        }
        for row in &self.mailboxes {
            let mailbox = read_mailbox(row)?;
            let name = MailboxName { app: mailbox.app.clone(), mailbox: mailbox.id.clone() };
            snapshot.mailboxes.insert(name, Cell::stored(mailbox));
        }
        for row in &self.short_names {
            snapshot.short_nameplates.mark_taken(&text(row, 0)?, &text(row, 1)?);
        }
        for app in &wanted.listed {
            snapshot.lists.insert(String::from_utf8_lossy(app).into_owned(), BTreeSet::new());
        }
        for row in &self.lists {
            snapshot.lists.entry(text(row, 0)?).or_default().insert(text(row, 1)?);
        }
        Ok(snapshot)
    }
}

/// Looks up random long nameplates, if the short ones may not be enough.
pub(super) async fn find_long_nameplates(
    session: &Session,
    wanted: &Wanted<'_>,
    snapshot: &mut Snapshot,
) -> Result<(), SessionError> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for app in &wanted.allocating {
        *counts.entry(app).or_default() += 1;
    }
    counts.retain(|app, count| snapshot.short_nameplates.free(app) < *count);
    if counts.is_empty() {
        return Ok(());
    }
    let names = long_nameplates(&counts);
    let mut lookup = Wanted::default();
    for (app, names) in &names {
        names.iter().for_each(|name| lookup.nameplate(app, name));
    }
    let nothing: &[&[u8]] = &[];
    let rows = session
        .query(
            &session.statements.nameplates,
            &[&lookup.nameplate_apps, &lookup.nameplate_names, &nothing, &nothing],
        )
        .await?;
    for row in &rows {
        let (key, nameplate) = read_nameplate(row)?;
        snapshot.nameplates.entry(key).or_insert_with(|| Cell::stored(nameplate));
    }
    snapshot.long_nameplates = names;
    Ok(())
}

/// Random long nameplates for these numbers of allocations: several for each allocation, but at most
/// [`MAX_LOOKED_UP`] for the batch.
fn long_nameplates(allocations: &HashMap<&str, usize>) -> HashMap<String, Vec<String>> {
    let all = allocations.values().sum::<usize>().max(1);
    let tries = (MAX_LOOKED_UP / all).clamp(1, LOOKED_UP_PER_ALLOCATION);
    let pick = |count: &usize| {
        (0..tries * count).map(|_| ShortNameplates::pick_long(&mut OsRng)).collect()
    };
    allocations.iter().map(|(app, count)| ((*app).to_owned(), pick(count))).collect()
}

/// Reads the messages of mailboxes that the batch opens. Returns how many of its requests can be executed: a batch with
/// large answers ends early.
pub(super) async fn read_replays(
    session: &Session,
    commands: &[Command<'_>],
    cache: &mut ReplayCache,
    snapshot: &mut Snapshot,
) -> Result<usize, SessionError> {
    let (mut keys, mut bytes, mut executed) = (Vec::new(), 0, commands.len());
    for (number, command) in commands.iter().enumerate() {
        let Request::Open(id) = &*command.request else { continue };
        let name = MailboxName { app: command.client.app.clone(), mailbox: id.clone() };
        let stored = snapshot.mailboxes.get(&name).and_then(|cell| cell.row.as_ref());
        let Some(row) = stored.filter(|row| row.messages > 0) else { continue };
        keys.extend(row.key.filter(|key| !keys.contains(key)));
        bytes += usize::try_from(row.bytes).unwrap_or(usize::MAX);
        if bytes >= MAX_ANSWER_BYTES {
            executed = number + 1;
            break;
        }
    }
    if keys.is_empty() {
        return Ok(executed);
    }
    let rows = session.query(&session.statements.replays, &[&keys]).await?;
    let mut in_memory: HashMap<i64, _> =
        keys.iter().map(|key| (*key, cache.take(*key).into_iter())).collect();
    for row in &rows {
        let key: i64 = row.try_get(0)?;
        // Single messages are never removed, so each position always has the same message.
        let known = in_memory.get_mut(&key).and_then(Iterator::next);
        let message = match known.and_then(|message| message.upgrade()) {
            Some(message) => message,
            None => Arc::new(read_message(row)?),
        };
        snapshot.replays.entry(key).or_default().push(message);
    }
    for cell in snapshot.mailboxes.values() {
        if let Some(row) = cell.row.as_ref().filter(|row| row.is_long())
            && let Some(key) = row.key
            && let Some(messages) = snapshot.replays.get(&key)
        {
            cache.put(key, messages);
        }
    }
    Ok(executed)
}

/// Reads messages that other nodes have added after these cursors: up to [`MAX_ANSWER_BYTES`], but at least one.
pub(super) async fn read_after(
    session: &Session,
    cursors: &[Cursor],
) -> Result<FetchedMessages, SessionError> {
    if cursors.is_empty() {
        return Ok(FetchedMessages { mailboxes: Vec::new(), is_complete: true });
    }
    let max_bytes = i64::try_from(MAX_ANSWER_BYTES).unwrap_or(i64::MAX);
    let apps: Vec<&[u8]> = cursors.iter().map(|cursor| cursor.name.app.as_bytes()).collect();
    let ids: Vec<&[u8]> = cursors.iter().map(|cursor| cursor.name.mailbox.as_bytes()).collect();
    let after: Vec<i64> = cursors.iter().map(|cursor| cursor.after).collect();
    let statement = &session.statements.messages_after;
    let rows =
        session.query(statement, &[&apps, &ids, &after, &max_bytes, &MESSAGE_OVERHEAD]).await?;
    let mut found: HashMap<i64, Vec<(i64, Arc<StoredMessage>)>> = HashMap::new();
    let mut bytes = 0;
    for row in &rows {
        bytes += MESSAGE_OVERHEAD;
        let (cursor, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let message = Arc::new(read_message(row)?);
        bytes += columns_length(row)?;
        found.entry(cursor).or_default().push((position, message));
    }
    let mailboxes = (1..).zip(cursors).filter_map(|(number, cursor)| {
        let messages = found.remove(&number)?;
        Some(NewMessages { name: Arc::clone(&cursor.name), messages })
    });
    // The statement returns messages until their size reaches `max_bytes`, so a larger size means that there may be more.
    Ok(FetchedMessages { mailboxes: mailboxes.collect(), is_complete: bytes < max_bytes })
}

/// Size of the text columns of a message, in bytes.
fn columns_length(row: &Row) -> Result<i64, SessionError> {
    let lengths = (2..=5).map(|column| Ok(row.try_get::<_, &[u8]>(column)?.len()));
    let length = lengths.sum::<Result<usize, SessionError>>()?;
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

/// A message; its text is in the columns 2 to 5 and the time of arrival in column 6.
fn read_message(row: &Row) -> Result<StoredMessage, SessionError> {
    let message = NewMessage::new(text(row, 3)?, text(row, 4)?, text(row, 5)?);
    Ok(StoredMessage::new(text(row, 2)?, message, UnixTime::from_secs_f64(row.try_get(6)?)))
}

fn read_nameplate(row: &Row) -> Result<((String, String), Nameplate), SessionError> {
    let sides = [read_side(row, 4)?, read_side(row, 7)?];
    let nameplate =
        Nameplate { mailbox: text(row, 2)?, sides: Sides(sides), crowded: row.try_get(3)? };
    Ok(((text(row, 0)?, text(row, 1)?), nameplate))
}

fn read_mailbox(row: &Row) -> Result<Mailbox, SessionError> {
    let mut sides = [read_side(row, 9)?, read_side(row, 13)?];
    for (side, column) in sides.iter_mut().zip([12, 16]) {
        if let Some(side) = side {
            side.mood = optional_text(row, column)?;
        }
    }
    Ok(Mailbox {
        key: Some(row.try_get(0)?),
        app: text(row, 1)?,
        id: text(row, 2)?,
        nameplate: optional_text(row, 3)?,
        messages: row.try_get(4)?,
        bytes: row.try_get(5)?,
        last_message: row.try_get(6)?,
        updated: row.try_get(7)?,
        crowded: row.try_get(8)?,
        sides: Sides(sides),
    })
}

/// Reads a side without its mood from three columns.
fn read_side(row: &Row, column: usize) -> Result<Option<Side>, SessionError> {
    let Some(name) = optional_text(row, column)? else { return Ok(None) };
    let (added, active) = (row.try_get(column + 1)?, row.try_get(column + 2)?);
    Ok(Some(Side { name, added, active, mood: None }))
}

pub(super) fn text(row: &Row, column: usize) -> Result<String, SessionError> {
    let bytes: &[u8] = row.try_get(column)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn optional_text(row: &Row, column: usize) -> Result<Option<String>, SessionError> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// Size of a message in memory in bytes, in addition to its text.
const MESSAGE_OVERHEAD: i64 = 128;

/// Number of random long nameplates that are looked up for each allocation.
const LOOKED_UP_PER_ALLOCATION: usize = 20;

/// Maximum number of random long nameplates that are looked up for a batch.
const MAX_LOOKED_UP: usize = 4000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_long_nameplates_looked_up_does_not_grow_with_the_number_of_applications() {
        let apps: Vec<String> = (0..500).map(|number| number.to_string()).collect();
        let all: HashMap<&str, usize> = apps.iter().map(|app| (app.as_str(), 2)).collect();
        let names = long_nameplates(&all);
        assert!(names.len() == 500 && names.values().all(|names| names.len() >= 2));
        assert!(names.values().map(Vec::len).sum::<usize>() <= MAX_LOOKED_UP);
        let one = long_nameplates(&HashMap::from([("app", 1)]));
        assert_eq!(one.get("app").map(Vec::len), Some(LOOKED_UP_PER_ALLOCATION));
    }
}
