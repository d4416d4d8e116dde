//! What nodes pass to one another.

use std::time::{Duration, SystemTime};

use rand_core::{OsRng, RngCore};
use wormhole_node::{
    Cover, DirectError, PostError,
    devp2p::key::PrivateKey,
    shh::{Bloom, Draft, EnvelopeError, Message, SymmetricKey, Topic, Work, seal::open_for},
};

use super::{
    TOPIC, connected, envelope_about, hear, opened, quick, sealed, sealed_for, start, start_beside,
    until,
};

#[tokio::test]
async fn a_signed_symmetric_message_goes_around_through_a_node_that_cannot_read_it() {
    let middle = start(quick()).await;
    let alice = start_beside(&middle).await;
    let bob = start_beside(&middle).await;
    connected(&middle, 2).await;
    let (key, signer) = (SymmetricKey::random(&mut OsRng), PrivateKey::random(&mut OsRng));
    let (mut own, mut between, mut far) = (alice.envelopes(), middle.envelopes(), bob.envelopes());
    let hash = alice.post(sealed("hello", &key, Some(&signer)).await).await.unwrap();
    for heard in [&mut own, &mut between, &mut far] {
        let (envelope, direct) = hear(heard).await;
        assert_eq!((envelope.hash(), direct), (hash, false));
        let message = opened(&envelope, &key);
        assert_eq!(message.payload, b"hello");
        assert_eq!(message.signer, Some(signer.public_key()));
    }
    for node in [alice, middle, bob] {
        node.stop().await;
    }
    assert_eq!(far.next().await, None);
}

