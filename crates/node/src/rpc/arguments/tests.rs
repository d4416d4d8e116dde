//! The error messages of go-ethereum for invalid arguments.

use super::*;

fn refusal<T: Argument>(params: &str) -> String {
    let error = only::<T>(Some(params)).err().unwrap();
    assert_eq!(error.code, -32602);
    error.message
}

#[test]
fn arguments_are_an_array_of_the_right_length() {
    assert_eq!(refusal::<u32>("[]"), "missing value for required argument 0");
    assert_eq!(refusal::<u32>(" null "), "missing value for required argument 0");
    assert_eq!(refusal::<u32>("[1,2]"), "too many arguments, want at most 1");
    assert_eq!(refusal::<u32>("{\"size\":1}"), "non-array args");
    assert_eq!(only::<u32>(Some(" [7] ")), Ok(7));
    assert!(none(None).is_ok() && none(Some("[]")).is_ok() && none(Some("[1]")).is_err());
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    let cases = [
        (refusal::<u32>("[\"1\"]"), "string into Go value of type uint32"),
        (refusal::<u32>("[-1]"), "number -1 into Go value of type uint32"),
        (refusal::<u32>("[1.5]"), "number 1.5 into Go value of type uint32"),
        (refusal::<u32>("[4294967296]"), "number 4294967296 into Go value of type uint32"),
        (refusal::<f64>("[true]"), "bool into Go value of type float64"),
        (refusal::<f64>("[1e999]"), "number 1e999 into Go value of type float64"),
        (refusal::<Zeroizing<String>>("[1]"), "number into Go value of type string"),
        (refusal::<Zeroizing<String>>("[{}]"), "object into Go value of type string"),
        (refusal::<bool>("[[]]"), "array into Go value of type bool"),
        (refusal::<Hex>("[7]"), "non-string into Go value of type hexutil.Bytes"),
        (refusal::<Hex>("[null]"), "non-string into Go value of type hexutil.Bytes"),
        (
            refusal::<Hex>("[\"0102\"]"),
            "hex string without 0x prefix into Go value of type hexutil.Bytes",
        ),
        (
            refusal::<Hex>("[\"0x1\"]"),
            "hex string of odd length into Go value of type hexutil.Bytes",
        ),
        (refusal::<Hex>("[\"0xzz\"]"), "invalid hex string into Go value of type hexutil.Bytes"),
    ];
    for (said, expected) in cases {
        assert_eq!(said, format!("invalid argument 0: json: cannot unmarshal {expected}"));
    }
}

#[test]
fn fixed_bytes_say_their_length() {
    let read = |json: &str| fixed::<4>(json, "Topic", "whisperv6.TopicType");
    assert_eq!(read("\"0x01ABcdef\""), Ok([1, 0xab, 0xcd, 0xef]));
    let said = |json: &str| read(json).unwrap_err().to_string();
    assert_eq!(said("\"0x01\""), "hex string has length 2, want 8 for Topic");
    assert_eq!(said("\"01020304\""), "hex string without 0x prefix");
    assert_eq!(said("\"0xzzzzzzzz\""), "invalid hex string");
    assert_eq!(
        said("1"),
        "json: cannot unmarshal number into Go value of type whisperv6.TopicType"
    );
}

#[test]
fn fields_are_found_in_any_case_and_the_last_one_counts() {
    let fields =
        Fields::read(r#"{"TTL":1,"ttl":2,"topic":null,"x":{}}"#, "NewMessage", "T").unwrap();
    assert_eq!(fields.find("ttl", u32::read), Ok(Some(2)));
    assert_eq!(fields.find("topic", u32::read), Ok(None));
    let fault = fields.find("x", u32::read).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "json: cannot unmarshal object into Go struct field NewMessage.x of type uint32"
    );
    let fault = Fields::read("[]", "NewMessage", "whisperv6.NewMessage").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "json: cannot unmarshal array into Go value of type whisperv6.NewMessage"
    );
}
