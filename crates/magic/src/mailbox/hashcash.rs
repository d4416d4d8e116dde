//! Proof of work for servers under attack: hashcash version 1 stamps over SHA-1.
//!
//! A stamp is `1:bits:date:resource:extension:random:counter`; its SHA-1 starts with at least
//! `bits` zero bits. The search runs in bounded steps, so that the caller is not blocked. (mailbox protocol,
//! "Permissions")

use data_encoding::BASE64URL_NOPAD;
use rand_core::RngCore;
use sha1::{Digest, Sha1};
use wormhole_kit::UnixTime;

use super::message::HashcashDemand;

/// The search for a stamp.
#[derive(Clone, Debug)]
pub struct Mint {
    /// SHA-1 of everything before the counter: only the last block is hashed again.
    prefix_hash: Sha1,
    prefix: String,
    bits: u32,
    counter: u64,
}

/// Why no stamp can be made for a demand.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImpossibleDemand {
    /// The resource contains a colon, which separates the fields of a stamp.
    #[error("resource contains a colon")]
    Resource,
    /// More bits than [`MAX_BITS`].
    #[error("{0} bits of work are too many")]
    TooMuchWork(u32),
}

impl Mint {
    /// Starts the search for a stamp with the date `now`.
    ///
    /// # Errors
    /// No stamp can fulfil the demand.
    pub fn start(
        demand: &HashcashDemand,
        now: UnixTime,
        rng: &mut impl RngCore,
    ) -> Result<Self, ImpossibleDemand> {
        if demand.resource.contains(':') {
            return Err(ImpossibleDemand::Resource);
        }
        if demand.bits > MAX_BITS {
            return Err(ImpossibleDemand::TooMuchWork(demand.bits));
        }
        let mut random = [0; 12];
        rng.fill_bytes(&mut random);
        let random = BASE64URL_NOPAD.encode(&random);
        let prefix = format!("1:{}:{}:{}::{random}:", demand.bits, date(now), demand.resource);
        let prefix_hash = Sha1::new_with_prefix(prefix.as_bytes());
        Ok(Self { prefix_hash, prefix, bits: demand.bits, counter: 0 })
    }

    /// Tries up to `budget` counters and returns the stamp if one is found.
    ///
    /// About 2^bits tries are needed; a core makes some millions per second.
    pub fn step(&mut self, budget: u32) -> Option<String> {
        for _ in 0..budget {
            let counter = format!("{:x}", self.counter);
            self.counter = self.counter.wrapping_add(1);
            let hash = self.prefix_hash.clone().chain_update(&counter).finalize();
            if leading_zero_bits(&hash) >= self.bits {
                return Some(format!("{}{counter}", self.prefix));
            }
        }
        None
    }
}

/// Checks that `stamp` meets `demand`. The caller must check whether it was used before.
///
/// Dates are not checked, because clients write them in different formats.
pub fn verify(stamp: &str, demand: &HashcashDemand) -> bool {
    if stamp.len() > MAX_STAMP {
        return false;
    }
    let mut fields = stamp.split(':');
    let version = fields.next();
    let bits = fields.next().and_then(|bits| bits.parse::<u32>().ok());
    let _date = fields.next();
    let resource = fields.next();
    // The client chooses the extension, the random part and the counter.
    let rest = fields.count();
    version == Some("1")
        && bits.is_some_and(|bits| bits >= demand.bits)
        && resource == Some(&demand.resource)
        && rest == 3
        && leading_zero_bits(&Sha1::digest(stamp)) >= demand.bits
}

/// Number of leading zero bits.
fn leading_zero_bits(hash: &[u8]) -> u32 {
    let mut bits = 0;
    for byte in hash {
        bits += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    bits
}

/// A date in hashcash's format: `YYMMDD`, in UTC.
fn date(now: UnixTime) -> String {
    let utc = now.utc();
    format!("{:02}{:02}{:02}", utc.year.rem_euclid(100), utc.month, utc.day)
}

/// Maximum work for a server in bits: half a minute on one core. More would only waste the user's
/// energy.
pub const MAX_BITS: u32 = 27;

/// Maximum length of a stamp in bytes.
const MAX_STAMP: usize = 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn mint(bits: u32) -> Mint {
        let demand = HashcashDemand::new(bits, "wormhole".into());
        let now = UnixTime::from_secs(1_626_998_400);
        Mint::start(&demand, now, &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn a_minted_stamp_is_accepted_for_its_demand_and_no_other() {
        let stamp = mint(10).step(1 << 20).unwrap();
        assert!(stamp.starts_with("1:10:210723:wormhole::"), "{stamp}");
        assert!(verify(&stamp, &HashcashDemand::new(10, "wormhole".into())));
        assert!(verify(&stamp, &HashcashDemand::new(4, "wormhole".into())));
        assert!(!verify(&stamp, &HashcashDemand::new(11, "wormhole".into())));
        assert!(!verify(&stamp, &HashcashDemand::new(10, "mailbox".into())));
    }

    #[test]
    fn work_in_small_steps_finds_the_same_stamp() {
        let whole = mint(8).step(u32::MAX);
        let mut small = mint(8);
        assert_eq!((0..).find_map(|_| small.step(3)), whole);
    }

    #[test]
    fn a_date_in_another_form_is_accepted() {
        // As magic-wormhole.rs writes it: base64 instead of digits.
        let demand = HashcashDemand::new(0, "r".into());
        assert!(verify("1:0:MjAyMQ==:r::cmFuZA==:MTIz", &demand));
    }

    #[test]
    fn a_stamp_of_another_shape_is_refused() {
        let demand = HashcashDemand::new(0, "r".into());
        for stamp in ["", "1", "2:0:d:r::a:b", "1:x:d:r::a:b", "1:0:d:r::a", "1:0:d:r::a:b:c"] {
            assert!(!verify(stamp, &demand), "{stamp}");
        }
        assert!(!verify(&format!("1:0:d:r::a:{}", "b".repeat(2000)), &demand));
    }

    #[test]
    fn an_impossible_demand_is_refused_before_any_work() {
        let start = |demand| {
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            Mint::start(&demand, UnixTime::from_secs(0), rng).map(|_| ())
        };
        assert_eq!(
            start(HashcashDemand::new(160, "r".into())),
            Err(ImpossibleDemand::TooMuchWork(160))
        );
        assert_eq!(start(HashcashDemand::new(1, "a:b".into())), Err(ImpossibleDemand::Resource));
    }
}
