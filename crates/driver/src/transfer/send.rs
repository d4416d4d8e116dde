//! The sender, from code to confirmation.

use std::time::Instant;

use serde_json::Value;
use tokio::sync::oneshot;
use wormhole_magic::transfer::{
    FOLDERS_ABILITY, Offer, STREAM_ABILITY, SendEvent, SendNegotiation,
};
use wormhole_magic::transit::{Role, TransitInfo};

use super::bulk::Ending;
use super::session::{Happening, Progress, Session};
use super::source::Parcel;
use super::{CodeSource, Command, Error, Event, Report, Settings, bulk, spool, thread};
use crate::transit::{Pipe, Transit};

/// Sends the parcel.
pub(super) async fn run(
    session: &mut Session,
    parcel: Parcel,
    settings: &Settings,
) -> Result<Report, Error> {
    let source = settings.code.clone().map_or(CodeSource::Allocate, CodeSource::Code);
    session.choose_code(source, settings).await?;
    let versions = meet(session, settings.verify).await?;
    let parcel = match parcel {
        Parcel::Stream { name, reader } if !can(&versions, STREAM_ABILITY) => {
            session.unless_given_up(spool::fill(name, reader)).await?
        }
        Parcel::Tree(tree) if !can(&versions, FOLDERS_ABILITY) => Parcel::Tree(tree.simplified()),
        parcel @ (Parcel::File { .. }
        | Parcel::Stream { .. }
        | Parcel::Text(_)
        | Parcel::Tree(_)) => parcel,
    };
    let offer = parcel.offer();
    if let Offer::Text(text) = &offer {
        negotiate(session, &offer, None).await?;
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        return Ok(Report::new(bytes, Instant::now(), None, None));
    }
    let transit = Transit::new(settings.transit()).map_err(Error::NoConnection)?;
    let peer = negotiate(session, &offer, Some(transit.info())).await?;
    let key = session.transit_key()?;
    let connecting = transit.connect(Role::Sender, &key, &peer);
    let pipe =
        session.unless_given_up(async { connecting.await.map_err(Error::NoConnection) }).await?;
    session.tell(Event::Connected(pipe.path().clone())).await?;
    let ending = match offer.carried() {
        None => Ending::EmptyRecord,
        Some(0) if !can(&versions, STREAM_ABILITY) => Ending::EmptyFile,
        Some(_) => Ending::Counted,
    };
    let parcel = Carried { parcel, total: offer.carried(), ending };
    carry(session, parcel, pipe).await
}

/// What is carried, and how.
struct Carried {
    parcel: Parcel,
    total: Option<u64>,
    ending: Ending,
}

async fn carry(session: &mut Session, what: Carried, pipe: Pipe) -> Result<Report, Error> {
    let start = Instant::now();
    let path = pipe.path().clone();
    let pipe = pipe.into_blocking().map_err(Error::pipe)?;
    let cutter = pipe.cutter().map_err(Error::pipe)?;
    let progress = Progress::new(what.total);
    let (sent, all_sent) = oneshot::channel();
    let carrying = thread::start({
        let progress = progress.clone();
        // Nobody waits for it any more when the transfer was given up.
        let tell = || sent.send(()).unwrap_or_default();
        move || bulk::send(pipe, what.parcel.into_source(), &progress, what.ending, tell)
    });
    session.carry(carrying, &cutter, &progress, Some(all_sent)).await?;
    Ok(Report::new(progress.done(), start, Some(path), None))
}

/// Waits until the peer has come with the same code, and the user agrees that it is the peer.
/// Returns what the peer's program says about itself.
async fn meet(session: &mut Session, verify: bool) -> Result<Value, Error> {
    let mut versions = None;
    let mut confirmed = !verify;
    loop {
        match session.next().await? {
            Happening::Versions(value) => versions = Some(value),
            Happening::Command(Command::ConfirmVerifier(true)) => confirmed = true,
            Happening::Command(Command::ConfirmVerifier(false)) => {
                return Err(Error::VerifierRejected);
            }
            Happening::Message(message) => session.keep(message),
            Happening::Command(_) => {}
        }
        if let Some(versions) = versions.take_if(|_| confirmed) {
            session.unkeep();
            return Ok(versions);
        }
    }
}

/// Makes the offer and waits until it is accepted and the peer has said how it can be reached.
async fn negotiate(
    session: &mut Session,
    offer: &Offer,
    transit: Option<TransitInfo>,
) -> Result<TransitInfo, Error> {
    let needs_transit = transit.is_some();
    let (mut negotiation, messages) = SendNegotiation::start(offer, transit);
    for message in &messages {
        session.send(message).await?;
    }
    let (mut accepted, mut peer) = (false, None);
    loop {
        let Happening::Message(message) = session.next().await? else { continue };
        match negotiation.handle(message)? {
            Some(SendEvent::Accepted) => {
                accepted = true;
                session.tell(Event::Accepted).await?;
            }
            Some(SendEvent::Transit(info)) => peer = Some(info),
            None => {}
        }
        match peer.take() {
            Some(info) if accepted => return Ok(info),
            None if accepted && !needs_transit => return Ok(TransitInfo::default()),
            waiting => peer = waiting,
        }
    }
}

/// Whether the peer's program says that it can do something.
fn can(versions: &Value, ability: &str) -> bool {
    let abilities = versions.get("abilities").and_then(Value::as_array);
    abilities.is_some_and(|abilities| abilities.iter().any(|known| known == ability))
}
