//! The temporary file in which a sender stores a stream for an old client.

use std::io::{self, Cursor, Read};

use wormhole::transfer;

use super::*;
use crate::child::{self, LIMITED, limit_files};
use crate::liars::Liar;
use crate::old_client;

#[test]
fn a_spooled_stream_has_no_name_on_the_disk() {
    let temporary = Folder::new();
    let variable = format!("TMPDIR={}", temporary.path().display());
    child::run(a_spooled_stream_has_no_name_on_the_disk, &["env", &variable], async {
        let (settings, code) = settings().await;
        let reader = Box::new(Cursor::new(b"secret".repeat(1000)));
        let what = Outgoing::Stream { name: "s".into(), reader };
        let sender = transfer::send(what, settings.clone()).unwrap();
        let client = Liar::new(&settings, code);
        let receiving = async {
            let (offer, pipe) = client.accept().await;
            // The stream is stored by now, because its length is known.
            assert_eq!(offer["file"]["filesize"], 6000);
            let names = Folder::names_in(&std::env::temp_dir());
            assert!(!names.is_empty(), "the tests use another folder");
            assert!(names.iter().all(|name| name.starts_with("wormhole-test")), "{names:?}");
            pipe.close().await;
        };
        let ((sent, _), ()) = tokio::join!(finish(sender, None), receiving);
        assert!(sent.is_err());
    });
}

#[test]
fn a_stream_that_cannot_be_spooled_fails_with_the_folder_and_the_reason() {
    let this = a_stream_that_cannot_be_spooled_fails_with_the_folder_and_the_reason;
    child::run(this, LIMITED, async {
        let (settings, code) = settings().await;
        limit_files();
        let reader = Box::new(io::repeat(b'x').take(3 << 20));
        let what = Outgoing::Stream { name: "s".into(), reader };
        let sender = transfer::send(what, settings.clone()).unwrap();
        let client = Liar::new(&settings, code);
        let ((sent, _), reason) =
            tokio::join!(finish(sender, None), old_client::reason_without_offer(&client));
        let Err(Error::Spool { folder, why }) = sent else { panic!("{sent:?}") };
        assert_eq!((folder, why.kind), (std::env::temp_dir(), io::ErrorKind::FileTooLarge));
        assert_eq!(reason, "the sending side has no space for a temporary copy of the stream");
    });
}
