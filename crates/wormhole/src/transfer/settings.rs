//! What to send, what to receive, and how to go about it.

use std::fmt;
use std::io::{Read, Write};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use wormhole_magic::transfer::{Offer, UnsafeName};
use wormhole_magic::transit::{RelayHint, RelayPolicy};

pub use super::disk::OnExists;
use crate::code::{AppId, Code, MailboxUrl, Wormhole};
use crate::net::tor::Tor;
use crate::transit;

/// How a transfer is to be done. The default is the public servers and no questions.
///
/// ```
/// use wormhole::code::AppId;
/// use wormhole::transfer::Settings;
///
/// let mut settings = Settings::default();
/// settings.servers = vec!["wss://mailbox.example.org/v1".parse().unwrap()];
/// settings.verify = true;
/// assert_eq!(settings.app_id, AppId::default());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Sides only meet under the same identifier; leave it unless the other side changes it, too.
    pub app_id: AppId,
    /// The code to use when sending; `None` lets the server choose a nameplate.
    pub code: Option<Code>,
    /// Words of a code that is made here: 8 bits of secret each.
    pub code_words: NonZeroU8,
    /// Whether files that cannot be read are left out of a directory instead of ending it all. Of
    /// files that change while they are sent the same is true, whatever the receiver's program.
    pub ignore_unsendable: bool,
    /// Whether the peer may connect to us. Without it there are only our own attempts and relays.
    pub listen: bool,
    /// The port to listen on; `None` lets the system choose.
    pub listen_port: Option<u16>,
    /// How many files and folders a folder that is received may have. `None`: a million, and no more than
    /// 16,384 folders and empty files, to which each other file and each 4 KiB of the offer add one.
    pub max_entries: Option<u64>,
    /// The addresses of one mailbox server, in the order in which to try them.
    pub servers: Vec<MailboxUrl>,
    /// Whether a relay may be used.
    pub relay: RelayPolicy,
    /// Our own relays. The peer's are used, too.
    pub relays: Vec<RelayHint>,
    /// Goes through Tor: nobody learns our address, and nobody can connect to us.
    pub tor: Option<Tor>,
    /// Whether the sender waits for [`Transfer::confirm_verifier`](super::Transfer::confirm_verifier)
    /// before it
    /// says what it offers.
    pub verify: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app_id: AppId::default(),
            code: None,
            code_words: Wormhole::CODE_WORDS,
            ignore_unsendable: false,
            listen: true,
            listen_port: None,
            max_entries: None,
            relay: RelayPolicy::default(),
            relays: transit::Settings::default().relays,
            servers: MailboxUrl::public(),
            tor: None,
            verify: false,
        }
    }
}

impl Settings {
    /// The part of it that concerns the connection for the data.
    pub(super) fn transit(&self) -> transit::Settings {
        transit::Settings {
            listen: self.listen,
            port: self.listen_port,
            policy: self.relay,
            relays: self.relays.clone(),
            tor: self.tor.clone(),
        }
    }
}

/// What is to be sent.
///
/// ```
/// use wormhole::transfer::Outgoing;
///
/// let several = Outgoing::Paths(vec!["a.txt".into(), "b".into()]);
/// let pipe = Outgoing::Stream { name: "log".into(), reader: Box::new(std::io::stdin()) };
/// // A text may be a secret.
/// assert_eq!(format!("{:?}", Outgoing::Text("hello".into())), "Text(5 bytes)");
/// ```
#[non_exhaustive]
pub enum Outgoing {
    /// One file, one directory, or several of them as one directory.
    Paths(Vec<PathBuf>),
    /// Bytes of unknown number, such as standard input, under a name. To peers that cannot take a
    /// stream it goes through a temporary file.
    Stream {
        /// What the receiver should call it.
        name: String,
        /// Read on a thread of its own, to its end.
        reader: Box<dyn Read + Send>,
    },
    /// A text.
    Text(String),
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paths(paths) => f.debug_tuple("Paths").field(paths).finish(),
            Self::Stream { name, .. } => f.debug_struct("Stream").field("name", name).finish(),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// Where the receiver's code comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CodeSource {
    /// The receiver makes the code ([`Settings::code_words`] long) and tells it to the sender.
    Allocate,
    /// The sender told it.
    Code(Code),
    /// A person types it, helped along: see [`Event::CodeWanted`](super::Event::CodeWanted).
    Input,
}

/// Where what is received goes. A text goes nowhere: it is an event, which the application confirms.
#[non_exhaustive]
pub enum Destination {
    /// Into this folder, under the name the sender chose.
    Folder {
        /// An existing folder.
        folder: PathBuf,
        /// What to do if the name is taken.
        on_exists: OnExists,
    },
    /// To this path, whatever the sender called it.
    Path {
        /// The file (or, for a directory, the folder) to create.
        path: PathBuf,
        /// What to do if it is there already.
        on_exists: OnExists,
    },
    /// Into this writer, as it comes. A directory is written as the zip that carries it.
    Writer(Box<dyn Write + Send>),
}

impl Destination {
    /// The path that what is offered would get, before [`OnExists`] is asked; `None` for a writer
    /// and for a text.
    ///
    /// ```
    /// use std::path::Path;
    /// use wormhole::transfer::{Destination, Offer, OnExists, PeerName};
    ///
    /// let folder = "downloads".into();
    /// let destination = Destination::Folder { folder, on_exists: OnExists::Refuse };
    /// let offer = Offer::File { name: PeerName::new("photo.jpg"), size: 3, attributes: None };
    /// assert_eq!(destination.target(&offer).unwrap().as_deref(), Some(Path::new("downloads/photo.jpg")));
    /// let trap = Offer::File { name: PeerName::new("../.bashrc"), size: 3, attributes: None };
    /// assert!(destination.target(&trap).is_err());
    /// ```
    ///
    /// # Errors
    /// The sender's name is not one to create a file under: let the user choose a path.
    pub fn target(&self, offer: &Offer) -> Result<Option<PathBuf>, UnsafeName> {
        match (self, offer.name()) {
            (Self::Writer(_), _) | (_, None) => Ok(None),
            (Self::Folder { folder, .. }, Some(name)) => {
                Ok(Some(folder.join(name.to_file_name()?)))
            }
            (Self::Path { path, .. }, Some(_)) => Ok(Some(path.clone())),
        }
    }

    /// What to do if the target exists.
    pub(super) const fn on_exists(&self) -> OnExists {
        match self {
            Self::Folder { on_exists, .. } | Self::Path { on_exists, .. } => *on_exists,
            Self::Writer(_) => OnExists::Refuse,
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |f: &mut fmt::Formatter<'_>, kind: &str, path: &Path, on: &OnExists| {
            f.debug_struct(kind).field("path", &path).field("on_exists", on).finish()
        };
        match self {
            Self::Folder { folder, on_exists } => show(f, "Folder", folder, on_exists),
            Self::Path { path, on_exists } => show(f, "Path", path, on_exists),
            Self::Writer(_) => f.write_str("Writer"),
        }
    }
}
