//! The profile: the directories in which a user's own keys and settings are.
//!
//! | what | Linux | macOS | Windows |
//! |---|---|---|---|
//! | settings | `~/.config/wormhole/config.toml` | `~/Library/Application Support/wormhole/config.toml` | `%APPDATA%\wormhole\config.toml` |
//! | keys | `~/.local/share/wormhole/PROTOCOL/NAME.key` | `~/Library/Application Support/wormhole/PROTOCOL/NAME.key` | `%APPDATA%\wormhole\PROTOCOL\NAME.key` |
//! | message stores | `~/.local/share/wormhole/chat/NAME/` | `~/Library/Application Support/wormhole/chat/NAME/` | `%APPDATA%\wormhole\chat\NAME\` |
//!
//! On Linux, `XDG_CONFIG_HOME` and `XDG_DATA_HOME` replace `~/.config` and `~/.local/share`.
//!
//! This knows the format neither of the settings nor of a key or a message store: each protocol encodes its own keys as text.

mod keys;

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

pub use keys::{InvalidKeyName, KeyFolder, KeyName, read_key};

/// The directories of one user.
///
/// ```no_run
/// use wormhole::store::{KeyName, KeyProtocol, Profile, read_key};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let profile = Profile::of_user().ok_or("there is no home directory")?;
/// let keys = profile.keys(KeyProtocol::Whisper);
/// let name: KeyName = "work".parse()?;
/// keys.create(&name, "0123456789abcdef\n")?;
/// assert_eq!(read_key(&keys.file(&name))?.trim(), "0123456789abcdef");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Profile {
    settings: PathBuf,
    data: PathBuf,
}

/// A protocol whose keys a profile can hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyProtocol {
    /// Whisper.
    Whisper,
}

impl KeyProtocol {
    /// The name of the directory with the keys.
    const fn directory(self) -> &'static str {
        match self {
            Self::Whisper => "whisper",
        }
    }
}

impl Profile {
    /// The profile of the user who runs this program. `None` if there is no home directory.
    pub fn of_user() -> Option<Self> {
        let places = etcetera::base_strategy::choose_native_strategy().ok()?;
        // `etcetera` separates both on macOS, where other programs do not.
        let settings =
            if cfg!(target_os = "macos") { places.data_dir() } else { places.config_dir() };
        Some(Self { settings: settings.join("wormhole"), data: places.data_dir().join("wormhole") })
    }

    /// A profile with everything in one directory, for a program that keeps its own.
    pub fn below(directory: PathBuf) -> Self {
        Self { settings: directory.clone(), data: directory }
    }

    /// The file with the user's settings. It may not exist.
    pub fn settings_file(&self) -> PathBuf {
        self.settings.join("config.toml")
    }

    /// The directory of a message store. It may not exist.
    pub fn chat(&self, name: &KeyName) -> PathBuf {
        self.data.join("chat").join(name.to_string())
    }

    /// The user's keys for one protocol.
    pub fn keys(&self, protocol: KeyProtocol) -> KeyFolder {
        KeyFolder::new(self.data.join(protocol.directory()))
    }
}
