//! Our own profile, and what the server has said about certificates: settings with names of our own.

use wormhole_chat::{PublicKey, SenderCertificate};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::records::{FORMAT, end, put_text, read_optional, read_text, start};
use super::{Commit, Store, StoreError};
use crate::chat::profile::{ContactProfile, OwnProfile, profile_key};
use wormhole_chat::Timestamp;

impl OwnProfile {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let texts = [&self.name, &self.about];
        let length = texts.into_iter().flatten().map(String::len).sum::<usize>() + 64;
        // In one piece, because a vector that grows leaves copies of secrets behind.
        let mut value = Zeroizing::new(Vec::with_capacity(length));
        value.push(FORMAT);
        value.extend(self.key.as_secret().expose());
        value.push(u8::from(self.is_published) | u8::from(self.has_picture) << 1);
        put_texts(&mut value, texts);
        value
    }

    fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = start(value)?;
        let key = profile_key(*Zeroizing::new(reader.array()?));
        let flags = reader.u8()?;
        let (is_published, has_picture) = (flags & 1 != 0, flags & 2 != 0);
        let name = read_optional(&mut reader, read_text)?;
        let about = read_optional(&mut reader, read_text)?;
        end(&reader, Self { name, about, has_picture, is_published, key })
    }
}

impl ContactProfile {
    /// Adds the profile to the value of a contact.
    pub(super) fn encode(&self, value: &mut Vec<u8>) {
        value.extend(self.key.as_secret().expose());
        value.extend(self.fetched.0.to_be_bytes());
        put_texts(value, [&self.name, &self.about]);
    }

    /// Reads what [`encode`](Self::encode) has written.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, StoreError> {
        let key = profile_key(*Zeroizing::new(reader.array()?));
        let fetched = Timestamp(u64::from_be_bytes(reader.array()?));
        let name = read_optional(reader, read_text)?;
        let about = read_optional(reader, read_text)?;
        Ok(Self { name, about, key, fetched })
    }
}

fn put_texts(value: &mut Vec<u8>, texts: [&Option<String>; 2]) {
    for text in texts {
        value.push(text.is_some().into());
        text.iter().for_each(|text| put_text(value, text));
    }
}

impl Store {
    /// Our own profile, once it exists.
    pub(in crate::chat) fn own_profile(&self) -> Result<Option<OwnProfile>, StoreError> {
        self.setting(PROFILE)?.map(|value| OwnProfile::decode(&value)).transpose()
    }

    /// The pinned key that all certificates of the service can be traced to.
    pub(in crate::chat) fn root(&self) -> Result<Option<PublicKey>, StoreError> {
        let root = self.setting(ROOT)?;
        root.map(|root| PublicKey::decode(&root).map_err(|_| StoreError::Damaged)).transpose()
    }

    /// Our last certificate. It may have expired.
    pub(in crate::chat) fn certificate(&self) -> Result<Option<SenderCertificate>, StoreError> {
        let certificate = self.setting(CERTIFICATE)?;
        Ok(certificate.and_then(|bytes| SenderCertificate::decode(&bytes).ok()))
    }
}

impl Commit {
    /// Stores our own profile.
    pub(in crate::chat) fn put_own_profile(&mut self, profile: &OwnProfile) {
        self.settings.push((PROFILE.to_owned(), Some(profile.encode())));
    }

    /// Pins the key that all certificates of the service can be traced to.
    pub(in crate::chat) fn put_root(&mut self, root: &PublicKey) {
        self.settings.push((ROOT.to_owned(), Some(Zeroizing::new(root.encode().to_vec()))));
    }

    /// Stores our certificate.
    pub(in crate::chat) fn put_certificate(&mut self, certificate: &SenderCertificate) {
        let bytes = Zeroizing::new(certificate.encode());
        self.settings.push((CERTIFICATE.to_owned(), Some(bytes)));
    }
}

/// The settings. Those of applications have other names.
const PROFILE: &str = "wormhole.profile";
const ROOT: &str = "wormhole.root";
const CERTIFICATE: &str = "wormhole.certificate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_read_as_they_were_written() {
        let full = OwnProfile {
            name: Some("Alice".into()),
            about: Some("hello".into()),
            has_picture: true,
            is_published: true,
            ..OwnProfile::random()
        };
        for profile in [OwnProfile::random(), full] {
            let encoded = profile.encode();
            assert_eq!(OwnProfile::decode(&encoded).unwrap(), profile);
            for length in 0..encoded.len() {
                assert!(OwnProfile::decode(&encoded[..length]).is_err(), "{length}");
            }
        }
    }
}
