//! Certificates for senders who do not show the server who they are: the recipients learn it from these.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::{Router, get};
use rand_core::OsRng;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::{
    Address, CertifiedSender, KeyPair, PrivateKey, PublicKey, SenderCertificate, ServerCertificate,
    Timestamp,
};
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::json::{Answer, Json};
use super::{ApiError, Authenticated};
use crate::messaging::base64;
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::{Account, DeliveryKeys, Device, ReadRows, Rows};
use crate::messaging::store_thread::unix_now;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/certificate/delivery", get(certify))
        .route("/v1/certificate/root", get(root))
}

/// A certificate for a sender.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Certified {
    /// In base64, valid for a day.
    certificate: String,
}

/// The key that all certificates can be traced to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Root {
    /// 33 bytes in base64. It never changes.
    root: String,
}

/// The content of the certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CertificateQuery {
    #[serde(rename = "includeE164")]
    include_e164: Option<bool>,
}

/// Certifies the device that asks as a sender.
#[utoipa::path(
    get, path = "/v1/certificate/delivery", tag = "certificates", security(("device" = [])),
    params(("includeE164" = Option<bool>, Query, description = "whether recipients learn the number from the certificate; true if it is missing")),
    responses(
        (status = 200, description = "the certificate", body = Certified),
        (status = 400, description = "the query is malformed"),
        (status = 401, description = "wrong credentials"),
        (status = 404, description = "the account has not published an identity key"),
        (status = 413, description = "too many certificates"),
    )
)]
pub(super) async fn certify(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    query: Result<Query<CertificateQuery>, QueryRejection>,
) -> Answer<Certified> {
    let Query(query) = query.map_err(|_| ApiError::bad_query())?;
    let limit = service.budget().spend(Action::Certificate, found.device.key, 1);
    limit.map_err(ApiError::too_many)?;
    let current = |_: &mut dyn ReadRows, account: Account, device: Device| Ok((account, device));
    let (account, device) = service.read_for(&found, current).await?;
    let missing = || ApiError::not_found("the account has not published an identity key");
    let identity = account.identity.as_deref().map(PublicKey::decode).and_then(Result::ok);
    let sender = CertifiedSender {
        address: Address { account: account.id, device: device.columns.number },
        identity: identity.ok_or_else(missing)?,
        number: query.include_e164.unwrap_or(true).then(|| account.number.to_string()),
    };
    let certificate = service.issuer().await?.issue(sender, unix_now());
    Ok(Json(Certified { certificate: base64::encode(&certificate) }))
}

/// The public key that signs the certificates of the servers.
#[utoipa::path(
    get, path = "/v1/certificate/root", tag = "certificates",
    responses((status = 200, description = "the key", body = Root))
)]
pub(super) async fn root(State(service): State<Arc<Service>>) -> Answer<Root> {
    let issuer = service.issuer().await?;
    Ok(Json(Root { root: base64::encode(&issuer.root.encode()) }))
}

/// Certifies senders.
#[derive(Debug)]
pub(in crate::messaging) struct Issuer {
    root: PublicKey,
    key: KeyPair,
    certificate: ServerCertificate,
}

impl Issuer {
    /// Reads the stored keys. `None` if they are damaged.
    fn new(keys: &DeliveryKeys) -> Option<Self> {
        let private = |bytes: &[u8; 32]| PrivateKey::from_secret(&Secret::new(*bytes));
        let certificate = ServerCertificate::decode(&keys.certificate).ok()?;
        let root = private(&keys.root).public_key();
        Some(Self { root, key: private(&keys.server).into(), certificate })
    }

    fn issue(&self, sender: CertifiedSender, now: Timestamp) -> Vec<u8> {
        let life = u64::try_from(LIFE.as_millis()).unwrap_or(u64::MAX);
        let expires = Timestamp(now.0.saturating_add(life));
        let certificate = self.certificate.clone();
        SenderCertificate::issue(sender, expires, certificate, &self.key, &mut OsRng).encode()
    }
}

/// New keys, and the certificate of the server.
fn generate() -> DeliveryKeys {
    let (root, server) = (KeyPair::random(&mut OsRng), KeyPair::random(&mut OsRng));
    let certificate = ServerCertificate::issue(SERVER, *server.public(), &root, &mut OsRng);
    let private = |pair: &KeyPair| Zeroizing::new(*pair.private().as_secret().expose());
    DeliveryKeys {
        root: private(&root),
        server: private(&server),
        certificate: certificate.encode(),
    }
}

impl Service {
    /// Returns the keys that certify senders. The first node that needs it creates the keys.
    ///
    /// # Errors
    /// The database is not available, or contains damaged keys.
    async fn issuer(&self) -> Result<&Issuer, ApiError> {
        self.issuer.get_or_try_init(|| self.load_issuer()).await
    }

    async fn load_issuer(&self) -> Result<Issuer, ApiError> {
        let stored = self.storage.read(|rows| rows.delivery_keys()).await?;
        let keys = match stored {
            Some(keys) => keys,
            None => {
                let new = generate();
                let store = move |rows: &mut dyn Rows, _: Timestamp| match rows.delivery_keys()? {
                    // Another node was faster.
                    Some(keys) => Ok(keys),
                    None => rows.insert_delivery_keys(&new).map(|()| new.clone()),
                };
                self.storage.execute(store).await?
            }
        };
        Issuer::new(&keys).ok_or_else(|| {
            tracing::error!("the keys that certify senders are damaged");
            ApiError::unavailable()
        })
    }
}

/// The id of the server's certificate. Programs revoke certificates by their ids.
const SERVER: u32 = 1;

/// How long a certificate is valid.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
