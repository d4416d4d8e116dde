//! Linking by a QR code, as other clients of the service do (docs/chat-protocol.md "Provisioning").
//!
//! The new device shows an address and a key. A person who sees them can send it an account, so the user must check the number of the
//! account. A person who makes somebody scan a foreign QR code gets the account, so the user must check that it is on their own screen.
//! A wormhole code ([`Account::link`]) needs neither.

mod scan;
mod socket;

use rand_core::OsRng;
use wormhole_chat::{KeyPair, ProvisionMessage};
use zeroize::Zeroizing;

use super::LinkError;
use super::guest::{OfferedAccount, pending_link, random_registration_id, usable};
use super::uri::LinkUri;
use crate::chat::account::Account;
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::message::Me;
use crate::chat::server::Server;
use crate::chat::store::App;
use socket::ProvisioningSocket;

pub use scan::ScannedDevice;

/// A device that waits to be linked, and shows a QR code. If it is dropped, the code is useless.
#[derive(Debug)]
pub struct QrLinking {
    account: Account,
    server: Server,
    name: Option<String>,
    pair: KeyPair,
    registration_id: u32,
    uri: LinkUri,
    socket: ProvisioningSocket,
}

impl Account {
    /// Prepares this device to become a device of an account that exists already at this server: it shows a
    /// [code](QrLinking::uri), which the user scans with the primary device of the account. `name` is how the user calls this device.
    ///
    /// # Errors
    /// This store has an account already, the server cannot be reached, or is on another computer and does not use TLS.
    pub async fn link_by_qr(
        &self,
        server: Server,
        name: Option<String>,
    ) -> Result<QrLinking, LinkError> {
        self.check_unregistered().await?;
        if !server.is_permitted() {
            return Err(LinkError::PlainHttp(server.url));
        }
        let opened = ProvisioningSocket::open(&server, &self.network).await;
        let mut socket = opened.map_err(RequestError::at_first_contact)?;
        let address = socket.address().await?;
        let pair = KeyPair::random(&mut OsRng);
        let registration_id = random_registration_id();
        let uri = LinkUri::from_address(&address, &pair);
        let uri = uri.ok_or_else(|| RequestError::from(ServerFault::Format))?;
        let uri = uri.with_registration_id(registration_id);
        Ok(QrLinking { account: self.share(), server, name, pair, registration_id, uri, socket })
    }
}

impl QrLinking {
    /// The content of the QR code. The server accepts it for ten minutes.
    pub const fn uri(&self) -> &LinkUri {
        &self.uri
    }

    /// Waits until a device has scanned the code and has sent an account. Nothing is stored yet: show its number to the user, because
    /// somebody else may have scanned the code to link this device to another account.
    ///
    /// # Errors
    /// The connection to the server is lost, or the account cannot be used. A new code is necessary.
    pub async fn offer(&mut self) -> Result<OfferedAccount, LinkError> {
        let envelope = Zeroizing::new(self.socket.message().await?);
        let message = ProvisionMessage::open(&self.pair, &envelope);
        let message = message.map_err(|_| LinkError::InvalidKeys)?;
        let app = self.server.app.as_ref().map(|app| App {
            name: app.name.as_str().to_owned(),
            token: Zeroizing::new(app.token.expose().to_owned()),
        });
        let this = (self.name.as_deref(), self.registration_id);
        let pending = pending_link(&self.server.url, app, this, message)?;
        usable(pending, &self.account.network)
    }

    /// Becomes a device of the account. When this returns, the account and its keys are in the store, and the server has accepted
    /// the device. If the returned future is dropped, [`Account::finish_link`] may be able to complete it.
    ///
    /// # Errors
    /// The device is not linked.
    pub async fn accept(&self, offered: OfferedAccount) -> Result<Me, LinkError> {
        self.account.enter_new(offered).await
    }
}
