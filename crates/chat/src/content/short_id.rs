//! Names of messages that a person can type.

use sha2::{Digest as _, Sha256};

use super::reaction::MessageRef;

impl MessageRef {
    /// A name of the message: 13 lower-case letters and digits. It is the same on all devices of all people. The first four are
    /// usually enough to find the message in a conversation, but a sender can make messages with the same first letters on purpose.
    pub fn short_id(&self) -> String {
        let hash = Sha256::new_with_prefix(LABEL)
            .chain_update(self.author.as_bytes())
            .chain_update(self.timestamp.0.to_be_bytes())
            .finalize();
        let mut bits = hash.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        let mut id = String::with_capacity(LENGTH);
        for _ in 0..LENGTH {
            let letter = ALPHABET.get(usize::try_from(bits >> 59).unwrap_or_default());
            id.extend(letter.map(|letter| char::from(*letter)));
            bits <<= 5;
        }
        id
    }

    /// Whether the name of the message begins with what a person has typed. Upper and lower case are the same, and so are the letters
    /// and digits that look alike.
    pub fn has_short_id(&self, typed: &str) -> bool {
        let typed: String = typed.trim().chars().map(normal).collect();
        !typed.is_empty() && self.short_id().starts_with(&typed)
    }
}

const fn normal(c: char) -> char {
    match c {
        'O' | 'o' => '0',
        'I' | 'i' | 'L' | 'l' => '1',
        'U' | 'u' => 'v',
        other => other.to_ascii_lowercase(),
    }
}

const LABEL: &str = "wormhole message";

/// Letters of a name: 64 bits, 5 in each.
const LENGTH: usize = 13;

/// Without letters that look like digits, and without u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AccountId;
    use crate::time::Timestamp;

    #[test]
    fn a_message_is_found_by_the_first_letters_of_its_name() {
        let message =
            MessageRef { author: AccountId::from_bytes([1; 16]), timestamp: Timestamp(1) };
        let id = message.short_id();
        assert!(id.len() == 13 && id.bytes().all(|letter| ALPHABET.contains(&letter)), "{id}");
        for typed in [&id, &id[..4], &id.to_uppercase(), &id.replace('0', "o").replace('1', "l")] {
            assert!(message.has_short_id(typed), "{typed}");
        }
        let other = MessageRef { timestamp: Timestamp(2), ..message };
        assert_ne!(other.short_id(), id);
        assert!(
            !other.has_short_id(&id) && !message.has_short_id("") && !message.has_short_id("é")
        );
    }
}
