use super::*;

fn read(json: &str) -> Request<'_> {
    match Message::read(json.as_bytes(), 3) {
        Ok(Message::Single(request)) => request,
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn every_number_text_and_null_is_an_id_and_comes_back_as_it_was_written() {
    for id in [
        "0",
        "1",
        "-1",
        "1.0",
        "0.5",
        "1e3",
        "-1.5E-7",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1e999",
        r#""""#,
        r#""a\u0041\n""#,
        r#""\ud800""#,
        "null",
    ] {
        let json = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"m"}}"#);
        let Request::Call(read, _) = read(&json) else { panic!("{id}") };
        assert_eq!(response(read, Ok("7")), format!(r#"{{"jsonrpc":"2.0","id":{id},"result":7}}"#));
    }
}

#[test]
fn an_id_of_another_type_makes_the_request_invalid() {
    for id in ["true", "false", "[]", "[1]", "{}", r#"{"a":1}"#] {
        let json = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        assert!(matches!(read(&json), Request::Invalid(Id::NULL)), "{id}");
    }
}

#[test]
fn a_request_without_an_id_is_a_notification_and_one_with_null_is_not() {
    assert!(matches!(read(r#"{"jsonrpc":"2.0","method":"m"}"#), Request::Notification(_)));
    assert!(matches!(
        read(r#"{"jsonrpc":"2.0","method":"m","id":null}"#),
        Request::Call(Id::NULL, _)
    ));
}

#[test]
fn what_is_json_but_no_request_is_answered_to_its_id_if_it_has_one() {
    for (json, id) in [
        ("1", "null"),
        ("\"x\"", "null"),
        ("null", "null"),
        ("{}", "null"),
        (r#"{"id":1}"#, "1"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "1"),
        (r#"{"jsonrpc":"2.0","id":1,"method":null}"#, "1"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#, "1"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"m"}"#, "1"),
        (r#"{"id":1,"method":"m"}"#, "1"),
    ] {
        let Request::Invalid(Id(said)) = read(json) else { panic!("{json}") };
        assert_eq!(said, id, "{json}");
    }
}

#[test]
fn members_may_come_in_any_order_with_others_and_with_escapes() {
    let json = r#"{"x":[{}],"params":[1],"method":"a\u0062","id":1,"json\u0072pc":"2.0","id":2}"#;
    let Request::Call(id, method) = read(json) else { panic!() };
    assert_eq!((id, &*method.name, method.params), (Id("2"), "ab", Some("[1]")));
}

#[test]
fn a_batch_has_at_least_one_request_and_not_too_many() {
    let code = |json: &str| Message::read(json.as_bytes(), 3).unwrap_err().code;
    assert_eq!(code("[]"), INVALID_REQUEST);
    assert_eq!(code("[1,2,3,4]"), BATCH_TOO_LONG);
    assert_eq!(code("[1,2,3,"), PARSE_ERROR);
    assert_eq!(code("[1,2,3,4,}]"), PARSE_ERROR);
    let Ok(Message::Batch(requests)) = Message::read(b" [1, {}, []] ", 3) else { panic!() };
    assert!(requests.iter().all(|request| matches!(request, Request::Invalid(Id::NULL))));
    assert_eq!(requests.len(), 3);
}

#[test]
fn what_is_not_json_is_a_parse_error() {
    for bytes in ["", "{", "hello", "[1,", "{\"a\":}", "{} {}", "\"\\x\""] {
        assert_eq!(Message::read(bytes.as_bytes(), 3).unwrap_err().code, PARSE_ERROR, "{bytes}");
    }
    assert_eq!(Message::read(b"\"\xff\"", 3).unwrap_err().code, PARSE_ERROR);
}

#[test]
fn an_error_says_what_it_is_about_safely() {
    let error = RpcError::new(-1, "no \"such\"\n");
    assert_eq!(
        response(Id::NULL, Err(&error)),
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"no \"such\"\n"}}"#
    );
}
