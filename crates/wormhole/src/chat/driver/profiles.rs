//! Our own profile on its way to the server, and those of others on their way to us: one request at a time.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use wormhole_chat::{AccountId, Content, ProfileKey, PublicKey, Received};

use super::sealing::SealedTarget;
use super::{Driver, Request};
use crate::chat::account::now;
use crate::chat::message::Event;
use crate::chat::profile::{ContactProfile, OwnProfile, ProfileError, fetch, profile_key};
use crate::chat::service::Service;
use crate::chat::written::transcript;

/// The requests for profiles that run or wait.
pub(super) struct Profiles {
    service: Arc<Service>,
    account: AccountId,
    registration_id: u32,
    wanted: VecDeque<(AccountId, ProfileKey)>,
    /// When the profiles of these accounts were asked for.
    asked: BTreeMap<AccountId, Instant>,
    running: Option<Running>,
    /// When something may be asked that has failed before.
    due: Instant,
    /// The pinned key of the service is not known yet.
    needs_root: bool,
}

/// An answer.
pub(super) enum ProfileAnswer {
    /// The profile of somebody.
    Fetched(AccountId, ProfileKey, Result<ContactProfile, ProfileError>),
    /// Our own profile is published, or not.
    Published(OwnProfile, Result<(), ProfileError>),
    /// The key of the service.
    Root(Option<PublicKey>),
}

type Running = Pin<Box<dyn Future<Output = ProfileAnswer> + Send>>;

impl Profiles {
    pub(super) fn new(
        service: Arc<Service>,
        account: AccountId,
        registration_id: u32,
        needs_root: bool,
    ) -> Self {
        let (wanted, due) = (VecDeque::new(), Instant::now());
        let (asked, running) = (BTreeMap::new(), None);
        Self { service, account, registration_id, wanted, asked, running, due, needs_root }
    }

    /// Fetches the profile of somebody soon, unless that was done a short time ago: somebody who sends another key with each
    /// message must not make us ask for each of them.
    fn want(&mut self, account: AccountId, key: ProfileKey) {
        if self.asked.get(&account).is_some_and(|asked| asked.elapsed() < MIN_PERIOD) {
            return;
        }
        if self.asked.len() >= MAX_ASKED {
            self.asked.clear();
        }
        self.asked.insert(account, Instant::now());
        self.wanted.retain(|(wanted, _)| *wanted != account);
        if self.wanted.len() < MAX_WANTED {
            self.wanted.push_back((account, key));
        }
    }

    /// Publishes nothing for some time: a handle of the client is doing it.
    pub(super) fn pause(&mut self) {
        self.due = Instant::now() + PAUSE;
    }

    /// Waits for the next answer.
    pub(super) async fn next(&mut self, own: Option<&OwnProfile>) -> ProfileAnswer {
        loop {
            if let Some(running) = &mut self.running {
                let answer = running.await;
                self.running = None;
                return answer;
            }
            let unpublished = own.filter(|own| !own.is_published);
            if unpublished.is_none() && !self.needs_root && self.wanted.is_empty() {
                return std::future::pending().await;
            }
            sleep_until(self.due).await;
            self.running = self.begin(unpublished);
        }
    }

    fn begin(&mut self, unpublished: Option<&OwnProfile>) -> Option<Running> {
        let service = Arc::clone(&self.service);
        if let Some(own) = unpublished.cloned() {
            let (account, registration_id) = (self.account, self.registration_id);
            return Some(Box::pin(async move {
                let picture = own.same_picture();
                let published = own.publish(&service, account, registration_id, picture).await;
                ProfileAnswer::Published(own, published)
            }));
        }
        if self.needs_root {
            return Some(Box::pin(async move { ProfileAnswer::Root(service.root().await.ok()) }));
        }
        let (account, key) = self.wanted.pop_front()?;
        Some(Box::pin(async move {
            let fetched = fetch(&service, account, &key).await;
            ProfileAnswer::Fetched(account, key, fetched)
        }))
    }
}

impl Driver {
    /// Our own profile, if this device knows its key.
    pub(in crate::chat) const fn own_profile(&self) -> Option<&OwnProfile> {
        self.own_profile.as_ref()
    }

    /// Stores our own profile, and answers when it is durable. Unless it is published, that happens later.
    pub(in crate::chat) fn set_own_profile(
        &mut self,
        profile: OwnProfile,
        reply: oneshot::Sender<()>,
    ) {
        self.profiles.pause();
        self.put_own_profile(profile);
        self.commits.reply(reply);
    }

    fn put_own_profile(&mut self, profile: OwnProfile) {
        self.commits.add_own_profile(&profile);
        self.own_profile = Some(profile);
    }

    /// Stores the profile of somebody, and answers when it is durable.
    pub(in crate::chat) fn set_profile_of(
        &mut self,
        account: AccountId,
        profile: ContactProfile,
        reply: oneshot::Sender<()>,
    ) {
        self.put_profile_of(account, profile);
        self.commits.reply(reply);
    }

    fn put_profile_of(&mut self, account: AccountId, profile: ContactProfile) {
        if let Some(contact) = self.contacts.get(account).cloned() {
            self.put(crate::chat::store::Contact { profile: Some(profile), ..contact });
        }
    }

