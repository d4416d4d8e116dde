//! What the application decides: where the code comes from, whether the verifiers match, whether and where an offer is
//! accepted, and when to cancel.

use std::io::{self, Read};

use wormhole::code::{self, Nameplate, Password};
use wormhole::transfer::{self, CodeSource};

use super::*;

#[tokio::test]
async fn a_receiver_can_create_the_code_and_the_sender_use_it() {
    let (mut settings, _) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"contents");
    settings.code = None;
    let mut receiver = transfer::receive(CodeSource::Allocate, settings.clone());
    settings.code = Some(receiver.code().await.unwrap());
    let sender = transfer::send(path(&file), settings).unwrap();
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"contents");
}

#[tokio::test]
async fn a_receiver_can_type_the_code() {
    let (settings, code) = settings().await;
    let sender = transfer::send(Outgoing::Text("hello".into()), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Input, settings);
    let receiving = async {
        let mut input = loop {
            if let Event::CodeWanted(input) = receiver.next().await.unwrap().unwrap() {
                break input;
            }
        };
        input.choose_nameplate(Nameplate::parse("4").unwrap()).unwrap();
        input.choose_words(Password::parse("purple-sausages").unwrap()).unwrap();
        assert_eq!(receiver.code().await.unwrap(), code);
        finish(receiver, None).await
    };
    let ((sent, _), (received, events)) = tokio::join!(finish(sender, None), receiving);
    assert!(sent.is_ok() && received.is_ok());
    assert!(events.iter().any(|event| matches!(event, Event::Text(text) if text == "hello")));
}

#[tokio::test]
async fn two_codes_end_the_transfer_on_both_sides_and_write_nothing() {
    let (settings, _) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
    let guess = Code::parse("4-purple-sausage").unwrap();
    let receiver = transfer::receive(CodeSource::Code(guess), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert_eq!(sent, Err(Error::Code(code::Error::WrongCode)));
    assert_eq!(received, Err(Error::Code(code::Error::WrongCode)));
    assert_eq!(to.names(), Vec::<String>::new());
}

/// Waits for the verifier, as text.
async fn verifier(transfer: &mut Transfer) -> String {
    loop {
        let event = transfer.next().await.unwrap().unwrap();
        if let Event::Wormhole(code::Event::Verifier(verifier)) = event {
            return verifier.to_string();
        }
    }
}

#[tokio::test]
async fn both_sides_see_the_same_verifier_and_its_confirmation_starts_the_offer() {
    let (mut settings, code) = settings().await;
    settings.verify = true;
    let (from, to) = (Folder::new(), Folder::new());
    let mut sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let (ours, theirs) = tokio::join!(verifier(&mut sender), verifier(&mut receiver));
    assert_eq!(ours, theirs);
    sender.confirm_verifier(true);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, _), (received, _)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    assert!(sent.is_ok() && received.is_ok());
    assert_eq!(to.names(), ["a"]);
}

#[tokio::test]
async fn a_receiver_learns_nothing_of_the_offer_before_the_verifier_is_confirmed() {
    let (mut settings, code) = settings().await;
    settings.verify = true;
    let mut sender = transfer::send(Outgoing::Text("secret".into()), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let verify = async {
        verifier(&mut sender).await;
        sender.cancel().await;
    };
    let ((), (received, events)) = tokio::join!(verify, finish(receiver, None));
    assert_eq!(received, Err(Error::PeerRefused("transfer cancelled".into())));
    let is_offer = |event: &Event| matches!(event, Event::Offer(_) | Event::Text(_));
    assert!(!events.iter().any(is_offer), "{events:?}");
}

#[tokio::test]
async fn either_side_can_cancel_between_the_offer_and_its_answer() {
    for sender_cancels in [true, false] {
        let (settings, code) = settings().await;
        let from = Folder::new();
        let sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        offer(&mut receiver).await;
        let (cancelled, other) =
            if sender_cancels { (sender, receiver) } else { (receiver, sender) };
        let (_, (outcome, _)) = tokio::join!(cancelled.cancel(), finish(other, None));
        assert_eq!(outcome, Err(Error::PeerRefused("transfer cancelled".into())));
    }
}

#[tokio::test]
async fn a_text_whose_receiver_leaves_before_confirming_is_not_reported_as_delivered() {
    let (settings, code) = settings().await;
    let sender = transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        assert_eq!(receiver.offered().await.unwrap(), Offer::Text("a".into()));
        drop(receiver);
    };
    let ((sent, _), ()) = tokio::join!(finish(sender, None), receiving);
    assert_eq!(sent, Err(Error::PeerRefused("transfer cancelled".into())));
}

