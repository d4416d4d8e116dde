//! Loads an XMPP server (ejabberd) and measures it from outside, for a comparison with the messaging service.
//!
//! ```text
//! xmpp_load stored  --port 5222 --pid SERVER --pairs 100 --messages 9000
//! xmpp_load online  --port 5222 --pid SERVER --pairs 100 --messages 40000
//! xmpp_load idle    --port 5222 --pid SERVER --connections 15000
//! ```
//!
//! Bodies have 256 bytes, stanzas are pipelined, and nothing is encrypted. `stored` writes to users who are offline, and then
//! lets them fetch everything. Users register themselves. Prints one JSON object.

#![expect(clippy::as_conversions, reason = "counts become averages")]

#[path = "messaging_load/usage.rs"]
mod usage;

use std::error::Error;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use data_encoding::BASE64;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use usage::{Usage, percentile, rounded};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Loads an XMPP server and measures it from outside")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
    /// Port of the server
    #[arg(long, global = true, default_value_t = 5222)]
    port: u16,
    /// Process id of the server, to measure its CPU time and memory
    #[arg(long, global = true, default_value_t = std::process::id())]
    pid: u32,
}

#[derive(Subcommand)]
enum Mode {
    /// Messages to users who are offline; they log in later
    Stored {
        #[arg(long, default_value_t = 100)]
        pairs: usize,
        #[arg(long, default_value_t = 9000)]
        messages: usize,
    },
    /// Messages to users who are online, which the server does not store
    Online {
        #[arg(long, default_value_t = 100)]
        pairs: usize,
        #[arg(long, default_value_t = 40_000)]
        messages: usize,
    },
    /// Connections of users who do nothing
    Idle {
        #[arg(long, default_value_t = 15_000)]
        connections: usize,
        /// Seconds to stay idle
        #[arg(long, default_value_t = 4)]
        hold: u64,
    },
}

fn main() -> Result<(), Failure> {
    let Arguments { mode, port, pid } = Arguments::parse();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(async {
        match mode {
            Mode::Stored { pairs, messages } => stored(port, pid, pairs, messages).await,
            Mode::Online { pairs, messages } => online(port, pid, pairs, messages).await,
            Mode::Idle { connections, hold } => idle(port, pid, connections, hold).await,
        }
    })?;
    println!("{figures}");
    Ok(())
}

fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // If this fails, opening connections fails later, with a better message.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

async fn stored(port: u16, pid: u32, pairs: usize, messages: usize) -> Result<Value, Failure> {
    register(port, 2 * pairs).await?;
    let each = messages / pairs;
    let writers = try_join_all((0..pairs).map(|pair| Client::log_in(port, 2 * pair, true))).await?;
    let (before, start) = (Usage::of(pid), Instant::now());
    let write = |(pair, mut client): (usize, Client)| async move {
        client.write(2 * pair + 1, each).await?;
        client.ping().await
    };
    try_join_all(writers.into_iter().enumerate().map(write)).await?;
    let storing = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let read = |pair: usize| async move {
        let mut client = Client::log_in(port, 2 * pair + 1, true).await?;
        client.count(each).await?;
        client.ping().await
    };
    try_join_all((0..pairs).map(read)).await?;
    let fetching = start.elapsed().as_secs_f64();
    let (total, cpu) = ((each * pairs) as f64, Usage::of(pid).cpu - before.cpu);
    Ok(json!({
        "messages": total,
        "stored_per_s": rounded(total / storing),
        "fetched_per_s": rounded(total / fetching),
        "messages_per_s": rounded(total / (storing + fetching)),
        "server_cpu_us_per_message": rounded(1e6 * cpu / total),
    }))
}

async fn online(port: u16, pid: u32, pairs: usize, messages: usize) -> Result<Value, Failure> {
    register(port, 2 * pairs).await?;
    let each = messages / pairs;
    let clients = (0..2 * pairs).map(|user| Client::log_in(port, user, true));
    let mut clients = try_join_all(clients).await?.into_iter();
    let (before, start) = (Usage::of(pid), Instant::now());
    let mut works = Vec::new();
    let mut first = None;
    let mut pair = 0;
    while let (Some(mut writer), Some(mut reader)) = (clients.next(), clients.next()) {
        let to = 2 * pair + 1;
        works.push(async move {
            tokio::try_join!(writer.write(to, each), reader.count(each))?;
            Ok::<_, Failure>((writer, reader))
        });
        pair += 1;
    }
    for pair in try_join_all(works).await? {
        first.get_or_insert(pair);
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), Usage::of(pid).cpu - before.cpu);
    let (mut writer, mut reader) = first.ok_or("no pair")?;
    let mut times = Vec::new();
    for _ in 0..1000 {
        let start = Instant::now();
        writer.write(1, 1).await?;
        reader.count(1).await?;
        times.push(start.elapsed());
    }
    let total = (each * pairs) as f64;
    Ok(json!({
        "messages": total,
        "messages_per_s": rounded(total / seconds),
        "server_cpu_us_per_message": rounded(1e6 * cpu / total),
        "delivered_p50_ms": percentile(&mut times, 0.50),
        "delivered_p99_ms": percentile(&mut times, 0.99),
    }))
}

