//! Tests of the decoder with valid, invalid and truncated input.

use proptest::prelude::*;

use super::*;

/// A frame as a client sends it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, 0, payload);
    let header = out.len() - payload.len();
    let mut bytes = vec![first, out[1] | 0x80];
    bytes.extend_from_slice(&out[2..header]);
    let mask = [1, 2, 3, 4];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Decodes `bytes` in pieces of `size` bytes.
fn decode(limit: usize, bytes: &[u8], size: usize) -> Result<Vec<Received>, InvalidFrame> {
    let mut decoder = Decoder::new(limit);
    let mut all = Vec::new();
    for mut piece in bytes.chunks(size) {
        while let Some(received) = decoder.next(&mut piece)? {
            all.push(received);
        }
        assert!(piece.is_empty());
    }
    Ok(all)
}

#[test]
fn frames_of_every_length_are_written_and_read() {
    for length in [0, 1, 125, 126, 127, 65535, 65536, 70000] {
        let payload = vec![b'x'; length];
        let bytes = masked(0x81, &payload);
        assert_eq!(decode(1 << 20, &bytes, 4096), Ok(vec![Received::Message(payload)]));
    }
}

#[test]
fn fragments_of_a_message_are_joined_even_with_control_frames_between_them() {
    let mut bytes = masked(0x01, b"one ");
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x00, b"two "));
    bytes.extend(masked(0x80, b"three"));
    let expected = vec![Received::Ping(b"ping".into()), Received::Message(b"one two three".into())];
    assert_eq!(decode(100, &bytes, 7), Ok(expected));
}

#[test]
fn a_message_over_the_limit_is_skipped_and_the_next_one_is_decoded() {
    let mut bytes = masked(0x81, &[b'x'; 1000]);
    bytes.extend(masked(0x01, &[b'x'; 90]));
    bytes.extend(masked(0x80, &[b'x'; 20]));
    bytes.extend(masked(0x81, b"small"));
    let oversized = || Received::Oversized(100);
    let expected = vec![oversized(), oversized(), Received::Message(b"small".into())];
    assert_eq!(decode(100, &bytes, 64), Ok(expected));
}

#[test]
fn an_incomplete_message_can_be_skipped() {
    let bytes = [masked(0x01, &[b'x'; 50]), masked(0x80, &[b'x'; 70])].concat();
    let next = masked(0x81, b"next");
    let mut decoder = Decoder::new(100);
    assert_eq!(decoder.next(&mut &bytes[..40]), Ok(None));
    assert!(decoder.buffered() > 0);
    decoder.skip_message();
    assert_eq!((decoder.buffered(), decoder.message.capacity()), (0, 0));
    assert_eq!(decoder.next(&mut &bytes[40..]), Ok(Some(Received::Skipped)));
    assert_eq!(decoder.next(&mut &next[..]), Ok(Some(Received::Message(b"next".into()))));
}

#[test]
fn parts_of_an_incomplete_message_can_be_taken() {
    let bytes = [masked(0x02, &[b'x'; 150]), masked(0x80, &[b'y'; 70])].concat();
    let mut decoder = Decoder::binary_only(100);
    let (mut parts, mut end) = (Vec::new(), Vec::new());
    assert_eq!(decoder.take_part(), None);
    for mut piece in bytes.chunks(60) {
        match decoder.next(&mut piece).unwrap() {
            Some(Received::Message(message)) => end = message,
            other => {
                assert_eq!(other, None);
                parts.extend(decoder.take_part());
            }
        }
    }
    assert!(parts.len() == 3 && !end.is_empty() && decoder.take_part().is_none());
    parts.push(end);
    assert_eq!(parts.concat(), [vec![b'x'; 150], vec![b'y'; 70]].concat());
}

#[test]
fn parts_are_frames_of_one_message() {
    let mut out = Vec::new();
    part(&mut out, true, false, b"one ");
    part(&mut out, false, false, b"two ");
    part(&mut out, false, true, b"three");
    part(&mut out, true, true, b"four");
    let heads = [out[0], out[6], out[12], out[19]];
    assert_eq!(heads, [0x02, 0x00, 0x80, 0x82]);
}

#[test]
fn a_text_message_is_an_error_if_only_binary_messages_are_accepted() {
    let mut decoder = Decoder::binary_only(100);
    assert_eq!(decoder.next(&mut &masked(0x81, b"x")[..]), Err(InvalidFrame));
}

#[test]
fn a_giant_header_reserves_no_memory() {
    let bytes = [0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0];
    let mut decoder = Decoder::new(1000);
    assert_eq!(decoder.next(&mut &bytes[..]), Ok(None));
    assert!(decoder.message.capacity() == 0);
}

#[test]
fn an_idle_decoder_uses_no_memory() {
    let mut decoder = Decoder::new(1000);
    let bytes = [masked(0x8a, b"pong"), masked(0x81, b"text")].concat();
    let mut input = bytes.as_slice();
    while decoder.next(&mut input).unwrap().is_some() {}
    let buffers = [&decoder.message, &decoder.control];
    assert!(buffers.iter().all(|buffer| buffer.capacity() == 0));
}

#[test]
fn invalid_frames_are_errors() {
    let unmasked = vec![0x81, 0x01, b'x'];
    let reserved_bit = masked(0xc1, b"x");
    let reserved_opcode = masked(0x83, b"x");
    let fragmented_control = masked(0x09, b"x");
    let long_control = masked(0x89, &[0; 126]);
    let continuation_without_start = masked(0x80, b"x");
    let message_inside_message = [masked(0x01, b"x"), masked(0x81, b"x")].concat();
    let negative_length = vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for bytes in [
        unmasked,
        reserved_bit,
        reserved_opcode,
        fragmented_control,
        long_control,
        continuation_without_start,
        message_inside_message,
        negative_length,
    ] {
        assert_eq!(decode(1000, &bytes, 100), Err(InvalidFrame), "{bytes:x?}");
    }
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5),
        size in 1_usize..50,
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|message| masked(0x82, message)).collect();
        let expected = messages.into_iter().map(Received::Message).collect();
        prop_assert_eq!(decode(1 << 16, &bytes, size), Ok(expected));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(64, &bytes, 13);
    }
}

#[test]
fn text_can_be_ignored() {
    let mut decoder = Decoder::ignoring_text(4);
    // Longer than a message may be, in two frames, and then a binary message.
    let frames = [&[0x01, 0x84, 0, 0, 0, 0][..], b"text", &[0x80, 0x81, 0, 0, 0, 0], b"!"].concat();
    let frames = [&frames[..], &[0x82, 0x81, 0, 0, 0, 0, 7]].concat();
    let mut input = &frames[..];
    assert_eq!(decoder.next(&mut input), Ok(Some(Received::Skipped)));
    assert_eq!(decoder.next(&mut input), Ok(Some(Received::Message(vec![7]))));
}
