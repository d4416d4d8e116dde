//! Where a JSON value ends in a stream of them. Looks at every byte once.

/// What has come of the next value.
#[derive(Debug)]
pub(crate) struct JsonSplitter {
    limit: usize,
    bytes: Vec<u8>,
    /// Objects and arrays that are open.
    depth: usize,
    in_text: bool,
    escaped: bool,
}

/// What came is no object or array, or longer than may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct InvalidStream;

impl JsonSplitter {
    /// Takes values of up to `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), depth: 0, in_text: false, escaped: false }
    }

    /// Takes more of the stream in, and returns the values that are complete. Whether they are JSON
    /// within is not looked at.
    pub(crate) fn push(&mut self, more: &[u8]) -> Result<Vec<Vec<u8>>, InvalidStream> {
        let mut complete = Vec::new();
        for &byte in more {
            if self.depth == 0 && byte.is_ascii_whitespace() {
                continue;
            }
            if self.bytes.len() >= self.limit || (self.depth == 0 && !matches!(byte, b'{' | b'[')) {
                return Err(InvalidStream);
            }
            self.bytes.push(byte);
            self.step(byte);
            if self.depth == 0 {
                complete.push(std::mem::take(&mut self.bytes));
            }
        }
        Ok(complete)
    }

    const fn step(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_within_texts_end_nothing() {
        let mut frames = JsonSplitter::new(100);
        let text = br#" {"a":"}\"]"} [[1],{}] {"#;
        let complete = frames.push(text).unwrap();
        assert_eq!(complete, [br#"{"a":"}\"]"}"#.to_vec(), b"[[1],{}]".to_vec()]);
        assert_eq!(frames.push(b"}").unwrap(), [b"{}"]);
    }

    #[test]
    fn what_is_no_value_or_too_long_ends_it() {
        assert_eq!(JsonSplitter::new(9).push(b"hello"), Err(InvalidStream));
        assert_eq!(JsonSplitter::new(9).push(b"}"), Err(InvalidStream));
        assert_eq!(JsonSplitter::new(9).push(b"[\"1234567\"]"), Err(InvalidStream));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_stream_is_cut(at in 0_usize..40) {
            let stream = br#"{"id":1,"x":"\\"}[{"id":2}] {"y":[]}"#;
            let mut frames = JsonSplitter::new(100);
            let (first, second) = stream.split_at(at.min(stream.len()));
            let mut complete = frames.push(first).unwrap();
            complete.extend(frames.push(second).unwrap());
            prop_assert_eq!(complete.len(), 3);
        }

        #[test]
        fn no_stream_is_too_strange(bytes: Vec<u8>) {
            let _either = JsonSplitter::new(64).push(&bytes);
        }
    }
}
