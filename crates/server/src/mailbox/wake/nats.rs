//! Notifications through a NATS server: every node publishes and subscribes to one subject.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{CHANNEL, NodeId, POLL, RECONNECT, parse, payloads};
use crate::mailbox::hub::Hub;
use crate::mailbox::store::MailboxName;

/// The configured address of a NATS server. Its password is never shown.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct NatsUrl(String);

/// The text is checked later, by [`NatsUrl::parse`]: an error of the command line would show it.
impl From<String> for NatsUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NatsUrl(hidden)")
    }
}

impl NatsUrl {
    /// Checks the address.
    ///
    /// # Errors
    /// What is wrong with it, without its text.
    pub(crate) fn parse(&self) -> Result<ServerAddr, &'static str> {
        if !self.0.starts_with("nats://") && !self.0.starts_with("tls://") {
            return Err(
                "the value must be postgres, or an address that starts with nats:// or tls://",
            );
        }
        let malformed = "the address is malformed: it looks like nats://user:password@host:4222";
        let server: ServerAddr = self.0.parse().map_err(|_| malformed)?;
        let is_encoded = |text: Option<&str>| text.is_some_and(|text| text.contains('%'));
        if is_encoded(server.username()) || is_encoded(server.password()) {
            return Err(
                "the user name and the password in the address must consist of letters, digits \
                        and the characters - . _ ~",
            );
        }
        Ok(server)
    }
}

/// Notifies the other nodes.
#[derive(Clone, Debug)]
pub(in crate::mailbox) struct NatsPublisher {
    node: NodeId,
    payloads: mpsc::Sender<String>,
}

/// Connects to NATS, and forwards notifications in both directions.
pub(in crate::mailbox) struct NatsListener {
    server: ServerAddr,
    node: NodeId,
    payloads: mpsc::Receiver<String>,
}

impl fmt::Debug for NatsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsListener").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Creates the publisher and the listener of one node. The listener connects when it runs.
pub(super) fn connect_later(server: ServerAddr, node: NodeId) -> (NatsPublisher, NatsListener) {
    let (sender, payloads) = mpsc::channel(UNSENT);
    (NatsPublisher { node, payloads: sender }, NatsListener { server, node, payloads })
}

impl NatsPublisher {
    /// Notifies the other nodes which mailboxes have new messages. If too many notifications wait to be sent, the rest
    /// is dropped: other nodes also check their mailboxes without notifications.
    pub(in crate::mailbox) fn publish<'a>(&self, changed: impl Iterator<Item = &'a MailboxName>) {
        for payload in payloads(self.node, changed) {
            let _ = self.payloads.try_send(payload);
        }
    }
}

impl NatsListener {
    /// Forwards notifications. The client connects again by itself. Never ends.
    pub(super) async fn run(self, hub: Hub) {
        let Self { server, node, payloads } = self;
        let Some(client) = connect(server, hub.clone()).await else {
            return fetch_without_notifications(&hub).await;
        };
        // Publishing waits when the client's queue is full. This must not delay the node's own checks.
        tokio::join!(publish(&client, payloads), receive(&client, node, &hub));
    }
}

/// Publishes the notifications of this node while it is connected, and drops them while it is not.
async fn publish(client: &Client, mut payloads: mpsc::Receiver<String>) {
    while let Some(payload) = payloads.recv().await {
        if client.connection_state() == State::Connected {
            // This fails only if the client has ended, and it does not end by itself.
            let _ = client.publish(CHANNEL, payload.into()).await;
        }
    }
}

/// Receives the notifications of other nodes, and also checks all mailboxes periodically. Never ends.
async fn receive(client: &Client, node: NodeId, hub: &Hub) {
    loop {
        // Subscribing waits when the client's queue is full, that is, while the client cannot connect.
        if let Ok(Ok(notifications)) = timeout(RECONNECT, client.subscribe(CHANNEL)).await {
            forward(client, notifications, node, hub).await;
        }
        hub.fetch_all();
        sleep(RECONNECT).await;
    }
}

