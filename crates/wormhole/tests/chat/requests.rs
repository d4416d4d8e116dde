//! People who do not know each other: message requests, blocked people, and usernames.

use std::time::Duration;

use wormhole::chat::{
    Client, DecideError, Destination, Event, Message, NameError, Options, QueueError,
};
use wormhole_server::testing::report_command;

use crate::mailbox::Mailbox;
use crate::world::{Person, World, next_event, next_message, say, soon};

/// A client whose user is asked about strangers, and the server knows it.
async fn open(person: &Person) -> Client {
    let mut options = Options::default();
    options.hold_unknown_senders = true;
    let client = Client::open(person.account(), options).await.unwrap();
    let mut events = client.events();
    soon(async { while events.next().await.unwrap() != Event::UpToDate {} }).await;
    client
}

/// Waits until so many messages of requests are here.
async fn wait_for(client: &Client, messages: usize) {
    soon(async {
        loop {
            let requests = client.requests().await.unwrap();
            let waiting: usize = requests.iter().map(|request| request.messages.len()).sum();
            if waiting >= messages {
                return assert_eq!(waiting, messages);
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn texts(client_requests: &[wormhole::chat::MessageRequest]) -> Vec<Vec<String>> {
    let texts = |request: &wormhole::chat::MessageRequest| {
        request.messages.iter().map(|message| message.text.clone().unwrap()).collect()
    };
    client_requests.iter().map(texts).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_waits_until_it_is_accepted() {
    let world = World::new().await;
    let (alice, bob) =
        (world.register("+14155551011", 0).await, world.register("+14155551012", 1).await);
    let (a, b) = (alice.open().await, open(&bob).await);
    let mut messages = b.messages();
    say(&a, &bob.destination(), "hello").await;
    let event = next_event(&mut messages, |event| matches!(event, Event::Request { .. })).await;
    assert_eq!(event, Event::Request { account: a.me().address.account });
    wait_for(&b, 1).await;
    let requests = b.requests().await.unwrap();
    assert_eq!(texts(&requests), [["hello"]]);
    assert_eq!(requests[0].from.number.as_deref(), Some("+14155551011"));
    assert_eq!(requests[0].from.app.as_deref(), Some("com.one"));
    let safety = b.safety_number(requests[0].from.account).await.unwrap();
    assert_eq!(safety.digits, a.safety_number(b.me().address.account).await.unwrap().digits);
    // They survive the end of the program.
    drop(messages);
    b.close().await.unwrap();
    let b = open(&bob).await;
    assert_eq!(texts(&b.requests().await.unwrap()), [["hello"]]);
    let mut messages = b.messages();
    b.accept_request(a.me().address.account).await.unwrap();
    let message = next_message(&mut messages).await;
    assert_eq!(message.text.as_deref(), Some("hello"));
    b.done(message.id).await.unwrap();
    assert!(b.requests().await.unwrap().is_empty());
    assert!(b.decisions_sent(Duration::from_secs(60)).await.unwrap());
    for number in 1..=8 {
        say(&a, &bob.destination(), &format!("{number}")).await;
    }
    for number in 1..=8 {
        let message = next_message(&mut messages).await;
        assert_eq!(message.text, Some(format!("{number}")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_five_messages_of_a_stranger_arrive_and_an_answer_accepts_it() {
    let world = World::new().await;
    let (alice, bob) =
        (world.register("+14155551021", 0).await, world.register("+14155551022", 0).await);
    let (a, b) = (alice.open().await, open(&bob).await);
    assert!(soon(capability(&world)).await);
    for number in 1..=9 {
        say(&a, &bob.destination(), &format!("{number}")).await;
    }
    wait_for(&b, 5).await;
    let mut messages = b.messages();
    let from = Destination::Account(a.me().address.account);
    say(&b, &from, "who are you?").await;
    let mut answers = a.messages();
    assert_eq!(next_message(&mut answers).await.text.as_deref(), Some("who are you?"));
    say(&a, &bob.destination(), "Alice").await;
    for expected in ["1", "2", "3", "4", "5", "Alice"] {
        assert_eq!(next_message(&mut messages).await.text.as_deref(), Some(expected));
    }
}

/// Waits until the service knows that a device has message requests.
async fn capability(world: &World) -> bool {
    loop {
        let database = rusqlite::Connection::open(world.database()).unwrap();
        let sql = "SELECT count(*) FROM devices WHERE attributes LIKE '%messageRequests\":true%'";
        let count: i64 = database.query_row(sql, [], |row| row.get(0)).unwrap();
        if count > 0 {
            return true;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_blocked_person_arrives_even_if_the_server_delivers_it() {
    let world = World::new().await;
    let (alice, bob) =
        (world.register("+14155551031", 0).await, world.register("+14155551032", 0).await);
    let (a, b) = (alice.open().await, open(&bob).await);
    let account = a.me().address.account;
    say(&a, &bob.destination(), "first").await;
    wait_for(&b, 1).await;
    b.block(account).await.unwrap();
    assert!(b.requests().await.unwrap().is_empty());
    assert_eq!(b.blocked().await.unwrap()[0].account, account);
    let refused = b.send(&Destination::Account(account), Message::text("x")).await;
    assert_eq!(refused.unwrap_err(), QueueError::Blocked(account));
    assert!(b.decisions_sent(Duration::from_secs(60)).await.unwrap());
    // The sender sees no difference.
    say(&a, &bob.destination(), "second").await;
    b.close().await.unwrap();
    // A server that forgets the decision, and so delivers.
    let database = rusqlite::Connection::open(world.database()).unwrap();
    database.execute("DELETE FROM consents", []).unwrap();
    say(&a, &bob.destination(), "third").await;
    let b = open(&bob).await;
    let mut messages = b.messages();
    b.unblock(account).await.unwrap();
    assert!(b.decisions_sent(Duration::from_secs(60)).await.unwrap());
    say(&a, &bob.destination(), "fourth").await;
    wait_for(&b, 1).await;
    assert_eq!(texts(&b.requests().await.unwrap()), [["fourth"]]);
    b.accept_request(account).await.unwrap();
    assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("fourth"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_request_begins_again_and_a_reported_one_reaches_the_operator() {
    let world = World::new().await;
    let (alice, bob) =
        (world.register("+14155551041", 0).await, world.register("+14155551042", 0).await);
    let (a, b) = (alice.open().await, open(&bob).await);
    assert!(soon(capability(&world)).await);
    let account = a.me().address.account;
    say(&a, &bob.destination(), "one").await;
    wait_for(&b, 1).await;
    b.delete_request(account).await.unwrap();
    assert!(b.requests().await.unwrap().is_empty());
    for text in ["two", "three"] {
        say(&a, &bob.destination(), text).await;
    }
    wait_for(&b, 2).await;
    assert_eq!(b.report(account).await, Ok(2));
    assert!(b.decisions_sent(Duration::from_secs(60)).await.unwrap());
    let listed = report_command(&world.database(), &["list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let about = format!(" {account} +14155551041@com.one reported-by ");
    assert!(listed.lines().all(|line| line.contains(&about)), "{listed}");
    assert_eq!(b.blocked().await.unwrap().len(), 1);
    // There is nothing to report any more.
    assert_eq!(b.report(account).await, Ok(0));
    let own = b.me().address.account;
    assert_eq!(b.block(own).await, Err(DecideError::OwnAccount));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_username_leads_to_its_account() {
    let world = World::new().await;
    let (alice, bob) =
        (world.register("+14155551051", 0).await, world.register("+14155551052", 1).await);
    let account = bob.account();
    assert_eq!(account.username().await, Ok(None));
    account.set_username(&"Bob.1".parse().unwrap()).await.unwrap();
    assert_eq!(account.username().await.unwrap().unwrap().as_str(), "bob.1");
    let taken = alice.account().set_username(&"bob.1".parse().unwrap()).await;
    assert_eq!(taken, Err(NameError::Taken));
    drop(account);
    let (a, b) = (alice.open().await, bob.open().await);
    say(&a, &"@bob.1".parse().unwrap(), "hello").await;
    let mut messages = b.messages();
    assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("hello"));
    let unknown = a.send(&"@nobody".parse().unwrap(), Message::text("x")).await.unwrap_err();
    assert_eq!(unknown, QueueError::NoSuchRecipient("@nobody".parse().unwrap()));
    drop(messages);
    let account = b.close().await.unwrap();
    account.set_discoverable(false).await.unwrap();
    let removed = account.remove_username().await.unwrap();
    assert_eq!(removed.unwrap().as_str(), "bob.1");
    assert_eq!(account.remove_username().await, Ok(None));
    let gone = a.send(&"@bob.1".parse().unwrap(), Message::text("x")).await.unwrap_err();
    assert_eq!(gone, QueueError::NoSuchRecipient("@bob.1".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_device_of_the_account_learns_what_was_decided() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155551901", 0).await;
    let bob = world.register("+14155551902", 0).await;
    let carol = world.register("+14155551903", 0).await;
    let laptop = mailbox.link(&bob, "laptop").await;
    let (phone, laptop) = (open(&bob).await, open(&laptop).await);
    let (a, c) = (alice.open().await, carol.open().await);
    say(&a, &bob.destination(), "from Alice").await;
    say(&c, &bob.destination(), "from Carol").await;
    for device in [&phone, &laptop] {
        wait_for(device, 2).await;
    }
    let (alice, carol) = (a.me().address.account, c.me().address.account);
    phone.accept_request(alice).await.unwrap();
    let mut messages = laptop.messages();
    assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("from Alice"));
    laptop.block(carol).await.unwrap();
    soon(async {
        while phone.blocked().await.unwrap().iter().all(|contact| contact.account != carol)
            || !phone.requests().await.unwrap().is_empty()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    phone.unblock(carol).await.unwrap();
    soon(async {
        while !laptop.blocked().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
