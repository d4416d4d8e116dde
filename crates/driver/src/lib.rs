//! Private delivery between people.

mod drive;
pub mod net;
pub mod transfer;
pub mod transit;
