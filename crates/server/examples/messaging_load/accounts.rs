//! Accounts with one device each, registered over HTTP as clients do it.

use std::sync::Arc;

use data_encoding::BASE64;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};
use wormhole_chat::{KemPreKey, KeyPair, OneTimePreKey, SignedPreKey, Timestamp};

use crate::Failure;
use crate::http::Http;
use crate::server::Server;

/// A registered device.
pub(crate) struct Account {
    /// The account id.
    pub(crate) id: String,
    /// The header lines that authenticate the device.
    pub(crate) headers: String,
    /// The identity key whose public part is published.
    pub(crate) identity: KeyPair,
}

/// Registers accounts, each with the address of another client.
pub(crate) async fn register(
    server: &Server,
    count: usize,
    publishes_keys: bool,
) -> Result<Arc<Vec<Account>>, Failure> {
    let works = (0..WORKERS).map(|worker| async move {
        let mut http = Http::connect(&server.authority).await?;
        let mut accounts = Vec::new();
        for number in (worker..count).step_by(WORKERS) {
            accounts.push(register_one(server, &mut http, number, publishes_keys).await?);
        }
        Ok::<_, Failure>(accounts)
    });
    let accounts = futures_util::future::try_join_all(works).await?;
    Ok(Arc::new(accounts.into_iter().flatten().collect()))
}

async fn register_one(
    server: &Server,
    http: &mut Http,
    number: usize,
    publishes_keys: bool,
) -> Result<Account, Failure> {
    let phone = format!("+1415{number:07}");
    let [a, b] = [number / 250, number % 250];
    let from = format!("X-Forwarded-For: 10.{}.{}.{b}\r\n", a / 250, a % 250);
    http.ask("GET", &format!("/v1/accounts/sms/code/{phone}"), &from, &[]).await?;
    let code = server.code(&phone).await?;
    let basic = |user: &str| {
        let credentials = BASE64.encode(format!("{user}:{PASSWORD}").as_bytes());
        format!("{from}Authorization: Basic {credentials}\r\n")
    };
    let attributes = json!({ "registrationId": 1, "fetchesMessages": true }).to_string();
    let path = format!("/v1/accounts/code/{code}");
    let answer = http.ask("PUT", &path, &basic(&phone), attributes.as_bytes()).await?;
    let id = answer.get("uuid").and_then(Value::as_str).ok_or("no account id")?.to_owned();
    let headers = basic(&format!("{id}.1"));
    let mut rng = ChaCha20Rng::seed_from_u64(number as u64);
    let identity = KeyPair::random(&mut rng);
    if publishes_keys {
        let keys = keys(&identity, &mut rng).to_string();
        http.ask("PUT", "/v2/keys", &headers, keys.as_bytes()).await?;
    }
    Ok(Account { id, headers, identity })
}

/// The keys that our own client publishes.
fn keys(identity: &KeyPair, rng: &mut ChaCha20Rng) -> Value {
    let signed = SignedPreKey::random(1, identity, Timestamp(0), rng);
    let kem = KemPreKey::random(1, true, identity, Timestamp(0), rng);
    let one_time = (1..=ONE_TIME_KEYS).map(|id| OneTimePreKey { id, pair: KeyPair::random(rng) });
    let one_time = one_time.map(
        |key| json!({ "keyId": key.id, "publicKey": BASE64.encode(&key.pair.public().encode()) }),
    );
    let one_time: Vec<Value> = one_time.collect();
    json!({
        "identityKey": BASE64.encode(&identity.public().encode()),
        "signedPreKey": {
            "keyId": 1,
            "publicKey": BASE64.encode(&signed.pair.public().encode()),
            "signature": BASE64.encode(&signed.signature.0),
        },
        "preKeys": one_time,
        "pqLastResortPreKey": {
            "keyId": 1,
            "publicKey": BASE64.encode(&kem.pair.public().encode()),
            "signature": BASE64.encode(&kem.signature.0),
        },
    })
}

const PASSWORD: &str = "0123456789abcdef01234567";

/// One-time prekeys of each device.
const ONE_TIME_KEYS: u32 = 100;

/// Accounts registered at the same time.
const WORKERS: usize = 32;
