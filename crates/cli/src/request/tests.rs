//! Tests how command lines become requests.

use clap::Parser as _;

use super::*;
use crate::args::{Args, Command, OnExists};

/// Reads a command line of `send`.
fn send(words: &[&str], config: &Config) -> Result<SendRequest> {
    let args = Args::try_parse_from([&["wormhole"], words].concat())?;
    let Command::Send(send) = args.command else { panic!("not send: {words:?}") };
    SendRequest::new(send, &args.global, config)
}

/// Reads a command line of `receive`.
fn receive(words: &[&str], config: &Config) -> Result<ReceiveRequest> {
    let args = Args::try_parse_from([&["wormhole"], words].concat())?;
    let Command::Receive(receive) = args.command else { panic!("not receive: {words:?}") };
    ReceiveRequest::new(receive, &args.global, config)
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let config = Config::default();
    for words in [
        ["--relay-url", "ws://h/v1", "send", "f"],
        ["send", "--relay-url", "ws://h/v1", "f"],
        ["tx", "f", "--relay-url", "ws://h/v1"],
    ] {
        let request = send(&words, &config).unwrap();
        assert_eq!(request.settings.servers, ["ws://h/v1".parse().unwrap()]);
    }
}

#[test]
fn every_alias_receives() {
    for alias in ["receive", "rx", "recv", "recieve"] {
        assert!(receive(&[alias, "4-purple-sausages"], &Config::default()).is_ok());
    }
}

#[test]
fn flags_beat_the_configuration_file() {
    let config = Config {
        relay_url: Some("ws://file/v1".to_owned()),
        code_length: Some(3),
        listen: Some(false),
        ..Config::default()
    };
    let request = send(&["send", "f"], &config).unwrap();
    assert_eq!(request.settings.code_words.get(), 3);
    assert!(!request.settings.listen);
    let flags = ["send", "f", "-c", "4", "--listen", "--relay-url", "ws://flag/v1"];
    let request = send(&flags, &config).unwrap();
    assert_eq!(request.settings.code_words.get(), 4);
    assert_eq!(request.settings.servers, ["ws://flag/v1".parse().unwrap()]);
    assert!(request.settings.listen);
}

#[test]
fn the_last_of_two_contrary_flags_counts() {
    let config = Config::default();
    assert!(!send(&["send", "f", "--listen", "--no-listen"], &config).unwrap().settings.listen);
    assert!(send(&["send", "f", "--no-listen", "--listen"], &config).unwrap().settings.listen);
    assert_eq!(send(&["send", "f", "--qr", "--no-qr"], &config).unwrap().qr, Qr::Never);
    assert_eq!(send(&["send", "f", "--no-qr", "--qr"], &config).unwrap().qr, Qr::Always);
    let twice = ["send", "f", "--code", "4-a", "--code", "5-b"];
    assert_eq!(send(&twice, &config).unwrap().settings.code.unwrap().to_string(), "5-b");
}

#[test]
fn zero_mode_is_a_code_without_words() {
    let request = send(&["send", "-0", "f"], &Config::default()).unwrap();
    assert!(request.zero_mode);
    assert_eq!(request.settings.code.unwrap().to_string(), "0-");
}

#[test]
fn an_empty_transit_helper_means_no_relay_of_ours() {
    let request = send(&["send", "f", "--transit-helper", ""], &Config::default()).unwrap();
    assert!(request.settings.relays.is_empty());
}

#[test]
fn a_link_can_name_another_mailbox_server() {
    let link = "wormhole-transfer:4-x?rendezvous=ws%3A%2F%2Fhost%3A4000";
    let request = receive(&["receive", link], &Config::default()).unwrap();
    assert_eq!(request.settings.servers, ["ws://host:4000/v1".parse().unwrap()]);
}

#[test]
fn standard_input_is_a_stream_and_can_have_a_name() {
    let config = Config::default();
    assert_eq!(send(&["send", "-"], &config).unwrap().what, What::Stream("stdin".to_owned()));
    let named = send(&["send", "-", "--name", "x.tar"], &config).unwrap();
    assert_eq!(named.what, What::Stream("x.tar".to_owned()));
}

#[test]
fn a_text_may_begin_with_a_hyphen_and_a_hyphen_alone_reads_one() {
    let config = Config::default();
    assert_eq!(send(&["send", "--text", "-"], &config).unwrap().what, What::TextFromInput);
    let hyphen = send(&["send", "--text", "-x"], &config).unwrap();
    assert_eq!(hyphen.what, What::Text("-x".to_owned()));
    assert_eq!(send(&["send"], &config).unwrap().what, What::TextFromPrompt);
}

#[test]
fn the_length_of_a_code_is_ignored_where_the_code_is_given() {
    let words = ["send", "f", "--code", "4-purple-sausages", "-c", "3"];
    let request = send(&words, &Config::default()).unwrap();
    assert_eq!(request.settings.code.unwrap().to_string(), "4-purple-sausages");
}

#[test]
fn a_text_and_paths_contradict_each_other() {
    let refused = send(&["send", "--text", "foo", "file"], &Config::default()).unwrap_err();
    assert_eq!(refused.to_string(), "--text and 'file' cannot be sent together");
}

#[test]
fn an_output_that_exists_as_a_directory_is_filled_and_any_other_is_a_name() {
    let output = |path: &str| {
        let request = receive(&["receive", "4-x", "-o", path], &Config::default()).unwrap();
        (request.output, request.on_exists)
    };
    let here = std::env::current_dir().unwrap();
    assert_eq!(output("src"), (Output::Into(here.join("src")), OnExists::Overwrite));
    assert_eq!(output("nosuch"), (Output::Named(here.join("nosuch")), OnExists::Overwrite));
    assert_eq!(output("-"), (Output::Stdout, OnExists::Overwrite));
}

#[test]
fn the_command_for_the_other_side_has_the_servers_where_python_accepts_them() {
    let servers = Servers {
        relay_url: Some(Setting {
            value: "ws://h:4000/v1".to_owned(),
            source: "--relay-url".to_owned(),
        }),
        transit_helper: None,
        appid: Some("my app".to_owned()),
    };
    let line = servers.other_side(["receive", "--verify", "4-x"]);
    assert_eq!(line, "wormhole --relay-url=ws://h:4000/v1 '--appid=my app' receive --verify 4-x");
    assert_eq!(Servers::default().other_side(["receive", "4-x"]), "wormhole receive 4-x");
}

#[test]
fn what_is_traced_must_be_known() {
    let config = Config::default();
    let all = send(&["send", "f", "--debug-state"], &config).unwrap();
    assert_eq!(all.display.debug.len(), 12);
    let some = send(&["send", "f", "--debug-state=N,M"], &config).unwrap();
    assert_eq!(some.display.debug, ["N", "M"]);
    assert!(send(&["send", "f", "--debug-state=Q"], &config).is_err());
}
