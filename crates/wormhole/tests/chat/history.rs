//! The message history of clients, and its copy for another device.

use std::time::Duration;

use wormhole::chat::store::{Protection, Store, StoreError};
use wormhole::chat::{
    Account, AccountId, Client, Conversation, Copied, CopyError, EarlierMessage, HistoryMode,
    HistoryState, LinkPeerError, Message, Network, Options, Timestamp,
};
use wormhole::transit::{RelayPolicy, Settings};

use crate::mailbox::Mailbox;
use crate::world::{Folder, Person, World, next_message, say, soon};

/// Switches the history of a person on.
async fn keep(person: &Person) {
    person.account().set_history_mode(HistoryMode::ALL).await.unwrap();
}

fn with(client: &Client) -> Option<Conversation> {
    Some(Conversation::Account(client.me().address.account))
}

async fn texts(account: &Account, with: Option<Conversation>) -> Vec<String> {
    let messages = account.history(with, None, 100).await.unwrap();
    messages.iter().map(|message| message.text.clone().unwrap_or_default()).collect()
}

#[tokio::test]
async fn both_sides_of_a_conversation_are_in_the_history_and_are_found_without_a_connection() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550851", "+14155550852"]).await;
    keep(&alice).await;
    let (a, b) = (alice.open().await, bob.open().await);
    say(&a, &bob.destination(), "Shall we meet?").await;
    let question = next_message(&mut b.messages()).await;
    b.done(question.id).await.unwrap();
    say(&b, &alice.destination(), "Yes, at Café Mozart").await;
    let answer = next_message(&mut a.messages()).await;
    let messages = a.history(with(&b), None, 10).await.unwrap();
    let states: Vec<_> = messages.iter().map(|it| (it.is_ours, it.state)).collect();
    assert_eq!(states, [(false, HistoryState::Unread), (true, HistoryState::OnServer)]);
    a.done(answer.id).await.unwrap();
    assert_eq!(a.history(with(&b), None, 1).await.unwrap()[0].state, HistoryState::Read);
    let mut found = a.search("cafe moz", None);
    assert_eq!(found.next().await.unwrap().unwrap().text, answer.text);
    assert_eq!(found.next().await, Ok(None));
    assert_eq!(a.conversations().await.unwrap()[0].messages, 2);

    let account = a.close().await.unwrap();
    assert_eq!(texts(&account, with(&b)).await, ["Yes, at Café Mozart", "Shall we meet?"]);
    assert!(account.search("meet", with(&b)).next().await.unwrap().unwrap().is_ours);
    account.forget_conversation(with(&b).unwrap()).await.unwrap();
    assert_eq!(texts(&account, None).await, Vec::<String>::new());
    // Bob has not switched it on.
    assert_eq!(b.history(None, None, 10).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_client_deletes_what_is_too_old_while_it_runs() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550853", "+14155550854"]).await;
    keep(&bob).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut sent = Vec::new();
    for number in 0..3 {
        sent.push(a.send(&bob.destination(), Message::text(number.to_string())).await.unwrap());
    }
    let mut messages = b.messages();
    for _ in 0..3 {
        next_message(&mut messages).await;
    }
    let limits = wormhole::chat::HistoryLimits { max_messages: Some(2), max_age: None };
    b.set_history_mode(HistoryMode::On(limits)).await.unwrap();
    assert_eq!(b.history(None, None, 10).await.unwrap().len(), 2);
    assert_eq!(b.history_mode().await, Ok(HistoryMode::On(limits)));
    b.set_history_mode(HistoryMode::Off).await.unwrap();
    assert_eq!(b.history(None, None, 10).await, Ok(Vec::new()));
}

/// A place where two sides meet that needs no relay.
fn local(mailbox: &Mailbox) -> wormhole::chat::MailboxOptions {
    let mut options = mailbox.mailbox_options();
    options.transit =
        Settings { policy: RelayPolicy::Never, relays: Vec::new(), ..Settings::default() };
    options
}