#[tokio::test]
async fn only_the_recipient_can_decrypt_an_asymmetric_message() {
    let alice = start(quick()).await;
    let bob = start_beside(&alice).await;
    let (reader, other) = (PrivateKey::random(&mut OsRng), PrivateKey::random(&mut OsRng));
    let mut heard = bob.envelopes();
    alice.post(sealed_for("for you", &reader).await).await.unwrap();
    let (envelope, _) = hear(&mut heard).await;
    let opened = open_for(&reader, envelope.data()).unwrap();
    assert_eq!(Message::parse(&opened).unwrap().payload, b"for you");
    assert!(open_for(&other, envelope.data()).is_err());
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn a_direct_message_without_work_is_accepted_only_from_a_trusted_peer() {
    let alice = start(quick()).await;
    let bob = start_beside(&alice).await;
    let key = SymmetricKey::random(&mut OsRng);
    let data = key.seal(&super::plaintext("psst", super::Sealing::Symmetric, None), &mut OsRng);
    let now = SystemTime::now().into();
    let direct = Draft::new(now, 50, TOPIC, data).finish(0);
    let mut heard = bob.envelopes();

    alice.send_direct(bob.id(), direct.clone()).await.unwrap();
    // A later envelope arrives first, so the direct message was ignored.
    let hash = alice.post(sealed("loud", &key, None).await).await.unwrap();
    assert_eq!(hear(&mut heard).await.0.hash(), hash);

    assert!(bob.trust(alice.id()).await.unwrap());
    alice.send_direct(bob.id(), direct.clone()).await.unwrap();
    assert_eq!(hear(&mut heard).await, (direct.clone(), true));
    let stranger = PrivateKey::random(&mut OsRng).public_key().node_id();
    assert_eq!(alice.send_direct(stranger, direct).await, Err(DirectError::NotConnected));
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn what_a_node_does_not_ask_for_is_not_sent_to_it() {
    let alice = start(quick()).await;
    let bob = start_beside(&alice).await;
    let key = SymmetricKey::random(&mut OsRng);
    bob.set_bloom_filter(Bloom::of([Topic([9, 9, 9, 9])])).await.unwrap();
    let bloom = bob.status().await.unwrap().bloom;
    until(async || {
        let peers = alice.peers().await.unwrap();
        peers.iter().any(|peer| peer.id == bob.id() && peer.bloom == bloom).then_some(())
    })
    .await;
    let (mut said, mut heard) = (alice.envelopes(), bob.envelopes());
    let unwanted = alice.post(sealed("not for bob", &key, None).await).await.unwrap();
    // By then, the envelope has been sent to every peer that wants it.
    assert_eq!(hear(&mut said).await.0.hash(), unwanted);
    let wanted = envelope_about(Topic([9, 9, 9, 9]), key.seal(&[0; 256], &mut OsRng)).await;
    let wanted = alice.post(wanted).await.unwrap();
    assert_eq!(hear(&mut heard).await.0.hash(), wanted);
    // Once it asks for everything, it receives the envelope that it missed.
    bob.set_bloom_filter(Bloom::FULL).await.unwrap();
    assert_eq!(hear(&mut heard).await.0.hash(), unwanted);
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn an_envelope_waits_until_there_is_a_peer() {
    let mut settings = quick();
    settings.privacy.min_peers = 1;
    let alice = start(settings).await;
    let key = SymmetricKey::random(&mut OsRng);
    alice.post(sealed("patient", &key, None).await).await.unwrap();
    assert_eq!(alice.status().await.unwrap().waiting, 1);
    assert_eq!(alice.status().await.unwrap().envelopes, 0);
    let bob = start(quick()).await;
    let mut heard = bob.envelopes();
    assert_eq!(alice.add_peer(bob.enode()).await, Ok(true));
    assert_eq!(opened(&hear(&mut heard).await.0, &key).payload, b"patient");
    assert_eq!(alice.status().await.unwrap().waiting, 0);
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn an_envelope_with_too_little_work_is_refused_to_its_maker() {
    let node = start(quick()).await;
    node.set_min_work(Work::new(1000.0).unwrap()).await.unwrap();
    let key = SymmetricKey::random(&mut OsRng);
    let now = SystemTime::now().into();
    let cheap = Draft::new(now, 50, TOPIC, key.seal(&[0; 300], &mut OsRng)).finish(0);
    let refused = node.post(cheap).await;
    assert!(
        matches!(refused, Err(PostError::Refused(EnvelopeError::TooLittleWork(_)))),
        "{refused:?}"
    );
    node.stop().await;
}

#[tokio::test]
async fn cover_traffic_flows_without_anybody_posting() {
    let alice = start(quick()).await;
    let mut settings = quick();
    settings.static_peers = vec![alice.enode()];
    settings.cover = Some(Cover::every(Duration::from_millis(200)));
    let bob = start(settings).await;
    let mut heard = alice.envelopes();
    for _ in 0..3 {
        let (envelope, direct) = hear(&mut heard).await;
        assert!(!direct && envelope.data().len() > 256);
    }
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn ten_mebibytes_pass_between_trusted_peers_and_other_peers_stay_connected() {
    let mut settings = quick();
    settings.min_work = Work::NONE;
    settings.max_envelope_bytes = 10 << 20;
    let [one, two] = [start(settings.clone()).await, start(settings.clone()).await];
    one.trust(two.id()).await.unwrap();
    let ordinary = start_beside(&one).await;
    let mut heard = two.envelopes();
    two.add_peer(one.enode()).await.unwrap();
    connected(&one, 2).await;
    let mut data = vec![0; (10 << 20) - 20];
    OsRng.fill_bytes(&mut data);
    let large = Draft::new(SystemTime::now().into(), 50, TOPIC, data).finish(0);
    one.post(large.clone()).await.unwrap();
    assert!(hear(&mut heard).await.0 == large);
    // A later envelope reaches every node, and no link was closed.
    let mut heard = ordinary.envelopes();
    let small = sealed("small", &SymmetricKey::random(&mut OsRng), None).await;
    two.post(small.clone()).await.unwrap();
    assert_eq!(hear(&mut heard).await.0, small);
    assert_eq!(one.status().await.unwrap().peers, 2);
    for node in [one, two, ordinary] {
        node.stop().await;
    }
}