#[tokio::test]
async fn cancelling_frees_the_code_for_another_transfer() {
    let (settings, code) = settings().await;
    let mut first = transfer::send(Outgoing::Text("first".into()), settings.clone()).unwrap();
    first.code().await.unwrap();
    first.cancel().await;
    let second = transfer::send(Outgoing::Text("second".into()), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let ((sent, _), (received, events)) =
        tokio::join!(finish(second, None), finish(receiver, None));
    assert!(sent.is_ok() && received.is_ok());
    assert!(events.iter().any(|event| matches!(event, Event::Text(text) if text == "second")));
}

#[tokio::test]
async fn nothing_follows_the_result() {
    let (settings, code) = settings().await;
    let sender = transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        receiver.offered().await.unwrap();
        receiver.confirm_text();
        while !matches!(receiver.next().await, Some(Ok(Event::Done(_)))) {}
        // Decisions that come too late have no effect.
        receiver.reject("too late");
        receiver.next().await.is_none()
    };
    let ((sent, _), is_end) = tokio::join!(finish(sender, None), receiving);
    assert!(sent.is_ok());
    assert!(is_end);
}

#[tokio::test]
async fn a_chosen_path_replaces_the_senders_name() {
    let (from, to) = (Folder::new(), Folder::new());
    from.file("tree/inner", b"of a folder");
    for (what, arrived) in [
        (from.file("file", b"of a file"), to.path().join("mine")),
        (from.path().join("tree"), to.path().join("my tree")),
    ] {
        let (settings, code) = settings().await;
        let on_exists = OnExists::Refuse;
        let destination = Destination::Path { path: arrived.clone(), on_exists };
        let (sent, received) = transfer(path(&what), destination, settings, code).await;
        assert!(sent.is_ok());
        assert_eq!(received.unwrap().written, Some(arrived));
    }
    assert_eq!(to.names(), ["mine", "my tree"]);
    assert_eq!(std::fs::read(to.path().join("mine")).unwrap(), b"of a file");
    assert_eq!(std::fs::read(to.path().join("my tree/inner")).unwrap(), b"of a folder");
}

#[tokio::test]
async fn both_folders_are_kept_if_requested() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    from.file("tree/a", b"new");
    to.file("tree/a", b"old");
    let tree = from.path().join("tree");
    let (sent, received) =
        transfer(path(&tree), to.destination(OnExists::KeepBoth), settings, code).await;
    assert!(sent.is_ok());
    assert_eq!(received.unwrap().written, Some(to.path().join("tree (1)")));
    assert_eq!(std::fs::read(to.path().join("tree/a")).unwrap(), b"old");
    assert_eq!(std::fs::read(to.path().join("tree (1)/a")).unwrap(), b"new");
}

#[tokio::test]
async fn a_folder_with_more_entries_than_the_application_allows_is_refused() {
    let (mut settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    for name in ["tree/a", "tree/b", "tree/c"] {
        from.file(name, b"x");
    }
    settings.max_entries = Some(2);
    let tree = from.path().join("tree");
    let (sent, received) =
        transfer(path(&tree), to.destination(OnExists::Refuse), settings, code).await;
    assert_eq!(received, Err(Error::TooManyEntries(2)));
    let reason = "too many files or directories for the receiving side";
    assert_eq!(sent, Err(Error::PeerRefused(reason.into())));
    assert_eq!(to.names(), Vec::<String>::new());
}

/// A source that fails after its first bytes.
struct BrokenReader(bool);

impl Read for BrokenReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        buffer[0] = b'x';
        Ok(1)
    }
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_to_its_end_fails_on_both_sides() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let what = Outgoing::Stream { name: "s".into(), reader: Box::new(BrokenReader(false)) };
    let (sent, received) = transfer(what, to.destination(OnExists::Refuse), settings, code).await;
    assert!(matches!(sent, Err(Error::Unsendable(_))), "{sent:?}");
    let reason = "the sending side could not read what it offered";
    assert_eq!(received, Err(Error::PeerRefused(reason.into())));
    assert_eq!(to.names(), Vec::<String>::new());
}
