//! Profiles, ours and those of others.

use wormhole_chat::AccountId;
use zeroize::Zeroizing;

use super::Client;
use crate::chat::error::Ended;
use crate::chat::profile::{
    ContactProfile, OwnProfile, Picture, ProfileChange, ProfileError, fetch, fetch_all,
    fetch_picture,
};

impl Client {
    /// Our own profile. `None`: this device does not have its key yet.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn profile(&self) -> Result<Option<OwnProfile>, Ended> {
        self.query(|driver| driver.own_profile().cloned()).await
    }

    /// Our own profile as the server has it: another device of the account may have changed it. It is stored.
    ///
    /// # Errors
    /// This device does not have the key, another device has replaced it, or the server cannot be asked.
    pub async fn refresh_profile(&self) -> Result<OwnProfile, ProfileError> {
        let own = self.profile().await?.ok_or(ProfileError::NoKey)?;
        if !own.is_published {
            return Ok(own);
        }
        let account = self.me.address.account;
        let (fetched, has_picture) = fetch_all(&self.service, account, &own.key).await?;
        let ContactProfile { name, about, .. } = fetched;
        let new = OwnProfile { name, about, has_picture, ..own.clone() };
        if new != own {
            let stored = new.clone();
            self.ask(move |driver, reply| driver.set_own_profile(stored, reply)).await?;
        }
        Ok(new)
    }

    /// The newest version of our own profile that we can get.
    async fn newest_profile(&self) -> Result<OwnProfile, ProfileError> {
        match self.refresh_profile().await {
            Err(ProfileError::Outdated | ProfileError::Request(_)) => {
                self.profile().await?.ok_or(ProfileError::NoKey)
            }
            newest => newest,
        }
    }

    /// Changes our own profile. It is stored first and then published; if that fails, the client publishes it later, without a
    /// new picture.
    ///
    /// # Errors
    /// A value is too long, this device does not have the key of the profile, or the server cannot be asked.
    pub async fn set_profile(&self, change: ProfileChange) -> Result<OwnProfile, ProfileError> {
        change.check()?;
        let mut profile = self.newest_profile().await?;
        let had_picture = profile.has_picture;
        change.apply_to(&mut profile);
        let picture = match change.picture {
            Some(picture) if !picture.is_empty() => Picture::New(picture),
            Some(_) => Picture::Missing,
            None if had_picture => Picture::Same,
            None => Picture::Missing,
        };
        self.publish_profile(profile, picture).await
    }

    /// Replaces our profile key, so that those who have the old one can neither read later profiles nor send to us without
    /// credentials. Our contacts get the new one with the next message to them.
    ///
    /// # Errors
    /// This device does not have the key, or the server cannot be asked: then the client publishes the new one later.
    pub async fn rotate_profile_key(&self) -> Result<OwnProfile, ProfileError> {
        let old = self.newest_profile().await?;
        let (service, account) = (&self.service, self.me.address.account);
        let picture = match old.has_picture {
            true => fetch_picture(service, account, &old.key).await.ok().flatten(),
            false => None,
        };
        let OwnProfile { key, .. } = OwnProfile::random();
        let profile =
            OwnProfile { key, has_picture: picture.is_some(), is_published: false, ..old };
        let picture = picture.map_or(Picture::Missing, |it| Picture::New(it.to_vec()));
        self.publish_profile(profile, picture).await
    }

    async fn publish_profile(
        &self,
        profile: OwnProfile,
        picture: Picture,
    ) -> Result<OwnProfile, ProfileError> {
        // Until the picture is at the server, a later attempt must not say that it is.
        let is_new = matches!(picture, Picture::New(_));
        let has_picture = profile.has_picture && !is_new;
        let stored = OwnProfile { has_picture, is_published: false, ..profile.clone() };
        self.ask(move |driver, reply| driver.set_own_profile(stored, reply)).await?;
        let account = self.me.address.account;
        profile.publish(&self.service, account, self.registration_id, picture).await?;
        let published = OwnProfile { is_published: true, ..profile };
        let done = published.clone();
        self.ask(move |driver, reply| driver.set_own_profile(done, reply)).await?;
        Ok(published)
    }

    /// Fetches the profile of a contact and stores it.
    ///
    /// # Errors
    /// The person has not shared its profile, or has changed it since, or the server cannot be asked.
    pub async fn profile_of(&self, account: AccountId) -> Result<ContactProfile, ProfileError> {
        let known = self.query(move |driver| driver.contacts().get(account).cloned()).await?;
        let known = known.and_then(|contact| contact.profile).ok_or(ProfileError::NotShared)?;
        let profile = fetch(&self.service, account, &known.key).await?;
        let fetched = profile.clone();
        self.ask(move |driver, reply| driver.set_profile_of(account, fetched, reply)).await?;
        Ok(profile)
    }

    /// Downloads the picture of a contact. `None` if the profile has no picture. It is a file of another person: decode it with care.
    ///
    /// # Errors
    /// As for [`profile_of`](Self::profile_of).
    pub async fn picture_of(
        &self,
        account: AccountId,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, ProfileError> {
        let known = self.query(move |driver| driver.contacts().get(account).cloned()).await?;
        let known = known.and_then(|contact| contact.profile).ok_or(ProfileError::NotShared)?;
        fetch_picture(&self.service, account, &known.key).await
    }
}
