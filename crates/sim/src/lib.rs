//! A seeded world with virtual time and a bad network: any number of clients, one server, and
//! links between them that are slow, break, or never come about.
//!
//! It knows no protocol: clients are any [`Session`](wormhole_kit::Session), the server is any
//! [`Server`]. Everything that happens follows from the seed, so a failure can be repeated. For
//! tests only.
//!
//! A link keeps the order of its messages and loses none but the last: that is what TCP gives. What
//! a protocol allows beyond that (a server that repeats itself, say) is up to the [`Server`].

mod server;
mod weather;
mod world;

pub use server::{Reply, Server};
pub use weather::Weather;
pub use world::{Application, End, Simulation, World};
