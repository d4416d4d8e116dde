//! Transit connections over real sockets, without a wormhole: both sides of a test already have the key.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod direct;
mod hints;
mod records;
mod relay;
#[path = "../support/tor.rs"]
mod scripted_tor;
#[path = "../support/servers.rs"]
mod servers;
mod tor;
mod wrong_peers;
mod wrong_relays;

use wormhole::transit::{
    Error, Pipe, RelayHint, RelayPolicy, Role, Secret, Settings, Transit, TransitKey,
};

/// The key of both sides.
pub(crate) fn key() -> TransitKey {
    TransitKey::new(Secret::new([9; 32]))
}

/// Settings without a relay.
pub(crate) fn direct() -> Settings {
    Settings { relays: Vec::new(), ..Settings::default() }
}

/// Settings that only permit these relays.
pub(crate) fn only(relays: Vec<RelayHint>) -> Settings {
    Settings { policy: RelayPolicy::Only, relays, ..Settings::default() }
}

/// Connects a sender and a receiver with these settings.
pub(crate) async fn connect(
    sender: Settings,
    receiver: Settings,
) -> (Result<Pipe, Error>, Result<Pipe, Error>) {
    let (sender, receiver) = (Transit::new(sender).unwrap(), Transit::new(receiver).unwrap());
    let (for_sender, for_receiver) = (receiver.info(), sender.info());
    let key = key();
    tokio::join!(
        sender.connect(Role::Sender, &key, &for_sender),
        receiver.connect(Role::Receiver, &key, &for_receiver)
    )
}

/// Both ends of a direct connection: the sender's and the receiver's.
pub(crate) async fn pair() -> (Pipe, Pipe) {
    let (sender, receiver) = connect(direct(), direct()).await;
    (sender.unwrap(), receiver.unwrap())
}
