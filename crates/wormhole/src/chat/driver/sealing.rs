//! Sends messages so that the server does not learn who has sent them (docs/chat-protocol.md "Sealed sender").
//!
//! Problems with the certificates are remembered here and reported by the driver. A message that cannot be sealed is sent
//! openly: otherwise the server could stop it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_core::OsRng;
use tokio::time::Instant;
use wormhole_chat::{
    AccessKey, AccountId, CertificateError, DeviceCiphertext, LeftOut, PublicKey, Response, Sealer,
    SenderCertificate, Timestamp,
};

use crate::chat::account::now;
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::{Service, Unconfirmed};

/// The recipient of a sealed message.
#[derive(Clone, Debug)]
pub(super) struct SealedTarget {
    pub(super) access: AccessKey,
    /// The accepted identity key.
    pub(super) identity: PublicKey,
}

/// The keys and the certificate that seal messages.
#[derive(Debug)]
pub(super) struct Sealing {
    sealer: Sealer,
    state: Mutex<State>,
    /// One certificate is fetched at a time.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The pinned key of the service.
    root: Option<PublicKey>,
    certificate: Option<SenderCertificate>,
    /// When a certificate may be asked for again.
    ask_after: Option<Instant>,
    /// Access keys that the server has refused, and when.
    refused: BTreeMap<AccountId, (AccessKey, Instant)>,
    /// Whether our account has other devices, and when we have asked.
    has_others: Option<(Instant, bool)>,
    /// A certificate that is not stored yet.
    renewed: Option<SenderCertificate>,
    /// Whether the service certifies with another key than the pinned one, and nobody was told yet.
    is_untrusted: bool,
}

impl Sealing {
    pub(super) fn new(
        sealer: Sealer,
        root: Option<PublicKey>,
        certificate: Option<SenderCertificate>,
    ) -> Self {
        let state = State { root, certificate, ..State::default() };
        Self { sealer, state: Mutex::new(state), fetching: tokio::sync::Mutex::default() }
    }

    /// Pins the key of the service.
    pub(super) fn set_root(&self, root: PublicKey) {
        self.state().root.get_or_insert(root);
    }

    /// A new certificate, once: it should be stored.
    pub(super) fn take_renewed(&self) -> Option<SenderCertificate> {
        self.state().renewed.take()
    }

    /// Whether the service certifies with another key than the pinned one, once.
    pub(super) fn take_untrusted(&self) -> bool {
        std::mem::take(&mut self.state().is_untrusted)
    }

    /// Sends a message to all devices of an account but those that are left out. `None`: it must be sent openly.
    ///
    /// The server cannot see that a device which it has removed sends a sealed message. So it is asked about our devices before: an
    /// open message of a removed device is refused.
    pub(super) async fn send(
        &self,
        service: &Service,
        to: AccountId,
        timestamp: Timestamp,
        (messages, left_out): (&[DeviceCiphertext], Option<&LeftOut>),
        is_online: bool,
        target: &SealedTarget,
    ) -> Option<Result<Response, Unconfirmed>> {
        if self.is_refused(to, &target.access) {
            return None;
        }
        let certificate = self.certificate(service).await.ok()?;
        let needs_sync = self.has_others(service).await?;
        let seal = |message: &DeviceCiphertext| {
            let sealed = self.sealer.seal(&certificate, message, &target.identity, &mut OsRng);
            Some((message.device, message.registration_id, sealed.ok()?))
        };
        let parts: Option<Vec<_>> = messages.iter().map(seal).collect();
        let (parts, access) = (parts?, &target.access);
        let sent = service.send_sealed(to, timestamp, &parts, left_out, is_online, access).await;
        match sent {
            Err(Unconfirmed { why: RequestError::CredentialsRefused, .. }) => {
                self.refuse(to, target.access.clone());
                None
            }
            // The server does not know whose devices should get a copy.
            Ok(Response::Sent { .. }) => Some(Ok(Response::Sent { needs_sync })),
            sent => Some(sent),
        }
    }

