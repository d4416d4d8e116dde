//! Notifications through PostgreSQL: `LISTEN` and `NOTIFY` on a separate connection. A store may also send `NOTIFY` with
//! its commits.

use std::future::poll_fn;
use std::pin::pin;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{AsyncMessage, Client, Error};

use super::{NodeId, POLL, RECONNECT, Receiver, Subscription, parse};
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
    let Subscription { node, channel, payloads } = subscription;
    let (node, channel): (NodeId, _) = (*node, *channel);
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
    let watch = watch(&client, channel, payloads, receiver, is_down);
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
    channel: &str,
    payloads: &mut mpsc::Receiver<String>,
    receiver: &impl Receiver,
    is_down: &mut bool,
) -> Result<(), Error> {
    // Nothing is lost if a notification is not on the disk.
    let begin = format!("SET synchronous_commit = off; LISTEN {channel}");
    let Some(begun) = answered(client.batch_execute(&begin)).await else { return Ok(()) };
    begun?;
    let notify = client.prepare("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload");
    let Some(notify) = answered(notify).await else { return Ok(()) };
    let notify = notify?;
    if std::mem::take(is_down) {
        tracing::info!("PostgreSQL sends notifications again");
    }
    let (mut next_check, mut unsent) = (Instant::now(), Vec::new());
    loop {
        let is_due = tokio::select! {
            () = sleep_until(next_check) => true,
            Some(payload) = payloads.recv() => {
                unsent.push(payload);
                while let Ok(payload) = payloads.try_recv() {
                    unsent.push(payload);
                }
                false
            }
        };
        let answer = if is_due {
            // An empty statement checks the connection.
            answered(client.batch_execute("")).await
        } else {
            let sent = answered(client.execute(&notify, &[&channel, &unsent])).await;
            unsent.clear();
            sent.map(|sent| sent.map(drop))
        };
        let Some(answer) = answer else { return Ok(()) };
        answer?;
        if is_due {
            // Other nodes may have changed something while this node did not listen, or a notification may have been lost.
            receiver.check_all();
            next_check = Instant::now() + POLL;
        }
    }
}

/// Waits for an answer of the database; `None` if there is none.
async fn answered<T>(answer: impl Future<Output = T>) -> Option<T> {
    timeout(POLL, answer).await.ok()
}

/// Why there are no notifications. An error of the database is shown without its details.
fn reason(error: &Error) -> String {
    let database = error.as_db_error().map(|error| error.message().to_owned());
    let cause = || std::error::Error::source(error).map(ToString::to_string);
    database.or_else(cause).unwrap_or_else(|| "no connection".into())
}
