//! Tests of batches: all changes of a batch are durable, or none.

use super::*;

cases! {
    committed_batches_are_durable_and_failed_batches_change_nothing,
    a_failed_batch_changes_nothing,
    bytes_of_a_failed_batch_are_not_charged,
}

fn committed_batches_are_durable_and_failed_batches_change_nothing(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "restart");
    let mailbox = scratch.claim("one", "4", 1.0).unwrap();
    scratch.add("one", &mailbox, "pake", 1.0).unwrap();
    let message = NewMessage::new("version".into(), "00".into(), "null".into());
    let add = Request::Add { mailbox: mailbox.clone(), message };
    scratch.store().fail_next_commit();
    scratch.batch("one", vec![Request::Claim("5".into()), add], 2.0).unwrap_err();
    scratch.reopen(StoreLimits::default());
    assert_eq!(scratch.list("app"), Ok(vec!["4".into()]));
    assert_eq!(scratch.claim("two", "4", 3.0), Ok(mailbox.clone()));
    assert_eq!(scratch.open("two", &mailbox, 3.0).unwrap(), ["pake"]);
    // The store has loaded which nameplates are free.
    let picked: Vec<String> =
        (0..8).map(|n| scratch.allocate(&n.to_string(), 4.0).unwrap()).collect();
    assert!(!picked.contains(&"4".into()) && picked.iter().all(|name| name.len() == 1));
}

fn a_failed_batch_changes_nothing(backend: &dyn Backend) {
    let mut scratch = Scratch::new(backend, "rollback");
    scratch.store().fail_next_commit();
    let claims = (1..=9).map(|number: u32| Request::Claim(number.to_string())).collect();
    scratch.batch("one", claims, 1.0).unwrap_err();
    assert_eq!(scratch.count(), (0, 0));
    assert_eq!(scratch.allocate("one", 1.0).unwrap().len(), 1);
    assert_eq!(scratch.usage(), []);
}

fn bytes_of_a_failed_batch_are_not_charged(backend: &dyn Backend) {
    let mut scratch = with_quota(backend, "undone", 100_000, 0);
    let address: Arc<AddressUsage> = Arc::default();
    fill(&mut scratch, &address, "a").unwrap();
    let before = address.stored.load(Ordering::Relaxed);
    let (identity, message) =
        (identity("a"), NewMessage::new("0".into(), "a".repeat(10_000), "null".into()));
    let mut requests = [
        Request::Add { mailbox: "a".into(), message },
        Request::Open("b".into()),
        Request::Close { mailbox: "a".into(), mood: Some("happy".into()) },
    ];
    let command = |request| Command { client: &identity, address: &address, request };
    let mut commands: Vec<Command<'_>> = requests.iter_mut().map(command).collect();
    scratch.store().fail_next_commit();
    scratch.store().apply(&mut commands, &[], at(1.0)).unwrap_err();
    assert_eq!(address.stored.load(Ordering::Relaxed), before);
    scratch.close("a", "a", "happy", 1.0).unwrap();
    assert_eq!(address.stored.load(Ordering::Relaxed), 0);
}