    /// The server has refused an access key: the owner has another one now.
    fn refuse(&self, account: AccountId, access: AccessKey) {
        let mut state = self.state();
        if state.refused.len() >= MAX_REFUSED {
            state.refused.clear();
        }
        state.refused.insert(account, (access, Instant::now()));
    }

    /// Whether the server has refused this access key a short time ago. Its owner may just have published it.
    fn is_refused(&self, account: AccountId, access: &AccessKey) -> bool {
        let state = self.state();
        let refused = state.refused.get(&account);
        refused.is_some_and(|(key, at)| key == access && at.elapsed() < REFUSED_TIME)
    }

    /// Returns our certificate, which does not contain our number, and fetches a new one before it expires.
    ///
    /// # Errors
    /// The server does not give us a certificate now, or its key is not the pinned one.
    pub(super) async fn certificate(
        &self,
        service: &Service,
    ) -> Result<SenderCertificate, RequestError> {
        let _turn = self.fetching.lock().await;
        let known = self.usable();
        let expires = known.as_ref().map_or(0, |certificate| certificate.expires().0);
        if expires > now().0.saturating_add(RENEW_BEFORE) || !self.may_ask() {
            return known.ok_or(RequestError::TooMany(ASK_PAUSE));
        }
        let fetched = service.certificate().await.and_then(|certificate| {
            self.check(&certificate)
                .then_some(certificate)
                .ok_or_else(|| ServerFault::Certificate.into())
        });
        let mut state = self.state();
        match fetched {
            Ok(new) => {
                state.certificate = Some(new.clone());
                state.renewed = Some(new.clone());
                Ok(new)
            }
            Err(error) => {
                state.ask_after = Some(Instant::now() + ASK_PAUSE);
                known.ok_or(error)
            }
        }
    }

    /// The certificate that we have, if it is valid long enough for a message.
    fn usable(&self) -> Option<SenderCertificate> {
        let state = self.state();
        let (root, certificate) = (state.root?, state.certificate.clone()?);
        let soon = Timestamp(now().0.saturating_add(MIN_VALIDITY));
        self.sealer.check(&certificate, &[root], soon).ok().map(|()| certificate)
    }

    fn may_ask(&self) -> bool {
        let state = self.state();
        state.root.is_some() && state.ask_after.is_none_or(|at| at <= Instant::now())
    }

    /// Whether a new certificate is ours and of the pinned service.
    fn check(&self, certificate: &SenderCertificate) -> bool {
        let mut state = self.state();
        let Some(root) = state.root else { return false };
        let checked = self.sealer.check(certificate, &[root], now());
        state.is_untrusted |= checked == Err(CertificateError::UntrustedServer);
        checked.is_ok()
    }

    /// Whether our account has other devices. If the server does not say, perhaps: then it says so when they get a copy. `None`: it
    /// refuses this device, which was removed, or whose number or app is not accepted any more.
    async fn has_others(&self, service: &Service) -> Option<bool> {
        let known = self.state().has_others;
        if let Some((_, has_others)) = known.filter(|(since, _)| since.elapsed() < DEVICES_TIME) {
            return Some(has_others);
        }
        let has_others = match service.devices().await {
            Ok(devices) => devices.len() > 1,
            Err(error) if error.is_refusal() => return None,
            Err(_) => return Some(true),
        };
        self.state().has_others = Some((Instant::now(), has_others));
        Some(has_others)
    }

    /// Asks about our devices before the next message: this one may have been removed.
    pub(super) fn forget_devices(&self) {
        self.state().has_others = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds for which a certificate must be valid; more than the core requires for messages to groups.
const MIN_VALIDITY: u64 = 10 * 60 * 1000;

/// Milliseconds before its end after which a certificate is renewed.
const RENEW_BEFORE: u64 = 60 * 60 * 1000;

/// When to ask for a certificate again after there was none.
const ASK_PAUSE: Duration = Duration::from_secs(600);

/// How long the answer of the server about our devices is right.
const DEVICES_TIME: Duration = Duration::from_secs(60);

/// How long a refused access key is not tried again.
const REFUSED_TIME: Duration = Duration::from_secs(600);

/// Maximum number of refused access keys that are remembered.
const MAX_REFUSED: usize = 1000;
