//! Encrypted transfer between two people who share a code: files, directories, texts and streams.
//! Applications can also exchange their own messages, and open encrypted connections.
//!
//! | module | for |
//! |---|---|
//! | [`transfer`] | sending and receiving as the `wormhole` command does |
//! | [`code`] | from a code to a shared key and an exchange of messages |
//! | `chat` (feature `chat`) | encrypted messages between the users of apps |
//! | [`dilated`] | many streams over a connection that is replaced when it is lost |
//! | [`forward`] | reaching TCP ports of the other side |
//! | [`transit`] | one encrypted connection between two sides that share a key |
//! | [`net`] | errors of connections, and Tor |
//! | [`store`] | the profile: where the user's own keys and settings are |
//! | [`is_deceptive`] | characters of untrusted text that must not be displayed |
//!
//! The protocols are in `wormhole-magic`, without I/O; this crate adds sockets, disk, clock and randomness, on tokio. Every
//! background task ends when the value that started it is dropped.
//!
//! ```no_run
//! use wormhole::transfer::{self, Outgoing, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), wormhole::transfer::Error> {
//! let outgoing = Outgoing::Paths(vec!["photo.jpg".into()]);
//! let mut transfer = transfer::send(outgoing, Settings::default())?;
//! println!("on the other computer: wormhole receive {}", transfer.code().await?);
//! transfer.done().await?;
//! # Ok(())
//! # }
//! ```

#![warn(clippy::exhaustive_enums)]

#[cfg(feature = "chat")]
pub mod chat;
pub mod code;
pub mod dilated;
mod drive;
pub mod forward;
pub mod net;
pub mod store;
pub mod transfer;
pub mod transit;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use transfer::fuzzing;
pub use wormhole_kit::is_deceptive;
