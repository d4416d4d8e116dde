//! Measures large files in a chat: `cargo run --release -p wormhole --example chat_files -- FOLDER`.
//!
//! Two people on this computer exchange 200 MiB, directly and as two files through a messaging service, until they are saved. Each
//! figure is the median of 5 runs, in MiB per second. The last line has the same as JSON, for scripts/bench.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints and may panic")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use rand_core::{OsRng, RngCore};
use wormhole::chat::store::{Protection, Store};
use wormhole::chat::{
    Account, Client, Connection, Destination, DirectFiles, Event, Message, Messages, Network,
    Options, ReceivedMessage, Server, Transport,
};
use wormhole::transfer::OnExists;
use wormhole_server::testing::{TestServers, app_command, verification_code};

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    let database = folder.join("messaging.sqlite");
    let printed = app_command(&database, &["add", "com.one"]);
    let (_, token) = printed.trim().split_once(' ').unwrap();
    let servers = TestServers::start(&[
        "--mailbox=false",
        "--transit-relay=false",
        "--messaging=true",
        &format!("--messaging-db={}", database.display()),
        &format!("--messaging-blobs={}", folder.join("blobs").display()),
    ])
    .await;
    let server = Server::new(format!("http://{}", servers.messaging()).parse().unwrap());
    let server = server.with_app("com.one".parse().unwrap(), token.parse().unwrap());
    for number in NUMBERS {
        let store = Store::create(&folder.join(number), &Protection::KeyFile).unwrap();
        let account = Account::new(store, Network::default());
        account.register(&server, &number.parse().unwrap(), Transport::Sms).await.unwrap();
        account.verify(&verification_code(number).unwrap()).await.unwrap();
    }
    let whole = file(&folder.join("whole"), 200 << 20);
    let halves = ["one", "two"].map(|name| file(&folder.join(name), 100_000_000));
    let service = measure(&folder, &halves, false).await;
    let direct = measure(&folder, &[whole], true).await;
    servers.stop().await;
    println!("{}", serde_json::json!({"service_mib_per_s": service, "direct_mib_per_s": direct}));
}

/// Sends the files again and again. Returns the median speed.
async fn measure(folder: &Path, files: &[PathBuf], is_direct: bool) -> f64 {
    let [a, b] = acquainted(folder, is_direct).await;
    let to_b: Destination = NUMBERS[1].parse().unwrap();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    let mut speeds = Vec::new();
    let mut messages = b.messages();
    for _ in 0..RUNS {
        let message = files.iter().fold(Message::text(""), Message::with_file);
        let started = Instant::now();
        a.send(&to_b, message).await.unwrap();
        let received = next(&mut messages).await;
        for file in &received.files {
            b.download(file, &folder.join("saved"), OnExists::Overwrite).await.unwrap();
        }
        let kib = u32::try_from(bytes >> 10).unwrap();
        speeds.push(f64::from(kib) / 1024.0 / started.elapsed().as_secs_f64());
        b.done(received.id).await.unwrap();
    }
    a.close().await.unwrap();
    b.close().await.unwrap();
    speeds.sort_unstable_by(f64::total_cmp);
    let median = speeds.get(RUNS / 2).copied().unwrap();
    println!("{median:.0} MiB/s, {}", if is_direct { "directly" } else { "through the service" });
    median
}

/// Two people who have written to each other.
async fn acquainted(folder: &Path, is_direct: bool) -> [Client; 2] {
    let [a, b] = [open(folder, 0, is_direct).await, open(folder, 1, is_direct).await];
    for (from, to, number) in [(&a, &b, NUMBERS[1]), (&b, &a, NUMBERS[0])] {
        let destination: Destination = number.parse().unwrap();
        let mut messages = to.messages();
        from.send(destination, Message::text("hello")).await.unwrap();
        let received = next(&mut messages).await;
        to.done(received.id).await.unwrap();
    }
    [a, b]
}

async fn open(folder: &Path, person: usize, is_direct: bool) -> Client {
    let number = NUMBERS.get(person).unwrap();
    let store = Store::open(&folder.join(number), None).unwrap();
    let mut options = Options::default();
    if is_direct {
        let mut direct = DirectFiles::default();
        direct.transit.relays.clear();
        options.direct = Some(direct);
    }
    let client = Client::open(Account::new(store, Network::default()), options).await.unwrap();
    while client.connection() != Connection::UpToDate {
        tokio::task::yield_now().await;
    }
    client
}

async fn next(messages: &mut Messages) -> ReceivedMessage {
    loop {
        if let Event::Message(message) = messages.next().await.unwrap() {
            return *message;
        }
    }
}

/// A file with random content.
fn file(path: &Path, size: usize) -> PathBuf {
    let mut content = vec![0; size];
    OsRng.fill_bytes(&mut content);
    std::fs::write(path, &content).unwrap();
    path.to_owned()
}

const NUMBERS: [&str; 2] = ["+14155550101", "+14155550102"];

const RUNS: usize = 5;
