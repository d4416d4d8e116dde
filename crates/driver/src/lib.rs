//! Private delivery between people.

pub mod code;
mod drive;
pub mod net;
pub mod transfer;
pub mod transit;
