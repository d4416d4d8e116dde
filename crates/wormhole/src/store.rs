//! The profile: the directories in which a user's own keys and settings are.
//!
//! | what | Linux | macOS | Windows |
//! |---|---|---|---|
//! | settings | `~/.config/wormhole/config.toml` | `~/Library/Application Support/wormhole/config.toml` | `%APPDATA%\wormhole\config.toml` |
//! | keys | `~/.local/share/wormhole/PROTOCOL/NAME.key` | `~/Library/Application Support/wormhole/PROTOCOL/NAME.key` | `%APPDATA%\wormhole\PROTOCOL\NAME.key` |
//!
//! On Linux, `XDG_CONFIG_HOME` and `XDG_DATA_HOME` replace `~/.config` and `~/.local/share`.
//!
//! This knows neither the format of the settings nor that of a key: each protocol encodes its own keys as text.

mod keys;

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

pub use keys::{InvalidKeyName, KeyFolder, KeyName, read_key};

/// The directories of one user.
///
/// ```
/// use wormhole::store::{KeyName, Profile, read_key};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("wormhole-{}-store-example", std::process::id()));
/// let profile = Profile::below(folder.clone());
/// let keys = profile.keys("whisper");
/// let name: KeyName = "work".parse()?;
/// keys.create(&name, "0123456789abcdef\n")?;
/// assert_eq!(keys.files()?, [keys.file(&name)]);
/// assert_eq!(read_key(&keys.file(&name))?.trim(), "0123456789abcdef");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Profile {
    settings: PathBuf,
    data: PathBuf,
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

    /// A profile with everything in one directory.
    pub fn below(directory: PathBuf) -> Self {
        Self { settings: directory.clone(), data: directory }
    }

    /// The file with the user's settings. It may not exist.
    pub fn settings_file(&self) -> PathBuf {
        self.settings.join("config.toml")
    }

    /// The user's keys for one protocol, such as `whisper`.
    pub fn keys(&self, protocol: &str) -> KeyFolder {
        KeyFolder::new(self.data.join(protocol))
    }
}
