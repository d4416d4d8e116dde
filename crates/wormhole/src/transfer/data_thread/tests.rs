//! The data phase over a carrier without sockets: records in two queues.

use std::io;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use wormhole_magic::transfer::{Abilities, Ack, BadMessage, Offer, PeerName};

use super::*;
use crate::net::LinkFailure;
use crate::transfer::carrier::CarrierMonitor;

/// One end of a carrier in memory. A closed end is noticed by the other one.
struct MemoryCarrier {
    to_peer: Sender<Vec<u8>>,
    from_peer: Receiver<Vec<u8>>,
    batch: Vec<Vec<u8>>,
    room: Vec<u8>,
    record: Vec<u8>,
    /// A record that arrived before it was requested.
    arrived: Option<Vec<u8>>,
}

impl MemoryCarrier {
    fn pair() -> (Self, Self) {
        let (one, other) = (channel(), channel());
        (Self::new(one.0, other.1), Self::new(other.0, one.1))
    }

    fn new(to_peer: Sender<Vec<u8>>, from_peer: Receiver<Vec<u8>>) -> Self {
        let (batch, room) = (Vec::new(), vec![0; 1000]);
        Self { to_peer, from_peer, batch, room, record: Vec::new(), arrived: None }
    }
}

impl Carrier for MemoryCarrier {
    type Monitor = NoMonitor;

    fn monitor(&self) -> io::Result<NoMonitor> {
        Ok(NoMonitor)
    }

    fn room(&mut self) -> Option<&mut [u8]> {
        (self.batch.len() < 3).then_some(&mut self.room)
    }

    fn add(&mut self, length: usize) -> Result<(), PipeError> {
        self.batch.push(self.room[..length].to_vec());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PipeError> {
        std::mem::take(&mut self.batch).iter().try_for_each(|record| self.send(record))
    }

    fn send(&mut self, record: &[u8]) -> Result<(), PipeError> {
        self.to_peer.send(record.to_vec()).map_err(|_| LinkFailure::Closed.into())
    }

    fn receive(&mut self) -> Result<&[u8], PipeError> {
        self.record = match self.arrived.take() {
            Some(record) => record,
            None => self.from_peer.recv().map_err(|_| LinkFailure::Closed)?,
        };
        Ok(&self.record)
    }

    fn try_receive(&mut self) -> Result<Option<&[u8]>, PipeError> {
        match self.from_peer.try_recv() {
            Ok(record) => self.record = record,
            Err(TryRecvError::Empty) => return Ok(None),
            Err(TryRecvError::Disconnected) => return Err(LinkFailure::Closed.into()),
        }
        Ok(Some(&self.record))
    }

    fn wait(&mut self, patience: Duration) -> Result<bool, PipeError> {
        self.arrived = self.from_peer.recv_timeout(patience).ok();
        Ok(self.arrived.is_some())
    }

    fn close(self) {}
}

struct NoMonitor;

impl CarrierMonitor for NoMonitor {
    fn outstanding(&self) -> Option<u64> {
        None
    }

    fn unanswered(&self) -> Option<Duration> {
        None
    }

