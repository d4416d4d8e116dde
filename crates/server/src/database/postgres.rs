//! The common parts of all services' stores in PostgreSQL: connections with TLS that are replaced when they are
//! lost, time limits, and the versions of tables.

mod connection;
mod connector;
mod session;
mod tables;
mod tls;
mod url;

#[cfg(test)]
pub(crate) use connection::{CLIENT_WAIT, NotAvailable};
pub(crate) use connection::{Connection, retry_while_lost};
pub(crate) use connector::{ConnectError, Connector};
pub(crate) use session::{Session, SessionError, Statements, newer};
pub(crate) use tables::Tables;
pub(crate) use url::DatabaseUrl;
