//! A deterministic simulation with virtual time and a bad network: any number of clients, one server, and
//! links between them that are slow, break, or cannot be opened.
//!
//! It is independent of the protocol: clients are any [`Session`](wormhole_kit::Session), the server is any
//! [`Server`]. Everything follows from the seed, so failures are reproducible. For tests only.
//!
//! Like TCP, a link keeps the order of its messages and can only lose the last ones. The [`Server`] simulates anything
//! else that a protocol allows, such as repeated messages.

mod conditions;
mod server;
mod world;

pub use conditions::NetworkConditions;
pub use server::{Reply, Server};
pub use world::{Application, End, Simulation, World};
