//! The sender, from code to confirmation.

use std::time::Instant;

use serde_json::Value;
use tokio::sync::oneshot;
use wormhole_magic::transfer::{
    ATTRIBUTES_ABILITY, FOLDERS_ABILITY, OMISSIONS_ABILITY, Offer, PROGRESS_ABILITY,
    STREAM_ABILITY, SendEvent, SendNegotiation,
};
use wormhole_magic::transit::{Role, TransitInfo};

use super::bulk::Ending;
use super::progress::Progress;
use super::session::{Happening, Session, can};
use super::source::Parcel;
use super::{CodeSource, Command, Error, Event, Report, Settings, bulk, listening, spool, thread};
use crate::transit::{Pipe, Transit};

/// Sends the parcel.
pub(super) async fn run(
    session: &mut Session,
    parcel: Parcel,
    settings: &Settings,
) -> Result<Report, Error> {
    let source = settings.code.clone().map_or(CodeSource::Allocate, CodeSource::Code);
    let reserved = match &parcel {
        Parcel::Text(_) => None,
        Parcel::File(_) | Parcel::Stream { .. } | Parcel::Tree(_) => {
            listening::reserve(session, settings).await?
        }
    };
    session.choose_code(source, settings).await?;
    let versions = meet(session, settings.verify).await?;
    let parcel = fit(parcel, &versions, session).await?;
    let offer = parcel.offer();
    if let Offer::Text(text) = &offer {
        negotiate(session, &offer, None).await?;
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        return Ok(Report::new(bytes, Instant::now(), None));
    }
    let transit = match reserved {
        Some(transit) => transit,
        None => listening::open(session, settings).await?,
    };
    let pipe = connect(session, &offer, transit).await?;
    let ending = match offer.carried() {
        None => Ending::EmptyRecord,
        Some(0) if !can(&versions, STREAM_ABILITY) => Ending::EmptyFile,
        Some(_) => Ending::Counted,
    };
    let progress = if can(&versions, PROGRESS_ABILITY) {
        Progress::told_by_receiver(offer.carried())
    } else {
        Progress::new(offer.carried())
    };
    let parcel = Carried { parcel, progress, ending };
    carry(session, parcel, pipe).await
}

/// Makes the offer; once the receiver has accepted it, connects to the receiver.
async fn connect(session: &mut Session, offer: &Offer, transit: Transit) -> Result<Pipe, Error> {
    let peer = negotiate(session, offer, Some(transit.info())).await?;
    let key = session.transit_key()?;
    let connecting = transit.connect(Role::Sender, &key, &peer);
    let pipe =
        session.unless_given_up(async { connecting.await.map_err(Error::NoConnection) }).await?;
    session.tell(Event::Connected(pipe.path().clone())).await?;
    Ok(pipe)
}

/// Makes of the parcel what the peer's program can take.
async fn fit(parcel: Parcel, versions: &Value, session: &mut Session) -> Result<Parcel, Error> {
    Ok(match parcel {
        Parcel::Stream { name, reader } if !can(versions, STREAM_ABILITY) => {
            session.unless_given_up(spool::fill(name, reader)).await?
        }
        Parcel::File(mut file) => {
            file.attributes = file.attributes.filter(|_| can(versions, ATTRIBUTES_ABILITY));
            Parcel::File(file)
        }
        Parcel::Tree(mut tree) => {
            tree.tolerant |= can(versions, OMISSIONS_ABILITY);
            Parcel::Tree(if can(versions, FOLDERS_ABILITY) { tree } else { tree.simplified() })
        }
        parcel @ (Parcel::Stream { .. } | Parcel::Text(_)) => parcel,
    })
}

/// What is carried, and how.
struct Carried {
    parcel: Parcel,
    progress: Progress,
    ending: Ending,
}

async fn carry(session: &mut Session, what: Carried, pipe: Pipe) -> Result<Report, Error> {
    let start = Instant::now();
    let path = pipe.path().clone();
    let pipe = pipe.into_blocking().map_err(Error::pipe)?;
    let cutter = pipe.cutter().map_err(Error::pipe)?;
    let progress = what.progress;
    let (sent, all_sent) = oneshot::channel();
    let carrying = thread::start({
        let progress = progress.clone();
        // Nobody waits for it any more when the transfer was given up.
        let tell = || sent.send(()).unwrap_or_default();
        move || bulk::send(pipe, what.parcel.into_source(), &progress, what.ending, tell)
    });
    let changed = session.carry(carrying, &cutter, &progress, Some(all_sent)).await?;
    Ok(Report { changed, ..Report::new(progress.done(), start, Some(path)) })
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
