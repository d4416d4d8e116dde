//! Hides the exact length of a message: a byte `0x80`, then zeros (ISO/IEC 7816-4).

use zeroize::Zeroizing;

/// Pads a plaintext so that the length of its ciphertext is a multiple of 160 bytes.
pub fn pad(plaintext: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = (plaintext.len() + 1).next_multiple_of(STEP);
    // One byte less than a multiple, because the cipher adds at least one byte.
    let length = if plaintext.len() + 1 < length { length - 1 } else { length + STEP - 1 };
    let mut padded = Zeroizing::new(Vec::with_capacity(length));
    padded.extend(plaintext);
    padded.push(MARK);
    padded.resize(length, 0);
    padded
}

/// Removes padding of any length. `None` if there is no padding.
pub fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|byte| *byte != 0)?;
    let (plaintext, rest) = padded.split_at_checked(end)?;
    rest.first().filter(|byte| **byte == MARK).map(|_| plaintext)
}

/// Marks the end of the plaintext.
const MARK: u8 = 0x80;

/// Padded lengths are multiples of this number of bytes.
const STEP: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_up_to_one_less_than_a_multiple_of_160() {
        for (length, padded) in [(0, 159), (157, 159), (158, 159), (159, 319), (160, 319)] {
            assert_eq!(pad(&vec![7; length]).len(), padded, "{length}");
        }
    }

    #[test]
    fn padding_comes_off_again() {
        for length in 0..500 {
            let plaintext = vec![if length % 2 == 0 { MARK } else { 0 }; length];
            assert_eq!(unpad(&pad(&plaintext)), Some(&plaintext[..]));
        }
        assert_eq!(unpad(b"text\x80"), Some(&b"text"[..]));
    }

    #[test]
    fn what_was_not_padded_is_refused() {
        for bad in [&b""[..], b"\0\0", b"text", b"text\0\0", b"\x81"] {
            assert_eq!(unpad(bad), None);
        }
    }
}
