//! The peers of a node: who is connected, whom to dial, and whom to refuse.

pub(super) mod candidates;
pub(super) mod dialler;
pub(super) mod reputation;
pub(super) mod table;
