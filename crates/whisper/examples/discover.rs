//! Runs discovery v4 over UDP for a while and prints the found nodes: a manual test with other
//! implementations.
//!
//! ```text
//! discover 127.0.0.1:0 [enode://…]...
//! ```

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example is a driver, not a core"
)]

use std::{
    env,
    error::Error,
    net::UdpSocket,
    time::{Duration, SystemTime},
};

use rand_core::OsRng;
use wormhole_kit::Instant;
use wormhole_whisper::devp2p::{
    discovery::{Discovery, DiscoveryOutput, packet::MAX_DATAGRAM},
    enode::{Endpoint, Enode},
    key::PrivateKey,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().ok_or("usage: discover ADDRESS [ENODE]...")?;
    let bootnodes = arguments.map(|text| Enode::parse(&text)).collect::<Result<Vec<_>, _>>()?;
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let address = socket.local_addr()?;
    let endpoint = Endpoint { ip: address.ip(), tcp: address.port(), udp: address.port() };
    let key = PrivateKey::random(&mut OsRng);
    println!("{}", Enode { id: key.public_key().node_id(), endpoint: Some(endpoint) });
    let mut node = Discovery::new(key, endpoint, 1, &bootnodes, Instant::now());
    let end = Instant::now() + Duration::from_secs(10);
    let mut next_search = Instant::now() + Duration::from_secs(2);
    let mut datagram = [0; MAX_DATAGRAM];
    while Instant::now() < end {
        let (now, wall) = (Instant::now(), SystemTime::now().into());
        node.handle_timeout(now, wall, &mut OsRng);
        if now >= next_search {
            next_search = now + Duration::from_secs(2);
            node.search(now, wall, &mut OsRng);
        }
        while let Some(output) = node.poll() {
            match output {
                DiscoveryOutput::Send(to, datagram) => {
                    socket.send_to(&datagram, to)?;
                }
                DiscoveryOutput::Found(enode) => println!("found {enode}"),
            }
        }
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let datagram = datagram.get(..length).unwrap_or_default();
            if let Err(error) = node.handle(Instant::now(), wall, from, datagram) {
                println!("ignored a datagram from {from}: {error}");
            }
        }
    }
    Ok(())
}
