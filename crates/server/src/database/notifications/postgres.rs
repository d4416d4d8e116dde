//! Notifications through PostgreSQL: `LISTEN` and `NOTIFY` on a separate connection. A store may also send `NOTIFY` with
//! its commits.

use std::future::poll_fn;
use std::pin::pin;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error};

use super::{POLL, RECONNECT, Receiver, Subscription, parse};
use crate::database::postgres::{ConnectError, Connector};

/// Forwards notifications, and connects again when the connection is lost. Never ends.
pub(super) async fn listen(
    connector: &Connector,
    mut subscription: Subscription,
    receiver: impl Receiver,
) {
    let mut is_down = false;
    loop {
        let result = listen_once(connector, &mut subscription, &receiver, &mut is_down).await;
        if !std::mem::replace(&mut is_down, true) {
            let reason = result.err().unwrap_or_else(|| "no connection".into());
            tracing::warn!(reason, "no notifications from PostgreSQL, connecting again");
        }
        // Until it is connected again, the node checks everything periodically.
        receiver.check_all();
        sleep(RECONNECT).await;
    }
}

/// Listens until the connection is lost.
async fn listen_once(
    connector: &Connector,
    subscription: &mut Subscription,
    receiver: &impl Receiver,
    is_down: &mut bool,
) -> Result<(), String> {
    let (client, mut connection) = connector.connect().await.map_err(|error| match error {
        ConnectError::Silent => "the database does not answer".to_owned(),
        ConnectError::Failed(error) => reason(&error),
    })?;
    let node = subscription.node;
    let forward = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message? {
                let entries = parse(node, notification.payload());
                if !entries.is_empty() {
                    receiver.receive(&entries);
                }
            }
        }
        Ok(())
    };
    let watch = watch(&client, subscription, receiver, is_down);
    let (forward, watch) = (pin!(forward), pin!(watch));
    tokio::select! {
        result = forward => result,
        result = watch => result,
    }
    .map_err(|error: Error| reason(&error))
}

/// Subscribes, then sends notifications, and checks the connection and everything else periodically. Ends if the
/// connection does not answer.
async fn watch(
    client: &Client,
    subscription: &mut Subscription,
    receiver: &impl Receiver,
    is_down: &mut bool,
) -> Result<(), Error> {
    // Nothing is lost if a notification is not on the disk.
    let channel = subscription.channel;
    let begin = format!("SET synchronous_commit = off; LISTEN {channel}");
    let Some(begun) = answered(client.batch_execute(&begin)).await else { return Ok(()) };
    begun?;
    let notify = client.prepare("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload");
    let Some(notify) = answered(notify).await else { return Ok(()) };
    let notify = notify?;
    if std::mem::take(is_down) {
        tracing::info!("PostgreSQL sends notifications again");
    }
    let (mut next_check, mut has_publisher) = (Instant::now(), true);
    loop {
        let payloads = tokio::select! {
            () = sleep_until(next_check) => Vec::new(),
            payloads = subscription.next(), if has_publisher => {
                has_publisher = !payloads.is_empty();
                payloads
            }
        };
        let is_due = Instant::now() >= next_check;
        // Without payloads, the statement only checks the connection.
        let row: [&(dyn ToSql + Sync); 2] = [&channel, &payloads];
        let Some(sent) = answered(client.execute(&notify, &row)).await else { return Ok(()) };
        sent?;
        if is_due {
            // Other nodes may have changed something while this node did not listen, or a notification may have been lost.
            receiver.check_all();
            next_check = Instant::now() + POLL;
        }
    }
}

/// Waits for an answer of the database; `None` if it does not come.
async fn answered<T>(answer: impl Future<Output = T>) -> Option<T> {
    timeout(POLL, answer).await.ok()
}

/// Why there are no notifications. An error of the database is shown without its details.
fn reason(error: &Error) -> String {
    let database = error.as_db_error().map(|error| error.message().to_owned());
    let cause = || std::error::Error::source(error).map(ToString::to_string);
    database.or_else(cause).unwrap_or_else(|| "no connection".into())
}
