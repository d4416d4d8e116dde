//! Records that a peer, or somebody on the way, has changed, repeated, cut or left unfinished.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use wormhole::net::LinkFailure;
use wormhole::transit::{
    Ability, BadRecord, Hint, Pipe, PipeError, Role, Settings, TcpHint, Transit, TransitInfo,
};
use wormhole_magic::transit::{Opener, Sealer};

use crate::{direct, key};

/// A receiver's end of a connection, and the sender's end as bytes.
async fn start() -> (Pipe, TcpStream, Sealer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let hints = vec![Hint::Direct(TcpHint::new("127.0.0.1", port))];
    let peer = TransitInfo { abilities: vec![Ability::DirectTcp], hints };
    let transit = Transit::new(Settings { listen: false, ..direct() }).unwrap();
    let key = key();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[&key.hello(Role::Sender)[..], b"go\n"].concat()).await.unwrap();
        let mut hello = vec![0; key.hello(Role::Receiver).len()];
        stream.read_exact(&mut hello).await.unwrap();
        stream
    };
    let (pipe, stream) = tokio::join!(transit.connect(Role::Receiver, &key, &peer), serve);
    (pipe.unwrap(), stream, Sealer::new(&key, Role::Sender))
}

#[tokio::test]
async fn a_changed_record_is_rejected_wherever_it_was_changed() {
    // In the MAC, and in the ciphertext.
    for position in [4 + 24, 4 + 24 + 16] {
        let (mut pipe, mut stream, mut sealer) = start().await;
        let mut record = sealer.seal_to_vec(b"contents").unwrap();
        record[position] ^= 1;
        stream.write_all(&record).await.unwrap();
        let forged = PipeError::Record(BadRecord::Forged);
        assert_eq!(pipe.receive_record().await, Err(forged.clone()));
        assert_eq!(forged.to_string(), "a record was changed during the transfer");
    }
}

#[tokio::test]
async fn a_repeated_record_is_rejected() {
    let (mut pipe, mut stream, mut sealer) = start().await;
    let record = sealer.seal_to_vec(b"once").unwrap();
    stream.write_all(&[&record[..], &record].concat()).await.unwrap();
    assert_eq!(pipe.receive_record().await.unwrap(), b"once");
    assert_eq!(pipe.receive_record().await, Err(PipeError::Record(BadRecord::Nonce)));
}

#[tokio::test]
async fn a_missing_record_is_noticed_at_the_next_one() {
    let (mut pipe, mut stream, mut sealer) = start().await;
    let _dropped = sealer.seal_to_vec(b"first").unwrap();
    stream.write_all(&sealer.seal_to_vec(b"second").unwrap()).await.unwrap();
    assert_eq!(pipe.receive_record().await, Err(PipeError::Record(BadRecord::Nonce)));
}

#[tokio::test]
async fn our_own_record_is_not_accepted_from_the_peer() {
    let (mut pipe, mut stream, _sealer) = start().await;
    pipe.send_record(b"to the peer").await.unwrap();
    let mut record = vec![0; 4 + 24 + 16 + 11];
    stream.read_exact(&mut record).await.unwrap();
    stream.write_all(&record).await.unwrap();
    assert_eq!(pipe.receive_record().await, Err(PipeError::Record(BadRecord::Forged)));
}

#[tokio::test]
async fn a_length_that_no_record_has_is_rejected_before_the_record_arrives() {
    for (length, error) in [
        (0_u32, BadRecord::Length(0)),
        (39, BadRecord::Length(39)),
        (u32::MAX, BadRecord::TooLong(4_294_967_295)),
    ] {
        let (mut pipe, mut stream, _sealer) = start().await;
        stream.write_all(&length.to_be_bytes()).await.unwrap();
        assert_eq!(pipe.receive_record().await, Err(PipeError::Record(error)));
    }
}

