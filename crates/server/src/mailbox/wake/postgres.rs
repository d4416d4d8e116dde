//! Notifications through PostgreSQL: `LISTEN` on a separate connection. The store sends `NOTIFY` with each commit.

use std::future::poll_fn;
use std::pin::pin;

use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Error};

use super::{CHANNEL, NodeId, POLL, RECONNECT, parse};
use crate::mailbox::hub::Hub;
use crate::mailbox::store::{ConnectError, Connector};

/// Forwards notifications to the store's thread, and connects again when the connection is lost. Never ends.
pub(super) async fn listen(connector: &Connector, node: NodeId, hub: Hub) {
    let mut is_down = false;
    loop {
        let result = listen_once(connector, node, &hub, &mut is_down).await;
        if !std::mem::replace(&mut is_down, true) {
            let reason = result.err().unwrap_or_else(|| "no connection".into());
            tracing::warn!(reason, "no notifications from PostgreSQL, connecting again");
        }
        // Until it is connected again, the node checks all mailboxes periodically.
        hub.fetch_all();
        sleep(RECONNECT).await;
    }
}

/// Listens until the connection is lost.
async fn listen_once(
    connector: &Connector,
    node: NodeId,
    hub: &Hub,
    is_down: &mut bool,
) -> Result<(), String> {
    let (client, mut connection) = connector.connect().await.map_err(|error| match error {
        ConnectError::Silent => "the database does not answer".to_owned(),
        ConnectError::Failed(error) => reason(&error),
    })?;
    let forward = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message? {
                hub.fetch_changed(parse(node, notification.payload()));
            }
        }
        Ok(())
    };
    let (forward, watch) = (pin!(forward), pin!(watch(&client, hub, is_down)));
    tokio::select! {
        result = forward => result,
        result = watch => result,
    }
    .map_err(|error: Error| reason(&error))
}

/// Subscribes, and then checks the connection and all mailboxes periodically. Ends if the connection does not answer.
async fn watch(client: &Client, hub: &Hub, is_down: &mut bool) -> Result<(), Error> {
    let subscribe = format!("LISTEN {CHANNEL}");
    let mut statement = subscribe.as_str();
    loop {
        match timeout(POLL, client.batch_execute(statement)).await {
            Ok(answer) => answer?,
            Err(_) => return Ok(()),
        }
        if std::mem::take(is_down) {
            tracing::info!("PostgreSQL sends notifications again");
        }
        // Other nodes may have added messages while this node did not listen, or a notification may have been lost.
        hub.fetch_all();
        sleep(POLL).await;
        // After the subscription, an empty statement only checks the connection.
        statement = "";
    }
}

/// Why there are no notifications. An error of the database is shown without its details.
fn reason(error: &Error) -> String {
    let database = error.as_db_error().map(|error| error.message().to_owned());
    let cause = || std::error::Error::source(error).map(ToString::to_string);
    database.or_else(cause).unwrap_or_else(|| "no connection".into())
}
