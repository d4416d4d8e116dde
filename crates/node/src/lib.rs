//! A node of the Whisper network: peers over TCP, discovery over UDP, an archive on disk.
//!
//! The protocols are [`devp2p`] and [`shh`], without I/O. A [`Node`] decrypts nothing: it accepts and forwards
//! envelopes, and delivers them to the subscribers of [`Node::envelopes`], which try their keys (`shh::filter`,
//! [`messaging`]).
//!
//! ```text
//!  Node (handle) ──► hub: the task that owns shh::Node
//!                     ├── listener: accepts connections     ├── peers: who is connected, dialled or banned
//!                     ├── link: one task per connection     ├── discovery: finds nodes over UDP
//!                     ├── envelopes: subscribers            ├── archive: envelopes in SQLite, on its own thread
//!                     ├── cover: dummy envelopes            ├── min_work_control: raises the minimum work under load
//!                     └── data_folder: state that survives a restart
//!  mine: proof of work on worker threads                    messaging: keys, filters and messages of this process
//!  remote: client of another node's JSON-RPC                rpc: JSON-RPC server
//! ```
//!
//! Two nodes on this machine:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::{Duration, SystemTime};
//! use wormhole_node::{EnvelopeEvent, Node, Settings, shh::{Draft, Topic, Work}};
//!
//! let alice = Node::start(Settings::loopback()).await?;
//! let mut settings = Settings::loopback();
//! settings.static_peers = vec![alice.enode()];
//! let bob = Node::start(settings).await?;
//!
//! let mut heard = alice.envelopes();
//! let draft = Draft::new(SystemTime::now().into(), 50, Topic::of_word("room"), vec![7; 256]);
//! let target = Some(Work::DEFAULT_MINIMUM);
//! let hash = bob.post(wormhole_node::mine(draft, target, Duration::from_secs(60)).await?).await?;
//! let Some(EnvelopeEvent::Envelope { envelope, .. }) = heard.next().await else { panic!() };
//! assert_eq!(envelope.hash(), hash);
//! bob.stop().await;
//! alice.stop().await;
//! # Ok(())
//! # }
//! ```

pub use wormhole_kit::{UnixTime, Utc};
pub use wormhole_whisper::{devp2p, shh};

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "node")]
pub mod messaging;
#[cfg(feature = "node")]
mod mining;
#[cfg(feature = "node")]
mod node;
#[cfg(feature = "node")]
mod pending_links;
mod post_state;
#[cfg(feature = "remote")]
pub mod remote;
#[cfg(feature = "rpc")]
pub mod rpc;
#[cfg(feature = "node")]
mod scheduler;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod text;
mod work;

#[cfg(feature = "node")]
pub use mining::mine;
#[cfg(feature = "node")]
pub use node::{
    AddPeerError, ArchiveComplete, ArchiveError, ArchiveQuery, ArchiveReply, ArchiveResult,
    ArchiveSettings, Cover, DirectError, Direction, EnvelopeEvent, Envelopes, FetchArchiveError,
    MineError, Node, PeerInfo, PostError, Settings, StartError, Status, Stopped, archive_request,
    fetch_archive,
};
pub use post_state::PostState;
pub use text::{hex, new_key, private_key, secret_line};
pub use work::recommended_work;