/// Links a new device that keeps a history, and copies so much of it. Returns what both sides have counted.
async fn link(
    mailbox: &Mailbox,
    first: &Person,
    new: &Person,
    history: HistoryMode,
) -> [Result<Copied, CopyError>; 2] {
    let account = new.account();
    account.set_history_mode(HistoryMode::ALL).await.unwrap();
    let mut options = mailbox.options("laptop");
    options.mailbox = local(mailbox);
    let linking = account.link(options).await.unwrap();
    let code = soon(linking.code()).await.unwrap();
    let accept = async {
        let account = first.account();
        let acceptance = account.accept_link(code, &local(mailbox)).await.unwrap();
        let acceptance = acceptance.with_copy();
        let request = acceptance.request().await.unwrap();
        assert!(request.can_copy());
        acceptance.accept(&request).await.unwrap();
        let copied = acceptance.copy(&account, history).await;
        acceptance.close().await;
        copied
    };
    let take = async {
        linking.complete().await.unwrap();
        let copied = linking.copy().await.map(Option::unwrap);
        linking.close().await;
        copied
    };
    let (sent, received) = soon(async { tokio::join!(accept, take) }).await;
    [sent, received]
}

/// Adds messages with somebody to the history, the newest of which has the highest number.
fn fill(person: &Person, author: AccountId, count: u64) {
    let mut store = Store::open(&person.folder.0.join("store"), None).unwrap();
    let message = |number: u64| EarlierMessage {
        conversation: Conversation::Account(author),
        author: number.is_multiple_of(2).then_some(author),
        timestamp: Timestamp(1_600_000_000_000 + number),
        text: format!("message {number} of a long conversation"),
    };
    let messages: Vec<_> = (0..count).rev().map(message).collect();
    for messages in messages.chunks(4096) {
        assert_eq!(store.add_earlier(messages), Ok(u64::try_from(messages.len()).unwrap()));
    }
}

#[tokio::test]
async fn a_new_device_gets_contacts_with_their_verified_keys_and_the_history() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550855", "+14155550856"]).await;
    keep(&alice).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let them = b.me().address.account;
    say(&a, &bob.destination(), "hello").await;
    let number = a.safety_number(them).await.unwrap();
    a.verify_safety_number(them, &number.digits).await.unwrap();
    a.name_contact(them, Some("Bob".to_owned())).await.unwrap();
    a.close().await.unwrap();
    fill(&alice, them, 10_000);

    let laptop = Person { folder: Folder::new(), number: alice.number.clone() };
    let copied = link(&mailbox, &alice, &laptop, HistoryMode::ALL).await;
    let [sent, received] = copied.map(Result::unwrap);
    assert_eq!((sent, received.messages, received.contacts), (received, 10_001, 1));
    let account = laptop.account();
    let newest = account.history(with(&b), None, 3).await.unwrap();
    let newest: Vec<_> = newest.iter().map(|it| it.text.as_deref().unwrap()).collect();
    let expected =
        ["hello", "message 9999 of a long conversation", "message 9998 of a long conversation"];
    assert_eq!(newest, expected);
    assert!(account.search("message 17 conv", None).next().await.unwrap().is_some());
    drop(account);
    let l = laptop.open().await;
    let contact = l.contacts().await.unwrap().into_iter().find(|it| it.account == them).unwrap();
    assert_eq!((contact.name.as_deref(), contact.verified), (Some("Bob"), Some(number.key)));
    assert!(l.safety_number(them).await.unwrap().is_verified);
    // Again: nothing is new.
    l.close().await.unwrap();
    let again = copy(&mailbox, &alice, &laptop).await;
    assert_eq!(again.map(|copied| copied.unwrap().messages), [0, 0]);
}

