//! A transfer whose network fails in the middle. It continues by itself.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::time::timeout;
use wormhole::code::Code;
use wormhole::transfer::{
    self, CodeSource, Destination, Error, Event, OnExists, Outgoing, Report, Settings, Transfer,
};
use wormhole_server::testing::TestServers;

use crate::child;
use crate::echo::soon;
use crate::network::{Network, PRIVATE, ROUTER};

/// A source whose parts are given one after another.
struct Parts {
    parts: mpsc::Receiver<Vec<u8>>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer)? {
                0 => match self.parts.recv() {
                    Ok(part) => self.current = io::Cursor::new(part),
                    Err(mpsc::RecvError) => return Ok(0),
                },
                length => return Ok(length),
            }
        }
    }
}

/// Waits until this many bytes have arrived.
async fn arrived(transfer: &mut Transfer, bytes: u64) {
    let arriving = async {
        loop {
            let event = transfer.next().await.unwrap().unwrap();
            if matches!(event, Event::Progress { done, .. } if done >= bytes) {
                return;
            }
        }
    };
    soon("bytes", arriving).await;
}

/// Waits for the end. Returns how often the connection was lost.
async fn finish(mut transfer: Transfer) -> (Result<Report, Error>, usize) {
    let mut lost = 0;
    loop {
        match transfer.next().await.unwrap() {
            Ok(Event::Done(report)) => return (Ok(report), lost),
            Ok(Event::ConnectionLost) => lost += 1,
            Ok(_) => {}
            Err(error) => return (Err(error), lost),
        }
    }
}

/// A folder that is gone with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Sends a stream. After its first half has arrived, `fail` interrupts the network, and then repairs it.
async fn send_while(fail: impl AsyncFnOnce(&mut Network)) {
    let mut network = Network::new();
    let servers = TestServers::start(&["--mailbox-listen=0.0.0.0:0"]).await;
    let mut settings = Settings::default();
    let mailbox = format!("ws://{ROUTER}:{}/v1", servers.mailbox().port());
    settings.servers = vec![mailbox.parse().unwrap()];
    settings.relays.clear();
    settings.patience = PATIENCE;
    let code = Code::parse("4-purple-sausages").unwrap();
    settings.code = Some(code.clone());
    let (parts, source) = mpsc::channel();
    let reader = Box::new(Parts { parts: source, current: io::Cursor::default() });
    let what = Outgoing::Stream { name: "stream".to_owned(), reader };
    let [a, b] = &network.computers;
    let sending = settings.clone();
    let sender = a.run(async move { transfer::send(what, sending).unwrap() }).await;
    let mut receiver =
        b.run(async move { transfer::receive(CodeSource::Code(code), settings) }).await;
    soon("offer", receiver.offered()).await.unwrap();
    let to = Folder(std::env::temp_dir().join(format!("wormhole-cut-{:016x}", OsRng.next_u64())));
    std::fs::create_dir(&to.0).unwrap();
    receiver.accept(Destination::Folder { folder: to.0.clone(), on_exists: OnExists::Refuse });
    let halves = [vec![7; HALF], vec![8; HALF]];
    parts.send(halves[0].clone()).unwrap();
    arrived(&mut receiver, u64::try_from(HALF).unwrap()).await;
    let failing = async {
        // It is on the way while there is no network.
        parts.send(halves[1].clone()).unwrap();
        drop(parts);
        fail(&mut network).await;
    };
    let transferring = async { tokio::join!(finish(sender), finish(receiver), failing) };
    let (sent, received, ()) = timeout(PATIENCE, transferring).await.unwrap();
    assert!(sent.0.is_ok() && received.0.is_ok(), "{sent:?} {received:?}");
    assert!(sent.1 > 0 && received.1 > 0, "the network did not fail: {sent:?} {received:?}");
    assert!(std::fs::read(to.0.join("stream")).unwrap() == halves.concat());
}

/// More than what can be on the way.
const HALF: usize = 24 << 20;

/// How long to wait for the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the network fails: longer than both sides need to notice it.
const OUTAGE: Duration = Duration::from_secs(6);

#[test]
fn a_transfer_continues_by_itself_after_a_dead_path() {
    let cut = send_while(async |network| {
        network.computers[0].cut();
        tokio::time::sleep(OUTAGE).await;
        network.computers[0].repair();
    });
    if child::is_possible(PRIVATE) {
        child::run(a_transfer_continues_by_itself_after_a_dead_path, PRIVATE, cut);
    }
}

#[test]
fn a_transfer_continues_by_itself_in_another_network() {
    let moved = send_while(async |network| {
        network.computers[1].lose_address();
        tokio::time::sleep(OUTAGE).await;
        network.computers[1].find_address();
    });
    if child::is_possible(PRIVATE) {
        child::run(a_transfer_continues_by_itself_in_another_network, PRIVATE, moved);
    }
}
