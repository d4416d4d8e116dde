//! The transit relay: pairs links by token and copies bytes between them.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{Host, ServerError};

/// What can be configured about the transit relay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Config {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:4001")]
    pub(crate) listen: SocketAddr,

    /// Database to record usage in
    #[arg(long, value_name = "FILE")]
    pub(crate) usage_db: Option<PathBuf>,
}

/// Relays until drained.
pub(crate) async fn serve(config: Config, mut host: Host) -> Result<(), ServerError> {
    let _listener = crate::net::listen(config.listen)?;
    host.drain.begun().await;
    Ok(())
}