    /// Handles an answer.
    pub(super) fn profile_answered(&mut self, answer: ProfileAnswer) {
        let failed = match answer {
            ProfileAnswer::Fetched(account, key, Ok(profile)) => {
                let known = self.contacts.get(account).and_then(|it| it.profile.as_ref());
                if known.is_some_and(|known| known.key == key) {
                    self.put_profile_of(account, profile);
                }
                false
            }
            // It is fetched again when its owner writes again.
            ProfileAnswer::Fetched(_, _, Err(error)) => matches!(error, ProfileError::Request(_)),
            ProfileAnswer::Published(published, Ok(())) => {
                if self.own_profile.as_ref() == Some(&published) {
                    self.put_own_profile(OwnProfile { is_published: true, ..published });
                }
                false
            }
            ProfileAnswer::Published(_, Err(_)) | ProfileAnswer::Root(None) => true,
            ProfileAnswer::Root(Some(root)) => {
                self.profiles.needs_root = false;
                self.commits.add_root(&root);
                self.core.set_roots(vec![root]);
                self.sealing.set_root(root);
                false
            }
        };
        if failed {
            self.profiles.due = Instant::now() + AFTER_ERROR;
        }
    }

    /// Learns the profile keys that messages contain.
    pub(super) fn learn_profile_keys(&mut self, received: &[Received]) {
        for message in received {
            let from = message.from.account;
            let is_own = from == self.core.address().account;
            match (&message.content, transcript(message)) {
                (Content::Data(data), _) if !is_own && !message.identity_changed => {
                    if let Some(key) = data.profile_key {
                        self.learn_profile_key(from, profile_key(key));
                    }
                }
                (_, Some(sent)) if is_own => {
                    if let Some(key) = sent.message.profile_key {
                        self.learn_own_key(profile_key(key));
                    }
                }
                _ => {}
            }
        }
    }

    fn learn_profile_key(&mut self, account: AccountId, key: ProfileKey) {
        let known = self.contacts.get(account).cloned();
        let known = known.or_else(|| self.contacts.with_hint(crate::chat::contact(account)));
        let Some(contact) = known else { return };
        match &contact.profile {
            Some(profile) if profile.key == key => {
                if profile.is_old(now()) {
                    self.profiles.want(account, key);
                }
            }
            other => {
                // The known profile is shown until the new one is there.
                let (name, about) =
                    other.as_ref().map_or((None, None), |it| (it.name.clone(), it.about.clone()));
                let profile = ContactProfile { name, about, ..ContactProfile::new(key.clone()) };
                self.put(crate::chat::store::Contact { profile: Some(profile), ..contact });
                self.profiles.want(account, key);
            }
        }
    }

    /// Takes over the key that another device of our account has published.
    fn learn_own_key(&mut self, key: ProfileKey) {
        let known = self.own_profile.as_ref();
        if known.is_none_or(|own| own.key != key && own.is_published) {
            self.put_own_profile(OwnProfile::with_key(key, true));
        }
    }

    /// The recipient for whom a request can be sealed: another account whose access key we know.
    pub(super) fn sealed_target(&self, request: &Request) -> Option<SealedTarget> {
        let Request::Send { to, .. } = request else { return None };
        let profile = self.contacts.get(*to)?.profile.as_ref()?;
        let identity = self.core.identity_of(*to)?.accepted;
        let is_other = *to != self.core.address().account;
        is_other.then(|| SealedTarget { access: profile.key.access_key(), identity })
    }

    /// Stores a new certificate, and reports one that is not to be trusted.
    pub(super) fn report_certificates(&mut self) {
        if let Some(certificate) = self.sealing.take_renewed() {
            self.commits.add_certificate(&certificate);
        }
        if self.sealing.take_untrusted() {
            self.emit(Event::UntrustedCertificates);
        }
    }
}

/// Least time between two requests for the profile of an account.
const MIN_PERIOD: Duration = Duration::from_secs(600);

/// Maximum number of accounts of which we remember when their profiles were asked for.
const MAX_ASKED: usize = 1000;

/// Maximum number of profiles that wait to be fetched.
const MAX_WANTED: usize = 64;

/// How long the application has to publish a profile itself.
const PAUSE: Duration = Duration::from_secs(60);

/// When to ask again if there is no answer.
const AFTER_ERROR: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Network, Server};

    #[tokio::test(start_paused = true)]
    async fn one_person_causes_one_request_every_ten_minutes_whatever_keys_it_sends() {
        let server = Server::new("http://127.0.0.1:1".parse().unwrap());
        let service = Arc::new(Service::new(&server, &Network::default()).unwrap());
        let account = |number| AccountId::from_bytes([number; 16]);
        let mut profiles = Profiles::new(service, account(0), 1, false);
        for number in 0..100 {
            profiles.want(account(1), profile_key([number; 32]));
        }
        assert_eq!(profiles.wanted.len(), 1);
        profiles.wanted.clear();
        profiles.want(account(1), profile_key([7; 32]));
        assert_eq!(profiles.wanted.len(), 0);
        tokio::time::advance(MIN_PERIOD).await;
        profiles.want(account(1), profile_key([7; 32]));
        assert_eq!(profiles.wanted.len(), 1);
        for number in 2..200 {
            profiles.want(account(number), profile_key([7; 32]));
        }
        assert_eq!(profiles.wanted.len(), MAX_WANTED);
    }
}