async fn idle(port: u16, pid: u32, connections: usize, hold: u64) -> Result<Value, Failure> {
    register(port, connections).await?;
    let before = Usage::of(pid);
    let works = (0..OPENERS).map(|opener| async move {
        let mut clients = Vec::new();
        for user in (opener..connections).step_by(OPENERS) {
            let mut client = Client::log_in(port, user, true).await?;
            client.read = Vec::new();
            clients.push(client);
        }
        Ok::<_, Failure>(clients)
    });
    let clients: Vec<Vec<Client>> = try_join_all(works).await?;
    tokio::time::sleep(Duration::from_secs(hold)).await;
    let count: usize = clients.iter().map(Vec::len).sum();
    let after = Usage::of(pid);
    Ok(json!({
        "connections": count,
        "rss_before_mib": rounded(before.kib / 1024.0),
        "rss_mib": rounded(after.kib / 1024.0),
        "kib_per_connection": rounded((after.kib - before.kib) / count.max(1) as f64),
    }))
}

/// Registers users; those who exist already stay as they are.
async fn register(port: u16, count: usize) -> Result<(), Failure> {
    let works = (0..OPENERS).map(|opener| async move {
        for user in (opener..count).step_by(OPENERS) {
            let mut client = Client::connect(port).await?;
            let query = format!(
                "<iq type='set' id='r'><query xmlns='jabber:iq:register'>\
                 <username>u{user}</username><password>x</password></query></iq>"
            );
            client.send(&query).await?;
            client.until(&["id='r'", "id=\"r\""]).await?;
        }
        Ok::<_, Failure>(())
    });
    try_join_all(works).await?;
    Ok(())
}

/// A connection.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    /// Connects without logging in.
    async fn connect(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, read: Vec::new() };
        client.open().await?;
        Ok(client)
    }

    /// Connects and logs in. Only a user with presence receives messages.
    async fn log_in(port: u16, user: usize, has_presence: bool) -> Result<Self, Failure> {
        let mut client = Self::connect(port).await?;
        let credentials = BASE64.encode(format!("\0u{user}\0x").as_bytes());
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{credentials}</auth>"
        );
        client.send(&auth).await?;
        client.until(&["<success", "<failure"]).await?;
        client.open().await?;
        client.send(BIND).await?;
        client.until(&["</jid>"]).await?;
        client.send(SESSION).await?;
        client.until(&["id='s'", "id=\"s\""]).await?;
        client.read.clear();
        if has_presence {
            client.send("<presence/>").await?;
        }
        Ok(client)
    }

    async fn open(&mut self) -> Result<(), Failure> {
        self.send(
            "<?xml version='1.0'?><stream:stream to='localhost' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
        )
        .await?;
        self.until(&["</stream:features>"]).await?;
        self.read.clear();
        Ok(())
    }

    async fn send(&mut self, stanza: &str) -> Result<(), Failure> {
        Ok(self.stream.write_all(stanza.as_bytes()).await?)
    }

    /// Writes messages to a user.
    async fn write(&mut self, to: usize, count: usize) -> Result<(), Failure> {
        let body = "x".repeat(256);
        for start in (0..count).step_by(100) {
            let stanzas = (start..count.min(start + 100)).map(|id| {
                format!("<message to='u{to}@localhost' type='chat' id='m{id}'><body>{body}</body></message>")
            });
            self.send(&stanzas.collect::<String>()).await?;
        }
        Ok(())
    }

    /// Waits until all earlier stanzas are handled.
    async fn ping(&mut self) -> Result<(), Failure> {
        self.read.clear();
        self.send(PING).await?;
        self.until(&["id='p'", "id=\"p\""]).await
    }

    /// Waits for this many messages.
    async fn count(&mut self, messages: usize) -> Result<(), Failure> {
        let mut found = 0;
        loop {
            found += self.read.windows(END.len()).filter(|part| *part == END).count();
            // The start of the next end may have arrived.
            let kept = self.read.len().saturating_sub(END.len() - 1);
            self.read.drain(..kept);
            if self.read.ends_with(b">") {
                self.read.clear();
            }
            if found >= messages {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn until(&mut self, any: &[&str]) -> Result<(), Failure> {
        loop {
            let text = String::from_utf8_lossy(&self.read);
            if any.iter().any(|wanted| text.contains(wanted)) {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        self.read.reserve(4096);
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
    <resource>r</resource></bind></iq>";
const SESSION: &str =
    "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>";
const PING: &str = "<iq type='get' id='p' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>";

/// The end of a message.
const END: &[u8] = b"</message>";

/// Connections opened at the same time.
const OPENERS: usize = 50;
