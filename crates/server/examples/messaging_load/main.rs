//! Loads the messaging service and measures it from outside.
//!
//! ```text
//! messaging_load messages    --server target/release/wormhole-server --folder /tmp/load
//! messaging_load bundles     …
//! messaging_load idle        … --sockets 15000
//! messaging_load attachments … --mib 64
//! messaging_load group       … --members 1000
//! ```
//!
//! It starts the server itself, in an empty folder, because it has to read the verification codes that the server prints. Each
//! mode prints one JSON object. This is no client library: it does as little as it can, so that the server is the bottleneck.

#![expect(clippy::as_conversions, reason = "counts become averages")]

mod accounts;
mod attachments;
mod group;
mod http;
mod idle;
mod requests;
mod server;
mod socket;
mod traffic;
mod usage;

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use server::Server;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Loads the messaging service and measures it from outside")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
    /// Program of the server
    #[arg(long, global = true, default_value = "wormhole-server")]
    server: PathBuf,
    /// Folder for the database and the attachments; it must be empty
    #[arg(long, global = true, default_value = ".")]
    folder: PathBuf,
    /// Database: a URL of PostgreSQL instead of a file in the folder
    #[arg(long, global = true)]
    db: Option<String>,
    /// Port of the server
    #[arg(long, global = true, default_value_t = 4180)]
    port: u16,
    /// Threads of this program
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Subcommand)]
enum Mode {
    /// Messages of 256 bytes between connected devices: sent, stored, delivered, confirmed, and their receipts
    Messages {
        /// Connected devices; each writes to all the others
        #[arg(long, default_value_t = 200)]
        devices: usize,
        /// Messages altogether
        #[arg(long, default_value_t = 40_000)]
        messages: usize,
        /// Unanswered messages of one device
        #[arg(long, default_value_t = 4)]
        window: usize,
        /// Messages per second, to measure latencies; by default as many as possible
        #[arg(long)]
        rate: Option<f64>,
    },
    /// Requests for the keys of a device
    Bundles {
        /// Devices; each asks for the keys of all the others
        #[arg(long, default_value_t = 200)]
        devices: usize,
        /// Requests altogether
        #[arg(long, default_value_t = 20_000)]
        requests: usize,
    },
    /// Opens sockets and leaves them alone
    Idle {
        /// Number of sockets, each of its own device
        #[arg(long, default_value_t = 15_000)]
        sockets: usize,
        /// Seconds to stay idle
        #[arg(long, default_value_t = 4)]
        hold: u64,
    },
    /// Uploads and downloads attachments
    Attachments {
        /// Size of each
        #[arg(long, default_value_t = 64)]
        mib: usize,
        /// Number of attachments
        #[arg(long, default_value_t = 16)]
        count: usize,
        /// Attachments at the same time
        #[arg(long, default_value_t = 2)]
        parallel: usize,
    },
    /// Messages to a group whose members are all connected
    Group {
        /// Members without the author, each with one device
        #[arg(long, default_value_t = 1000)]
        members: usize,
        /// Messages, one after the other
        #[arg(long, default_value_t = 20)]
        messages: usize,
    },
}

fn main() -> Result<(), Failure> {
    let Arguments { mode, server, folder, db, port, threads } = Arguments::parse();
    raise_file_limit();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let figures = runtime.block_on(async {
        let server = Server::start(&server, &folder, db.as_deref(), port).await?;
        match mode {
            Mode::Messages { devices, messages, window, rate } => {
                traffic::run(&server, devices, messages, window, rate).await
            }
            Mode::Bundles { devices, requests } => requests::run(&server, devices, requests).await,
            Mode::Idle { sockets, hold } => idle::run(&server, sockets, hold).await,
            Mode::Attachments { mib, count, parallel } => {
                attachments::run(&server, mib, count, parallel).await
            }
            Mode::Group { members, messages } => group::run(&server, members, messages).await,
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
        // If this fails, opening sockets fails later, with a better message.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}
