//! The messages of two people in a wormhole, with which each becomes a verified contact of the other
//! (docs/chat-protocol.md "Introduction by a code").

use std::fmt;

use prost::Message;
use rand_core::CryptoRngCore;

use crate::address::AccountId;
use crate::key::{KeyPair, PublicKey, Signature};

/// A person's introduction. The wormhole shows that it comes from the person who knows the code. `Debug` prints neither the number nor
/// the name.
#[derive(Clone, Eq, PartialEq)]
pub struct Introduction {
    /// The account.
    pub account: AccountId,
    /// Its identity key.
    pub identity: PublicKey,
    /// The address of its server.
    pub server: String,
    /// The app; `None` if it is the server's default app.
    pub app: Option<String>,
    /// The phone number.
    pub number: Option<String>,
    /// How the person wants to be called.
    pub name: Option<String>,
    /// The proof that the person has the private identity key: [`sign`](Self::sign).
    pub proof: Signature,
}

impl Introduction {
    /// Proves to the other side of the wormhole with this verifier that we have the private identity key. The proof is worthless in
    /// any other wormhole.
    pub fn sign(&mut self, verifier: &[u8; 32], identity: &KeyPair, rng: &mut impl CryptoRngCore) {
        self.proof = identity.sign(&self.statement(verifier), rng);
    }

    /// Whether the person in the wormhole with this verifier has the private identity key.
    pub fn is_proved(&self, verifier: &[u8; 32]) -> bool {
        self.identity.verify(&self.statement(verifier), &self.proof)
    }

    fn statement(&self, verifier: &[u8; 32]) -> Vec<u8> {
        [STATEMENT, verifier, self.account.as_bytes(), &self.identity.encode()].concat()
    }
}

/// A message of an introduction.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IntroductionMessage {
    /// This is me.
    Introduction(Box<Introduction>),
    /// You are a verified contact here.
    Stored,
    /// You are not, because of your introduction or because the user has stopped it.
    Refused,
}

/// A message of an introduction cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IntroductionDecodeError {
    /// It is malformed.
    #[error("the other side sends something else than an introduction")]
    Malformed,
    /// It has this version, which this program does not know.
    #[error("the other side uses version {0} of introductions, which this program does not know")]
    Version(u32),
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, server, app, identity: _, number: _, name: _, proof: _ } = self;
        let mut shown = f.debug_struct("Introduction");
        shown.field("account", account).field("server", server).field("app", app);
        shown.finish_non_exhaustive()
    }
}

impl IntroductionMessage {
    /// Encodes the message.
    pub fn encode(&self) -> Vec<u8> {
        let mut proto =
            IntroductionProto { version: Some(VERSION), ..IntroductionProto::default() };
        match self {
            Self::Introduction(introduction) => {
                proto.account = Some(introduction.account.as_bytes().to_vec());
                proto.identity = Some(introduction.identity.encode().to_vec());
                proto.server = Some(introduction.server.clone());
                proto.app.clone_from(&introduction.app);
                proto.number.clone_from(&introduction.number);
                proto.name.clone_from(&introduction.name);
                proto.proof = Some(introduction.proof.0.to_vec());
            }
            Self::Stored => proto.stored = Some(true),
            Self::Refused => proto.stored = Some(false),
        }
        proto.encode_to_vec()
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// It is malformed, or has another version. Give up.
    pub fn decode(bytes: &[u8]) -> Result<Self, IntroductionDecodeError> {
        let malformed = IntroductionDecodeError::Malformed;
        let proto = IntroductionProto::decode(bytes).map_err(|_| malformed)?;
        match proto.version.ok_or(malformed)? {
            VERSION => proto.message().ok_or(malformed),
            version => Err(IntroductionDecodeError::Version(version)),
        }
    }
}

impl IntroductionProto {
    fn message(self) -> Option<IntroductionMessage> {
        Some(match self.stored {
            Some(true) => IntroductionMessage::Stored,
            Some(false) => IntroductionMessage::Refused,
            None => IntroductionMessage::Introduction(Box::new(Introduction {
                account: AccountId::from_bytes(self.account?.try_into().ok()?),
                identity: PublicKey::decode(&self.identity?).ok()?,
                server: self.server.filter(|text| is_short(text))?,
                app: self.app.filter(|text| is_short(text)),
                number: self.number.filter(|text| is_short(text)),
                name: self.name.filter(|text| is_short(text)),
                proof: Signature::from_slice(&self.proof?)?,
            })),
        })
    }
}

fn is_short(text: &str) -> bool {
    text.len() <= MAX_TEXT
}

#[derive(Message)]
struct IntroductionProto {
    #[prost(uint32, optional, tag = "1")]
    version: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    account: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    identity: Option<Vec<u8>>,
    #[prost(string, optional, tag = "4")]
    server: Option<String>,
    #[prost(string, optional, tag = "5")]
    app: Option<String>,
    #[prost(string, optional, tag = "6")]
    number: Option<String>,
    #[prost(string, optional, tag = "7")]
    name: Option<String>,
    #[prost(bool, optional, tag = "8")]
    stored: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "9")]
    proof: Option<Vec<u8>>,
}

