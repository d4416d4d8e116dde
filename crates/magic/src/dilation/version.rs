//! The versions of the protocol, as in `can-dilate` of the version message and in `use-version` of `please`.

use crate::wormhole::PeerVersion;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DilationVersion {
    /// That of Python 0.24: the data of a subchannel that nobody reads holds up all others.
    Ged,
    /// Ged with credit: each side tells the other how much data it may send on each subchannel. Only this project has it.
    GedCredit,
}

impl DilationVersion {
    /// The best version that the peer has announced as well. `None` means that it cannot dilate; then
    /// [`Dilation`](super::Dilation) would wait indefinitely.
    pub fn choose(peer: &PeerVersion) -> Option<Self> {
        let theirs = peer.get("can-dilate").and_then(serde_json::Value::as_array)?;
        ALL.into_iter().find(|version| theirs.iter().any(|name| name == version.name()))
    }

    /// The name on the wire.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ged => "ged",
            Self::GedCredit => "ged-credit",
        }
    }

    /// The version with this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        ALL.into_iter().find(|version| version.name() == name)
    }
}

/// All versions, the best one first.
const ALL: [DilationVersion; 2] = [DilationVersion::GedCredit, DilationVersion::Ged];

/// The names of the versions that we speak, the best one first, as announced in `can-dilate`.
pub const VERSIONS: [&str; 2] = [DilationVersion::GedCredit.name(), DilationVersion::Ged.name()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_common_version_is_chosen() {
        let choose = |list: &str| {
            let message = format!(r#"{{"can-dilate":{list}}}"#);
            DilationVersion::choose(&PeerVersion::parse(message.as_bytes()).unwrap())
        };
        assert_eq!(choose(r#"["ged"]"#), Some(DilationVersion::Ged));
        assert_eq!(choose(r#"["ged", "ged-credit"]"#), Some(DilationVersion::GedCredit));
        for other in [r#"["kurremkarmerruk"]"#, "[]", "[7]", r#""ged""#, "null"] {
            assert_eq!(choose(other), None, "{other}");
        }
    }
}
