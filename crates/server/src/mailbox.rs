//! The mailbox server: hands out nameplates and passes messages between the sides of a mailbox.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{Host, ServerError};

/// What can be configured about the mailbox server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:4000")]
    pub(crate) listen: SocketAddr,

    /// Database that holds nameplates, mailboxes and messages
    #[arg(long, value_name = "FILE", default_value = "mailbox.sqlite")]
    pub(crate) db: PathBuf,

    /// Database to record usage in
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_db: Option<PathBuf>,
}

/// Serves until drained.
pub(crate) async fn serve(config: Config, mut host: Host) -> Result<(), ServerError> {
    let _listener = crate::net::listen("mailbox", config.listen)?;
    host.drain.begun().await;
    Ok(())
}
