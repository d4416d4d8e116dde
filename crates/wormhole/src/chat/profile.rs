//! Profiles: the name and the text that people give themselves. Only those with whom they share their profile key can read
//! them (docs/chat-protocol.md "Profiles").

use std::fmt;

use rand_core::OsRng;
use wormhole_chat::{AccountId, ProfileField, ProfileKey, Timestamp};
use wormhole_kit::{Secret, is_deceptive};
use zeroize::Zeroizing;

use super::account::now;
use super::error::{Ended, QueueError};
use super::error::{RequestError, ServerFault};
use super::service::{Attributes, NewProfileJson, Service, ShownProfile};

/// The profile of a person, in their own words. Only a claim: people may call themselves as they like.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct ContactProfile {
    /// The name, without characters that deceive. Show that it is from the profile.
    pub name: Option<String>,
    /// A text about the person, also without such characters.
    pub about: Option<String>,
    /// Decrypts the profile, and permits sending without revealing the sender to the server.
    pub(super) key: ProfileKey,
    /// When it was fetched last.
    pub(super) fetched: Timestamp,
}

/// Our own profile.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct OwnProfile {
    /// The name.
    pub name: Option<String>,
    /// A text about ourselves.
    pub about: Option<String>,
    /// Whether the server has a picture.
    pub has_picture: bool,
    /// Whether the server has this profile. Otherwise, the client publishes it when it is connected.
    pub is_published: bool,
    pub(super) key: ProfileKey,
}

/// Changes of our own profile. A field that is `None` stays; an empty value is removed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "applications create it")]
pub struct ProfileChange {
    /// The name, at most 257 bytes.
    pub name: Option<String>,
    /// A text, at most 512 bytes.
    pub about: Option<String>,
    /// A picture, at most 10 MiB.
    pub picture: Option<Vec<u8>>,
}

/// Why a profile cannot be changed or read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The client has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The account has no profile key yet: another device of it has, and shares it with the next message that it sends.
    #[error("this device does not have the profile key of the account yet")]
    NoKey,
    /// The other person has not shared its profile with us.
    #[error(
        "the person has not shared a profile with you: their program does so with the next message to you"
    )]
    NotShared,
    /// A value is too long for a profile.
    #[error("the {0} is too long for a profile")]
    TooLong(&'static str),
    /// The server does not have the profile with this key.
    #[error("the profile has changed, and the person has not shared the new one with you")]
    Outdated,
    /// The server cannot be asked.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no such person.
    #[error(transparent)]
    Resolve(#[from] QueueError),
}

/// A picture that is published together with a profile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Picture {
    /// The account has no profile.
    Missing,
    /// Replaces the one that the server has.
    New(Vec<u8>),
    /// The server has it already.
    Same,
}

impl fmt::Debug for ContactProfile {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContactProfile").finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OwnProfile");
        shown.field("is_published", &self.is_published).finish_non_exhaustive()
    }
}

impl ContactProfile {
    /// A profile of which only the key is known.
    pub(super) const fn new(key: ProfileKey) -> Self {
        Self { name: None, about: None, key, fetched: Timestamp(0) }
    }

    /// Whether it should be fetched again.
    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        now.since(self.fetched) > FETCH_PERIOD
    }
}

impl OwnProfile {
    /// An empty profile with a new key.
    pub(super) fn random() -> Self {
        Self::with_key(ProfileKey::random(&mut OsRng), false)
    }

    /// An empty profile with this key.
    pub(super) const fn with_key(key: ProfileKey, is_published: bool) -> Self {
        Self { name: None, about: None, has_picture: false, is_published, key }
    }

    /// The picture if the profile is published again.
    pub(super) const fn same_picture(&self) -> Picture {
        if self.has_picture { Picture::Same } else { Picture::Missing }
    }

