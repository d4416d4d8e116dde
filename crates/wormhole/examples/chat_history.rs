//! Measures the message history: `cargo run --release -p wormhole --example chat_history -- FOLDER [MESSAGES]`.
//!
//! It writes a store with a million messages, or so many, into this folder, then opens it and searches in it. Then it links devices
//! to an account with a hundredth of these messages, through servers on this computer, and copies them. Each figure is the median
//! of 5 runs, in milliseconds. The last line has the same as JSON, for scripts/bench.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may panic"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wormhole::chat::store::{Protection, Store};
use wormhole::chat::{
    Account, AccountId, Conversation, EarlierMessage, HistoryMode, LinkOptions, MailboxOptions,
    Network, Server, Timestamp, Transport,
};
use wormhole_server::testing::{TestServers, app_command, verification_code};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap()).join("store");
    let count = arguments.next().map_or(1_000_000, |count| count.parse().unwrap());
    fill(&folder, count);
    let mut figures = serde_json::Map::new();
    let opened = median(|| drop(Store::open(&folder, None).unwrap()));
    figures.insert("open_ms".to_owned(), opened.into());
    for (name, text) in [("rare", "message0 first"), ("common", "w1"), ("two", "w77 w901")] {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            // Opened again each time, so that nothing is checked yet.
            let account = Account::new(Store::open(&folder, None).unwrap(), Network::default());
            let started = Instant::now();
            assert!(account.search(text, None).next().await.unwrap().is_some(), "{text}");
            times.push(started.elapsed());
        }
        figures.insert(format!("{name}_ms"), middle(times).into());
    }
    // Nobody has written this word, so each segment is looked up.
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let account = Account::new(Store::open(&folder, None).unwrap(), Network::default());
        let started = Instant::now();
        assert!(account.search("message9999999999", None).next().await.unwrap().is_none());
        times.push(started.elapsed());
    }
    figures.insert("absent_ms".to_owned(), middle(times).into());
    let links = link(folder.parent().unwrap(), count / 100).await;
    figures.insert("link_ms".to_owned(), middle(links).into());
    println!("{}", serde_json::Value::Object(figures));
}

/// How long it takes to link a new device and to copy so many messages to it, after both people have typed.
async fn link(folder: &Path, count: u64) -> Vec<Duration> {
    let database = folder.join("messaging.sqlite");
    let printed = app_command(&database, &["add", "com.one"]);
    let (_, token) = printed.trim().split_once(' ').unwrap();
    let servers = TestServers::start(&[
        "--transit-relay=false",
        "--messaging=true",
        &format!("--messaging-db={}", database.display()),
        &format!("--messaging-blobs={}", folder.join("blobs").display()),
    ])
    .await;
    let server = Server::new(format!("http://{}", servers.messaging()).parse().unwrap());
    let server = server.with_app("com.one".parse().unwrap(), token.parse().unwrap());
    let first = folder.join("first");
    fill(&first, count);
    let first = Account::new(Store::open(&first, None).unwrap(), Network::default());
    first.register(&server, &NUMBER.parse().unwrap(), Transport::Sms).await.unwrap();
    first.verify(&verification_code(NUMBER).unwrap()).await.unwrap();
    let mut mailbox = MailboxOptions::default();
    mailbox.servers = vec![format!("ws://{}/v1", servers.mailbox()).parse().unwrap()];
    mailbox.transit.relays.clear();
    let mut times = Vec::new();
    for run in 0..RUNS {
        let mut new =
            Store::create(&folder.join(format!("new{run}")), &Protection::KeyFile).unwrap();
        new.set_history_mode(HistoryMode::ALL).unwrap();
        let new = Account::new(new, Network::default());
        times.push(link_one(&first, &new, &mailbox, count).await);
    }
    servers.stop().await;
    times
}

async fn link_one(
    first: &Account,
    new: &Account,
    mailbox: &MailboxOptions,
    count: u64,
) -> Duration {
    let mut options = LinkOptions::default();
    options.mailbox = mailbox.clone();
    let linking = new.link(options).await.unwrap();
    let code = linking.code().await.unwrap();
    let started = Instant::now();
    let accept = async {
        let acceptance = first.accept_link(code, mailbox).await.unwrap().with_copy();
        let request = acceptance.request().await.unwrap();
        acceptance.accept(&request).await.unwrap();
        let copied = acceptance.copy(first, HistoryMode::ALL).await.unwrap();
        acceptance.close().await;
        copied
    };
    let take = async {
        linking.complete().await.unwrap();
        linking.copy().await.unwrap();
        linking.close().await;
    };
    let (copied, ()) = tokio::join!(accept, take);
    assert_eq!(copied.messages, count);
    started.elapsed()
}

/// Writes the store.
fn fill(folder: &Path, count: u64) {
    let mut store = Store::create(folder, &Protection::KeyFile).unwrap();
    store.set_history_mode(HistoryMode::ALL).unwrap();
    let mut messages = Vec::new();
    for number in (0..count).rev() {
        messages.push(message(number));
        if messages.len() == 4096 || number == 0 {
            store.add_earlier(&messages).unwrap();
            messages.clear();
        }
    }
}

/// A message of about ten words. Few words are frequent, and most are rare, as in a language.
fn message(number: u64) -> EarlierMessage {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut text = if number == 0 { "first ".to_owned() } else { String::new() };
    text += &format!("message{number}");
    for _ in 0..10 {
        let scale = 1 << (random() % 17);
        text += &format!(" w{}", random() % scale);
    }
    let person = AccountId::from_bytes([u8::try_from(number % 200).unwrap(); 16]);
    EarlierMessage {
        conversation: Conversation::Account(person),
        author: Some(person),
        timestamp: Timestamp(1_500_000_000_000 + number * 1000),
        text,
    }
}

fn median(mut work: impl FnMut()) -> f64 {
    let time = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    middle((0..RUNS).map(time).collect())
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

const RUNS: usize = 5;

const NUMBER: &str = "+14155550101";