/// The only version.
const VERSION: u32 = 1;

/// The beginning of what a person signs.
const STATEMENT: &[u8] = b"wormhole introduction";

/// Longest text of an introduction, in bytes. A longer one counts as none.
const MAX_TEXT: usize = 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;
    use crate::key::KeyPair;

    #[test]
    fn each_message_is_read_as_it_was_written_and_others_are_refused() {
        let alice = Introduction {
            account: AccountId::from_bytes([7; 16]),
            identity: *KeyPair::random(&mut ChaCha8Rng::seed_from_u64(1)).public(),
            server: "https://a.b".to_owned(),
            app: Some("com.one".to_owned()),
            number: Some("+14155550101".to_owned()),
            name: Some("Alice".to_owned()),
            proof: Signature([5; 64]),
        };
        let printed = format!("{alice:?}");
        assert!(!printed.contains("Alice") && !printed.contains("+1415"), "{printed}");
        let bare = Introduction { app: None, number: None, name: None, ..alice.clone() };
        let introductions = [alice, bare].map(|it| IntroductionMessage::Introduction(Box::new(it)));
        let others = [IntroductionMessage::Stored, IntroductionMessage::Refused];
        for message in introductions.iter().chain(&others) {
            assert_eq!(IntroductionMessage::decode(&message.encode()).as_ref(), Ok(message));
        }
        let encoded = introductions[0].encode();
        let mut later = encoded.clone();
        later[1] = 9;
        let refused = Err(IntroductionDecodeError::Version(9));
        assert_eq!(IntroductionMessage::decode(&later), refused);
        let malformed = Err(IntroductionDecodeError::Malformed);
        for bytes in [&b""[..], &[8, 1], &encoded[2..], &encoded[..30]] {
            assert_eq!(IntroductionMessage::decode(bytes), malformed);
        }
    }

    #[test]
    fn attack_8_a_proof_counts_only_for_its_wormhole_its_account_and_its_key() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let [alice, mallory] = [(); 2].map(|()| KeyPair::random(&mut rng));
        let account = AccountId::from_bytes([7; 16]);
        let server = "https://a.b".to_owned();
        let (identity, proof) = (*alice.public(), Signature([0; 64]));
        let mut introduction =
            Introduction { account, identity, server, app: None, number: None, name: None, proof };
        assert!(!introduction.is_proved(&[1; 32]));
        introduction.sign(&[1; 32], &mallory, &mut rng);
        assert!(!introduction.is_proved(&[1; 32]), "signed with another key");
        introduction.sign(&[1; 32], &alice, &mut rng);
        assert!(introduction.is_proved(&[1; 32]));
        assert!(!introduction.is_proved(&[2; 32]), "another wormhole");
        let account = AccountId::from_bytes([8; 16]);
        assert!(!Introduction { account, ..introduction.clone() }.is_proved(&[1; 32]));
        let identity = *mallory.public();
        assert!(!Introduction { identity, ..introduction }.is_proved(&[1; 32]));
    }
}
