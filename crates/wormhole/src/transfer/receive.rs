//! The receiver, from code to confirmation.

use std::time::Instant;

use wormhole_magic::transfer::{DataReceiver, Offer, Receiver, ReceiverCommand, ReceiverEvent};
use wormhole_magic::transit::{Role, TransitInfo};

use super::carrier::{self, Carrier};
use super::data_phase::{CLEAN_UP_TIME, READER_TIME};
use super::dilated::{self, IncomingOffer};
use super::driver::{Step, TransferDriver};
use super::progress::Progress;
use super::sink::{Sink, Written};
use super::{
    CodeSource, Command, Destination, Error, Event, Report, Settings, data_thread, listening,
    thread,
};
use crate::transit::{Path, Transit};

/// Receives whatever is offered.
pub(super) async fn run(
    driver: &mut TransferDriver<Receiver>,
    code: CodeSource,
    settings: &Settings,
) -> Result<Report, Error> {
    let transit = listening::reserve(driver, settings).await?;
    driver.choose_code(code, settings).await?;
    let mut reception = Negotiation { driver, settings, transit };
    let offer = match reception.wait_for_offer().await? {
        (offer, None) => offer,
        (offer, Some(from)) => return reception.receive_dilated(offer, from).await,
    };
    if let Offer::Text(text) = offer {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        reception.driver.emit(Event::Text(text)).await?;
        // Only the application knows when the text is where it is wanted.
        reception.wait_for_decision(true).await?;
        reception.driver.command(ReceiverCommand::Accept);
        return Ok(Report::new(bytes, Instant::now(), None));
    }
    reception.driver.emit(Event::Offer(offer.clone())).await?;
    let destination = reception.wait_for_decision(false).await?.ok_or(Error::Rejected)?;
    let sink = Sink::open(destination, &offer, settings.max_entries)?;
    reception.driver.command(ReceiverCommand::Accept);
    let sender = reception.wait_for_address().await?;
    let transit = reception.open_transit().await?;
    let driver = reception.driver;
    let (carrier, path) = carrier::connect(driver, transit, Role::Receiver, &sender).await?;
    let data = wait_for_data(driver).await?;
    receive_data(driver, sink, data, carrier, path).await
}

/// Waits for the session's [`DataReceiver`] after the connection has been opened.
async fn wait_for_data(driver: &mut TransferDriver<Receiver>) -> Result<DataReceiver, Error> {
    loop {
        if let Step::Event(ReceiverEvent::ReceiveData(data)) = driver.next().await? {
            return Ok(data);
        }
    }
}

async fn receive_data(
    driver: &mut TransferDriver<Receiver>,
    sink: Sink,
    data: DataReceiver,
    carrier: impl Carrier,
    path: Path,
) -> Result<Report, Error> {
    let start = Instant::now();
    let monitor = carrier.monitor().map_err(Error::pipe)?;
    let progress = Progress::of_receiver(&data);
    let closing_time = if sink.is_writer() { READER_TIME } else { CLEAN_UP_TIME };
    let receiving = thread::start({
        let progress = progress.clone();
        move || data_thread::receive(carrier, sink, data, &progress)
    });
    let Written { path: written, omitted, omitted_more, lost } =
        driver.run_data(receiving, &monitor, &progress, None, closing_time).await?;
    let report = Report::new(progress.done(), start, Some(path));
    Ok(Report { written, omitted, omitted_more, lost, ..report })
}

/// A receiver that is not connected to the sender yet.
struct Negotiation<'a> {
    driver: &'a mut TransferDriver<Receiver>,
    settings: &'a Settings,
    /// Our listener: opened at the start if a port was chosen, otherwise when the sender's hints arrive.
    transit: Option<Transit>,
}

/// The offer over a dilated connection; never if there is no such connection.
async fn offer_of(dilated: &mut Option<IncomingOffer>) -> Result<Offer, Error> {
    match dilated {
        Some(from) => from.offer().await,
        None => std::future::pending().await,
    }
}

/// Ends a dilated connection that is not used.
async fn close(dilated: &mut Option<IncomingOffer>) {
    if let Some(from) = dilated.take() {
        from.close().await;
    }
}

impl Negotiation<'_> {
    /// Waits for an offer through the mailbox or over a dilated connection; for the latter, returns that as well.
    async fn wait_for_offer(&mut self) -> Result<(Offer, Option<IncomingOffer>), Error> {
        let mut dilated = None;
        loop {
            let step = tokio::select! {
                offer = offer_of(&mut dilated) => {
                    self.driver.command(ReceiverCommand::Dilated);
                    return Ok((offer?, dilated));
                }
                step = self.driver.next() => step?,
            };
            match step {
                Step::PeerDilates => {
                    // The port is needed for this kind of connection.
                    drop(self.transit.take());
                    let streams = dilated::start(self.driver, self.settings).await;
                    dilated = streams.and_then(IncomingOffer::new);
                }
                Step::Event(ReceiverEvent::TransitWanted) => {
                    close(&mut dilated).await;
                    self.send_transit().await?;
                }
                Step::Event(ReceiverEvent::Offer(offer)) => {
                    close(&mut dilated).await;
                    return Ok((offer, None));
                }
                Step::Command(_) | Step::Connect(_) | Step::Event(_) => {}
            }
        }
    }

    /// Asks the user about an offer over a dilated connection, and receives it.
    async fn receive_dilated(mut self, offer: Offer, from: IncomingOffer) -> Result<Report, Error> {
        self.driver.emit(Event::Offer(offer.clone())).await?;
        let destination = self.wait_for_decision(false).await?.ok_or(Error::Rejected)?;
        dilated::receive(self.driver, from, &offer, destination, self.settings).await
    }

    /// Waits for the user's decision. Returns the destination; `None` for a text, which has already been
    /// delivered.
    async fn wait_for_decision(&mut self, is_text: bool) -> Result<Option<Destination>, Error> {
        loop {
            match self.next().await? {
                Step::Command(Command::Accept(destination)) => return Ok(Some(destination)),
                Step::Command(Command::ConfirmText) if is_text => return Ok(None),
                Step::Command(Command::Reject(reason)) => {
                    self.driver.command(ReceiverCommand::Reject(reason));
                }
                Step::Command(_) | Step::Connect(_) | Step::Event(_) | Step::PeerDilates => {}
            }
        }
    }

    /// Waits for the sender's hints.
    async fn wait_for_address(&mut self) -> Result<TransitInfo, Error> {
        loop {
            if let Step::Connect(sender) = self.next().await? {
                return Ok(sender);
            }
        }
    }

    /// Waits for the next step, and sends our hints when the session requests them.
    async fn next(&mut self) -> Result<Step<ReceiverEvent>, Error> {
        let step = self.driver.next().await?;
        if matches!(step, Step::Event(ReceiverEvent::TransitWanted)) {
            self.send_transit().await?;
        }
        Ok(step)
    }

    async fn send_transit(&mut self) -> Result<(), Error> {
        let transit = self.open_transit().await?;
        self.driver.command(ReceiverCommand::Transit(transit.info()));
        self.transit = Some(transit);
        Ok(())
    }

    /// Opens the listener, unless it is open already.
    async fn open_transit(&mut self) -> Result<Transit, Error> {
        match self.transit.take() {
            Some(transit) => Ok(transit),
            None => listening::open(self.driver, self.settings).await,
        }
    }
}
