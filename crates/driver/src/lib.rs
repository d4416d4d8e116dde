//! Private delivery between people.

mod drive;
pub mod net;
