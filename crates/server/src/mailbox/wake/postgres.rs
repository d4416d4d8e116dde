//! Notifications through PostgreSQL: `LISTEN` on a connection of its own. The store sends `NOTIFY` with each commit.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Error, NoTls, Socket};

use super::{CHANNEL, NodeId, POLL, RECONNECT, parse};
use crate::mailbox::hub::Hub;
use crate::mailbox::store::each_host;

/// Forwards notifications to the store's thread, and connects again when the connection is lost. Never ends.
pub(super) async fn listen(config: &Config, node: NodeId, hub: Hub) {
    let mut is_down = false;
    loop {
        let result = listen_once(config, node, &hub, &mut is_down).await;
        if !std::mem::replace(&mut is_down, true) {
            let reason = reason(result.err().as_ref());
            tracing::warn!(reason, "no notifications from PostgreSQL, connecting again");
        }
        // Until it is connected again, the node looks without being notified.
        hub.look_at_everything();
        sleep(RECONNECT).await;
    }
}

/// Listens until the connection is lost.
async fn listen_once(
    config: &Config,
    node: NodeId,
    hub: &Hub,
    is_down: &mut bool,
) -> Result<(), Error> {
    let Some((client, mut connection)) = connect(config).await? else { return Ok(()) };
    let forward = async {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message? {
                hub.look_at(parse(node, notification.payload()));
            }
        }
        Ok(())
    };
    let (forward, watch) = (pin!(forward), pin!(watch(&client, hub, is_down)));
    tokio::select! {
        result = forward => result,
        result = watch => result,
    }
}

/// Connects to the first host that answers in time and accepts writes; `None` if the last one does not answer.
async fn connect(
    config: &Config,
) -> Result<Option<(Client, Connection<Socket, NoTlsStream>)>, Error> {
    let mut problem = Ok(None);
    for host in each_host(config) {
        problem = match timeout(CONNECT, host.connect(NoTls)).await {
            Ok(Ok(connected)) => return Ok(Some(connected)),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(None),
        };
    }
    problem
}

/// Subscribes, then checks the connection from time to time. Ends when it does not answer.
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
        // Messages may have come while nobody listened, or a notification may have been lost.
        hub.look_at_everything();
        sleep(POLL).await;
        // From now on, an empty statement only checks the connection.
        statement = "";
    }
}

/// Why there are no notifications. An error of the database is shown, without its details.
fn reason(error: Option<&Error>) -> String {
    let database = error.and_then(|error| error.as_db_error());
    database.map_or_else(|| "no connection".into(), |error| error.message().to_owned())
}

/// How long an attempt to connect to one host may take.
const CONNECT: Duration = Duration::from_secs(5);
