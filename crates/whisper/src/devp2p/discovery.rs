//! Discovery v4 (discv4.md, spec section 2.4): how nodes find one another over UDP.
pub mod packet;
pub mod table;