/// Forwards notifications until the subscription ends.
async fn forward(client: &Client, mut notifications: Subscriber, node: NodeId, hub: &Hub) {
    let mut next_fetch = Instant::now();
    loop {
        tokio::select! {
            message = notifications.next() => match message {
                Some(message) => {
                    let text = std::str::from_utf8(&message.payload).unwrap_or_default();
                    hub.fetch_changed(parse(node, text));
                }
                None => return,
            },
            () = sleep_until(next_fetch) => {
                hub.fetch_all();
                let connected = client.connection_state() == State::Connected;
                next_fetch = Instant::now() + if connected { POLL } else { RECONNECT };
            }
        }
    }
}

/// Checks all mailboxes periodically, for a node that cannot receive notifications. Never ends.
async fn fetch_without_notifications(hub: &Hub) {
    loop {
        hub.fetch_all();
        sleep(RECONNECT).await;
    }
}

/// A client that connects in the background, and again whenever the connection is lost.
async fn connect(server: ServerAddr, hub: Hub) -> Option<Client> {
    let problem = Mutex::new(String::new());
    let (server, options) = without_credentials(server);
    let options = options
        // Otherwise the server could name other servers, and the client would send them the password, perhaps without TLS.
        .ignore_discovered_servers()
        .name("wormhole-server")
        .client_capacity(UNSENT)
        .subscription_capacity(UNREAD)
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| RECONNECT)
        .ping_interval(PING)
        .event_callback(move |event| {
            report(&event, &mut problem.lock().unwrap_or_else(PoisonError::into_inner));
            if matches!(event, Event::Connected | Event::SlowConsumer(_)) {
                // Notifications may have been lost.
                hub.fetch_all();
            }
            std::future::ready(())
        });
    match options.connect(server).await {
        Ok(client) => Some(client),
        Err(error) => {
            // This cannot happen for a valid address, because the first attempt to connect is made in the background.
            tracing::error!(%error, "cannot use NATS; messages of other mailbox servers arrive up to a second late");
            None
        }
    }
}

/// Moves the user name and the password out of the address, because the client may log the address.
fn without_credentials(server: ServerAddr) -> (ServerAddr, ConnectOptions) {
    let user = server.username().map(str::to_owned);
    let password = server.password().map(str::to_owned);
    let mut url = server.clone().into_inner();
    let plain = match (url.set_username(""), url.set_password(None)) {
        (Ok(()), Ok(())) => ServerAddr::from_url(url).ok(),
        _ => None,
    };
    let options = ConnectOptions::new().require_tls(server.tls_required());
    match (plain, user) {
        (Some(plain), Some(user)) => {
            (plain, options.user_and_password(user, password.unwrap_or_default()))
        }
        _ => (server, options),
    }
}

/// Logs events of the connection; a repeated problem only once.
fn report(event: &Event, last_problem: &mut String) {
    let problem = match event {
        Event::Connected => {
            last_problem.clear();
            return tracing::info!("connected to NATS");
        }
        Event::Disconnected | Event::Closed | Event::LameDuckMode => {
            return tracing::warn!("lost the connection to NATS, connecting again");
        }
        Event::ClientError(error) => error.to_string(),
        Event::ServerError(error) => error.to_string(),
        Event::SlowConsumer(_) | Event::Draining => return,
    };
    if problem != *last_problem {
        tracing::warn!(
            problem,
            "problem with NATS; until it is solved, messages of other mailbox servers arrive up to a second late"
        );
        *last_problem = problem;
    }
}

/// Maximum number of notifications that wait to be sent, here and again in the client.
const UNSENT: usize = 256;

/// Maximum number of notifications that wait to be read. If there are more, the node checks all open mailboxes.
const UNREAD: usize = 256;

/// Silence after which the connection is checked.
const PING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_for_invalid_addresses_explain_the_reason_and_hide_the_password() {
        for (url, reason) in [
            ("http://u:secret@h", "starts with nats://"),
            ("nats://u:secret@h:port", "malformed"),
            ("nats://u:secret%40@h", "must consist of letters"),
            ("secret", "starts with nats://"),
        ] {
            let url = NatsUrl::from(url.to_owned());
            let error = url.parse().unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
            assert!(!format!("{url:?}").contains("secret"));
        }
        assert!(NatsUrl::from("nats://127.0.0.1:4222".to_owned()).parse().is_ok());
    }
}
