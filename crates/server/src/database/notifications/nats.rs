//! Notifications through a NATS server: every node publishes and subscribes to one subject.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{NodeId, POLL, RECONNECT, Receiver, Subscription, parse};

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
    /// The problem, without the text itself.
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

/// Connects to NATS, and forwards notifications in both directions.
pub(crate) struct NatsListener {
    pub(super) server: ServerAddr,
    pub(super) subscription: Subscription,
}

impl fmt::Debug for NatsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsListener")
            .field("node", &self.subscription.node)
            .finish_non_exhaustive()
    }
}

impl NatsListener {
    /// Forwards notifications. The client connects again by itself. Never ends.
    pub(super) async fn run(self, receiver: impl Receiver) {
        let Self { server, subscription } = self;
        let (node, channel) = (subscription.node, subscription.channel);
        let Some(client) = connect(server, receiver.clone()).await else {
            return check_without_notifications(&receiver).await;
        };
        // Publishing waits when the client's queue is full. This must not delay the node's own checks.
        tokio::join!(publish(&client, subscription), receive(&client, channel, node, &receiver));
    }
}

/// Publishes the notifications of this node while it is connected, and drops them while it is not.
async fn publish(client: &Client, mut subscription: Subscription) {
    loop {
        let payloads = subscription.next().await;
        if payloads.is_empty() {
            return;
        }
        if client.connection_state() == State::Connected {
            for payload in payloads {
                // This fails only if the client has ended, and it does not end by itself.
                let _ = client.publish(subscription.channel, payload.into()).await;
            }
        }
    }
}

/// Receives the notifications of other nodes, and also checks everything periodically. Never ends.
async fn receive(client: &Client, channel: &'static str, node: NodeId, receiver: &impl Receiver) {
    loop {
        // Subscribing waits when the client's queue is full, that is, while the client cannot connect.
        if let Ok(Ok(notifications)) = timeout(RECONNECT, client.subscribe(channel)).await {
            forward(client, notifications, node, receiver).await;
        }
        receiver.check_all();
        sleep(RECONNECT).await;
    }
}

/// Forwards notifications until the subscription ends.
async fn forward(
    client: &Client,
    mut notifications: Subscriber,
    node: NodeId,
    receiver: &impl Receiver,
) {
    let mut next_check = Instant::now();
    loop {
        tokio::select! {
            message = notifications.next() => match message {
                Some(message) => {
                    let text = std::str::from_utf8(&message.payload).unwrap_or_default();
                    let entries = parse(node, text);
                    if !entries.is_empty() {
                        receiver.receive(&entries);
                    }
                }
                None => return,
            },
            () = sleep_until(next_check) => {
                receiver.check_all();
                let connected = client.connection_state() == State::Connected;
                next_check = Instant::now() + if connected { POLL } else { RECONNECT };
            }
        }
    }
}

/// Checks everything periodically, for a node that cannot receive notifications. Never ends.
async fn check_without_notifications(receiver: &impl Receiver) {
    loop {
        receiver.check_all();
        sleep(RECONNECT).await;
    }
}

/// A client that connects in the background, and again whenever the connection is lost.
async fn connect(server: ServerAddr, receiver: impl Receiver) -> Option<Client> {
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
                receiver.check_all();
            }
            std::future::ready(())
        });
    match options.connect(server).await {
        Ok(client) => Some(client),
        Err(error) => {
            // This cannot happen for a valid address, because the first attempt to connect is made in the background.
            tracing::error!(%error, "cannot use NATS; messages of other servers arrive up to a second late");
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
            "problem with NATS; until it is solved, messages of other servers arrive up to a second late"
        );
        *last_problem = problem;
    }
}

/// Maximum number of notifications that wait in the client to be sent.
const UNSENT: usize = 256;

/// Maximum number of notifications that wait to be read. If there are more, the node checks everything.
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
