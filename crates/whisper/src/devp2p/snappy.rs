//! Snappy block compression of all messages after Hello (EIP-706).
//!
//! The codec is in the `snap` crate. This module adds checks of the declared length before anything of that
//! size is allocated.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

/// Compresses a message.
///
/// # Errors
/// The message does not fit into the format (4 GiB).
pub fn pack(message: &[u8]) -> Result<Vec<u8>, SnappyError> {
    Encoder::new().compress_vec(message).map_err(|_| SnappyError::TooLong(message.len()))
}

/// Decompresses a message of at most `limit` bytes.
///
/// # Errors
/// It declares more than `limit`, or more than its size can decompress to, or is malformed.
pub fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    let declared = decompress_len(packed).map_err(|_| SnappyError::Malformed)?;
    if declared > limit {
        return Err(SnappyError::TooLong(declared));
    }
    if declared > packed.len().saturating_mul(BEST_RATIO) {
        return Err(SnappyError::Malformed);
    }
    Decoder::new().decompress_vec(packed).map_err(|_| SnappyError::Malformed)
}

/// Maximum compressed size of a message of `length` bytes.
pub fn longest_packed(length: usize) -> usize {
    max_compress_len(length)
}

/// Why decompression failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnappyError {
    /// Not a block, or its length differs from the declared one.
    #[error("not a snappy block")]
    Malformed,
    /// The message would have this many bytes.
    #[error("snappy block of {0} bytes is too long")]
    TooLong(usize),
}

/// Upper bound of the compression ratio: the best element makes 64 bytes from 3 (snappy format, §2.2.2).
const BEST_RATIO: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_unpack_to_themselves() {
        for message in [&b""[..], b"hello", &[7; 100_000]] {
            let packed = pack(message).unwrap();
            assert!(packed.len() <= longest_packed(message.len()));
            assert_eq!(unpack(&packed, 100_000).unwrap(), message);
        }
    }

    #[test]
    fn a_block_that_declares_too_much_is_refused_before_it_is_unpacked() {
        let packed = pack(&[7; 100_000]).unwrap();
        assert_eq!(unpack(&packed, 99_999), Err(SnappyError::TooLong(100_000)));
        // 4 GiB, as nine bytes could claim.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0];
        assert_eq!(unpack(&bomb, 1 << 20), Err(SnappyError::TooLong(0xffff_ffff)));
        // 1 MiB is within the limit, but six bytes cannot hold it.
        let lie = [0x80, 0x80, 0x40, 0, 0, 0];
        assert_eq!(unpack(&lie, 1 << 20), Err(SnappyError::Malformed));
    }

    #[test]
    fn the_densest_block_is_not_taken_for_a_lie() {
        let zeros = vec![0; 1 << 20];
        assert_eq!(unpack(&pack(&zeros).unwrap(), 1 << 20), Ok(zeros));
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        for malformed in [&[][..], &[5, 0], &[0xff; 12], &[2, 0, b'a', b'b', b'c']] {
            assert_eq!(unpack(malformed, 1 << 20), Err(SnappyError::Malformed));
        }
    }
}