    /// Publishes the profile of our account, and the access key for those who have the profile key.
    ///
    /// # Errors
    /// The server does not have all of it.
    pub(super) async fn publish(
        &self,
        service: &Service,
        account: AccountId,
        registration_id: u32,
        picture: Picture,
    ) -> Result<(), ProfileError> {
        let attributes = Attributes::new(registration_id).with_access(&self.key.access_key());
        service.set_attributes(&attributes).await?;
        let (has_picture, is_same) = (picture != Picture::Missing, picture == Picture::Same);
        let json = NewProfileJson {
            version: self.key.version(&account),
            name: self.seal(ProfileField::Name, self.name.as_deref(), "name")?,
            about: self.seal(ProfileField::About, self.about.as_deref(), "text")?,
            avatar: has_picture,
            same_avatar: is_same,
        };
        let form = service.put_profile(&json).await?;
        if let Picture::New(picture) = picture {
            let form = form.ok_or(ServerFault::Format).map_err(RequestError::from)?;
            let sealed = self.key.seal_picture(&picture, &mut OsRng);
            let sealed = sealed.map_err(|_| ProfileError::TooLong("picture"))?;
            super::attachment::post_picture(service, &form, sealed).await?;
        }
        Ok(())
    }

    fn seal(
        &self,
        field: ProfileField,
        value: Option<&str>,
        what: &'static str,
    ) -> Result<Option<Vec<u8>>, ProfileError> {
        let seal = |value: &str| self.key.seal(field, value.as_bytes(), &mut OsRng);
        value.map(seal).transpose().map_err(|_| ProfileError::TooLong(what))
    }
}

impl ProfileChange {
    /// Checks the lengths.
    ///
    /// # Errors
    /// A value is too long.
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let is_long = |text: &Option<String>, most| text.as_ref().is_some_and(|it| it.len() > most);
        if is_long(&self.name, MAX_NAME) {
            return Err(ProfileError::TooLong("name"));
        }
        if is_long(&self.about, MAX_ABOUT) {
            return Err(ProfileError::TooLong("text"));
        }
        if self.picture.as_ref().is_some_and(|picture| picture.len() > MAX_PICTURE) {
            return Err(ProfileError::TooLong("picture"));
        }
        Ok(())
    }

    /// Changes a profile.
    pub(super) fn apply_to(&self, profile: &mut OwnProfile) {
        let filled = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        if let Some(name) = &self.name {
            profile.name = filled(name);
        }
        if let Some(about) = &self.about {
            profile.about = filled(about);
        }
        if let Some(picture) = &self.picture {
            profile.has_picture = !picture.is_empty();
        }
        profile.is_published = false;
    }
}

/// Fetches the profile that this key decrypts, without showing the server who asks.
///
/// # Errors
/// The server has another version, or cannot be asked.
pub(super) async fn fetch(
    service: &Service,
    account: AccountId,
    key: &ProfileKey,
) -> Result<ContactProfile, ProfileError> {
    fetch_all(service, account, key).await.map(|(profile, _)| profile)
}

/// Decrypts a profile, and says whether it has a picture.
///
/// # Errors
/// As for [`fetch`].
pub(super) async fn fetch_all(
    service: &Service,
    account: AccountId,
    key: &ProfileKey,
) -> Result<(ContactProfile, bool), ProfileError> {
    let shown = fetch_shown(service, account, key).await?;
    let open = |sealed: Option<Vec<u8>>, most| {
        let opened = key.open(&sealed?).ok()?;
        Some(without_deception(&opened, most)).filter(|text| !text.is_empty())
    };
    let is_outdated = shown.name.is_none() && shown.about.is_none() && !shown.has_checksum(key);
    if is_outdated {
        return Err(ProfileError::Outdated);
    }
    let has_picture = shown.avatar.is_some();
    let (name, about) = (open(shown.name, MAX_NAME), open(shown.about, MAX_ABOUT));
    Ok((ContactProfile { name, about, key: key.clone(), fetched: now() }, has_picture))
}

