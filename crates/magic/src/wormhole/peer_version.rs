//! The peer's `version` message: what its program and its application can do.
//! (client-protocol.md, dilation-protocol.md)

use serde_json::{Map, Value};

use super::error::PeerMisbehaved;

/// The whole object of the peer's `version` message, as it was sent. Its length is limited by the
/// length of a frame of the mailbox server.
///
/// ```
/// use wormhole_magic::wormhole::PeerVersion;
///
/// let version = PeerVersion::parse(br#"{"can-dilate":["ged"],"app_versions":{"a":1}}"#).unwrap();
/// assert_eq!(version.app_versions()["a"], 1);
/// assert_eq!(version.get("can-dilate").unwrap()[0], "ged");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PeerVersion(Map<String, Value>);

impl PeerVersion {
    /// Reads the content of a version message. A missing `app_versions` becomes an empty object.
    ///
    /// # Errors
    /// The content is not a JSON object.
    pub fn parse(plaintext: &[u8]) -> Result<Self, PeerMisbehaved> {
        let mut object: Map<String, Value> =
            serde_json::from_slice(plaintext).map_err(|_| PeerMisbehaved::VersionMalformed)?;
        object.entry(APP_VERSIONS).or_insert_with(|| Value::Object(Map::new()));
        Ok(Self(object))
    }

    /// The announcement of the peer's application: its
    /// [`Config::app_versions`](super::Config::app_versions).
    pub fn app_versions(&self) -> &Value {
        self.get(APP_VERSIONS).unwrap_or(&Value::Null)
    }

    /// The value of any key of the object, such as `can-dilate`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }
}

/// The key whose value belongs to the application.
const APP_VERSIONS: &str = "app_versions";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_of_the_object_is_kept() {
        let version = PeerVersion::parse(br#"{"can-dilate":["ged"],"abilities":[]}"#).unwrap();
        assert_eq!(version.get("can-dilate"), Some(&json!(["ged"])));
        assert_eq!(version.get("abilities"), Some(&json!([])));
        assert_eq!(version.get("dilation-abilities"), None);
        assert_eq!(version.app_versions(), &json!({}));
    }

    #[test]
    fn anything_but_an_object_is_malformed() {
        for text in ["", "[]", "null", "\"x\"", "{", "{}x"] {
            let parsed = PeerVersion::parse(text.as_bytes());
            assert_eq!(parsed, Err(PeerMisbehaved::VersionMalformed), "{text}");
        }
    }
}
