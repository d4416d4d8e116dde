//! Frames: a 4-byte big-endian length, then that many bytes. Everything after the prologue is a frame (dilation-protocol.md
//! "L2").

use wormhole_kit::Reader;

/// Collects received bytes into frames. Bytes may arrive in pieces of any size.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// Number of bytes at the start that have been returned.
    used: usize,
}

impl FrameBuffer {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.used > 0 && self.used >= self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.used));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes that have not been returned.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// Returns the next `length` bytes, if they have arrived.
    pub fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let taken = self.pending().get(..length)?.to_vec();
        self.used += length;
        Some(taken)
    }

    /// Returns the content of the next frame if it is complete.
    ///
    /// # Errors
    /// The frame is shorter than `shortest` or longer than `longest` bytes; close the connection.
    pub fn next_frame(
        &mut self,
        shortest: usize,
        longest: usize,
    ) -> Result<Option<Vec<u8>>, BadFrame> {
        let frame = self.next_frame_in_place(shortest, longest)?;
        Ok(frame.map(|frame| frame.to_vec()))
    }

    /// Like [`next_frame`](Self::next_frame), without copying the content. It may be decrypted where it is.
    ///
    /// # Errors
    /// As of [`next_frame`](Self::next_frame).
    pub fn next_frame_in_place(
        &mut self,
        shortest: usize,
        longest: usize,
    ) -> Result<Option<&mut [u8]>, BadFrame> {
        let Ok(length) = Reader::new(self.pending()).u32_be() else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| BadFrame(usize::MAX))?;
        if !(shortest..=longest).contains(&length) {
            return Err(BadFrame(length));
        }
        let start = self.used + PREFIX;
        let body = self.bytes.get_mut(start..start + length);
        if body.is_some() {
            self.used = start + length;
        }
        Ok(body)
    }
}

/// A frame must not have this length.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid frame length {0}")]
pub struct BadFrame(pub usize);

/// Size of the length before each frame.
pub const PREFIX: usize = 4;

/// Maximum plaintext of a frame. Python puts whatever its application writes at once into one record, up to 4 GiB; 64 KiB
/// are the most that has been seen. Memory is only allocated as bytes arrive.
pub const MAX_PLAINTEXT: usize = 64 << 20;

/// Maximum content of a frame.
pub const MAX_FRAME: usize =
    MAX_PLAINTEXT + super::noise::TAG * MAX_PLAINTEXT.div_ceil(super::noise::MAX_PIECE);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8),
            sizes in prop::collection::vec(1..50_usize, 1..50),
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                bytes.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
                bytes.extend(frame);
            }
            let (mut buffer, mut found) = (FrameBuffer::default(), Vec::new());
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                buffer.push(now);
                while let Some(frame) = buffer.next_frame(1, 40).unwrap() {
                    found.push(frame);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(buffer.pending().is_empty());
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_the_frame_arrives() {
        let refused = |length: u32| {
            let mut buffer = FrameBuffer::default();
            buffer.push(&length.to_be_bytes());
            buffer.next_frame(17, MAX_FRAME)
        };
        assert_eq!(refused(16), Err(BadFrame(16)));
        assert_eq!(refused(17), Ok(None));
        assert_eq!(refused(u32::MAX), Err(BadFrame(0xffff_ffff)));
        let longest = u32::try_from(MAX_FRAME).unwrap();
        assert_eq!(refused(longest), Ok(None));
        assert_eq!(refused(longest + 1), Err(BadFrame(MAX_FRAME + 1)));
    }
}
