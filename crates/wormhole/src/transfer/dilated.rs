//! Transfers between two of ours: over a dilated connection, without a zip, and continued after an interruption
//! (docs/dilated-transfer.md).
//!
//! The sender decides: if a connection is in use within [`CONNECTING`], it makes its offer there; otherwise in the mailbox, as
//! for any other program. A receiver accepts whichever offer arrives first. Errors go through the mailbox in both cases.

mod carry;
mod compress;
mod hash;
mod receive;
mod receive_thread;
mod send;
mod send_thread;
mod store;
mod target;

use std::time::Duration;

use tokio::time::timeout;
use wormhole_magic::transfer::dilated::SUBPROTOCOL;

use super::driver::{TransferDriver, TransferSession};
use super::{Error, Settings};
use crate::dilated::{self, Streams};

pub(super) use carry::{Line, interrupted, run};
pub(super) use receive::{IncomingOffer, Prepared, prepare, receive};
pub(super) use receive_thread::{KeptPath, receive as receive_all};
pub(super) use send::{send, wait};
pub(super) use send_thread::send as send_all;

/// Whether to tell the peer that we can transfer over a dilated connection. Through Tor, connecting takes too long.
pub(super) const fn is_wanted(settings: &Settings) -> bool {
    settings.dilate && settings.tor.is_none()
}

/// Starts to connect.
pub(super) async fn start<S: TransferSession>(
    driver: &mut TransferDriver<S>,
    settings: &Settings,
) -> Option<Streams> {
    let with = dilated::Settings {
        listen: settings.listen,
        port: settings.listen_port,
        policy: settings.relay,
        relays: settings.relays.clone(),
        subprotocols: Some(vec![SUBPROTOCOL.to_owned()]),
        patience: Some(settings.patience),
        closed_patience: Some(CLOSED),
        ..dilated::Settings::default()
    };
    let without = dilated::Settings { listen: false, port: None, ..with.clone() };
    match driver.dilate(with).await {
        Err(dilated::Error::PortTaken { .. }) => driver.dilate(without).await.ok(),
        outcome => outcome.ok(),
    }
}

/// Connects to a receiver; `None` if that does not succeed in time.
///
/// # Errors
/// The application or the peer gave up.
pub(super) async fn connect<S: TransferSession>(
    driver: &mut TransferDriver<S>,
    settings: &Settings,
) -> Result<Option<Streams>, Error> {
    let Some(streams) = start(driver, settings).await else { return Ok(None) };
    let connected = timeout(CONNECTING, streams.connected_after(0));
    let connected = driver.unless_given_up(async { Ok(connected.await) }).await?;
    if matches!(connected, Ok(Ok(_))) {
        return Ok(Some(streams));
    }
    streams.close().await;
    Ok(None)
}

/// How long to wait for a program that has closed the connection and is silent. It has probably ended, so the user need not
/// wait: the transfer can be continued.
const CLOSED: Duration = Duration::from_secs(15);

/// How long to wait for a dilated connection. Between two computers that can reach each other or a relay, it takes less than
/// two seconds. A longer wait would delay transfers between others, for which version 1 has no better ways to connect.
const CONNECTING: Duration = Duration::from_secs(5);
