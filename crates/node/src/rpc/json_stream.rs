//! Splits a stream of JSON values at their ends. Reads every byte once.

/// Splits a stream into JSON values.
#[derive(Debug)]
pub(crate) struct JsonSplitter {
    limit: usize,
    /// The start of the next value.
    bytes: Vec<u8>,
    /// Number of open objects and arrays.
    depth: usize,
    in_string: bool,
    escaped: bool,
}

/// A value is not an object or array, or is too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct InvalidStream;

impl JsonSplitter {
    /// For values of up to `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), depth: 0, in_string: false, escaped: false }
    }

    /// Adds bytes of the stream. Returns the values that are complete. They may be invalid JSON inside.
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
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
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
    fn brackets_in_strings_do_not_end_a_value() {
        let mut splitter = JsonSplitter::new(100);
        let text = br#" {"a":"}\"]"} [[1],{}] {"#;
        let complete = splitter.push(text).unwrap();
        assert_eq!(complete, [br#"{"a":"}\"]"}"#.to_vec(), b"[[1],{}]".to_vec()]);
        assert_eq!(splitter.push(b"}").unwrap(), [b"{}"]);
    }

    #[test]
    fn a_stream_with_an_invalid_or_long_value_is_refused() {
        assert_eq!(JsonSplitter::new(9).push(b"hello"), Err(InvalidStream));
        assert_eq!(JsonSplitter::new(9).push(b"}"), Err(InvalidStream));
        assert_eq!(JsonSplitter::new(9).push(b"[\"1234567\"]"), Err(InvalidStream));
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_how_the_stream_is_cut(at in 0_usize..40) {
            let stream = br#"{"id":1,"x":"\\"}[{"id":2}] {"y":[]}"#;
            let mut splitter = JsonSplitter::new(100);
            let (first, second) = stream.split_at(at.min(stream.len()));
            let mut complete = splitter.push(first).unwrap();
            complete.extend(splitter.push(second).unwrap());
            prop_assert_eq!(complete.len(), 3);
        }

        #[test]
        fn no_stream_causes_a_panic(bytes: Vec<u8>) {
            let _either = JsonSplitter::new(64).push(&bytes);
        }
    }
}
