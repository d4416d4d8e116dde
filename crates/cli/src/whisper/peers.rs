//! `whisper peers`: lists the peers of a node.

use anyhow::Result;
use serde_json::json;

use super::node_connection::{NodeAddress, NodeConnection};
use crate::args::PeersArgs;
use crate::console::Console;
use crate::printable;

/// Prints a line for each peer: id, direction, address, software.
///
/// # Errors
/// The node does not list its peers.
pub(super) async fn run(args: PeersArgs, console: &mut Console) -> Result<()> {
    let address = NodeAddress::new(&args.rpc)?;
    let asking = async { NodeConnection::connect(&address).await?.remote().peers().await };
    let peers =
        console.unless_interrupted(asking).await?.map_err(|error| address.explain(&error))?;
    if peers.is_empty() {
        console.screen.show("No peers.");
    }
    for peer in peers {
        let name = peer.enode.strip_prefix("enode://").unwrap_or(&peer.enode);
        let name: String = name.chars().take(SHOWN).collect();
        let way = if peer.network.inbound { "in " } else { "out" };
        console.report(&json!({
            "event": "peer", "enode": peer.enode, "address": peer.network.remote_address,
            "inbound": peer.network.inbound, "client": peer.name, "speaks": peer.caps,
        }))?;
        console.print(&format!(
            "{}  {way}  {:<21}  {}\n",
            printable::line(&name),
            printable::line(&peer.network.remote_address),
            printable::line(&peer.name),
        ))?;
    }
    Ok(())
}

/// Digits of a peer's id that are shown.
const SHOWN: usize = 16;
