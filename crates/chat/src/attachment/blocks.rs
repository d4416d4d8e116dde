//! AES-256-CBC with PKCS #7 padding over pieces of any length.

use aes::Aes256;
use cbc::cipher::inout::InOutBuf;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use wormhole_kit::Secret;
use zeroize::Zeroizing;

/// Encrypts a plaintext that arrives in pieces.
pub(super) struct Encrypting {
    cipher: cbc::Encryptor<Aes256>,
    /// Bytes of an incomplete block.
    rest: Zeroizing<Vec<u8>>,
}

impl Encrypting {
    pub(super) fn new(key: &Secret<32>, iv: &[u8; 16]) -> Self {
        let cipher = cbc::Encryptor::new(key.expose().into(), iv.into());
        Self { cipher, rest: Zeroizing::new(Vec::with_capacity(BLOCK)) }
    }

    /// Encrypts all complete blocks and appends them to `output`.
    pub(super) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let start = output.len();
        output.reserve(self.rest.len() + piece.len());
        output.extend(self.rest.iter());
        self.rest.clear();
        output.extend(piece);
        let new = output.get_mut(start..).unwrap_or_default();
        let (blocks, rest) = InOutBuf::from(new).into_chunks();
        self.rest.extend(rest.get_in());
        let whole = start + BLOCK * blocks.len();
        self.cipher.encrypt_blocks_inout_mut(blocks);
        output.truncate(whole);
    }

    /// Pads and encrypts the rest.
    pub(super) fn finish(mut self, output: &mut Vec<u8>) {
        let missing = BLOCK - self.rest.len();
        let padding = vec![u8::try_from(missing).unwrap_or_default(); missing];
        self.update(&padding, output);
    }
}

/// Decrypts a ciphertext that arrives in pieces.
pub(super) struct Decrypting {
    cipher: cbc::Decryptor<Aes256>,
    /// Up to one block, which may be the last: its padding must be removed.
    rest: Vec<u8>,
}

impl Decrypting {
    pub(super) fn new(key: &Secret<32>, iv: &[u8; 16]) -> Self {
        let cipher = cbc::Decryptor::new(key.expose().into(), iv.into());
        Self { cipher, rest: Vec::with_capacity(BLOCK) }
    }

    /// Decrypts all blocks except the last and appends them to `output`.
    pub(super) fn update(&mut self, piece: &[u8], output: &mut Vec<u8>) {
        let held = self.rest.len() + piece.len();
        let kept = if held == 0 { 0 } else { (held - 1) % BLOCK + 1 };
        let start = output.len();
        output.reserve(held);
        output.append(&mut self.rest);
        output.extend(piece);
        let end = start + held - kept;
        self.rest.extend(output.get(end..).unwrap_or_default());
        output.truncate(end);
        let new = output.get_mut(start..).unwrap_or_default();
        let (blocks, _) = InOutBuf::from(new).into_chunks();
        self.cipher.decrypt_blocks_inout_mut(blocks);
    }

    /// Decrypts the last block and removes the padding, if the block is complete and padded
    /// correctly.
    pub(super) fn finish(mut self) -> Option<Zeroizing<Vec<u8>>> {
        let mut last = Zeroizing::new(std::mem::take(&mut self.rest));
        if last.len() != BLOCK {
            return None;
        }
        let (blocks, _) = InOutBuf::from(last.as_mut_slice()).into_chunks();
        self.cipher.decrypt_blocks_inout_mut(blocks);
        let padding = usize::from(*last.last()?);
        let start = BLOCK.checked_sub(padding).filter(|start| *start < BLOCK)?;
        let is_padding = last.iter().skip(start).all(|byte| usize::from(*byte) == padding);
        last.truncate(start);
        is_padding.then_some(last)
    }
}

/// Size of an AES block.
const BLOCK: usize = 16;