#[tokio::test]
async fn people_in_the_copied_contacts_are_no_strangers_to_the_new_device() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550857", "+14155550858"]).await;
    let stranger = world.register("+14155550859", 1).await;
    let (a, b, s) = (alice.open().await, bob.open().await, stranger.open().await);
    say(&a, &bob.destination(), "hello").await;
    // Her contacts contain the stranger, too, whom she has never answered.
    say(&s, &alice.destination(), "buy this").await;
    next_message(&mut a.messages()).await;
    a.close().await.unwrap();

    let laptop = Person { folder: Folder::new(), number: alice.number.clone() };
    let copied = link(&mailbox, &alice, &laptop, HistoryMode::Off).await;
    assert!(copied.iter().all(Result::is_ok), "{copied:?}");
    // The other device is not online, so it can say nothing.
    let mut options = Options::default();
    options.hold_unknown_senders = true;
    let l = Client::open(laptop.account(), options).await.unwrap();
    say(&s, &alice.destination(), "buy that").await;
    say(&b, &alice.destination(), "to both").await;
    assert_eq!(next_message(&mut l.messages()).await.text.as_deref(), Some("to both"));
    let requests = l.requests().await.unwrap();
    let asking: Vec<_> = requests.iter().map(|request| request.from.account).collect();
    assert_eq!(asking, [s.me().address.account]);
}

/// Copies from one device to another that are linked already.
async fn copy(mailbox: &Mailbox, from: &Person, to: &Person) -> [Result<Copied, CopyError>; 2] {
    let receiving = to.account().receive_copy(&local(mailbox)).await.unwrap();
    let code = soon(receiving.code()).await.unwrap();
    let (account, options) = (from.account(), local(mailbox));
    let sending = account.send_copy(code, &options, HistoryMode::ALL);
    let (sent, received) = soon(async { tokio::join!(sending, receiving.complete()) }).await;
    [sent, received]
}

#[tokio::test]
async fn a_part_of_the_history_or_nothing_can_be_copied_and_the_rest_later() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550857", "+14155550858"]).await;
    keep(&alice).await;
    fill(&alice, bob.registration().account.unwrap().account, 3000);
    let laptop = Person { folder: Folder::new(), number: alice.number.clone() };
    // All of them are old.
    let copied = link(&mailbox, &alice, &laptop, HistoryMode::days(30)).await;
    assert_eq!(copied.map(|copied| copied.unwrap().messages), [0, 0]);
    let copied = copy(&mailbox, &alice, &laptop).await;
    assert_eq!(copied.map(|copied| copied.unwrap().messages), [3000, 3000]);
    // The other way round.
    let copied = copy(&mailbox, &laptop, &alice).await;
    assert_eq!(copied.map(|copied| copied.unwrap().messages), [0, 0]);
}

#[tokio::test]
async fn a_device_of_another_account_gets_nothing() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550859", 0).await;
    let mallory = world.register("+14155550860", 0).await;
    keep(&alice).await;
    let [sent, received] = copy(&mailbox, &alice, &mallory).await;
    assert_eq!(received, Err(CopyError::OtherAccount));
    assert!(
        matches!(sent, Err(CopyError::Peer(LinkPeerError::Refused(_) | LinkPeerError::Code(_)))),
        "{sent:?}"
    );
    let nobody = Store::create(&Folder::new().0.join("store"), &Protection::KeyFile).unwrap();
    let refused = Account::new(nobody, Network::default()).receive_copy(&local(&mailbox)).await;
    assert!(matches!(refused, Err(CopyError::Open(_))), "{refused:?}");
}

/// Waits until a transaction that was running has ended.
async fn released(person: &Person) {
    let path = person.folder.0.join("store");
    while Store::open(&path, None).err() == Some(StoreError::InUse) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_interrupted_copy_leaves_a_linked_device_and_can_be_repeated() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550861", "+14155550862"]).await;
    keep(&alice).await;
    fill(&alice, bob.registration().account.unwrap().account, 8000);
    let laptop = mailbox.link(&alice, "laptop").await;
    keep(&laptop).await;
    for patience in [0, 20, 50, 100, 200] {
        let copying = copy(&mailbox, &alice, &laptop);
        let _stopped = tokio::time::timeout(Duration::from_millis(patience), copying).await;
        soon(released(&alice)).await;
        soon(released(&laptop)).await;
    }
    let copied = copy(&mailbox, &alice, &laptop).await;
    assert_eq!(copied.clone().map(|copied| copied.is_ok()), [true, true], "{copied:?}");
    let messages = laptop.account().history(None, None, 10_000).await.unwrap();
    assert_eq!(messages.len(), 8000);
    assert!(messages.is_sorted_by(|a, b| a.timestamp > b.timestamp));
    assert_eq!(laptop.open().await.me().address.device.number(), 2);
}
