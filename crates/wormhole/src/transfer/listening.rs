//! Where the other side can connect to us, also when the chosen port is not available.

use super::driver::{TransferDriver, TransferSession};
use super::{Error, Event, Settings};
use crate::transit::{self, Transit};

/// Starts listening on the chosen port before a code is used, so that the user learns in time if
/// the port is taken. Returns `None` if no port was chosen.
pub(super) async fn reserve<S: TransferSession>(
    driver: &mut TransferDriver<S>,
    settings: &Settings,
) -> Result<Option<Transit>, Error> {
    if settings.listen_port.is_none() {
        return Ok(None);
    }
    open(driver, settings).await.map(Some)
}

/// Starts listening. If the port is not available, the transfer continues: we can still connect to
/// the other side, or both sides to a relay.
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
