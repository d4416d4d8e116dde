//! The receiver, from code to confirmation.

use std::time::Instant;

use wormhole_magic::transfer::{
    Message, Offer, PROGRESS_ABILITY, ReceiveEvent, ReceiveNegotiation,
};
use wormhole_magic::transit::{Role, TransitInfo};

use super::progress::Progress;
use super::session::{Happening, Session, can};
use super::sink::{Sink, Written};
use super::{
    CodeSource, Command, Destination, Error, Event, Report, Settings, bulk, listening, thread,
};
use crate::transit::{Pipe, Transit};

/// Receives whatever is offered.
pub(super) async fn run(
    session: &mut Session,
    code: CodeSource,
    settings: &Settings,
) -> Result<Report, Error> {
    let reserved = listening::reserve(session, settings).await?;
    session.choose_code(code, settings).await?;
    let mut receiver = Receiver {
        session,
        settings,
        negotiation: ReceiveNegotiation::new(),
        reserved,
        transit: None,
        peer: None,
        tells_progress: false,
    };
    let offer = receiver.offer().await?;
    if let Offer::Text(text) = offer {
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        receiver.session.tell(Event::Text(text)).await?;
        // Only the application knows when the text is where it is wanted.
        receiver.decision(true).await?;
        receiver.answer().await?;
        return Ok(Report::new(bytes, Instant::now(), None));
    }
    receiver.session.tell(Event::Offer(offer.clone())).await?;
    let destination = receiver.decision(false).await?.ok_or(Error::Rejected)?;
    let sink = Sink::open(destination, &offer, settings.max_entries)?;
    receiver.answer().await?;
    let pipe = receiver.connect().await?;
    receiver.session.tell(Event::Connected(pipe.path().clone())).await?;
    let tells_progress = receiver.tells_progress;
    carry(receiver.session, sink, pipe, offer.carried(), tells_progress).await
}

async fn carry(
    session: &mut Session,
    sink: Sink,
    pipe: Pipe,
    total: Option<u64>,
    tells_progress: bool,
) -> Result<Report, Error> {
    let start = Instant::now();
    let path = pipe.path().clone();
    let pipe = pipe.into_blocking().map_err(Error::pipe)?;
    let cutter = pipe.cutter().map_err(Error::pipe)?;
    let progress = Progress::new(total);
    let carrying = thread::start({
        let progress = progress.clone();
        move || bulk::receive(pipe, sink, &progress, tells_progress)
    });
    let Written { path: written, omitted, omitted_more, lost } =
        session.carry(carrying, &cutter, &progress, None).await?;
    let report = Report::new(progress.done(), start, Some(path));
    Ok(Report { written, omitted, omitted_more, lost, ..report })
}

struct Receiver<'a> {
    session: &'a mut Session,
    settings: &'a Settings,
    negotiation: ReceiveNegotiation,
    /// Where we listen, if a port was chosen.
    reserved: Option<Transit>,
    /// Where we listen, once the sender has said that it needs that.
    transit: Option<Transit>,
    peer: Option<TransitInfo>,
    /// Whether the sender wants to be told how much we have.
    tells_progress: bool,
}

impl Receiver<'_> {
    /// Waits for the offer.
    async fn offer(&mut self) -> Result<Offer, Error> {
        loop {
            match self.session.next().await? {
                Happening::Message(message) => {
                    if let Some(offer) = self.on_message(message).await? {
                        return Ok(offer);
                    }
                }
                Happening::Versions(versions) => {
                    self.tells_progress = can(&versions, PROGRESS_ABILITY);
                }
                Happening::Command(_) => {}
            }
        }
    }

    /// Waits for the user's decision: where to put it; a text was put somewhere already.
    async fn decision(&mut self, is_text: bool) -> Result<Option<Destination>, Error> {
        loop {
            match self.session.next().await? {
                Happening::Command(Command::Accept(destination)) => return Ok(Some(destination)),
                Happening::Command(Command::ConfirmText) if is_text => return Ok(None),
                Happening::Command(Command::Reject(reason)) => {
                    self.session.send(&ReceiveNegotiation::reject(&reason)).await?;
                    return Err(Error::Rejected);
                }
                Happening::Message(message) => {
                    self.on_message(message).await?;
                }
                Happening::Command(_) | Happening::Versions(_) => {}
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<Option<Offer>, Error> {
        match self.negotiation.handle(message)? {
            Some(ReceiveEvent::Offer(offer)) => Ok(Some(offer)),
            Some(ReceiveEvent::Transit(info)) => {
                let transit = match self.reserved.take() {
                    Some(transit) => transit,
                    None => listening::open(self.session, self.settings).await?,
                };
                self.session.send(&Message::Transit(transit.info())).await?;
                self.transit = Some(transit);
                self.peer = Some(info);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Says yes.
    async fn answer(&self) -> Result<(), Error> {
        match self.negotiation.accept() {
            Some(message) => self.session.send(&message).await,
            None => Ok(()),
        }
    }

    /// Connects, once the sender has said how it can be reached.
    async fn connect(&mut self) -> Result<Pipe, Error> {
        loop {
            if let (Some(transit), Some(peer)) = (self.transit.take(), &self.peer) {
                let key = self.session.transit_key()?;
                let connecting = transit.connect(Role::Receiver, &key, peer);
                let connecting = async { connecting.await.map_err(Error::NoConnection) };
                return self.session.unless_given_up(connecting).await;
            }
            if let Happening::Message(message) = self.session.next().await? {
                self.on_message(message).await?;
            }
        }
    }
}
