//! Writes the changes of a batch and commits them, in one round trip.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Statement};

use super::snapshot::{NameplateKey, Snapshot};
use super::{Session, SessionError};
use crate::mailbox::store::records::{Mailbox, Nameplate, Side};

/// Identifies a transaction: the node, and the number of its transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchId {
    pub(super) node: i64,
    pub(super) batch: i64,
}

/// A notification for the other nodes, sent with the commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification<'a> {
    pub(super) channel: &'a str,
    pub(super) payloads: &'a [String],
}

/// Writes and commits. After an error, it is unknown whether the transaction is durable.
pub(super) async fn save(
    session: &Session,
    snapshot: &Snapshot,
    id: BatchId,
    notification: Notification<'_>,
) -> Result<(), SessionError> {
    let statements = &session.statements;
    let deleted = &snapshot.deleted_mailboxes;
    let server = &snapshot.server;
    let (freed_apps, freed_names) = freed_nameplates(snapshot);
    let Notification { channel, payloads } = notification;
    let keys: [&(dyn ToSql + Sync); 1] = [deleted];
    let freed: [&(dyn ToSql + Sync); 2] = [&freed_apps, &freed_names];
    let node: [&(dyn ToSql + Sync); 3] = [&id.node, &id.batch, &server.uptime];
    let read = &snapshot.read_server;
    let server: [&(dyn ToSql + Sync); 6] = [
        &server.uptime,
        &server.stored_bytes,
        &server.next_mailbox,
        &server.last_message,
        &read.next_mailbox,
        &read.last_message,
    ];
    // All statements are sent in this order before the first result arrives. If one fails, PostgreSQL ignores the others
    // and rolls back. If one cannot be sent, the later ones and the commit are not sent either.
    tokio::try_join!(
        biased;
        run(session, &statements.save_server, true, &server),
        run(session, &statements.delete_messages, !deleted.is_empty(), &keys),
        run(session, &statements.delete_mailboxes, !deleted.is_empty(), &keys),
        run(session, &statements.delete_nameplates, !freed_apps.is_empty(), &freed),
        save_nameplates(session, snapshot),
        save_mailboxes(session, snapshot),
        insert_messages(session, snapshot),
        run(session, &statements.save_node, true, &node),
        notify(session, channel, payloads),
        session.client.batch_execute("COMMIT"),
    )?;
    Ok(())
}

async fn run(
    session: &Session,
    statement: &Statement,
    wanted: bool,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(), Error> {
    if wanted {
        session.client.execute(statement, parameters).await?;
    }
    Ok(())
}

async fn notify(session: &Session, channel: &str, payloads: &[String]) -> Result<(), Error> {
    if !payloads.is_empty() {
        session.query(&session.statements.notify, &[&channel, &payloads]).await?;
    }
    Ok(())
}

/// Stored nameplates that this batch has freed.
fn freed_nameplates(snapshot: &Snapshot) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let freed = snapshot.nameplates.iter().filter(|(_, cell)| cell.is_stored && cell.row.is_none());
    freed.map(|((app, name), _)| (app.as_bytes(), name.as_bytes())).unzip()
}

