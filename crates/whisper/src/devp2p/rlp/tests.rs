//! Tests of strict decoding, and of round trips.

use proptest::prelude::*;

use super::*;

#[test]
fn integers_are_minimal() {
    assert_eq!(uint(0), [0x80]);
    assert_eq!(uint(127), [0x7f]);
    assert_eq!(uint(128), [0x81, 0x80]);
    assert_eq!(uint(1024), [0x82, 4, 0]);
    assert_eq!(uint(u64::MAX), [0x88, 255, 255, 255, 255, 255, 255, 255, 255]);
}

#[test]
fn long_content_carries_the_length_of_its_length() {
    assert_eq!(string(&[9; 55])[..2], [0xb7, 9]);
    assert_eq!(string(&[9; 56])[..3], [0xb8, 56, 9]);
    assert_eq!(string(&[9; 256])[..4], [0xb9, 1, 0, 9]);
    let long_list = list(|list| {
        list.raw(&[1; 56]);
    });
    assert_eq!(long_list[..3], [0xf8, 56, 1]);
}

#[test]
fn a_second_encoding_of_the_same_value_is_refused() {
    let not_canonical: [&[u8]; 6] = [
        &[0x81, 0x7f],
        &[0x81, 0x00],
        &[0xb8, 1, 0x80],
        &[0xb9, 0, 56],
        &[0xf8, 1, 0x80],
        &[0xf9, 0, 56],
    ];
    for encoded in not_canonical {
        assert_eq!(Rlp::new(encoded).raw(), Err(RlpError::NotCanonical), "{encoded:02x?}");
    }
    assert_eq!(Rlp::new(&[0x82, 0, 1]).u32(), Err(RlpError::LeadingZero));
    assert_eq!(Rlp::new(&[0]).u32(), Err(RlpError::LeadingZero));
}

#[test]
fn integers_beyond_their_type_are_refused() {
    let encoded = [0x83, 1, 0, 0];
    assert_eq!(Rlp::new(&encoded).u32(), Ok(65_536));
    assert_eq!(Rlp::new(&encoded).u16(), Err(RlpError::IntegerTooLarge));
    assert_eq!(Rlp::new(&[2]).bool(), Err(RlpError::NotABool));
}

#[test]
fn content_past_the_end_is_refused_whatever_length_it_claims() {
    let claims: [&[u8]; 5] = [
        &[0x82, 1],
        &[0xb8],
        &[0xbf, 255, 255, 255, 255, 255, 255, 255, 255],
        &[0xff, 255, 255, 255, 255, 255, 255, 255, 255],
        &[0xc2, 1],
    ];
    for encoded in claims {
        assert!(matches!(Rlp::new(encoded).raw(), Err(RlpError::Truncated(_))), "{encoded:02x?}");
    }
}

#[test]
fn a_field_that_is_refused_is_not_consumed() {
    let mut reader = Rlp::new(&[0x82, 1, 2]);
    assert_eq!(reader.u8(), Err(RlpError::IntegerTooLarge));
    assert_eq!(reader.list().err(), Some(RlpError::ExpectedList));
    assert_eq!(reader.array::<3>(), Err(RlpError::WrongLength { wanted: 3, actual: 2 }));
    assert_eq!(reader.u16(), Ok(258));
    assert_eq!(reader.u16(), Err(RlpError::TooFewItems));
}

#[test]
fn raw_items_keep_their_header() {
    let encoded = [0xc2, 1, 2, 0x83, 7, 8, 9, 5];
    let mut reader = Rlp::new(&encoded);
    assert!(reader.next_is_list());
    assert_eq!(reader.raw(), Ok(&encoded[..3]));
    assert!(!reader.next_is_list());
    assert_eq!(reader.raw(), Ok(&encoded[3..7]));
    assert_eq!(reader.end(), Err(RlpError::TooManyItems));
    assert_eq!(reader.raw(), Ok(&encoded[7..]));
    assert_eq!(reader.end(), Ok(()));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(number: u64, content: Vec<u8>, inner: Vec<u8>) {
        let encoded = list(|outer| {
            outer.uint(number).string(&content).list(|list| {
                list.string(&inner);
            });
        });
        let mut fields = Rlp::only_list(&encoded).unwrap();
        prop_assert_eq!(fields.u64(), Ok(number));
        prop_assert_eq!(fields.string(), Ok(&content[..]));
        prop_assert_eq!(fields.list().unwrap().string(), Ok(&inner[..]));
        prop_assert_eq!(fields.end(), Ok(()));
    }

    #[test]
    fn a_string_that_reads_writes_back_to_the_same_bytes(encoded: Vec<u8>) {
        if let Ok(content) = Rlp::new(&encoded).string() {
            prop_assert!(encoded.starts_with(&string(content)));
        }
    }
}