#[tokio::test]
async fn a_record_that_ends_in_the_middle_is_not_delivered() {
    let (mut pipe, mut stream, mut sealer) = start().await;
    let record = sealer.seal_to_vec(b"unfinished").unwrap();
    stream.write_all(&record[..record.len() - 1]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(pipe.receive_record().await, Err(PipeError::Link(LinkFailure::Closed)));
}

#[tokio::test]
async fn giving_up_in_the_middle_of_a_record_loses_nothing() {
    let (mut pipe, mut stream, mut sealer) = start().await;
    let record = sealer.seal_to_vec(b"in two parts").unwrap();
    let (start, rest) = record.split_at(30);
    stream.write_all(start).await.unwrap();
    let early = timeout(Duration::from_millis(20), pipe.receive_record()).await;
    assert!(early.is_err(), "{early:?}");
    stream.write_all(rest).await.unwrap();
    assert_eq!(pipe.receive_record().await.unwrap(), b"in two parts");
}

#[tokio::test]
async fn records_are_read_one_by_one_however_the_stream_is_divided() {
    let (mut pipe, mut stream, mut sealer) = start().await;
    stream.set_nodelay(true).unwrap();
    let records: Vec<_> =
        (0..5_u8).map(|number| sealer.seal_to_vec(&[number; 100]).unwrap()).collect();
    let bytes = records.concat();
    for size in [1, 7, 143, 500] {
        let (mut pipe, mut stream, _sealer) = start().await;
        let write = async {
            for part in bytes.chunks(size) {
                stream.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            for number in 0..5_u8 {
                assert_eq!(pipe.receive_record().await.unwrap(), vec![number; 100]);
            }
        };
        tokio::join!(write, read);
    }
    // All of them at once.
    stream.write_all(&bytes).await.unwrap();
    for number in 0..5_u8 {
        assert_eq!(pipe.receive_record().await.unwrap(), vec![number; 100]);
    }
}

#[tokio::test]
async fn a_record_whose_future_was_dropped_is_sent_with_the_next_one() {
    let (mut pipe, mut stream, _sealer) = start().await;
    // More than the buffers of the system hold.
    let long = vec![7; 16 << 20];
    let early = timeout(Duration::from_millis(20), pipe.send_record(&long)).await;
    assert!(early.is_err(), "{early:?}");
    let read = async {
        let mut opener = Opener::new(&key(), Role::Receiver);
        let mut records = Vec::new();
        for _ in 0..2 {
            let mut record = vec![0; 4];
            stream.read_exact(&mut record).await.unwrap();
            let length = u32::from_be_bytes(record[..].try_into().unwrap());
            record.resize(4 + usize::try_from(length).unwrap(), 0);
            stream.read_exact(&mut record[4..]).await.unwrap();
            records.push(opener.open(&mut record).unwrap().to_vec());
        }
        records
    };
    let (sent, records) = tokio::join!(pipe.send_record(b"next"), read);
    sent.unwrap();
    assert!(records[0] == long);
    assert_eq!(records[1], b"next");
}

#[tokio::test]
async fn sending_to_a_peer_that_has_left_ends_with_an_error() {
    let (mut pipe, stream, _sealer) = start().await;
    drop(stream);
    let error = loop {
        if let Err(error) = pipe.send_record(&[0; 1000]).await {
            break error;
        }
    };
    assert_eq!(error.to_string(), "the connection was lost");
}

#[tokio::test]
async fn the_longest_record_is_sent_and_a_longer_one_is_refused() {
    let (mut pipe, mut stream, _sealer) = start().await;
    let longest = 16 << 20;
    let drain = async {
        let mut record = vec![0; 4 + 24 + 16 + longest];
        stream.read_exact(&mut record).await.unwrap();
    };
    let record = vec![0; longest];
    let (sent, ()) = tokio::join!(pipe.send_record(&record), drain);
    sent.unwrap();
    let too_long = pipe.send_record(&vec![0; longest + 1]).await.unwrap_err();
    assert_eq!(too_long, PipeError::TooLong(longest + 1));
    assert_eq!(too_long.to_string(), "16777217 bytes do not fit into one record");
}
