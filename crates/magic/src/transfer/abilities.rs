//! Optional abilities of a transfer program, which the two sides announce to each other under `abilities` of
//! `app_versions` (docs/file-transfer.md).
//!
//! Unknown abilities are ignored, so that later versions can add some.

use serde_json::{Value, json};

/// One ability.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransferAbility {
    /// Announced by every program with this protocol.
    Transfer,
    /// The receiver accepts [`Offer::Stream`](super::Offer::Stream): an unknown number of data records,
    /// ended by an empty one.
    Stream,
    /// The receiver accepts zip entries for folders that are not empty, and [`Attributes`](super::Attributes)
    /// in the offer of a directory. They transfer the permissions and times of all folders. wormhole-william
    /// treats every entry as a file and fails.
    Folders,
    /// The receiver accepts [`Attributes`](super::Attributes) in the offer of a single file.
    Attributes,
    /// The receiver removes files that the zip's central directory does not contain
    /// ([`ZipWriter::omit`](super::zip::ZipWriter::omit)), and lists them for its user.
    Omissions,
    /// The sender accepts [`ReceiverRecord::Received`](super::ReceiverRecord::Received) while it sends.
    Progress,
}

impl TransferAbility {
    /// All of them, in the order in which they are announced.
    pub const ALL: [Self; 6] = [
        Self::Transfer,
        Self::Stream,
        Self::Folders,
        Self::Attributes,
        Self::Omissions,
        Self::Progress,
    ];

    /// The name in the announcement.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transfer => "transfer-v1",
            Self::Stream => "stream-v1",
            Self::Folders => "folders-v1",
            Self::Attributes => "attributes-v1",
            Self::Omissions => "omissions-v1",
            Self::Progress => "progress-v1",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Transfer => 1,
            Self::Stream => 1 << 1,
            Self::Folders => 1 << 2,
            Self::Attributes => 1 << 3,
            Self::Omissions => 1 << 4,
            Self::Progress => 1 << 5,
        }
    }
}

/// A set of abilities.
///
/// ```
/// use wormhole_magic::transfer::{Abilities, TransferAbility};
///
/// let announced = Abilities::all().to_app_versions();
/// assert!(announced["abilities"].as_array().unwrap().contains(&"stream-v1".into()));
/// assert_eq!(Abilities::of_peer(&announced), Abilities::all());
/// assert!(!Abilities::default().has(TransferAbility::Stream));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Abilities(u8);

impl Abilities {
    /// Every ability: this implementation has them all.
    pub fn all() -> Self {
        TransferAbility::ALL.into_iter().collect()
    }

    /// Parses the peer's `app_versions`. Most programs announce nothing.
    pub fn of_peer(app_versions: &Value) -> Self {
        let announced = app_versions.get("abilities").and_then(Value::as_array);
        let is_announced = |ability: &TransferAbility| {
            announced.is_some_and(|names| names.iter().any(|name| name == ability.name()))
        };
        TransferAbility::ALL.into_iter().filter(is_announced).collect()
    }

    /// The `app_versions` that announce these abilities.
    pub fn to_app_versions(self) -> Value {
        let abilities = TransferAbility::ALL.into_iter().filter(|ability| self.has(*ability));
        json!({ "abilities": abilities.map(TransferAbility::name).collect::<Vec<_>>() })
    }

    /// Whether this ability is in the set.
    pub const fn has(self, ability: TransferAbility) -> bool {
        self.0 & ability.bit() != 0
    }
}

impl FromIterator<TransferAbility> for Abilities {
    fn from_iter<I: IntoIterator<Item = TransferAbility>>(abilities: I) -> Self {
        Self(abilities.into_iter().fold(0, |set, ability| set | ability.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_names_the_abilities_in_a_fixed_order() {
        let expected = json!({"abilities": [
            "transfer-v1", "stream-v1", "folders-v1", "attributes-v1", "omissions-v1", "progress-v1",
        ]});
        assert_eq!(Abilities::all().to_app_versions(), expected);
    }

    #[test]
    fn unknown_abilities_and_malformed_announcements_are_ignored() {
        for app_versions in [
            json!({}),
            json!(null),
            json!([]),
            json!({"abilities": "stream-v1"}),
            json!({"abilities": {"stream-v1": true}}),
            json!({"abilities": ["stream-v2", 7, null]}),
        ] {
            assert_eq!(Abilities::of_peer(&app_versions), Abilities::default(), "{app_versions}");
        }
        let mixed = json!({"abilities": [1, "stream-v1", "later-v9"]});
        let stream = [TransferAbility::Stream].into_iter().collect();
        assert_eq!(Abilities::of_peer(&mixed), stream);
    }
}
