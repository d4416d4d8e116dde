//! A mailbox server, where two sides meet with a code.

use wormhole::chat::{Client, LinkError, LinkOptions, MailboxOptions, Me};
use wormhole_server::testing::TestServers;

use crate::world::{Folder, Person, soon};

/// A running mailbox server.
pub(crate) struct Mailbox(TestServers);

impl Mailbox {
    pub(crate) async fn start() -> Self {
        Self(TestServers::start(&["--transit-relay=false"]).await)
    }

    /// Where two sides meet.
    pub(crate) fn mailbox_options(&self) -> MailboxOptions {
        let mut options = MailboxOptions::default();
        options.servers = vec![format!("ws://{}/v1", self.0.mailbox()).parse().unwrap()];
        options
    }

    /// How a new device with this name is linked.
    pub(crate) fn options(&self, name: &str) -> LinkOptions {
        let mut options = LinkOptions::default();
        (options.mailbox, options.name) = (self.mailbox_options(), Some(name.to_owned()));
        options
    }

    /// Links a new device to the account of a person, whose client is not running.
    pub(crate) async fn link(&self, first: &Person, name: &str) -> Person {
        let new = Person { folder: Folder::new(), number: first.number.clone() };
        self.try_link(first, &new, name).await.unwrap();
        new
    }

    /// Links this new device to the account of a person, whose client is not running. Returns what the new device says.
    pub(crate) async fn try_link(
        &self,
        first: &Person,
        new: &Person,
        name: &str,
    ) -> Result<Me, LinkError> {
        let linking = new.account().link(self.options(name)).await?;
        let code = soon(linking.code()).await?;
        let accept = async {
            let acceptance = first.account().accept_link(code, &self.mailbox_options()).await?;
            let request = acceptance.request().await?;
            let accepted = acceptance.accept(&request).await;
            acceptance.close().await;
            accepted
        };
        let (accepted, linked) = soon(async { tokio::join!(accept, linking.complete()) }).await;
        linking.close().await;
        if let (Ok(accepted), Ok(linked)) = (&accepted, &linked) {
            assert_eq!(accepted.device, linked.address.device);
        }
        linked
    }
}

/// The safety number that a client sees with an account.
pub(crate) async fn digits(client: &Client, of: &Me) -> String {
    client.safety_number(of.address.account).await.unwrap().digits
}