/// Downloads and decrypts the picture of a profile. `None` if the profile has no picture.
///
/// # Errors
/// The server has another version, the picture was not encrypted with this key, or the server cannot be asked.
pub(super) async fn fetch_picture(
    service: &Service,
    account: AccountId,
    key: &ProfileKey,
) -> Result<Option<Zeroizing<Vec<u8>>>, ProfileError> {
    let shown = fetch_shown(service, account, key).await?;
    let Some(path) = shown.avatar else { return Ok(None) };
    match service.picture(&path).await {
        Ok(sealed) => key.open_picture(&sealed).map(Some).map_err(|_| ProfileError::Outdated),
        // Its upload was interrupted.
        Err(RequestError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Fetches the profile with the key. If the server refuses the access key, it is asked with our credentials: the
/// person may have published the profile with another program.
async fn fetch_shown(
    service: &Service,
    account: AccountId,
    key: &ProfileKey,
) -> Result<ShownProfile, RequestError> {
    let version = key.version(&account);
    match service.profile(account, &version, Some(&key.access_key())).await {
        Err(RequestError::CredentialsRefused) => service.profile(account, &version, None).await,
        shown => shown,
    }
}

/// A key of a message or of a store.
pub(super) const fn profile_key(bytes: [u8; 32]) -> ProfileKey {
    ProfileKey::from_secret(Secret::new(bytes))
}

/// A text of somebody else in one line, without characters that could make it look like something else.
fn without_deception(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    // The family name comes after a zero.
    let text = text.chars().take(most).map(|c| if c == '\0' || c == '\n' { ' ' } else { c });
    text.filter(|c| !is_deceptive(*c)).collect::<String>().trim().to_owned()
}

/// Longest name, in bytes.
const MAX_NAME: usize = 257;

/// Longest text about a person, in bytes.
const MAX_ABOUT: usize = 512;

/// Longest picture, in bytes: 10 MiB when it is encrypted.
const MAX_PICTURE: usize = (10 << 20) - 28;

/// Milliseconds after which a profile is fetched again when its owner writes: a day.
const FETCH_PERIOD: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_cannot_deceive() {
        for (name, shown) in [
            ("Bob\0Smith", "Bob Smith"),
            ("  Bob\u{202e}\u{7}\n", "Bob"),
            ("B\x1b[2Job", "B[2Job"),
            ("Жёлудь", "Жёлудь"),
            ("\u{200b}", ""),
        ] {
            assert_eq!(without_deception(name.as_bytes(), MAX_NAME), shown);
        }
        assert_eq!(without_deception(&[b'a'; 1000], 10).len(), 10);
        assert_eq!(without_deception(b"\xff\xfe", 10), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let own = OwnProfile { name: Some("Alice".into()), ..OwnProfile::random() };
        let other =
            ContactProfile { name: Some("Bob".into()), ..ContactProfile::new(own.key.clone()) };
        let printed = format!("{own:?} {other:?}");
        assert!(!printed.contains("Alice") && !printed.contains("Bob"), "{printed}");
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name_and_removes_what_is_empty() {
        let mut profile = OwnProfile { is_published: true, ..OwnProfile::random() };
        let change = |name: Option<&str>, about: Option<&str>| ProfileChange {
            name: name.map(str::to_owned),
            about: about.map(str::to_owned),
            picture: None,
        };
        change(Some("Alice"), Some("hello")).apply_to(&mut profile);
        change(Some(""), None).apply_to(&mut profile);
        assert_eq!((profile.name.as_deref(), profile.about.as_deref()), (None, Some("hello")));
        assert!(!profile.is_published);
        assert_eq!(
            change(Some(&"a".repeat(258)), None).check(),
            Err(ProfileError::TooLong("name"))
        );
        assert_eq!(change(None, Some(&"a".repeat(512))).check(), Ok(()));
    }
}
