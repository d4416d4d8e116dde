//! Base64 as deployed clients send and expect it.
//!
//! Some clients use the alphabet for URLs, and some omit the padding. So both alphabets are read, with and without
//! padding, and values are compared only after decoding.

use std::sync::LazyLock;

use data_encoding::{BASE64, BASE64_NOPAD, Encoding, Specification};

/// Decodes either alphabet, with or without padding. Bits after the last byte are ignored.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || (padding > 0 && !text.len().is_multiple_of(4)) {
        return None;
    }
    LENIENT.decode(digits.as_bytes()).ok()
}

/// Decodes exactly `N` bytes.
pub(super) fn decode_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text)?.try_into().ok()
}

/// Encodes keys, signatures and tokens: without padding, as the first clients did.
pub(super) fn encode_key(bytes: &[u8]) -> String {
    BASE64_NOPAD.encode(bytes)
}

/// Encodes everything else: with padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

static LENIENT: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    specification.check_trailing_bits = false;
    specification.translate.from.push_str("-_");
    specification.translate.to.push_str("+/");
    // The specification is a constant, and a test uses it.
    specification.encoding().unwrap_or(BASE64_NOPAD)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_21_both_alphabets_are_read_with_and_without_padding_and_nothing_else() {
        for text in ["+/8=", "+/8", "-_8=", "-_8", "-/9"] {
            assert_eq!(decode(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(decode(""), Some(vec![]));
        for bad in ["+", "=", "+/8==", "+/8=\n", " +/8", "+/8===", "+!8=", "AAAA=", "ä"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_are_written_without_padding() {
        assert_eq!(encode_key(&[5; 33]).len(), 44);
        assert_eq!(encode_key(&[0xfb, 0xff]), "+/8");
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
        assert_eq!(decode_array::<2>("+/8"), Some([0xfb, 0xff]));
        assert_eq!(decode_array::<3>("+/8"), None);
    }
}
