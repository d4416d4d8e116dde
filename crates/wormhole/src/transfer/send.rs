//! The sender, from code to confirmation.

use std::time::Instant;

use tokio::sync::oneshot;
use wormhole_magic::transfer::dilated::Mode;
use wormhole_magic::transfer::{
    Abilities, DataSender, Offer, Sender, SenderCommand, SenderEvent, TransferAbility,
};
use wormhole_magic::transit::{Role, TransitInfo};

use super::carrier::{self, Carrier};
use super::data_phase::READER_TIME;
use super::driver::{Step, TransferDriver};
use super::progress::Progress;
use super::source::SendItem;
use super::{
    CodeSource, Command, Error, Event, Report, Settings, data_thread, dilated, listening, spool,
    thread,
};
use crate::transit::{Path, Transit};

type Driver = TransferDriver<Sender>;

/// What to announce about dilated connections: nothing for a text, which goes through the mailbox.
pub(super) fn mode(item: &SendItem, settings: &Settings) -> Option<Mode> {
    match item {
        SendItem::Text(_) => None,
        SendItem::File(_) | SendItem::Stream { .. } | SendItem::Tree(_) => {
            dilated::is_wanted(settings).then_some(Mode::Send)
        }
    }
}

/// Sends the item.
pub(super) async fn run(
    driver: &mut Driver,
    item: SendItem,
    settings: &Settings,
) -> Result<Report, Error> {
    let source = settings.code.clone().map_or(CodeSource::Allocate, CodeSource::Code);
    let mut reserved = match &item {
        SendItem::Text(_) => None,
        SendItem::File(_) | SendItem::Stream { .. } | SendItem::Tree(_) => {
            listening::reserve(driver, settings).await?
        }
    };
    driver.choose_code(source, settings).await?;
    let (peer, can_dilate) = wait_for_peer(driver).await?;
    if can_dilate {
        // The port is needed for the other kind of connection.
        drop(reserved.take());
        if let Some(streams) = dilated::connect(driver, settings).await? {
            return dilated::send(driver, streams, item).await;
        }
    }
    let item = adapt(item, peer, driver).await?;
    send_through_transit(driver, item, reserved, settings).await
}

/// Makes the offer in the mailbox, and sends the data over a transit connection.
async fn send_through_transit(
    driver: &mut Driver,
    item: SendItem,
    reserved: Option<Transit>,
    settings: &Settings,
) -> Result<Report, Error> {
    let offer = item.offer();
    if let Offer::Text(text) = &offer {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        driver.command(SenderCommand::Offer(offer, None));
        wait_until_accepted(driver).await?;
        return Ok(Report::new(bytes, Instant::now(), None));
    }
    let transit = match reserved {
        Some(transit) => transit,
        None => listening::open(driver, settings).await?,
    };
    driver.command(SenderCommand::Offer(offer, Some(transit.info())));
    wait_until_accepted(driver).await?;
    let receiver = wait_for_address(driver).await?;
    let (carrier, path) = carrier::connect(driver, transit, Role::Sender, &receiver).await?;
    let data = wait_for_data(driver).await?;
    send_data(driver, item, data, carrier, path).await
}

/// Waits until the peer has connected with the same code and, if required, the user has confirmed the
/// verifier. Returns the peer's abilities, and whether it can transfer over a dilated connection.
async fn wait_for_peer(driver: &mut Driver) -> Result<(Abilities, bool), Error> {
    let mut can_dilate = false;
    loop {
        match driver.next().await? {
            Step::Command(Command::ConfirmVerifier(is_same)) => {
                driver.command(SenderCommand::ConfirmVerifier(is_same));
            }
            // The session speaks first, so this step may still come.
            Step::Event(SenderEvent::OfferWanted(peer)) => {
                return Ok((peer, can_dilate || driver.peer_dilates()));
            }
            Step::PeerDilates => can_dilate = true,
            Step::Command(_) | Step::Connect(_) | Step::Event(_) => {}
        }
    }
}

/// Adapts the item to the peer's abilities.
async fn adapt(item: SendItem, peer: Abilities, driver: &mut Driver) -> Result<SendItem, Error> {
    let item = driver.unless_given_up(item.followed()).await?;
    Ok(match item {
        SendItem::Stream { name, reader } if !peer.has(TransferAbility::Stream) => {
            driver.unless_given_up(spool::fill(name, reader)).await?
        }
        SendItem::Tree(mut tree) => {
            tree.tolerant |= peer.has(TransferAbility::Omissions);
            let takes_folders = peer.has(TransferAbility::Folders);
            SendItem::Tree(if takes_folders { tree } else { tree.simplified() })
        }
        item @ (SendItem::File(_) | SendItem::Stream { .. } | SendItem::Text(_)) => item,
    })
}

async fn wait_until_accepted(driver: &mut Driver) -> Result<(), Error> {
    while !matches!(driver.next().await?, Step::Event(SenderEvent::Accepted)) {}
    driver.emit(Event::Accepted).await
}

/// Waits for the receiver's hints.
async fn wait_for_address(driver: &mut Driver) -> Result<TransitInfo, Error> {
    loop {
        if let Step::Connect(receiver) = driver.next().await? {
            return Ok(receiver);
        }
    }
}

/// Waits for the session's [`DataSender`] after the connection has been opened.
async fn wait_for_data(driver: &mut Driver) -> Result<DataSender, Error> {
    loop {
        if let Step::Event(SenderEvent::SendData(data)) = driver.next().await? {
            return Ok(data);
        }
    }
}

async fn send_data(
    driver: &mut Driver,
    item: SendItem,
    data: DataSender,
    carrier: impl Carrier,
    path: Path,
) -> Result<Report, Error> {
    let start = Instant::now();
    let monitor = carrier.monitor().map_err(Error::pipe)?;
    let progress = Progress::of_sender(&data);
    let (sent, all_sent) = oneshot::channel();
    let sending = thread::start({
        let progress = progress.clone();
        // Nobody waits for it any more when the transfer was given up.
        let notify = || sent.send(()).unwrap_or_default();
        move || data_thread::send(carrier, item.into_source(), data, &progress, notify)
    });
    let changed =
        driver.run_data(sending, &monitor, &progress, Some(all_sent), READER_TIME).await?;
    Ok(Report { changed, ..Report::new(progress.done(), start, Some(path)) })
}