async fn save_nameplates(session: &Session, snapshot: &Snapshot) -> Result<(), Error> {
    let changed = snapshot.nameplates.iter().filter(|(_, cell)| cell.is_changed);
    let rows: Vec<(&NameplateKey, &Nameplate)> =
        changed.filter_map(|(key, cell)| Some((key, cell.row.as_ref()?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&Nameplate) -> &[u8]| -> Vec<&[u8]> {
        rows.iter().map(|(_, row)| value(row)).collect()
    };
    let apps: Vec<&[u8]> = rows.iter().map(|((app, _), _)| app.as_bytes()).collect();
    let names: Vec<&[u8]> = rows.iter().map(|((_, name), _)| name.as_bytes()).collect();
    let mailboxes = column(|row| row.mailbox.as_bytes());
    let crowded: Vec<bool> = rows.iter().map(|(_, row)| row.crowded).collect();
    let one = SideColumns::new(rows.iter().map(|(_, row)| row.sides.first()));
    let two = SideColumns::new(rows.iter().map(|(_, row)| row.sides.second()));
    let parameters: [&(dyn ToSql + Sync); 10] = [
        &apps,
        &names,
        &mailboxes,
        &crowded,
        &one.names,
        &one.added,
        &one.active,
        &two.names,
        &two.added,
        &two.active,
    ];
    run(session, &session.statements.save_nameplates, true, &parameters).await
}

async fn save_mailboxes(session: &Session, snapshot: &Snapshot) -> Result<(), Error> {
    let changed = snapshot.mailboxes.values().filter(|cell| cell.is_changed);
    let rows: Vec<&Mailbox> = changed.filter_map(|cell| cell.row.as_ref()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let numbers =
        |value: fn(&Mailbox) -> i64| -> Vec<i64> { rows.iter().map(|row| value(row)).collect() };
    let keys: Vec<Option<i64>> = rows.iter().map(|row| row.key).collect();
    let apps: Vec<&[u8]> = rows.iter().map(|row| row.app.as_bytes()).collect();
    let ids: Vec<&[u8]> = rows.iter().map(|row| row.id.as_bytes()).collect();
    let nameplates: Vec<Option<&[u8]>> =
        rows.iter().map(|row| row.nameplate.as_deref().map(str::as_bytes)).collect();
    let messages = numbers(|row| row.messages);
    let bytes = numbers(|row| row.bytes);
    let last = numbers(|row| row.last_message);
    let used: Vec<f64> = rows.iter().map(|row| row.updated).collect();
    let crowded: Vec<bool> = rows.iter().map(|row| row.crowded).collect();
    let one = SideColumns::new(rows.iter().map(|row| row.sides.first()));
    let two = SideColumns::new(rows.iter().map(|row| row.sides.second()));
    let parameters: [&(dyn ToSql + Sync); 17] = [
        &keys,
        &apps,
        &ids,
        &nameplates,
        &messages,
        &bytes,
        &last,
        &used,
        &crowded,
        &one.names,
        &one.added,
        &one.active,
        &one.moods,
        &two.names,
        &two.added,
        &two.active,
        &two.moods,
    ];
    run(session, &session.statements.save_mailboxes, true, &parameters).await
}

async fn insert_messages(session: &Session, snapshot: &Snapshot) -> Result<(), Error> {
    let rows = &snapshot.new_messages;
    if rows.is_empty() {
        return Ok(());
    }
    let column = |value: fn(&super::snapshot::NewRow) -> &str| -> Vec<&[u8]> {
        rows.iter().map(|row| value(row).as_bytes()).collect()
    };
    let mailboxes: Vec<i64> = rows.iter().map(|row| row.mailbox).collect();
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    let sides = column(|row| &row.message.side);
    let phases = column(|row| &row.message.message.phase);
    let bodies = column(|row| &row.message.message.body);
    let ids = column(|row| &row.message.message.id);
    let times: Vec<f64> = rows.iter().map(|row| row.message.server_rx.as_secs_f64()).collect();
    let parameters: [&(dyn ToSql + Sync); 7] =
        [&mailboxes, &positions, &sides, &phases, &bodies, &ids, &times];
    run(session, &session.statements.insert_messages, true, &parameters).await
}

/// One side of many rows, as columns.
struct SideColumns<'a> {
    names: Vec<Option<&'a [u8]>>,
    added: Vec<Option<f64>>,
    active: Vec<Option<bool>>,
    moods: Vec<Option<&'a [u8]>>,
}

impl<'a> SideColumns<'a> {
    fn new(sides: impl Iterator<Item = Option<&'a Side>>) -> Self {
        let sides: Vec<Option<&Side>> = sides.collect();
        let mood = |side: &'a Side| side.mood.as_deref().map(str::as_bytes);
        Self {
            names: sides.iter().map(|side| side.map(|side| side.name.as_bytes())).collect(),
            added: sides.iter().map(|side| side.map(|side| side.added)).collect(),
            active: sides.iter().map(|side| side.map(|side| side.active)).collect(),
            moods: sides.iter().map(|side| side.and_then(mood)).collect(),
        }
    }
}
