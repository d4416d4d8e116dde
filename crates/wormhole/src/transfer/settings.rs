//! Settings of a transfer: what to send, what to receive, and how.

use std::fmt;
use std::io::{Read, Write};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wormhole_magic::transfer::{Offer, UnsafeName};
use wormhole_magic::transit::{RelayHint, RelayPolicy};

pub use super::disk::OnExists;
use crate::code::{AppId, Code, MailboxUrl, Wormhole};
use crate::net::tor::Tor;
use crate::transit;

/// Settings of a transfer. The default uses the public servers.
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
    /// Two sides can only connect with the same identifier; change it only on both sides.
    pub app_id: AppId,
    /// The code to use when sending; `None` lets the server choose a nameplate.
    pub code: Option<Code>,
    /// Number of words of a new code: 8 bits of secret each.
    pub code_words: NonZeroU8,
    /// Whether to use a dilated connection if the other side can: then a transfer survives a changed network, and continues
    /// after an interruption.
    pub dilate: bool,
    /// How long a transfer over a dilated connection waits for the next connection when one is lost.
    pub patience: Duration,
    /// Whether to omit files of a directory that cannot be read, instead of failing. The same applies to
    /// files that change while they are sent.
    pub ignore_unsendable: bool,
    /// Whether the peer may connect to us. Otherwise only our own attempts and relays are used.
    pub listen: bool,
    /// The port to listen on; `None` lets the system choose.
    pub listen_port: Option<u16>,
    /// Maximum number of files and folders in a received folder. `None`: a million, and at most 16,384 folders and empty
    /// files, plus one for each other file and for each 4 KiB of the offer.
    pub max_entries: Option<u64>,
    /// The URLs of one mailbox server, in the order in which to try them.
    pub servers: Vec<MailboxUrl>,
    /// Whether to use relays.
    pub relay: RelayPolicy,
    /// Our relays, in addition to the peer's.
    pub relays: Vec<RelayHint>,
    /// Use Tor for all connections: hides our address; the peer cannot connect to us.
    pub tor: Option<Tor>,
    /// Whether the sender waits for [`Transfer::confirm_verifier`](super::Transfer::confirm_verifier)
    /// before it
    /// sends its offer.
    pub verify: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            app_id: AppId::default(),
            code: None,
            code_words: Wormhole::CODE_WORDS,
            dilate: true,
            patience: Duration::from_secs(600),
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
    /// The settings of the data connection.
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

/// The data to send.
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
    /// Bytes of unknown length, such as standard input, with a name. For peers without support for streams, they are first
    /// stored in a temporary file.
    Stream {
        /// Name for the receiver.
        name: String,
        /// Read on a separate thread, to its end.
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

/// Where the receiver gets the code.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CodeSource {
    /// The receiver creates the code (with [`Settings::code_words`]) and shows it to the sender.
    Allocate,
    /// The sender provided it.
    Code(Code),
    /// The user types it with completion: see [`Event::CodeWanted`](super::Event::CodeWanted).
    Input,
}

/// Where to store the received data. A text is an event, which the application confirms.
#[non_exhaustive]
pub enum Destination {
    /// In this folder, under the sender's name.
    Folder {
        /// An existing folder.
        folder: PathBuf,
        /// What to do if the name exists.
        on_exists: OnExists,
    },
    /// At this path, whatever the sender's name.
    Path {
        /// The file (or, for a directory, the folder) to create.
        path: PathBuf,
        /// What to do if it exists.
        on_exists: OnExists,
    },
    /// To this writer. A directory is written as its zip.
    Writer(Box<dyn Write + Send>),
}

impl Destination {
    /// The path for an offer, before [`OnExists`] is applied; `None` for a writer and for a
    /// text.
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
    /// The sender's name cannot be used for a file: let the user choose a path.
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