    fn abort(&self) {}
}

fn file(size: u64) -> Offer {
    Offer::File { name: PeerName::new("a"), size, attributes: None }
}

fn source(content: &[u8]) -> Source {
    Source::Stream { name: "a".into(), reader: Box::new(io::Cursor::new(content.to_vec())) }
}

/// Sends `content` as what `offer` says to a receiver that is played by a function.
fn send_to(
    offer: &Offer,
    content: &[u8],
    peer: Abilities,
    receiver: impl FnOnce(MemoryCarrier) + Send + 'static,
) -> Result<u64, Error> {
    let (ours, theirs) = MemoryCarrier::pair();
    let receiver = thread::spawn(move || receiver(theirs));
    let data = DataSender::new(offer, peer);
    let progress = Progress::of_sender(&data);
    let sent = send(ours, source(content), data, &progress, || {});
    receiver.join().unwrap();
    sent.map(|changed| {
        assert_eq!(changed, []);
        progress.done()
    })
}

/// Receives what `offer` says from a sender that is played by a function.
fn receive_from(
    offer: &Offer,
    sender: impl FnOnce(MemoryCarrier) + Send + 'static,
) -> Result<u64, Error> {
    let (theirs, ours) = MemoryCarrier::pair();
    let sender = thread::spawn(move || sender(theirs));
    let data = DataReceiver::new(offer, true, Instant::now());
    let progress = Progress::of_receiver(&data);
    let outcome = receive(ours, Sink::Writer(Box::new(io::sink())), data, &progress);
    sender.join().unwrap();
    outcome.map(|_| progress.done())
}

#[test]
fn sender_and_receiver_need_no_transit_connection() {
    for (size, peer) in [
        (0, Abilities::all()),
        (0, Abilities::default()),
        (1, Abilities::all()),
        (5_000_000, Abilities::all()),
    ] {
        let content: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[1]).collect();
        for offer in [file(size.into()), Offer::Stream { name: PeerName::new("a") }] {
            let (arrived, arrival) = channel();
            let offered = offer.clone();
            let sent = send_to(&offer, &content, peer, move |carrier| {
                let reports = peer == Abilities::all();
                let data = DataReceiver::new(&offered, reports, Instant::now());
                let progress = Progress::of_receiver(&data);
                let sink = Sink::Writer(Box::new(Copy(arrived)));
                assert!(receive(carrier, sink, data, &progress).is_ok());
            });
            assert_eq!(sent, Ok(size.into()));
            assert!(arrival.iter().flatten().eq(content.iter().copied()), "{offer:?}");
        }
    }
}

/// A destination that passes everything on.
struct Copy(Sender<Vec<u8>>);

impl io::Write for Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn receivers_that_lie_or_leave_are_noticed() {
    let wrong_hash = Ack { sha256: Some([7; 32]) }.encode();
    let early = Ack { sha256: None }.encode();
    let sent = |receiver: Box<dyn FnOnce(MemoryCarrier) + Send>| {
        send_to(&file(2_000), &[7; 2_000], Abilities::all(), receiver)
    };
    let outcome = sent(Box::new(move |mut carrier| {
        carrier.receive().unwrap();
        carrier.receive().unwrap();
        carrier.send(&wrong_hash).unwrap();
        while carrier.receive().is_ok() {}
    }));
    assert_eq!(outcome, Err(PeerMisbehaved::WrongHash.into()));
    let outcome = sent(Box::new(|mut carrier| {
        carrier.send(b"garbage").unwrap();
        while carrier.receive().is_ok() {}
    }));
    assert_eq!(outcome, Err(PeerMisbehaved::BadAck(BadMessage::NotAnObject).into()));
    let outcome = sent(Box::new(drop));
    assert!(matches!(outcome, Err(Error::Interrupted { total: Some(2_000), .. })), "{outcome:?}");
    // An acknowledgement of a stream that goes on.
    let stream = Offer::Stream { name: PeerName::new("a") };
    let (ours, mut theirs) = MemoryCarrier::pair();
    theirs.send(&early).unwrap();
    let data = DataSender::new(&stream, Abilities::all());
    let progress = Progress::of_sender(&data);
    let outcome = send(ours, source(&[7; 20_000]), data, &progress, || {});
    assert_eq!(outcome, Err(PeerMisbehaved::BadAck(BadMessage::Field("ack")).into()));
}

#[test]
fn senders_that_lie_or_leave_are_noticed() {
    let outcome = receive_from(&file(5), |mut carrier| {
        carrier.send(b"123").unwrap();
        carrier.send(b"456").unwrap();
    });
    assert_eq!(outcome, Err(PeerMisbehaved::WrongSize { offered: 5, sent: 6 }.into()));
    let outcome = receive_from(&file(5), |mut carrier| carrier.send(b"123").unwrap());
    assert_eq!(outcome, Err(Error::Interrupted { done: 3, total: Some(5) }));
}

#[test]
fn a_source_of_another_length_than_offered_is_an_error_before_it_is_sent() {
    for (offered, why) in [(9, UnsendableReason::Shrank), (3, UnsendableReason::Grew)] {
        let outcome =
            send_to(
                &file(offered),
                b"12345",
                Abilities::all(),
                |mut carrier| {
                    while carrier.receive().is_ok() {}
                },
            );
        let unsendable = Unsendable { path: "a".into(), why };
        assert_eq!(outcome, Err(unsendable.into()));
    }
}
