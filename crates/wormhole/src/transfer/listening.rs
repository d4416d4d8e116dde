//! Where the other side can connect to us, also when the chosen port is not available.

use super::driver::{TransferDriver, TransferSession};
use super::{Error, Event, Settings};
use crate::transit::{self, Transit};

/// Starts to listen on the chosen port before a code is used, so that its owner learns in time if it is
/// taken. Without a chosen port there is nothing to learn, and this gives `None`.
pub(super) async fn reserve<S: TransferSession>(
    driver: &mut TransferDriver<S>,
    settings: &Settings,
) -> Result<Option<Transit>, Error> {
    if settings.listen_port.is_none() {
        return Ok(None);
    }
    open(driver, settings).await.map(Some)
}

/// Starts to listen. A port that cannot be had is no reason to give up: without it we can still connect
/// to the other side, or both to a relay.
pub(super) async fn open<S: TransferSession>(
    driver: &mut TransferDriver<S>,
    settings: &Settings,
) -> Result<Transit, Error> {
    let wanted = settings.transit();
    let without = transit::Settings { listen: false, ..wanted.clone() };
    match Transit::new(wanted) {
        Err(transit::Error::PortTaken { port, kind }) => {
            driver.emit(Event::PortTaken { port, kind }).await?;
            Transit::new(without).map_err(Error::NoConnection)
        }
        outcome => outcome.map_err(Error::NoConnection),
    }
}
